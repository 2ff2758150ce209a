package challenge

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func work(t *testing.T, change ...func(*Options)) *Challenges {
	t.Helper()
	o := Options{Kind: Work, Secret: []byte("0123456789abcdef"), Bits: 8, Above: 0}
	for _, c := range change {
		c(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func solve(t testing.TB, challenge string) string {
	t.Helper()
	s, err := Solve(t.Context(), challenge)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWorkIsGoodForItsBuyerInItsSaleUntilItExpires(t *testing.T) {
	c := work(t)
	given := c.Give("drop", "ann", false, false, noon)
	good := "work " + solve(t, given.Text)
	if given.Bits != 8 || !given.Expires.Equal(noon.Add(2*time.Minute)) {
		t.Errorf("%+v", given)
	}
	for name, x := range map[string]struct {
		sale, buyer, solution string
		at                    time.Time
		why                   string
	}{
		"as it should be":      {"drop", "ann", good, noon, ""},
		"again":                {"drop", "ann", good, noon.Add(time.Minute), ""},
		"another buyer":        {"drop", "bob", good, noon, "not given to this buyer"},
		"another sale":         {"other", "ann", good, noon, "not given to this buyer"},
		"parts that run on":    {"dropa", "nn", good, noon, "not given to this buyer"},
		"too late":             {"drop", "ann", good, given.Expires, "expired"},
		"an easier one":        {"drop", "ann", strings.Replace(good, ".8.", ".1.", 1), noon, "not given to this buyer"},
		"a longer one":         {"drop", "ann", strings.Replace(good, ".17", ".27", 1), noon, "not given to this buyer"},
		"a number with a sign": {"drop", "ann", "work " + given.Text + ".-1", noon, "not a challenge of this engine"},
		"no number":            {"drop", "ann", "work " + given.Text, noon, "not a challenge of this engine"},
		"no kind":              {"drop", "ann", good[5:], noon, "begin with the challenge's kind"},
		"a kind without more":  {"drop", "ann", "work", noon, "not a challenge of this engine"},
		"another kind":         {"drop", "ann", "turnstile x", noon, "begin with the challenge's kind"},
		"very much":            {"drop", "ann", "work w1.1.1." + strings.Repeat("1", 200) + ".1", noon, "not a challenge of this engine"},
	} {
		why, away := c.Check(t.Context(), x.sale, x.buyer, "", x.solution, x.at)
		if away || (why == "") != (x.why == "") || !strings.Contains(why, x.why) {
			t.Errorf("%s: %q", name, why)
		}
	}
	if why, _ := work(t, func(o *Options) { o.Secret = []byte("another secret of a node") }).Check(t.Context(), "drop", "ann", "", good, noon); why == "" {
		t.Error("another secret's challenge is taken")
	}
}

func TestWorkThatWasNotDoneIsNotTaken(t *testing.T) {
	c := work(t, func(o *Options) { o.Bits = 12 })
	given := c.Give("drop", "ann", false, false, noon).Text
	done := solve(t, given)
	taken := 0
	for i := range 500 {
		guess := given + "." + strings.Repeat("7", 1+i%3) + string(rune('0'+i%10)) + string(rune('0'+i/10%10)) + string(rune('0'+i/100))
		if why, _ := c.Check(t.Context(), "drop", "ann", "", "work "+guess, noon); why == "" && guess != done {
			taken++
		}
	}
	if taken > 5 { // each guess is good once in 4096
		t.Errorf("%d of 500 guesses are taken", taken)
	}
}

func TestMoreIsAskedOfEverybodyAsMoreComeAndOfSuspectsAlways(t *testing.T) {
	c := work(t, func(o *Options) { o.Above = 100; o.Sales = []string{"drop"} })
	demanded := 0
	for range 100 {
		if c.Demand("drop", false, noon) {
			demanded++
		}
	}
	if demanded != 0 || c.level(c.rate.now(noon)) != 0 {
		t.Errorf("%d were asked below the rate", demanded)
	}
	if !c.Demand("drop", true, noon) || !c.Demand("drop", false, noon) || c.Demand("other", true, noon) {
		t.Error("above the rate, or a suspect, or another sale")
	}
	for n, want := range map[int64]int{100: 0, 101: 8, 199: 8, 200: 9, 400: 10, 1 << 40: 14} {
		if got := c.level(n); got != want {
			t.Errorf("at %d a second: %d bits, want %d", n, got, want)
		}
	}
	if got := c.Give("drop", "ann", true, false, noon).Bits; got != 10 {
		t.Errorf("a suspect's work has %d bits", got)
	}
	if !c.Demand("drop", false, noon.Add(time.Second)) { // the second before counts
		t.Error("a new second forgets the one before")
	}
	if c.Demand("drop", false, noon.Add(5*time.Second)) {
		t.Error("it does not end")
	}
	if c := work(t, func(o *Options) { o.Above = -1 }); c.Demand("drop", false, noon) || !c.Demand("drop", true, noon) {
		t.Error("only suspects were to be asked")
	}
}

// widget is a stand-in for siteverify: tokens are good once, unless the same
// idempotency key comes again.
func widget(t *testing.T, answer func(http.ResponseWriter, *http.Request)) func(*Options) {
	s := httptest.NewServer(http.HandlerFunc(answer))
	t.Cleanup(s.Close)
	return func(o *Options) {
		o.Kind, o.VerifyURL, o.TurnstileSecret, o.SiteKey, o.Client = Turnstile, s.URL, "sec", "site", s.Client()
	}
}

func TestATokenIsVerifiedAndBoundToItsBuyer(t *testing.T) {
	used := map[string]string{}
	c := work(t, widget(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("secret") != "sec" || r.FormValue("remoteip") != "192.0.2.1" || len(r.FormValue("idempotency_key")) != 36 {
			t.Errorf("%v", r.Form)
		}
		text, key := r.FormValue("response"), r.FormValue("idempotency_key")
		answer := `{"success":true,"hostname":"shop.example"}`
		switch {
		case text != "good":
			answer = `{"success":false,"error-codes":["invalid-input-response"]}`
		case used[text] != "" && used[text] != key:
			answer = `{"success":false,"error-codes":["timeout-or-duplicate"]}`
		}
		used[text] = key
		_, _ = w.Write([]byte(answer))
	}))
	if given := c.Give("drop", "ann", false, false, noon); given.Kind != Turnstile || given.SiteKey != "site" || given.Text != "" {
		t.Errorf("%+v", given)
	}
	for i, x := range []struct{ buyer, token, why string }{
		{"ann", "good", ""}, {"ann", "good", ""}, {"bob", "good", "has been used"}, {"ann", "bad", "not good"}, {"ann", "", "empty"}, {"ann", strings.Repeat("x", 3000), "too long"},
	} {
		why, away := c.Check(t.Context(), "drop", x.buyer, "192.0.2.1", "turnstile "+x.token, noon)
		if away || (why == "") != (x.why == "") || !strings.Contains(why, x.why) {
			t.Errorf("%d: %q, away %v", i, why, away)
		}
	}
}

func TestWhileTheWidgetsServiceIsAwayWorkIsAskedFor(t *testing.T) {
	for name, answer := range map[string]string{"an error": "", "no JSON": "<html>", "no word of success": "{}", "our secret is wrong": `{"success":false,"error-codes":["invalid-input-secret"]}`} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			c := work(t, widget(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				if answer == "" {
					w.WriteHeader(http.StatusInternalServerError)
				}
				_, _ = w.Write([]byte(answer))
			}))
			if why, away := c.Check(t.Context(), "drop", "ann", "", "turnstile x", noon); why == "" || !away {
				t.Fatalf("%q, away %v", why, away)
			}
			given := c.Give("drop", "ann", false, true, noon)
			if why, _ := c.Check(t.Context(), "drop", "ann", "", "work "+solve(t, given.Text), noon); why != "" {
				t.Errorf("work is not taken: %s", why)
			}
			for c.far.State() != "open" { // each check fails, so the breaker opens
				c.Check(t.Context(), "drop", "ann", "", "turnstile x", noon)
			}
			before := calls.Load()
			if given := c.Give("drop", "ann", false, false, noon); given.Kind != Work {
				t.Errorf("behind an open breaker a page is given %+v", given)
			}
			if _, away := c.Check(t.Context(), "drop", "ann", "", "turnstile x", noon); !away || calls.Load() != before {
				t.Error("it was called behind an open breaker")
			}
		})
	}
}

func TestSolvingEndsAndRefusesWhatIsNoChallenge(t *testing.T) {
	for _, bad := range []string{"", "w1.8.1", "w2.8.1.x", "w1.99.1.x", "w1.0.1.x", "w1.x.1.x"} {
		if _, err := Solve(t.Context(), bad); err == nil {
			t.Errorf("%q is solved", bad)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Solve(ctx, "w1.30.1.x"); err == nil {
		t.Error("it goes on for ever")
	}
}

func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"no kind": {Secret: make([]byte, 16)}, "a short secret": {Kind: Work}, "too much work": {Kind: Work, Secret: make([]byte, 16), Bits: 25},
		"a widget without a secret": {Kind: Turnstile, Secret: make([]byte, 16), VerifyURL: "https://x", SiteKey: "s"},
		"a widget without a URL":    {Kind: Turnstile, Secret: make([]byte, 16), TurnstileSecret: "s", SiteKey: "s"},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzCheckWork(f *testing.F) {
	c, err := New(Options{Kind: Work, Secret: make([]byte, 16), Bits: 8})
	if err != nil {
		f.Fatal(err)
	}
	given := c.Give("drop", "ann", false, false, noon).Text
	f.Add("work " + solve(f, given))
	f.Add("work " + given + ".0")
	f.Fuzz(func(t *testing.T, s string) {
		why, _ := c.Check(t.Context(), "drop", "ann", "", s, noon)
		if why == "" && !strings.HasPrefix(s, "work "+given+".") {
			t.Errorf("%q is taken", s)
		}
	})
}

func BenchmarkCheckWork(b *testing.B) {
	c, err := New(Options{Kind: Work, Secret: make([]byte, 16), Bits: 8})
	if err != nil {
		b.Fatal(err)
	}
	good := solve(b, c.Give("drop", "ann", false, false, noon).Text)
	b.ReportAllocs()
	for b.Loop() {
		if c.checkWork("drop", "ann", good, noon) != "" {
			b.Fatal("not good")
		}
	}
}
