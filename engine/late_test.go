package engine

import (
	"context"
	"strings"
	"testing"
	"time"
)

// At a failover Redis may forget the last second: a payment that had begun, or a claim.
func TestAGateThatForgetsCostsNobodyMoney(t *testing.T) {
	ctx := context.Background()
	t.Run("that a payment had begun, and another tab pays", func(t *testing.T) {
		w := newWorld()
		id := hold(t, w, "ann")
		if r := mustCheckout(t, w, pay(id, "ann", "k1", "pm_charged_then_silent")); !r.Pending {
			t.Fatalf("got %+v", r)
		}
		w.move(&w.stock.Paying, &w.stock.Held, 2)
		w.holds[id].State, w.holds[id].Fence = Held, Fence{}
		if r := mustCheckout(t, w, pay(id, "ann", "k2", "pm_ok")); r.Order == nil {
			t.Fatalf("got %+v", r)
		}
		if err := w.recover(w.engine()); err != nil {
			t.Fatal(err)
		}
		w.check(t, "afterwards", id, true)
	})
	t.Run("that the units were claimed", func(t *testing.T) {
		w := newWorld()
		id := hold(t, w, "ann")
		mustCheckout(t, w, pay(id, "ann", "k1", "pm_ok"))
		if err := w.recover(w.engine()); err != nil {
			t.Fatal(err)
		}
		w.move(&w.stock.Sold, &w.stock.Paying, 2)
		w.holds[id].State = Paying
		if err := w.engine().Resolve(ctx, w.sale, *w.holds[id]); err != nil || w.stock.Sold != 2 {
			t.Fatalf("%v, %+v", err, w.stock)
		}
		w.check(t, "afterwards", id, true)
	})
}

func TestAnEventIsLeftToWhoeverIsAtItsAttempt(t *testing.T) {
	w := newWorld()
	id := hold(t, w, "ann")
	mustCheckout(t, w, pay(id, "ann", "k1", "pm_action"))
	a := w.tries[NewAttemptID(id, "k1")]
	a.LeaseUntil, w.trace = w.now.Add(time.Second), nil
	if err := w.engine().Heed(context.Background(), ProviderEvent{Attempt: a.ID}); CodeOf(err) != CodeAttemptInProgress {
		t.Errorf("an action that somebody is asking about: %v", err)
	}
	a.State = PaymentAuthorising
	if err := w.engine().Heed(context.Background(), ProviderEvent{Attempt: a.ID}); err != nil {
		t.Errorf("a payment under way: %v", err)
	}
	if got := strings.Join(w.trace, ","); got != "find attempt,find attempt" {
		t.Errorf("it called %s", got)
	}
}

// stalled is a gate that a node reaches late: act happens while it was away.
type stalled struct {
	Gate
	act func()
}

func (g stalled) Claim(ctx context.Context, s *Sale, id ReservationID, f Fence, event []byte) (Hold, OutboxEntry, error) {
	g.act()
	return g.Gate.Claim(ctx, s, id, f, event)
}

// A node has the money and stalls before its claim. Meanwhile its lease ends, the
// hold goes to another tab, the money is voided, and the other tab's card is
// declined: the hold is free again, and the money that the node holds is not there.
func TestANodeThatWasAwayTooLongDoesNotSellForVoidedMoney(t *testing.T) {
	ctx := context.Background()
	w := newWorld()
	id := hold(t, w, "ann")
	k1, k2 := NewAttemptID(id, "k1"), NewAttemptID(id, "k2")
	e := w.engine()
	e.Gate = stalled{w, func() {
		_, _ = w.rob(id, k1.Fence())
		mustCheckout(t, w, pay(id, "ann", "k2", "pm_action"))
		w.now = w.now.Add(20 * time.Second)
		if err := w.engine().ResolveAttempt(ctx, *w.tries[k1]); err != nil || w.money[k1] != PaymentVoided {
			t.Fatalf("%v, the money is %s", err, w.money[k1])
		}
		w.completeActions(PaymentDeclined)
		if err := w.engine().ResolveAttempt(ctx, *w.tries[k2]); err != nil || w.holds[id].State != Held {
			t.Fatalf("%v, the hold is %s", err, w.holds[id].State)
		}
	}}
	if r, err := e.Checkout(ctx, pay(id, "ann", "k1", "pm_ok")); err != nil || !r.Pending {
		t.Fatalf("got %+v, %v", r, err)
	}
	if len(w.outbox)+len(w.stream) != 0 || w.holds[id].State != Held {
		t.Fatalf("it sold: the hold is %s", w.holds[id].State)
	}
	w.mustRecover(t, "afterwards", id, false)
}

// Money that was promised back stays promised, whatever becomes of the hold.
func TestMoneyThatIsOwedIsNotTurnedIntoAnOrder(t *testing.T) {
	w := newWorld()
	id := hold(t, w, "ann")
	a := NewAttemptID(id, "k1")
	mustCheckout(t, w, pay(id, "ann", "k1", "pm_charged_then_silent"))
	w.money[a] = PaymentCaptured
	w.tries[a].Refund = "hold_gone" // and then the node died
	w.mustRecover(t, "afterwards", id, false)
	if w.money[a] != PaymentRefunded || len(w.orders) != 0 || w.tries[a].State != PaymentRefunded {
		t.Errorf("the money is %s, on record %s, orders %v", w.money[a], w.tries[a].State, w.orders)
	}
}

// told is a client's node while it waits: the background roles work meanwhile.
type told struct {
	*world
	waited *time.Duration
}

func (o told) Expect(id ReservationID) (func(context.Context) (Outcome, error), func()) {
	wait, cancel := o.world.Expect(id)
	return func(ctx context.Context) (Outcome, error) {
		end, _ := ctx.Deadline()
		*o.waited = time.Until(end)
		if err := o.recover(o.engine()); err != nil {
			return Outcome{}, err
		}
		return wait(ctx)
	}, cancel
}

// A client that states how long it waits is kept for as long, from the beginning
// of its request, whatever it waits for; others learn at once that nothing is certain.
func TestAStatedWaitCountsFromTheRequestAndCoversASilentProvider(t *testing.T) {
	for name, c := range map[string]struct {
		wait      time.Duration
		set       bool
		took      time.Duration // by the provider
		confirmed bool
		waits     time.Duration
	}{
		"nothing stated":              {0, false, 0, false, 0},
		"stated":                      {time.Second, true, 0, true, time.Second},
		"stated, and partly used up":  {time.Second, true, 600 * time.Millisecond, true, 400 * time.Millisecond},
		"stated, and long used up":    {time.Second, true, time.Minute, true, 0},
		"more than anybody may state": {time.Hour, true, 0, true, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			id := hold(t, w, "ann")
			e := w.engine()
			var waited time.Duration
			e.Outcomes, e.Payments = told{w, &waited}, late{provider{w}, c.took}
			r := pay(id, "ann", "k1", "pm_charged_then_silent")
			r.Wait, r.WaitSet = c.wait, c.set
			out, err := e.Checkout(context.Background(), r)
			if err != nil || (out.Order != nil) != c.confirmed || out.Pending == c.confirmed {
				t.Fatalf("got %+v, %v", out, err)
			}
			if waited > c.waits || c.waits > 0 && waited < c.waits/2 {
				t.Errorf("waited %s, not %s", waited, c.waits)
			}
		})
	}
}
