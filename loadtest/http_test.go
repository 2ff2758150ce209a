package loadtest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// open serves a shop on a real socket.
func open(t *testing.T, s *shop) string {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestRunOverHTTP(t *testing.T) {
	s := newShop(t, 40)
	s.script = func(w http.ResponseWriter, r *request) bool {
		id, checkout := strings.CutSuffix(strings.TrimPrefix(r.path, "/v1/reservations/"), "/checkout")
		switch {
		case strings.HasSuffix(r.path, "/reservations") && r.nth == 1 && strings.HasSuffix(r.buyer, "7"):
			problem(w, 503, "overloaded", "0")
		case checkout && strings.HasSuffix(r.buyer, "3"):
			w.Header().Set("Location", "/v1/reservations/"+id)
			answerWith(w, 202, map[string]any{"state": "pending", "reservation": map[string]any{"id": id, "state": "accepted"}})
		case r.method == http.MethodGet && strings.HasPrefix(id, "rsv_"):
			s.state(w, id, "confirmed", "ord_"+strings.TrimPrefix(id, "rsv_"))
		default:
			return false
		}
		return true
	}
	c := crowd()
	c.API, c.Buyers, c.Connections, c.Wait = open(t, s)+"/", 60, 8, 1500*time.Millisecond
	c.Stock = map[string]int64{"tee": 40}
	out, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	passes(t, out)
	if out.Confirmed != 40 || out.SoldOut != 20 || out.Retries != 6 || out.ReadBack.Confirmed != 40 {
		t.Errorf("unexpected:\n%s", out)
	}
	if !slices.ContainsFunc(out.Answers, func(a Answer) bool { return a.Outcome == Outcome{StepCheckout, 202, "pending"} }) {
		t.Errorf("no pending checkout:\n%s", out)
	}
	for _, r := range s.seen("/checkout") {
		if r.prefer != "wait=2" || r.method2pay != "pm_card_visa" {
			t.Errorf("checkout with Prefer %q and %q", r.prefer, r.method2pay)
		}
	}
}

// With one connection the second buyer waits for the first one's answer, in the
// client. That wait must show: only lower bounds are asserted, so a slow
// machine cannot fail this.
func TestWaitingForAConnectionIsPartOfTheLatency(t *testing.T) {
	s := newShop(t, 0)
	var once sync.Once
	s.script = func(http.ResponseWriter, *request) bool {
		once.Do(func() { <-time.After(300 * time.Millisecond) })
		return false
	}
	c := crowd()
	c.API, c.Connections = open(t, s), 1
	out, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	passes(t, out)
	if l := out.Of(StepReserve); l.Count != 10 || l.P50 < 299 {
		t.Errorf("half of ten buyers waited %v ms behind a stall of 300", l.P50)
	}
}

func TestALostAnswerIsAskedForAgainWithTheSameKey(t *testing.T) {
	s := newShop(t, 1)
	s.script = func(w http.ResponseWriter, r *request) bool {
		if r.nth > 1 || r.method != http.MethodPost || strings.HasSuffix(r.path, "/checkout") {
			return false
		}
		s.reserve(httptest.NewRecorder(), r) // the hold is made, and nobody hears of it
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return true
		}
		_ = conn.Close()
		return true
	}
	c := crowd()
	c.API, c.Buyers = open(t, s), 1
	out, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	passes(t, out)
	if out.Confirmed != 1 || out.Retries != 1 || out.Errors["reserve broken_connection"] != 1 {
		t.Errorf("unexpected:\n%s", out)
	}
}

func TestNobodyThereIsAFailedRun(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close() // the port was free a moment ago
	c := crowd()
	c.API, c.MaxRetries = srv.URL, -1
	out, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	failsFor(t, out, "10 buyers failed: reserve unreachable × 10")
}

func TestATokenNeverLeavesTheAPI(t *testing.T) {
	v := &visit{run: &run{cfg: Config{API: "http://shop.test/engine"}}}
	for location, want := range map[string]string{
		"/v1/reservations/rsv_1":                              "/v1/reservations/rsv_1",
		"/engine/v1/orders/ord_1?x=1":                         "/v1/orders/ord_1?x=1",
		"http://shop.test/engine/v1/orders/ord_1":             "/v1/orders/ord_1",
		"http://elsewhere.test/v1/orders/ord_1":               "",
		"//elsewhere.test/v1/orders/ord_1":                    "",
		"https://shop.test/v1/orders/ord_1":                   "",
		"http://shop.test@elsewhere.test/engine/v1/orders/or": "",
		"": "",
	} {
		if got, ok := v.local(location); got != want || ok != (want != "") {
			t.Errorf("%q gives %q, %v; want %q", location, got, ok, want)
		}
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "0": 0, "-5": 0, "soon": 0,
		"Fri, 27 Nov 2026 12:00:07 GMT": 7 * time.Second, "Fri, 27 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := parseRetryAfter(s, now); got != want {
			t.Errorf("%q is %v, want %v", s, got, want)
		}
	}
}

func TestSettingsAreCheckedAgainstEachOther(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"API":      func(c *Config) { c.API = "shop.test:80" },
		"Sale":     func(c *Config) { c.Sale = "" },
		"SKUs":     func(c *Config) { c.SKUs = nil },
		"BuyerKey": func(c *Config) { c.BuyerKey = nil },
		"Buyers":   func(c *Config) { c.Buyers = 0 },
		"Duration": func(c *Config) { c.Rate = 10 },
		"arrivals": func(c *Config) { c.Rate, c.Duration = 1e9, time.Hour },
		"Abandon":  func(c *Config) { c.Abandon = 1.5 },
		"Timeout":  func(c *Config) { c.Timeout, c.Wait = time.Second, 2*time.Second },
		"Rate":     func(c *Config) { c.Rate = -1 },
	} {
		c := crowd()
		change(&c)
		if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestASeedDrawsTheSameCrowd(t *testing.T) {
	c := crowd()
	c.Rate, c.Duration, c.SKUs = 100, 10*time.Second, []string{"tee", "cap", "mug"}
	c = c.WithDefaults()
	draw := func() (out []string) {
		r := &run{cfg: c, tally: newTally(time.Now(), c.Duration)}
		for n, at := range schedule(c) {
			v := r.visit(n, time.Time{})
			out = append(out, at.String()+v.sku)
		}
		return out
	}
	first, again := draw(), draw()
	c.Seed++
	other := draw()
	if strings.Join(first, " ") != strings.Join(again, " ") || strings.Join(first, " ") == strings.Join(other, " ") {
		t.Error("the crowd does not follow from the seed")
	}
	if len(first) != 1000 {
		t.Errorf("%d arrivals, want exactly 1000", len(first))
	}
}

func TestAReportIsReadableByMachinesAndPeople(t *testing.T) {
	s := newShop(t, 2)
	c := crowd()
	c.API, c.Stock = open(t, s), map[string]int64{"tee": 2}
	out, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(raw, &back); err != nil || back.Confirmed != 2 || !back.Pass || back.Of(StepReserve).Count != 10 {
		t.Errorf("%v: %s", err, raw)
	}
	for _, want := range []string{"arrivals", "sold_out", "P99.9", "reserve   409     sold_out", "verdict: PASS", "read back: 2 of 2"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
}
