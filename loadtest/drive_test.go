package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// ride runs a crowd against a shop on a clock of its own.
func ride(t *testing.T, s *shop, c Config) Report {
	t.Helper()
	c = c.WithDefaults()
	if err := c.validate(); err != nil {
		t.Fatal(err)
	}
	out, err := drive(t.Context(), c, inProcess{s})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func passes(t *testing.T, r Report) {
	t.Helper()
	if !r.Pass || len(r.Reasons) != 0 {
		t.Errorf("the run failed:\n%s", r)
	}
}

func failsFor(t *testing.T, r Report, why string) {
	t.Helper()
	if r.Pass || !slices.ContainsFunc(r.Reasons, func(s string) bool { return strings.Contains(s, why) }) {
		t.Errorf("want a failure for %q, got:\n%s", why, r)
	}
}

func TestASpikeSellsOutAndEveryArrivalHasOneEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		c.Buyers, c.Stock, c.Limit = 100, map[string]int64{"tee": 30}, 1
		out := ride(t, newShop(t, 30), c)
		passes(t, out)
		if out.Arrivals != 100 || out.Holds != 30 || out.Confirmed != 30 || out.SoldOut != 70 {
			t.Errorf("arrivals %d, holds %d, confirmed %d, sold out %d", out.Arrivals, out.Holds, out.Confirmed, out.SoldOut)
		}
		if out.ReadBack != (ReadBack{30, 30, 30}) {
			t.Errorf("read back %+v", out.ReadBack)
		}
		if len(out.Errors) != 0 || len(out.Notes) != 0 {
			t.Errorf("errors %v, notes %v", out.Errors, out.Notes)
		}
	})
}

// A closed loop would send one request, wait out the stall, and report one slow
// answer among many fast ones. Here everyone keeps coming, and each one's wait shows.
func TestAStallNeitherSlowsArrivalsNorHidesInLatencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		c.Buyers, c.Rate, c.Duration, c.Run = 0, 500, time.Second, "stall"
		s := newShop(t, 0)
		start := time.Now()
		s.script = func(http.ResponseWriter, *request) bool {
			sleepUntil(t.Context(), start.Add(2*time.Second)) // everything stalls until two seconds in
			return false
		}
		out := ride(t, s, c)
		passes(t, out)

		times := schedule(c.WithDefaults())
		seen := s.seen("/reservations")
		if len(seen) != 500 || len(times) != 500 {
			t.Fatalf("%d requests, %d scheduled", len(seen), len(times))
		}
		for i, r := range seen {
			if got := r.at.Sub(start); got != times[i] {
				t.Fatalf("arrival %d came at %v, and was due at %v", i, got, times[i])
			}
		}
		l := out.Of(StepReserve)
		near(t, "max", l.Max, 2*time.Second-times[0])
		near(t, "p50", l.P50, 2*time.Second-times[250])
		near(t, "p99", l.P99, 2*time.Second-times[5])
	})
}

func near(t *testing.T, what string, got float64, want time.Duration) {
	t.Helper()
	if w := float64(want) / 1e6; got < w*0.995 || got > w*1.005 {
		t.Errorf("%s is %.1f ms, want %.1f", what, got, w)
	}
}

func TestTheDriversOwnLatenessCountsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd().WithDefaults()
		r := &run{cfg: c, sender: inProcess{newShop(t, 10)}}
		r.begin(time.Now().Add(-300 * time.Millisecond))
		var visits sync.WaitGroup
		r.dispatch(t.Context(), schedule(c), &visits) // 300 ms late
		visits.Wait()
		out := r.report(time.Second, time.Second, ReadBack{}, nil, nil, nil)
		passes(t, out)
		if len(out.Notes) != 1 || !strings.Contains(out.Notes[0], "the driver itself started visits late") {
			t.Errorf("notes %q", out.Notes)
		}
		near(t, "driver", out.Of(StepDriver).Max, 300*time.Millisecond)
		near(t, "reserve", out.Of(StepReserve).Max, 300*time.Millisecond)
		near(t, "hold", out.Of(StepHold).Max, 300*time.Millisecond)
		near(t, "journey", out.Of(StepJourney).Max, 300*time.Millisecond)
		if got := out.Of(StepCheckout).Max; got != 0 {
			t.Errorf("checkout took %v ms: it was due only once the hold was there", got)
		}
	})
}

func TestArrivalsBeyondTheCapAreDroppedAndFailTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		c.MaxInFlight = 4
		s := newShop(t, 10)
		s.script = func(http.ResponseWriter, *request) bool { time.Sleep(time.Second); return false }
		out := ride(t, s, c)
		failsFor(t, out, "6 of 10 arrivals dropped")
		if out.Arrivals != 10 || out.Dropped != 6 || out.Confirmed != 4 {
			t.Errorf("arrivals %d, dropped %d, confirmed %d", out.Arrivals, out.Dropped, out.Confirmed)
		}
	})
}

func TestRetriesWaitAsToldAndRepeatTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		c.Buyers = 1
		s := newShop(t, 1)
		s.script = func(w http.ResponseWriter, r *request) bool {
			switch {
			case strings.HasSuffix(r.path, "/reservations") && r.nth <= 2:
				problem(w, 503, "gate_frozen", "2")
			case strings.HasSuffix(r.path, "/checkout") && r.nth == 1:
				problem(w, 409, "attempt_in_progress", "1")
			default:
				return false
			}
			return true
		}
		out := ride(t, s, c)
		passes(t, out)
		if out.Retries != 3 || out.Errors["reserve 503 gate_frozen"] != 2 || out.Errors["checkout 409 attempt_in_progress"] != 1 {
			t.Errorf("retries %d, errors %v", out.Retries, out.Errors)
		}
		for _, act := range []string{"/reservations", "/checkout"} {
			seen := s.seen(act)
			for i, r := range seen {
				if r.key == "" || r.key != seen[0].key {
					t.Errorf("%s: try %d has the key %q, the first had %q", act, i, r.key, seen[0].key)
				}
				if i > 0 && r.at.Sub(seen[i-1].at) < time.Second {
					t.Errorf("%s: try %d came after %v", act, i, r.at.Sub(seen[i-1].at))
				}
			}
		}
		if a, b := s.seen("/reservations")[0].key, s.seen("/checkout")[0].key; a == b {
			t.Errorf("reserve and checkout share the key %q", a)
		}
		if got := out.Of(StepReserve).Max; got < 4000 || got > 4400 {
			t.Errorf("reserve took %v ms: both waits belong to it", got)
		}
	})
}

func TestPatienceIsBounded(t *testing.T) {
	for name, c := range map[string]struct {
		retryAfter string
		code       string
		tries      int
	}{
		"by the number of tries":              {"1", "overloaded", 3},
		"by a Retry-After that is too long":   {"3600", "overloaded", 1},
		"without Retry-After, by tries alone": {"", "unavailable", 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := crowd()
				cfg.Buyers, cfg.MaxRetries = 1, 2
				s := newShop(t, 1)
				s.script = func(w http.ResponseWriter, _ *request) bool { problem(w, 503, c.code, c.retryAfter); return true }
				out := ride(t, s, cfg)
				failsFor(t, out, "1 buyers failed: reserve 503 "+c.code+" × 1")
				if got := len(s.seen("/reservations")); got != c.tries {
					t.Errorf("%d tries, want %d", got, c.tries)
				}
			})
		})
	}
}

func TestWhatIsNotTransientIsNotRepeated(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
	}{{403, "admission_required"}, {401, "unauthenticated"}, {422, "idempotency_key_reused"}, {400, "invalid_request"}} {
		synctest.Test(t, func(t *testing.T) {
			cfg := crowd()
			cfg.Buyers = 1
			s := newShop(t, 1)
			s.script = func(w http.ResponseWriter, _ *request) bool { problem(w, c.status, c.code, ""); return true }
			failsFor(t, ride(t, s, cfg), c.code)
			if n := len(s.seen("")); n != 1 {
				t.Errorf("%s: %d tries", c.code, n)
			}
		})
	}
}

func TestAPendingCheckoutIsPolledToItsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		states []string // what successive polls say; the last one repeats
		end    func(Report) int64
		fails  string
	}{
		"confirmed":             {[]string{"paying", "accepted", "confirmed"}, func(r Report) int64 { return r.Confirmed }, ""},
		"refused by the record": {[]string{"accepted", "refused"}, func(r Report) int64 { return r.Refused }, "refused by the record"},
		"declined, held again":  {[]string{"paying", "held"}, func(r Report) int64 { return r.Declined }, ""},
		"declined, no time":     {[]string{"paying", "released"}, func(r Report) int64 { return r.Declined }, ""},
		"expired meanwhile":     {[]string{"expired"}, func(r Report) int64 { return r.Expired }, ""},
		"its bank wants a word": {[]string{"paying", "action"}, func(r Report) int64 { return r.NeedsAction }, ""},
		"never":                 {[]string{"paying"}, func(r Report) int64 { return r.Pending }, "still pending after 30s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := crowd()
				cfg.Buyers, cfg.Wait = 1, -1
				s := newShop(t, 1)
				s.script = func(w http.ResponseWriter, r *request) bool {
					id, checkout := strings.CutSuffix(strings.TrimPrefix(r.path, "/v1/reservations/"), "/checkout")
					switch {
					case checkout && r.prefer == "wait=0":
						w.Header().Set("Location", "/v1/reservations/"+id)
						answerWith(w, 202, map[string]any{"state": "pending", "reservation": map[string]any{"id": id, "state": "paying"}})
					case r.method == http.MethodGet && strings.HasPrefix(id, "rsv_"):
						state := c.states[min(r.nth, len(c.states))-1]
						if state == "action" {
							answerWith(w, 200, map[string]any{"id": id, "state": "paying", "next_action": map[string]any{"type": "redirect_to_url", "url": "https://pay.example/3ds"}})
							return true
						}
						order := ""
						if state == "confirmed" {
							order = "ord_" + strings.TrimPrefix(id, "rsv_")
						}
						s.state(w, id, state, order)
					default:
						return false
					}
					return true
				}
				out := ride(t, s, cfg)
				if c.end(out) != 1 {
					t.Errorf("ended otherwise:\n%s", out)
				}
				if c.fails == "" {
					passes(t, out)
				} else {
					failsFor(t, out, c.fails)
				}
			})
		})
	}
}

func TestOtherEndsOfACheckout(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   map[string]any
		end    func(Report) int64
	}{
		"declined":     {402, map[string]any{"code": "payment_declined"}, func(r Report) int64 { return r.Declined }},
		"expired":      {409, map[string]any{"code": "reservation_expired"}, func(r Report) int64 { return r.Expired }},
		"needs action": {200, map[string]any{"next_action": map[string]any{"type": "redirect"}}, func(r Report) int64 { return r.NeedsAction }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShop(t, 10)
				s.script = func(w http.ResponseWriter, r *request) bool {
					if strings.HasSuffix(r.path, "/checkout") {
						answerWith(w, c.status, c.body)
						return true
					}
					return false
				}
				out := ride(t, s, crowd())
				passes(t, out)
				if c.end(out) != 10 || len(out.Errors) != 0 {
					t.Errorf("ended otherwise:\n%s", out)
				}
			})
		})
	}
}

func TestSomeAbandonAndOthersHesitate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		var progress strings.Builder
		c.Buyers, c.Abandon, c.Hesitate, c.Progress = 1000, 0.3, 2*time.Second, &progress
		out := ride(t, newShop(t, 1000), c)
		passes(t, out)
		if out.Abandoned < 250 || out.Abandoned > 350 || out.Abandoned+out.Confirmed != 1000 {
			t.Errorf("abandoned %d, confirmed %d", out.Abandoned, out.Confirmed)
		}
		if p := out.Of(StepJourney).P50; p < 1100 || p > 1700 { // the median of an exponential of mean 2 s is 1.39 s
			t.Errorf("half of the journeys took %v ms", p)
		}
		if m := out.Of(StepCheckout).Max; m != 0 {
			t.Errorf("hesitation was counted as the engine's: %v ms", m)
		}
		if len(out.Timeline) < 3 || out.Timeline[0].Second != 1 {
			t.Errorf("timeline %+v", out.Timeline)
		}
		if lines := strings.Count(progress.String(), "\n"); lines != len(out.Timeline) || !strings.HasPrefix(progress.String(), "   1s  arrivals 1000  in flight ") {
			t.Errorf("%d lines for %d seconds:\n%s", lines, len(out.Timeline), progress.String())
		}
	})
}

func TestTheVerdictFindsWhatIsWrong(t *testing.T) {
	sameID := func(path string, body func(*request) map[string]any, status int) func(http.ResponseWriter, *request) bool {
		return func(w http.ResponseWriter, r *request) bool {
			if !strings.HasSuffix(r.path, path) {
				return false
			}
			answerWith(w, status, body(r))
			return true
		}
	}
	for name, c := range map[string]struct {
		change func(*Config)
		script func(http.ResponseWriter, *request) bool
		why    string
	}{
		"one order id twice": {nil, sameID("/checkout", func(r *request) map[string]any {
			return map[string]any{"id": "ord_same", "reservation": strings.Split(r.path, "/")[3], "state": "confirmed", "lines": []line{{"tee", 1}}}
		}, 201), "order id ord_same was given to buyer"},
		"one reservation id twice": {func(c *Config) { c.Abandon = 1 }, sameID("/reservations", func(*request) map[string]any {
			return map[string]any{"id": "rsv_same", "state": "held", "lines": []line{{"tee", 1}}}
		}, 201), "reservation id rsv_same was given to arrival"},
		"other goods than asked for": {nil, sameID("/reservations", func(*request) map[string]any {
			return map[string]any{"id": "rsv_1", "state": "held", "lines": []line{{"tee", 2}}}
		}, 201), "asked for 1 × tee and got reservation"},
		"an order of someone else's reservation": {nil, sameID("/checkout", func(*request) map[string]any {
			return map[string]any{"id": "ord_9", "reservation": "rsv_other", "state": "confirmed", "lines": []line{{"tee", 1}}}
		}, 201), `got order "ord_9" of reservation "rsv_other"`},
		"a pending checkout without a place to ask": {nil, sameID("/checkout", func(*request) map[string]any { return map[string]any{} }, 202), `has the Location ""`},
		"more units than were offered":              {func(c *Config) { c.Stock = map[string]int64{"tee": 9} }, nil, "OVERSOLD: 10 units of tee confirmed, 9 offered"},
		"more units than a buyer may have":          {func(c *Config) { c.Limit, c.Quantity = 1, 2 }, nil, "has 2 confirmed units; the limit is 1"},
		"a confirmed order that is not there": {nil, func(w http.ResponseWriter, r *request) bool {
			if r.path != "/v1/orders/ord_3" {
				return false
			}
			problem(w, 404, "not_found", "")
			return true
		}, "order ord_3 was confirmed to buyer"},
		"another order than the one asked for": {nil, func(w http.ResponseWriter, r *request) bool {
			if r.path != "/v1/orders/ord_3" {
				return false
			}
			answerWith(w, 200, map[string]any{"id": "ord_4", "reservation": "rsv_3", "state": "confirmed", "lines": []line{{"tee", 1}}})
			return true
		}, `id "ord_4"`},
		"a confirmed order that is refused later": {nil, func(w http.ResponseWriter, r *request) bool {
			if r.path != "/v1/orders/ord_3" {
				return false
			}
			answerWith(w, 200, map[string]any{"id": "ord_3", "reservation": "rsv_3", "state": "refused", "lines": []line{{"tee", 1}}})
			return true
		}, "read back it is: status 200 refused"},
		"the engine's own verify": {func(c *Config) {
			c.Verify = func(context.Context) (json.RawMessage, error) {
				return json.RawMessage(`{"oversold":0,"lost":2,"drift":0,"unpaid":0}`), nil
			}
		}, nil, "OVERSOLD 0 · LOST 2 · DRIFT 0 · UNPAID 0"},
		"a verify without its counts": {func(c *Config) {
			c.Verify = func(context.Context) (json.RawMessage, error) { return json.RawMessage(`{"oversold":0}`), nil }
		}, nil, "must all be there"},
		"a verify that cannot say": {func(c *Config) {
			c.Verify = func(context.Context) (json.RawMessage, error) { return nil, errors.New("no route") }
		}, nil, "verify: no route"},
		"an answer that is not JSON": {nil, func(w http.ResponseWriter, _ *request) bool {
			_, _ = w.Write([]byte("<html>"))
			return true
		}, "10 buyers failed: reserve 200 malformed × 10"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := crowd()
				if c.change != nil {
					c.change(&cfg)
				}
				s := newShop(t, 100)
				s.script = c.script
				failsFor(t, ride(t, s, cfg), c.why)
			})
		})
	}
}

func TestACleanVerifyPassesAndIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		c.Verify = func(context.Context) (json.RawMessage, error) {
			return json.RawMessage(`{"oversold":0,"lost":0,"drift":0,"unpaid":0,"checked":{"holds":10},"findings":[]}`), nil
		}
		out := ride(t, newShop(t, 10), c)
		passes(t, out)
		if !strings.Contains(string(out.Verify), `"holds":10`) {
			t.Errorf("verify %s", out.Verify)
		}
	})
}

func TestSoldOutWithUnitsLeftIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		c.Stock = map[string]int64{"tee": 8}
		out := ride(t, newShop(t, 5), c) // three units are nowhere
		passes(t, out)
		if len(out.Notes) != 1 || !strings.Contains(out.Notes[0], "this run held 5 of 8 units") {
			t.Errorf("notes %q", out.Notes)
		}
	})
}

func TestARunCutShortSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		c.Hesitate = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		out, err := drive(ctx, c.WithDefaults(), inProcess{newShop(t, 10)})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err %v", err)
		}
		failsFor(t, out, "cut short")
		if out.Unfinished != 10 || out.Holds != 10 {
			t.Errorf("unfinished %d, holds %d", out.Unfinished, out.Holds)
		}
	})
}
