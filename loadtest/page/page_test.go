package page

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest"
)

// busy is a report with something of everything.
func busy() loadtest.Report {
	offered := int64(50)
	r := loadtest.Report{Run: "r1", API: "http://127.0.0.1:8080", Sale: "drop <1>", StartedAt: time.Unix(1e9, 0).UTC(), ElapsedMS: 125_000, Seed: 7, Arrivals: 12_345, Confirmed: 50, SoldOut: 12_295, Every: 1,
		Curve: loadtest.Curve{{At: 0, Rate: 10}, {At: 20, Rate: 300}}, Phases: []loadtest.Phase{{Name: "before", Until: 5}, {Name: "after", Until: 20}},
		Marks: []loadtest.Mark{{At: 5.1, Name: "opens"}}, SLOs: []loadtest.Kept{{SLO: loadtest.SLO{Step: loadtest.StepReserve, Quantile: "p99", Most: 50}, Got: 12.5, Kept: true}},
		Kinds:   []loadtest.KindEnds{{Kind: loadtest.KindBuyer, Visits: 12_300, Ends: map[loadtest.End]int64{loadtest.Confirmed: 50, loadtest.SoldOut: 12_250}}, {Kind: loadtest.KindBot, Visits: 45, Ends: map[loadtest.End]int64{loadtest.SoldOut: 45}}},
		SKUs:    []loadtest.SKU{{SKU: "tee", Offered: &offered, Held: 60, Confirmed: 50, SoldOut: 12_295}},
		Latency: []loadtest.Latency{{Step: loadtest.StepReserve, Count: 12_345, P50: 1.5, P95: 5, P99: 12.5, P999: 80, Max: 1200}},
		Answers: []loadtest.Answer{{Outcome: loadtest.Outcome{Step: loadtest.StepReserve, Status: 409, Code: "sold_out"}, Count: 12_295}},
		Verify:  json.RawMessage(`{"oversold":0,"lost":0,"drift":0,"unpaid":0}`), Verdict: loadtest.Verdict{Pass: true}}
	for i := range 20 {
		r.Series = append(r.Series, loadtest.Second{At: i, Due: int64(100 + i), Answers: map[string]int64{"reserve 201 held": int64(i), "reserve 409 sold_out": 90, "checkout 201 confirmed": 3, "bot 429 rate_limited": 4, "reserve timeout": 1},
			Latency: []loadtest.Latency{{Step: loadtest.StepReserve, Count: 9, P50: 1, P99: 20, P999: 300}, {Step: loadtest.StepCheckout, Count: 3, P50: 9, P99: 90, P999: 90}}})
		r.Timeline = append(r.Timeline, loadtest.Moment{Second: i + 1, InFlight: int64(i), Confirmed: int64(3 * i)})
		state := "closed"
		if i > 8 && i < 12 {
			state = "open"
		}
		r.Samples = append(r.Samples, loadtest.Sample{At: float64(i), Units: map[string]loadtest.Units{"tee": {Available: int64(50 - 2*i), Sold: int64(2 * i)}}, Lag: map[string]float64{"stream": float64(i)},
			Breakers: map[string]string{"payment-sandbox-authorise": state, "fraud": "closed"}, CPU: map[string]float64{"engine": 0.7}, Memory: map[string]float64{"engine": 120}})
	}
	return r
}

// outside is whatever a browser would fetch, or run.
var outside = regexp.MustCompile(`(?i)(src|href)\s*=|url\(|@import|<script|<link|<iframe`)

func rendered(t *testing.T, r loadtest.Report) string {
	t.Helper()
	var s strings.Builder
	if err := Write(&s, "Load <test>", r); err != nil {
		t.Fatal(err)
	}
	if found := outside.FindString(s.String()); found != "" {
		t.Errorf("the page has %q in it", found)
	}
	return s.String()
}

func TestAPageHasTheVerdictOnTopAndEveryPicture(t *testing.T) {
	page := rendered(t, busy())
	for _, want := range []string{"Load &lt;test&gt;", "<b>PASS</b>", "drop &lt;1&gt;", "12\u202f345", "<b>0</b><span>oversold</span>", "reserve p99", "12.5 ms", "breaker payment-sandbox-authorise",
		"Who came", "Do I get one?", "Is it mine?", "How long did that take?", "The stock burns down", "Behind the counter", "told to wait", ">no answer<", "to bots: told to wait", ">opens<", ">before<", "confirmed 50"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if n := strings.Count(page, "<svg"); n != 12 { // six figures, each for windows and for phones
		t.Errorf("%d pictures", n)
	}
	if strings.Contains(page, "breaker fraud") {
		t.Error("a breaker that nobody would notice has a strip")
	}
	if strings.Index(page, "PASS") > strings.Index(page, "<svg") {
		t.Error("the verdict is not on top")
	}
	if strings.Contains(page, "ZgotmplZ") {
		t.Error("the template refuses a value")
	}
}

func TestAFailureSaysWhyAndNothingInAReportIsMarkup(t *testing.T) {
	r := busy()
	r.Pass, r.Reasons, r.Verify, r.Dropped = false, []string{`OVERSOLD: 2 <script>alert(1)</script>`}, json.RawMessage(`{"oversold":2,"lost":0,"drift":0,"unpaid":0}`), 3
	r.Marks[0].Name, r.SKUs[0].SKU = "<script>x", "<script>y"
	page := rendered(t, r)
	for _, want := range []string{"<b>FAIL</b>", "1 reason, below", "OVERSOLD: 2 &lt;script&gt;", `<div class="tile no"><b>2</b><span>oversold</span></div>`, `<div class="tile no"><b>3</b><span>arrivals dropped`} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
}

func TestARunThatWasHardlyOneHasAPageToo(t *testing.T) {
	page := rendered(t, loadtest.Report{Verdict: loadtest.Verdict{Reasons: []string{"cut short"}}})
	if strings.Contains(page, "<svg") || !strings.Contains(page, "cut short") {
		t.Errorf("%s", page)
	}
}

func TestTwoRunsAreComparedAndWhatIsWorseIsMarked(t *testing.T) {
	a, b := busy(), busy()
	b.Latency[0].P99, b.Confirmed, b.Pass = 25, 40, false
	var s strings.Builder
	if err := Compare(&s, [2]string{"before.json", "after.json"}, a, b); err != nil {
		t.Fatal(err)
	}
	page := s.String()
	for _, want := range []string{"A: before.json", `<td>reserve p99</td><td>12.5 ms</td><td>25.0 ms</td><td class="bad">&#43;100 %</td>`, `<td>50</td><td>40</td><td class="bad">-20 %</td>`, `<td class="">same</td>`, "FAIL"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	if outside.MatchString(page) || strings.Count(page, "<svg") != 6 {
		t.Errorf("%d pictures", strings.Count(page, "<svg"))
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	n := int64(1234567)
	for got, want := range map[string]string{count(int64(0)): "0", count(int64(999)): "999", count(&n): "1\u202f234\u202f567", millis(0.25): "0.25 ms", millis(12.34): "12.3 ms", millis(1500): "1.50 s",
		span(45): "45 seconds", span(372): "6.2 minutes"} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, c := range []struct {
		a, b   float64
		better int
		want   string
	}{{10, 10, -1, "same "}, {10, 20, -1, "+100 % bad"}, {10, 20, 1, "+100 % good"}, {100, 105, -1, "+5 % "}, {0, 5, -1, "from nothing bad"}, {10, 20, 0, "+100 % "}} {
		change, class := judge(c.a, c.b, c.better)
		if got := fmt.Sprint(change, " ", class); got != c.want {
			t.Errorf("%v to %v: %q, want %q", c.a, c.b, got, c.want)
		}
	}
}
