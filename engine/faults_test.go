package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// scenario is a checkout and what happens around it.
type scenario struct {
	name   string
	method string
	queue  int
	away   time.Duration // how long the provider is away from the beginning
	acts   bool          // the buyer completes the action that the provider asks for
	retry  bool          // the client repeats its request
	late   bool          // the hold is given back while the provider thinks
	second string        // another tab pays with it, under its own key
}

func scenarios() (out []scenario) {
	for _, s := range []scenario{
		{name: "approved", method: "pm_ok"},
		{name: "declined", method: "pm_no"},
		{name: "processing", method: "pm_processing"},
		{name: "charged, then silent", method: "pm_charged_then_silent"},
		{name: "an action that is never done", method: "pm_action"},
		{name: "an action that is done", method: "pm_action", acts: true},
		{name: "the provider is away, no queue", method: "pm_ok", away: 150 * time.Second},
		{name: "the provider is away, queued", method: "pm_ok", queue: 5, away: 150 * time.Second},
		{name: "the provider stays away, queued", method: "pm_ok", queue: 5, away: time.Hour},
		{name: "away, then silent, queued", method: "pm_charged_then_silent", queue: 5, away: 90 * time.Second},
		{name: "the hold is given back meanwhile", method: "pm_ok", late: true},
		{name: "declined, then another card", method: "pm_no", second: "pm_ok"},
		{name: "two tabs", method: "pm_ok", second: "pm_ok"},
		{name: "two tabs, the second one's bank takes its time", method: "pm_ok", second: "pm_processing"},
		{name: "silent, and a second tab", method: "pm_charged_then_silent", second: "pm_ok"},
		{name: "given back, and a second tab", method: "pm_ok", second: "pm_charged_then_silent", late: true},
	} {
		s.retry = false
		out = append(out, s)
		s.retry, s.name = true, s.name+", retried"
		out = append(out, s)
	}
	return out
}

// Whatever call of a checkout, or of the roles that clean up after it, fails,
// however it fails: once the background roles have run, units are conserved, an
// order exists if and only if its money is captured, no authorisation is left
// over, nobody is charged twice, every attempt has ended, and an order that was
// answered is there.
func TestAFaultAtAnyCallHurtsNobody(t *testing.T) {
	visited := 0
	for _, s := range scenarios() {
		for how, name := range faults {
			for at := 1; ; at++ {
				w, id, confirmed := s.play(t, map[int]fault{at: how})
				if w.calls < at {
					break // the story has no such call
				}
				visited++
				label := fmt.Sprintf("%s: %s call %d (%s)", s.name, name, at, w.trace[at-1])
				w.mustRecover(t, label, id, confirmed)
			}
		}
	}
	t.Logf("%d faults visited", visited)
}

// The same with up to six faults in one story, drawn at random; a seed that
// fails is printed and plays again.
func TestManyFaultsInOneStoryHurtNobody(t *testing.T) {
	all := scenarios()
	for seed := range uint64(4000) {
		dice := rand.New(rand.NewPCG(seed, 1))
		s, plan := all[dice.IntN(len(all))], map[int]fault{}
		for range 1 + dice.IntN(6) {
			plan[1+dice.IntN(25)] = fault(dice.IntN(len(faults)))
		}
		w, id, confirmed := s.play(t, plan)
		w.mustRecover(t, fmt.Sprintf("seed %d: %s with %v", seed, s.name, plan), id, confirmed)
		if t.Failed() {
			t.Fatal(w.trace)
		}
	}
}

func (w *world) mustRecover(t *testing.T, label string, id ReservationID, confirmed bool) {
	t.Helper()
	w.away = false
	if err := w.recover(w.engine()); err != nil {
		t.Errorf("%s: %v", label, err)
	}
	w.check(t, label, id, confirmed)
}

// play runs a scenario, faults included, through ten minutes of background work.
func (s scenario) play(t *testing.T, plan map[int]fault) (*world, ReservationID, bool) {
	t.Helper()
	w := newWorld()
	w.queue, w.away, w.plan = s.queue, s.away > 0, plan
	began := w.now
	id := hold(t, w, "ann")
	confirmed := s.checkout(t, w, id, "k1", s.method)
	if s.second != "" {
		confirmed = s.checkout(t, w, id, "k2", s.second) || confirmed
	}
	if s.retry {
		confirmed = s.checkout(t, w, id, "k1", s.method) || confirmed
		w.now = w.now.Add(20 * time.Second) // the lease is over
		confirmed = s.checkout(t, w, id, "k1", s.method) || confirmed
	}
	for range 12 {
		w.away = w.now.Sub(began) < s.away
		if s.acts {
			w.completeActions(PaymentAuthorised)
		}
		surviving(func() { w.minute(w.engine()) })
	}
	return w, id, confirmed
}

func (s scenario) checkout(t *testing.T, w *world, id ReservationID, key, method string) (confirmed bool) {
	t.Helper()
	surviving(func() {
		e := w.engine()
		if s.late {
			e.Payments = robbed{provider{w}, id}
		}
		r, err := e.Checkout(context.Background(), pay(id, "ann", key, method))
		if err != nil && errors.Is(err, ErrUnknown) && CodeOf(err) == CodePaymentDeclined {
			t.Errorf("unknown was told as declined: %v", err)
		}
		confirmed = err == nil && r.Order != nil
	})
	return confirmed
}

// surviving runs f in a process that may die.
func surviving(f func()) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(death); !ok {
				panic(p)
			}
		}
	}()
	f()
}

// completeActions has buyers do what the provider asked for.
func (w *world) completeActions(to PaymentState) {
	for id, m := range w.money {
		if m == PaymentNeedsAction {
			w.money[id] = to
		}
	}
}

func (w *world) check(t *testing.T, label string, id ReservationID, confirmed bool) {
	t.Helper()
	if len(w.freed) > 0 {
		t.Errorf("%s: %v", label, w.freed)
	}
	if !w.stock.Conserved() {
		t.Errorf("%s: units are not conserved: %+v", label, w.stock)
	}
	o, ordered := w.orders[id]
	if confirmed && !ordered {
		t.Errorf("%s: an order that was answered is not there", label)
	}
	if ordered != (w.stock.Sold == 2) || !ordered && w.stock.Available != 10 {
		t.Errorf("%s: ordered %v and the gate says %+v", label, ordered, w.stock)
	}
	captured := 0
	for a, m := range w.money {
		if m == PaymentCaptured {
			captured++
		}
		switch {
		case ordered && o.Attempt == a && m != PaymentCaptured:
			t.Errorf("%s: the order's money is %s", label, m)
		case (!ordered || o.Attempt != a) && m != PaymentVoided && m != PaymentDeclined && m != PaymentRefunded:
			t.Errorf("%s: money without an order is %s", label, m)
		}
	}
	if captured > 1 {
		t.Errorf("%s: charged %d times", label, captured)
	}
	for a, at := range w.tries {
		if at.State != PaymentCaptured && !Final(PaymentMoves, at.State) {
			t.Errorf("%s: attempt %s has not ended: %+v", label, a, *at)
		}
	}
}
