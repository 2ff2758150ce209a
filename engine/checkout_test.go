package engine

import (
	"context"
	"testing"
	"time"
)

func hold(t *testing.T, w *world, buyer string) ReservationID {
	t.Helper()
	r, err := w.engine().Reserve(context.Background(), ReserveRequest{Sale: "drop", Buyer: buyer, IdempotencyKey: "r-" + buyer, Lines: []CartLine{{"A", 2}}})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func pay(id ReservationID, buyer, key, method string) CheckoutRequest {
	return CheckoutRequest{Buyer: buyer, ID: id, IdempotencyKey: key, Method: method, Contact: Contact{Email: "b@example.com"}}
}

func TestCheckoutAnswersEachCaseOfTheTable(t *testing.T) {
	ctx := context.Background()
	t.Run("approved is an order", func(t *testing.T) {
		w := newWorld()
		id := hold(t, w, "ann")
		r, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_ok"))
		if err != nil || r.Order == nil || r.Order.Total.Amount != 200 || w.stock.Sold != 2 {
			t.Fatalf("got %+v, %v", r, err)
		}
		again, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_ok"))
		if err != nil || again.Order == nil || !again.Replayed || len(w.money) != 1 {
			t.Fatalf("the same key again gives %+v, %v", again, err)
		}
		if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_no")); CodeOf(err) != CodeKeyReused {
			t.Errorf("the same key with another method gives %v", err)
		}
		if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k2", "pm_ok")); CodeOf(err) != CodeAlreadyPaid {
			t.Errorf("another key gives %v", err)
		}
	})
	t.Run("declined keeps the hold for another card", func(t *testing.T) {
		w := newWorld()
		id := hold(t, w, "ann")
		for range 2 { // the same key gives the first answer again
			if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_no")); CodeOf(err) != CodePaymentDeclined {
				t.Fatalf("got %v", err)
			}
			if w.holds[id].State != Held || w.stock.Held != 2 {
				t.Fatalf("the hold is %s", w.holds[id].State)
			}
		}
		if r, err := w.engine().Checkout(ctx, pay(id, "ann", "k2", "pm_ok")); err != nil || r.Order == nil {
			t.Fatalf("another card gives %+v, %v", r, err)
		}
	})
	t.Run("declined with no time left gives the units back", func(t *testing.T) {
		w := newWorld()
		id := hold(t, w, "ann")
		e := w.engine()
		e.Payments = late{provider{w}, 3 * time.Minute}
		if _, err := e.Checkout(ctx, pay(id, "ann", "k1", "pm_no")); CodeOf(err) != CodePaymentDeclined {
			t.Fatalf("got %v", err)
		}
		if w.holds[id].State != Released || w.stock.Available != 10 {
			t.Errorf("the hold is %s, available %d", w.holds[id].State, w.stock.Available)
		}
	})
	t.Run("no answer is pending, never failed", func(t *testing.T) {
		w := newWorld()
		id := hold(t, w, "ann")
		r, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_charged_then_silent"))
		if err != nil || !r.Pending || w.holds[id].State != Paying {
			t.Fatalf("got %+v, %v", r, err)
		}
		if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k2", "pm_ok")); CodeOf(err) != CodeAttemptInProgress {
			t.Errorf("a second tab gives %v", err)
		}
		if err := w.recover(w.engine()); err != nil {
			t.Fatal(err)
		}
		if w.orders[id].State != Confirmed || len(w.money) != 1 {
			t.Errorf("the look-up did not make the order: %+v", w.orders)
		}
	})
	t.Run("still processing at the cap is cancelled first, then released", func(t *testing.T) {
		w := newWorld()
		id := hold(t, w, "ann")
		if r, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_processing")); err != nil || !r.Pending {
			t.Fatalf("got %+v, %v", r, err)
		}
		w.now = w.now.Add(5 * time.Minute)
		if err := w.engine().Resolve(ctx, w.sale, *w.holds[id]); err != nil || w.holds[id].State != Paying {
			t.Fatalf("before the cap: %v, %s", err, w.holds[id].State)
		}
		w.now = w.now.Add(6 * time.Minute)
		if err := w.engine().Resolve(ctx, w.sale, *w.holds[id]); err != nil || w.holds[id].State != Released || w.stock.Available != 10 {
			t.Fatalf("at the cap: %v, %s", err, w.holds[id].State)
		}
		for _, m := range w.money {
			if m != PaymentVoided {
				t.Errorf("the money is %s", m)
			}
		}
	})
	t.Run("another buyer's reservation is not found", func(t *testing.T) {
		w := newWorld()
		id := hold(t, w, "ann")
		if _, err := w.engine().Checkout(ctx, pay(id, "bob", "k1", "pm_ok")); CodeOf(err) != CodeNotFound {
			t.Errorf("got %v", err)
		}
	})
}

// A slow node's hold may have been given back when its money comes.
func TestSuccessAfterTheHoldWasGivenBackTakesItAgain(t *testing.T) {
	w := newWorld()
	id := hold(t, w, "ann")
	e := w.engine()
	e.Payments = robbed{provider{w}, id}
	r, err := e.Checkout(context.Background(), pay(id, "ann", "k1", "pm_ok"))
	if err != nil || r.Order == nil || w.stock.Sold != 2 || !w.stock.Conserved() {
		t.Fatalf("got %+v, %v, %+v", r, err, w.stock)
	}
}

func TestSuccessAfterTheUnitsAreGoneIsVoidedAtOnce(t *testing.T) {
	ctx := context.Background()
	for name, gone := range map[string]func(t *testing.T, w *world, id ReservationID){
		"the hold's time is over": func(_ *testing.T, w *world, id ReservationID) {
			w.now = w.now.Add(3 * time.Minute)
			_, _ = w.rob(id, w.holds[id].Fence)
		},
		"another tab pays meanwhile": func(t *testing.T, w *world, id ReservationID) {
			_, _ = w.rob(id, w.holds[id].Fence)
			if r, err := w.engine().Checkout(ctx, pay(id, "ann", "k2", "pm_action")); err != nil || r.Action == nil {
				t.Fatalf("the other tab gets %+v, %v", r, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			id := hold(t, w, "ann")
			e := w.engine()
			e.Payments = thief{provider{w}, func() { gone(t, w, id) }}
			if _, err := e.Checkout(ctx, pay(id, "ann", "k1", "pm_ok")); CodeOf(err) != CodeReservationExpired {
				t.Fatalf("got %v", err)
			}
			a := NewAttemptID(id, "k1")
			if w.money[a] != PaymentVoided || w.tries[a].State != PaymentVoided || w.tries[a].Reason != "hold_gone" {
				t.Errorf("the money is %s, on record %s for %q", w.money[a], w.tries[a].State, w.tries[a].Reason)
			}
			if len(w.orders) != 0 || !w.stock.Conserved() {
				t.Errorf("orders %v, stock %+v", w.orders, w.stock)
			}
		})
	}
}

// robbed loses the hold while the provider thinks.
type robbed struct {
	provider
	id ReservationID
}

func (r robbed) Authorise(ctx context.Context, a Attempt) (Payment, error) {
	if _, err := r.rob(r.id, a.ID.Fence()); err != nil {
		return Payment{}, err
	}
	return r.provider.Authorise(ctx, a)
}

// late lets time pass before the provider answers.
type late struct {
	provider
	by time.Duration
}

func (l late) Authorise(ctx context.Context, a Attempt) (Payment, error) {
	l.now = l.now.Add(l.by)
	return l.provider.Authorise(ctx, a)
}

// thief does something while the provider thinks, once.
type thief struct {
	provider
	act func()
}

func (t thief) Authorise(ctx context.Context, a Attempt) (Payment, error) {
	t.act()
	return t.provider.Authorise(ctx, a)
}

func TestADraftHasNoReservations(t *testing.T) {
	w := newWorld()
	w.sale.Epoch, w.sale.State = 0, SaleDraft
	e, id := w.engine(), ReservationID{Sale: w.sale.No, Buyer: w.Buyer(w.sale, "ann")}
	e.Gate = nil // nobody asks it
	if _, err := e.Checkout(context.Background(), pay(id, "ann", "k1", "pm_ok")); CodeOf(err) != CodeNotFound {
		t.Errorf("checkout: %v", err)
	}
	if _, err := e.Release(context.Background(), "ann", id); CodeOf(err) != CodeNotFound {
		t.Errorf("release: %v", err)
	}
}
