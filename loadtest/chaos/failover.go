package chaos

import (
	"fmt"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest"
)

// heard is one answer to a buyer of the crowd.
type heard struct {
	at   time.Time
	sale string
	loadtest.Outcome
}

// bad says that the buyer was told to wait, or nothing.
func (h heard) bad() bool { return h.Status == 0 || h.Status >= 500 }

func (w *world) heard(sale string, o loadtest.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heardOf = append(w.heardOf, heard{time.Now(), sale, o})
}

func (w *world) lagged(from, to time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lag, w.end = from, to
}

// Failover is what the crowd saw of a gate that went to another server.
type Failover struct {
	HoldsPerSecond, CheckoutsPerSecond float64 // answered well, before the fault
	LagSeconds                         float64 // how long the replica had stood still
	HoldsInLag                         int     // acknowledged meanwhile: the replica never heard of them
	FrozenSeconds                      float64 // from the first reservation that was not answered to the first that was, after the last that was not; the longer of the two sales
}

func (f Failover) String() string {
	return fmt.Sprintf("before the failover %.0f reservations/s and %.0f checkouts/s were answered well; the replica lacked %.2f s with %d holds; reservations were refused for %.2f s",
		f.HoldsPerSecond, f.CheckoutsPerSecond, f.LagSeconds, f.HoldsInLag, f.FrozenSeconds)
}

// failover sums up a plan that is one failover; nil for all others.
func (w *world) failover(plan Plan, began time.Time) *Failover {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(plan.Events) != 1 || w.end.IsZero() {
		return nil
	}
	// Getting going takes the first second, and buyers think before they pay: the
	// rates are those of the last two seconds before.
	from := began.Add(time.Second)
	if late := w.lag.Add(-2 * time.Second); late.After(from) {
		from = late
	}
	return sumUp(w.heardOf, from, w.lag, w.end)
}

// sumUp reads what was heard from a moment on of a replica that stopped listening
// at lag and whose master died at end.
func sumUp(all []heard, from, lag, end time.Time) *Failover {
	f := &Failover{LagSeconds: end.Sub(lag).Seconds()}
	calm := lag.Sub(from).Seconds()
	first, again := map[string]time.Time{}, map[string]time.Time{}
	for _, h := range all {
		held := h.Step == loadtest.StepReserve && h.Status == 201
		if h.at.After(from) && h.at.Before(lag) {
			if held {
				f.HoldsPerSecond += 1 / calm
			}
			if h.Step == loadtest.StepCheckout && (h.Status == 201 || h.Status == 202) {
				f.CheckoutsPerSecond += 1 / calm
			}
		}
		if held && h.at.After(lag) && h.at.Before(end) {
			f.HoldsInLag++
		}
		if h.Step != loadtest.StepReserve || h.at.Before(end) {
			continue
		}
		switch {
		case h.bad() && first[h.sale].IsZero():
			first[h.sale] = h.at
		case h.bad():
			delete(again, h.sale)
		case !first[h.sale].IsZero() && again[h.sale].IsZero():
			again[h.sale] = h.at
		}
	}
	for sale, at := range again {
		f.FrozenSeconds = max(f.FrozenSeconds, at.Sub(first[sale]).Seconds())
	}
	return f
}

// lostHolds counts the buyers who were told that their hold was lost with the gate.
func (r Report) lostHolds() (n int64) {
	for answer, count := range r.Crowd.Answers {
		if strings.HasSuffix(answer, " reservation_lost") {
			n += count
		}
	}
	return n
}
