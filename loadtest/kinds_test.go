package loadtest

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// all gives a crowd of one kind.
func all(k Kind) Config {
	c := crowd()
	c.Mix = Mix{{k, 1}}
	return c
}

func ends(r Report, k Kind) map[End]int64 {
	for _, v := range r.Kinds {
		if v.Kind == k {
			return v.Ends
		}
	}
	return nil
}

func TestADoubleClickIsOneHoldAndOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := all(KindDouble)
		c.Stock = map[string]int64{"tee": 10}
		s := newShop(t, 10)
		out := ride(t, s, c)
		passes(t, out)
		if out.Confirmed != 10 || out.Holds != 10 || s.stock != 0 || out.Of(StepReserve).Count != 10 {
			t.Errorf("%d units left\n%s", s.stock, out)
		}
		for _, act := range []string{"/reservations", "/checkout"} {
			keys := map[string]int{}
			for _, r := range s.seen(act) {
				keys[r.key]++
			}
			for key, n := range keys {
				if len(keys) != 10 || n != 2 {
					t.Errorf("%s: %d keys, %s %d times", act, len(keys), key, n)
				}
			}
		}
	})
}

func TestADoubleClickThatGetsTwoHoldsOrTwoOrdersIsNoticed(t *testing.T) {
	var n int
	var mu sync.Mutex
	next := func() int { mu.Lock(); defer mu.Unlock(); n++; return n }
	for why, c := range map[string]struct {
		path   string
		answer func(*request) map[string]any
	}{
		"one key gave reservations": {"/reservations", func(*request) map[string]any {
			return map[string]any{"id": fmt.Sprint("rsv_x", next()), "state": "held", "lines": []line{{"tee", 1}}}
		}},
		"paid twice for reservation": {"/checkout", func(r *request) map[string]any {
			return map[string]any{"id": fmt.Sprint("ord_x", next()), "reservation": strings.Split(r.path, "/")[3], "state": "confirmed", "lines": []line{{"tee", 1}}}
		}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newShop(t, 100)
			s.script = func(w http.ResponseWriter, r *request) bool {
				if !strings.HasSuffix(r.path, c.path) {
					return false
				}
				answerWith(w, 201, c.answer(r))
				return true
			}
			failsFor(t, ride(t, s, all(KindDouble)), why)
		})
	}
}

func TestOfTwoTabsTheLimitLetsOneHoldAndTheOtherIsGivenBackWithoutOne(t *testing.T) {
	for _, limit := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			c := all(KindTabs)
			c.Limit = limit
			s := newShop(t, 100)
			s.limit = limit
			paid := map[string]bool{}
			var mu sync.Mutex
			s.script = func(w http.ResponseWriter, r *request) bool {
				mu.Lock()
				defer mu.Unlock()
				again := paid[r.path]
				if strings.HasSuffix(r.path, "/checkout") {
					paid[r.path] = true
				}
				if again {
					problem(w, 409, "already_paid", "")
				}
				if id := strings.TrimPrefix(r.path, "/v1/reservations/"); r.method == http.MethodGet && id != r.path {
					s.state(w, id, "confirmed", "ord_"+strings.TrimPrefix(id, "rsv_"))
					return true
				}
				return again
			}
			out := ride(t, s, c)
			passes(t, out)
			given := len(s.seen("")) - len(s.seen("/reservations")) - len(s.seen("/checkout"))
			for _, r := range s.seen("") {
				if r.method != http.MethodDelete && r.method != http.MethodPost {
					given--
				}
			}
			if want := map[int]int{0: 10, 1: 0}[limit]; out.Confirmed != 10 || given != want || len(s.seen("/checkout")) != 20 {
				t.Errorf("limit %d: %d given back, want %d\n%s", limit, given, want, out)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		c := all(KindTabs)
		c.Limit = 1 // and the shop does not keep it
		failsFor(t, ride(t, newShop(t, 100), c), "by two tabs")
	})
}

func TestABotHonoursNothingAndIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := all(KindBot)
		c.Buyers = 1
		s := newShop(t, 1)
		s.script = func(w http.ResponseWriter, _ *request) bool { problem(w, 429, "rate_limited", "60"); return true }
		out := ride(t, s, c)
		passes(t, out)
		seen := s.seen("/reservations")
		if out.TurnedAway != 1 || len(seen) != botTries || out.Retries != 0 || len(out.Errors) != 0 || out.Of(StepReserve).Count != 0 {
			t.Errorf("%d tries\n%s", len(seen), out)
		}
		for i, r := range seen[1:] {
			if !r.at.Equal(seen[0].at) || r.key == seen[i].key {
				t.Fatalf("try %d came after %v under key %s", i+1, r.at.Sub(seen[0].at), r.key)
			}
		}
		s.script = nil
		c.Run = "again"
		if out := ride(t, s, c); out.Confirmed != 1 {
			t.Errorf("a bot that gets a unit pays for it:\n%s", out)
		}
	})
}

func TestARetrierComesAgainAndHasAnotherCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := all(KindRetrier)
		c.Buyers, c.Decline = 1, 1
		s := newShop(t, 1)
		refused := 0
		s.script = func(w http.ResponseWriter, r *request) bool {
			switch {
			case strings.HasSuffix(r.path, "/reservations") && refused < 2:
				refused++
				problem(w, 409, "sold_out", "")
				return true
			case r.method2pay == badCard:
				problem(w, 402, "payment_declined", "")
				return true
			}
			return false
		}
		out := ride(t, s, c)
		passes(t, out)
		var keys []string
		for _, r := range s.seen("") {
			if r.method == http.MethodPost {
				keys = append(keys, r.key)
			}
		}
		slices.Sort(keys)
		if out.Confirmed != 1 || len(keys) != 5 || len(slices.Compact(keys)) != 5 {
			t.Errorf("keys %q\n%s", keys, out)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newShop(t, 0)
		out := ride(t, s, all(KindRetrier))
		if out.SoldOut != 10 || len(s.seen("/reservations")) != 10*retrierTries {
			t.Errorf("%d tries\n%s", len(s.seen("/reservations")), out)
		}
	})
}

func TestBrowsersLookAndSomeBuy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := all(KindBrowser)
		c.Buyers = 1000
		out := ride(t, newShop(t, 1000), c)
		passes(t, out)
		looks := out.Of(StepBrowse).Count
		if out.Confirmed < 60 || out.Confirmed > 140 || out.Browsed+out.Confirmed != 1000 || looks < 1500 || looks > 2000 { // 1 + 1/2 + 1/4 each
			t.Errorf("%d looks\n%s", looks, out)
		}
	})
}

func TestAQueuerWaitsForItsTurn(t *testing.T) {
	for state, end := range map[string]End{"reached": Confirmed, "unreachable": SoldOut, "passed": Waiting, "waiting": Waiting} {
		synctest.Test(t, func(t *testing.T) {
			c := all(KindQueuer)
			c.Buyers = 1
			s := newShop(t, 1)
			turn := time.Now().Add(20 * time.Second)
			s.script = func(w http.ResponseWriter, r *request) bool {
				_, ticket := strings.CutPrefix(r.path, "/v1/sales/demo/queue/")
				switch come := time.Now().After(turn); {
				case ticket && come:
					answerWith(w, 200, map[string]any{"ticket": 7, "state": state})
				case strings.HasSuffix(r.path, "/queue") && come:
					answerWith(w, 200, map[string]any{"ticket": 7, "state": "admitted", "token": "adm_1"})
				case ticket || strings.HasSuffix(r.path, "/queue"):
					answerWith(w, 200, map[string]any{"ticket": 7, "state": "waiting"})
				case strings.HasSuffix(r.path, "/reservations") && r.admission != "adm_1":
					problem(w, 403, "admission_required", "")
				default:
					return false
				}
				return true
			}
			out := ride(t, s, c)
			passes(t, out)
			if got := ends(out, KindQueuer); got[end] != 1 {
				t.Errorf("%s: %v, want %s", state, got, end)
			}
			if l := out.Of(StepQueue); end == Confirmed && (l.Max < 20_000 || l.Max > 22_000) {
				t.Errorf("admitted after %v ms", l.Max)
			}
		})
	}
}

func TestAMixIsDrawnAsItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		c.Buyers, c.Mix = 1000, Mixes["drop"]
		c.Phases = []Phase{{Name: "none yet", Until: 1e-3, Mix: Mix{{KindAbandoner, 1}}, SKUs: []string{"cap"}}}
		c.Stock = map[string]int64{"tee": 5000, "cap": 5000}
		early := ride(t, newShop(t, 100_000), c)
		if ends(early, KindAbandoner)[Abandoned] != 1000 {
			t.Errorf("a phase's crowd is another:\n%s", early)
		}
		if len(early.SKUs) != 2 || early.SKUs[1].SKU != "cap" || early.SKUs[1].Held != 1000 || *early.SKUs[1].Offered != 5000 {
			t.Errorf("a phase's goods are not in the books: %+v", early.SKUs)
		}
		c.Phases = nil
		var visits int64
		for _, k := range ride(t, newShop(t, 100_000), c).Kinds {
			visits += k.Visits
			for _, s := range c.Mix {
				if s.Kind == k.Kind && math.Abs(float64(k.Visits)-10*s.Weight) > 5*math.Sqrt(10*s.Weight) {
					t.Errorf("%d of kind %s, want about %v", k.Visits, k.Kind, 10*s.Weight)
				}
			}
		}
		if visits != 1000 {
			t.Errorf("%d visits", visits)
		}
	})
}

func TestAMixIsReadOrRefused(t *testing.T) {
	m, err := ParseMix("buyer=70, browser=20,bot=5")
	if err != nil || len(m) != 3 || m[1] != (Share{KindBrowser, 20}) {
		t.Errorf("%v %v", m, err)
	}
	for name := range Mixes {
		if m, err := ParseMix(name); err != nil || m.check() != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for text, why := range map[string]string{"": "kind=weight", "crowd": "drop", "buyer=many": "many", "cat=1": "no kind of buyer", "bot=-1": "-1", "bot=0": "nobody", "bot=NaN": "NaN"} {
		if _, err := ParseMix(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", text, err, why)
		}
	}
}
