package engine

import (
	"context"
	"testing"
	"time"
)

// between is a provider and a record at which something happens in between.
type between struct {
	Payments
	Attempts
	voided, cancelled func()
}

func (b between) Void(ctx context.Context, a Attempt) (Payment, error) {
	p, err := b.Payments.Void(ctx, a)
	b.voided()
	return p, err
}

func (b between) Cancel(ctx context.Context, a Attempt, reason string, lease time.Duration) (Attempt, error) {
	a, err := b.Attempts.Cancel(ctx, a, reason, lease)
	b.cancelled()
	return a, err
}

// twoClaims has ann's first attempt claim units from a gate that is lost before the
// stream has the event, and her second one pay for the same hold at the next gate.
func twoClaims(t *testing.T) (w *world, id ReservationID, first AttemptID) {
	t.Helper()
	w, id = lossy(t)
	w.slow = true
	mustCheckout(t, w, pay(id, "ann", "k1", "pm_ok"))
	if len(w.wire) != 1 || w.holds[id].State != Accepted {
		t.Fatalf("%d events are on their way, the hold is %s", len(w.wire), w.holds[id].State)
	}
	w.slow = false
	w.lose(killed)
	rebuilt(t, w)
	first = NewAttemptID(id, "k1")
	_, _ = w.rob(id, first.Fence())
	mustCheckout(t, w, pay(id, "ann", "k2", "pm_processing"))
	w.now = w.now.Add(20 * time.Second) // no lease lives
	return w, id, first
}

func (w *world) arrive() {
	w.stream, w.wire = append(w.stream, w.wire...), nil
	w.write()
}

func (w *world) resolving(first AttemptID, cancelled, voided func()) error {
	e := w.engine()
	b := between{e.Payments, e.Attempts, voided, cancelled}
	e.Payments, e.Attempts = b, b
	return e.ResolveAttempt(context.Background(), *w.tries[first])
}

func TestAnEventThatComesWhileItsMoneyIsGivenBackMakesNoOrder(t *testing.T) {
	w, id, first := twoClaims(t)
	if err := w.resolving(first, func() {}, w.arrive); err != nil {
		t.Fatal(err)
	}
	if o, ordered := w.orders[id]; ordered || w.money[first] != PaymentVoided || w.unpaid != 1 {
		t.Fatalf("order %+v, its money is %s", o, w.money[first])
	}
	w.mustSurvive(t, "afterwards", id, false)
}

// An event that comes a moment sooner makes an order, which keeps its money, and the
// units that the second attempt has are the order's.
func TestAnEventThatComesBeforeItsMoneyIsGivenBackKeepsIt(t *testing.T) {
	w, id, first := twoClaims(t)
	if err := w.resolving(first, w.arrive, func() { t.Error("it was voided") }); err == nil {
		t.Error("nobody noticed the order")
	}
	if o := w.orders[id]; o.Attempt != first {
		t.Fatalf("order %+v", o)
	}
	w.mustSurvive(t, "afterwards", id, true)
}

// Nobody gives units back that an older gate may have sold to another attempt.
func TestUnitsOfAnOlderGateWaitForEveryPaymentOfTheirReservation(t *testing.T) {
	w, id, first := twoClaims(t)
	second := NewAttemptID(id, "k2")
	w.money[second] = PaymentDeclined
	if err := w.engine().ResolveAttempt(context.Background(), *w.tries[second]); err != nil {
		t.Fatal(err)
	}
	if h := w.holds[id]; w.tries[second].State != PaymentDeclined || h.State != Paying || h.Fence != second.Fence() {
		t.Fatalf("the attempt is %s, the hold %+v", w.tries[second].State, h)
	}
	w.arrive()
	if w.orders[id].Attempt != first {
		t.Fatalf("order %+v", w.orders[id])
	}
	w.mustSurvive(t, "afterwards", id, true)
}

// Nor is anybody told that a hold is lost or over whose payment may yet become an order.
func TestAKeyWhosePaymentLivesHasNoFinalAnswer(t *testing.T) {
	ctx := context.Background()
	w, id, first := twoClaims(t)
	w.move(&w.stock.Paying, &w.stock.Available, 2)
	for _, over := range []ReservationState{Expired, Released} {
		w.holds[id].State = over
		if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_ok")); CodeOf(err) != CodeUnavailable {
			t.Errorf("%s: %v", over, err)
		}
	}
	delete(w.holds, id)
	for _, key := range []string{"k1", "k2", "k3"} {
		method := map[string]string{"k2": "pm_processing"}[key]
		if method == "" {
			method = "pm_ok"
		}
		if _, err := w.engine().Checkout(ctx, pay(id, "ann", key, method)); CodeOf(err) != CodeUnavailable {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := w.resolving(first, func() {}, func() {}); err != nil {
		t.Fatal(err)
	}
	w.tries[NewAttemptID(id, "k2")].State = PaymentVoided
	if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k3", "pm_ok")); CodeOf(err) != CodeReservationLost {
		t.Errorf("all have ended: %v", err)
	}
}

// raising is a record at which something happens just before the epoch rises.
type raising struct {
	RebuildRecord
	before func()
}

func (r raising) Raise(ctx context.Context, l RebuildLease, server string) (*Sale, error) {
	r.before()
	return r.RebuildRecord.Raise(ctx, l, server)
}

// Until the epoch has risen a payment may begin for a hold of the gate that was lost,
// and be claimed there by a node that has not heard. So what is kept is read after.
func TestAPaymentThatBeginsJustBeforeTheEpochRisesIsKept(t *testing.T) {
	ctx := context.Background()
	w, id := lossy(t)
	a := Attempt{ID: NewAttemptID(id, "k1"), Reservation: id, Lines: w.holds[id].Lines, Epoch: 1, State: PaymentAuthorising}
	if _, err := w.BeginPayment(ctx, w.sale, id, a.ID.Fence()); err != nil {
		t.Fatal(err)
	}
	w.lose(killed)
	b := w.rebuilder()
	b.Record = raising{repairs{w}, func() {
		if _, err := (attempts{w}).Begin(ctx, a, time.Minute); err != nil {
			t.Fatal(err)
		}
	}}
	r, err := b.Rebuild(ctx, w.sale, 0, Cause{Lost: "server"})
	if err != nil || r.Paying != 1 || w.holds[id] == nil || w.holds[id].Fence != a.ID.Fence() {
		t.Errorf("%+v, %v; the hold is %+v", r, err, w.holds[id])
	}
	a.ID = NewAttemptID(id, "k2")
	if _, err := (attempts{w}).Begin(ctx, a, time.Minute); CodeOf(err) != CodeGateFrozen {
		t.Errorf("one that begins after it: %v", err)
	}
}
