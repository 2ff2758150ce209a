package loadtest

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A server answers at once for ten seconds, except that it stands still for one of
// them. Who was due in that second waited for the rest of it: a tenth of the crowd.
const (
	stallFrom = 4 * time.Second
	stallTo   = 5 * time.Second
)

// stallShows says whether what was measured is what the arithmetic says. due are the
// times at which the crowd was due.
func stallShows(l Latency, slow int64, due []time.Duration) error {
	var waits []time.Duration // of those who were due in the stall, the longest first
	for _, at := range due {
		if at >= stallFrom && at < stallTo {
			waits = append(waits, stallTo-at)
		}
	}
	if l.Count != int64(len(due)) {
		return fmt.Errorf("%d latencies of %d who were due", l.Count, len(due))
	}
	if slow != int64(len(waits)) {
		return fmt.Errorf("%d waited, and %d were due in the stall", slow, len(waits))
	}
	for _, q := range []struct {
		name string
		of   float64
		got  float64
	}{{"p95", 0.95, l.P95}, {"p99", 0.99, l.P99}, {"p99.9", 0.999, l.P999}, {"max", 1, l.Max}} {
		beyond := len(due) - int(q.of*float64(len(due))+0.5) // how many are slower
		if want := float64(waits[beyond].Microseconds()) / 1000; math.Abs(q.got-want) > want*0.002 {
			return fmt.Errorf("%s is %.1f ms, want %.1f", q.name, q.got, want)
		}
	}
	return nil
}

func stalling(t *testing.T, start time.Time) func(http.ResponseWriter, *request) bool {
	return func(http.ResponseWriter, *request) bool {
		if now := time.Since(start); now >= stallFrom && now < stallTo {
			sleepUntil(t.Context(), start.Add(stallTo))
		}
		return false
	}
}

func TestAStallOfASecondIsInTheTailAsItShouldBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		c.Buyers, c.Rate, c.Duration, c.Run = 0, 500, 10*time.Second, "stall"
		s := newShop(t, 0)
		s.script = stalling(t, time.Now())
		out := ride(t, s, c)
		passes(t, out)
		var slow int64
		for _, second := range out.Series {
			for _, l := range second.Latency {
				if l.Step == StepReserve && second.At == int(stallFrom/time.Second) {
					slow = l.Count
				} else if l.Step == StepReserve && l.Max > 0 {
					t.Errorf("in second %d somebody waited %v ms", second.At, l.Max)
				}
			}
		}
		if err := stallShows(out.Of(StepReserve), slow, schedule(c.WithDefaults())); err != nil {
			t.Error(err)
		}
	})
}

// The same server and the same number of requests, measured in a closed loop: a few
// clients that each wait for an answer before they send the next request. All of them
// stand in the stall together, as four slow answers among thousands of fast ones, and
// the check above, which this measure must not pass, sees that the crowd is missing.
func TestAClosedLoopWouldHideTheStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crowd()
		c.Buyers, c.Rate, c.Duration, c.Run = 0, 500, 10*time.Second, "stall"
		c = c.WithDefaults()
		due := schedule(c)
		r := &run{cfg: c}
		s := newShop(t, 0)
		start := time.Now()
		s.script = stalling(t, start)

		const clients = 4
		h, slow := hdrhistogram.New(1, maxLatency.Microseconds(), 3), int64(0)
		var mu sync.Mutex
		var all sync.WaitGroup
		for k := range clients {
			all.Go(func() {
				for n := k; n < len(due); n += clients {
					began := time.Now()
					inProcess{s}.send(call{step: StepReserve, method: http.MethodPost, token: r.token(n), key: c.key(n, StepReserve),
						path: "/v1/sales/demo/reservations", body: []byte(`{"lines":[{"sku":"tee","quantity":1}]}`)})
					took := time.Since(began)
					mu.Lock()
					_ = h.RecordValue(took.Microseconds())
					if took > 0 {
						slow++
					}
					mu.Unlock()
					sleepUntil(t.Context(), time.Now().Add(clients*time.Second/500)) // as many per second as the crowd is
				}
			})
		}
		all.Wait()
		l := summary(StepReserve, h)
		if slow != clients || l.P999 != 0 {
			t.Errorf("%d waited, p99.9 is %v ms: this is no closed loop", slow, l.P999)
		}
		if err := stallShows(l, slow, due); err == nil {
			t.Error("the check does not notice a closed loop")
		} else {
			t.Logf("as it should be, the check says of a closed loop: %v", err)
		}
	})
}
