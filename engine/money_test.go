package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func mustCheckout(t *testing.T, w *world, r CheckoutRequest) CheckoutResult {
	t.Helper()
	out, err := w.engine().Checkout(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAPaymentThatNeedsActionWaitsForItsBuyer(t *testing.T) {
	ctx := context.Background()
	waiting := func(t *testing.T) (*world, ReservationID, AttemptID) {
		t.Helper()
		w := newWorld()
		id := hold(t, w, "ann")
		for range 2 { // the same key gives the same answer
			r := mustCheckout(t, w, pay(id, "ann", "k1", "pm_action"))
			if r.Action == nil || r.Action.URL != "https://pay.example/3ds" || r.Order != nil || r.Pending {
				t.Fatalf("got %+v", r)
			}
			if want := id.CreatedAt().Add(w.sale.HoldCap); !r.Reservation.ExpiresAt.Equal(want) {
				t.Fatalf("it may be done until %s, and the hold lasts until %s", r.Reservation.ExpiresAt, want)
			}
		}
		v, err := w.engine().Reservation(ctx, "ann", id)
		if err != nil || v.NextAction == nil || v.NextAction.Type != "redirect_to_url" {
			t.Fatalf("the reservation shows %+v, %v", v, err)
		}
		if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k2", "pm_ok")); CodeOf(err) != CodeAttemptInProgress {
			t.Fatalf("another tab gets %v", err)
		}
		return w, id, NewAttemptID(id, "k1")
	}
	t.Run("done, and the buyer comes back with the same key", func(t *testing.T) {
		w, id, _ := waiting(t)
		w.completeActions(PaymentAuthorised)
		if r := mustCheckout(t, w, pay(id, "ann", "k1", "pm_action")); r.Order == nil {
			t.Fatalf("got %+v", r)
		}
	})
	t.Run("done, and the provider's event says so", func(t *testing.T) {
		w, id, a := waiting(t)
		w.completeActions(PaymentAuthorised)
		for range 3 { // duplicates are harmless
			if err := w.engine().Heed(ctx, ProviderEvent{ID: "evt_1", Attempt: a}); err != nil {
				t.Fatal(err)
			}
		}
		if w.orders[id].State != Confirmed || w.stock.Sold != 2 {
			t.Fatalf("no order: %+v", w.stock)
		}
		if v, err := w.engine().Reservation(ctx, "ann", id); err != nil || v.NextAction != nil {
			t.Fatalf("the reservation still shows %+v, %v", v, err)
		}
	})
	t.Run("failed is a decline, with time left for another card", func(t *testing.T) {
		w, id, a := waiting(t)
		w.completeActions(PaymentDeclined)
		if err := w.engine().Heed(ctx, ProviderEvent{ID: "evt_1", Attempt: a}); err != nil || w.holds[id].State != Held {
			t.Fatalf("%v, the hold is %s", err, w.holds[id].State)
		}
		if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_action")); CodeOf(err) != CodePaymentDeclined {
			t.Fatalf("the same key gets %v", err)
		}
		if r := mustCheckout(t, w, pay(id, "ann", "k2", "pm_ok")); r.Order == nil {
			t.Fatalf("another card gets %+v", r)
		}
	})
	t.Run("at the cap it is cancelled at the provider first, then released", func(t *testing.T) {
		w, id, a := waiting(t)
		w.now = w.now.Add(9 * time.Minute)
		if err := w.engine().Resolve(ctx, w.sale, *w.holds[id]); err != nil || w.holds[id].State != Paying {
			t.Fatalf("before the cap: %v, %s", err, w.holds[id].State)
		}
		w.now, w.trace = w.now.Add(2*time.Minute), nil
		if err := w.engine().Resolve(ctx, w.sale, *w.holds[id]); err != nil || w.stock.Available != 10 || w.money[a] != PaymentVoided {
			t.Fatalf("at the cap: %v, %+v, the money is %s", err, w.stock, w.money[a])
		}
		if steps := strings.Join(w.trace, ", "); !strings.Contains(steps, "void, note voided, return") {
			t.Errorf("the order of things was %s", steps)
		}
		if w.tries[a].Reason != "cap_reached" {
			t.Errorf("the reason on record is %q", w.tries[a].Reason)
		}
	})
	t.Run("an event for nobody's attempt changes nothing", func(t *testing.T) {
		w, _, _ := waiting(t)
		if err := w.engine().Heed(ctx, ProviderEvent{ID: "evt_9", Attempt: AttemptID{9}}); err != nil {
			t.Fatal(err)
		}
		if err := w.engine().Heed(ctx, ProviderEvent{ID: "evt_9"}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestMoneyThatTurnsUpAfterItsAttemptEndedGoesBack(t *testing.T) {
	for at, want := range map[PaymentState]PaymentState{PaymentAuthorised: PaymentVoided, PaymentCaptured: PaymentRefunded, PaymentDeclined: PaymentDeclined} {
		w := newWorld()
		id := hold(t, w, "ann")
		if _, err := w.engine().Checkout(context.Background(), pay(id, "ann", "k1", "pm_no")); CodeOf(err) != CodePaymentDeclined {
			t.Fatal(err)
		}
		a := NewAttemptID(id, "k1")
		w.money[a] = at
		if err := w.engine().Heed(context.Background(), ProviderEvent{ID: "evt_1", Attempt: a}); err != nil || w.money[a] != want {
			t.Errorf("%s becomes %s, not %s: %v", at, w.money[a], want, err)
		}
	}
}

func TestAnAbsentProviderQueuesPaymentsThatTheirHoldsOutlive(t *testing.T) {
	ctx := context.Background()
	away := func(room int) *world {
		w := newWorld()
		w.away, w.queue = true, room
		return w
	}
	t.Run("without a queue the buyer is told when to try again, and keeps the hold", func(t *testing.T) {
		w := away(0)
		id := hold(t, w, "ann")
		for range 3 {
			_, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_ok"))
			var x *Error
			if !errors.As(err, &x) || x.Code != CodePaymentUnavailable || x.RetryAfter != 5*time.Second || w.holds[id].State != Held {
				t.Fatalf("got %v, the hold is %s", err, w.holds[id].State)
			}
			w.now = w.now.Add(30 * time.Second)
			if err := w.engine().ResolveAttempt(ctx, *w.tries[NewAttemptID(id, "k1")]); err != nil {
				t.Fatal(err)
			}
		}
		w.away = false // the same key still pays: nobody has ended it
		if r := mustCheckout(t, w, pay(id, "ann", "k1", "pm_ok")); r.Order == nil {
			t.Fatalf("got %+v", r)
		}
	})
	t.Run("with one it is sent when the provider is back", func(t *testing.T) {
		w := away(5)
		id := hold(t, w, "ann")
		for range 2 {
			if r := mustCheckout(t, w, pay(id, "ann", "k1", "pm_ok")); !r.Pending || w.holds[id].State != Paying {
				t.Fatalf("got %+v, the hold is %s", r, w.holds[id].State)
			}
		}
		if err := w.engine().Resolve(ctx, w.sale, *w.holds[id]); !errors.Is(err, errQueued) || w.holds[id].State != Paying {
			t.Fatalf("while it is away: %v, %s", err, w.holds[id].State)
		}
		w.away = false
		if err := w.engine().Resolve(ctx, w.sale, *w.holds[id]); err != nil || w.orders[id].State != Confirmed {
			t.Fatalf("when it is back: %v, %+v", err, w.orders)
		}
		// No provider had seen it, so it went to the one that was best by then, and that is on record.
		if a := NewAttemptID(id, "k1"); w.seenBy[a] != "third" || w.tries[a].Provider != "third" || w.orders[id].Provider != "third" {
			t.Errorf("sent to %q, on record %q", w.seenBy[a], w.tries[a].Provider)
		}
	})
	t.Run("a refusal that names no time is not queued: it may be about this payment", func(t *testing.T) {
		w := newWorld()
		w.queue = 5
		id := hold(t, w, "ann")
		w.plan = map[int]fault{3: awayBefore}
		if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_ok")); CodeOf(err) != CodePaymentUnavailable || w.holds[id].State != Held {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a full queue tells the next one to come back", func(t *testing.T) {
		w := away(1)
		ann, bob := hold(t, w, "ann"), hold(t, w, "bob")
		if r := mustCheckout(t, w, pay(ann, "ann", "k1", "pm_ok")); !r.Pending {
			t.Fatalf("got %+v", r)
		}
		if _, err := w.engine().Checkout(ctx, pay(bob, "bob", "k1", "pm_ok")); CodeOf(err) != CodePaymentUnavailable || w.holds[bob].State != Held {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a hold that ends first ends the wait, without the provider", func(t *testing.T) {
		w := away(5)
		id := hold(t, w, "ann")
		mustCheckout(t, w, pay(id, "ann", "k1", "pm_ok"))
		w.now, w.trace = id.CreatedAt().Add(w.sale.HoldCap-2*time.Second), nil
		if err := w.engine().Resolve(ctx, w.sale, *w.holds[id]); err != nil || w.stock.Available != 10 {
			t.Fatalf("%v, %+v", err, w.stock)
		}
		a := w.tries[NewAttemptID(id, "k1")]
		if a.State != PaymentVoided || a.Reason != "queue_timeout" || len(w.money) != 0 || strings.Contains(strings.Join(w.trace, ","), "void,") {
			t.Errorf("the attempt is %+v after %v", *a, w.trace)
		}
	})
}

// What this call did not do, an earlier one of the same attempt may have done.
func TestAProviderThatIsAwayNowDoesNotMakeAnEarlierCallCertain(t *testing.T) {
	w := newWorld()
	id := hold(t, w, "ann")
	w.plan = map[int]fault{3: dieAfter} // begin payment, note attempt, authorise
	surviving(func() { _, _ = w.engine().Checkout(context.Background(), pay(id, "ann", "k1", "pm_ok")) })
	if w.money[NewAttemptID(id, "k1")] != PaymentAuthorised {
		t.Fatalf("the fault came elsewhere: %v", w.trace)
	}
	w.away, w.now = true, w.now.Add(20*time.Second)
	if r := mustCheckout(t, w, pay(id, "ann", "k1", "pm_ok")); !r.Pending || w.holds[id].State != Paying {
		t.Fatalf("got %+v, the hold is %s", r, w.holds[id].State)
	}
	if err := w.recover(w.engine()); err != nil || w.orders[id].State != Confirmed {
		t.Fatalf("%v, %+v", err, w.orders)
	}
}

func TestASuspiciousPaymentIsDeclinedBeforeAProviderIsCalled(t *testing.T) {
	for name, c := range map[string]struct {
		score Score
		err   error
		code  Code
	}{
		"denied":                         {Score{Deny: true, Reason: "velocity"}, nil, CodePaymentDeclined},
		"allowed":                        {Score{}, nil, ""},
		"unscored when nobody can score": {Score{Deny: true}, errors.New("away"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.score = func(_ context.Context, a Attempt) (Score, error) {
				if a.Buyer != "ann" || a.Amount.Amount != 200 || a.Method != "pm_ok" {
					t.Errorf("asked about %+v", a)
				}
				return c.score, c.err
			}
			id := hold(t, w, "ann")
			for range 2 {
				_, err := w.engine().Checkout(context.Background(), pay(id, "ann", "k1", "pm_ok"))
				if CodeOf(err) != c.code {
					t.Fatalf("got %v", err)
				}
				var x *Error
				if c.code != "" && (!errors.As(err, &x) || x.Fields["decline_code"] != "fraud_suspected" || len(w.money) != 0 || w.holds[id].State != Held) {
					t.Fatalf("got %v, money %v, hold %s", err, w.money, w.holds[id].State)
				}
			}
		})
	}
}

// choosy is a router without a provider for the method, or without any.
type choosy struct {
	provider
	err error
}

func (c choosy) Choose(context.Context, Attempt) (string, error) { return "", c.err }

func TestAMethodThatNoProviderTakesIsDeclinedAndAnAbsentRouterIsNot(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code Code
	}{
		"nobody takes the method":  {E(CodePaymentDeclined, "").With("decline_code", "payment_method_not_supported"), CodePaymentDeclined},
		"nobody can be chosen now": {E(CodePaymentUnavailable, ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			id := hold(t, w, "ann")
			e := w.engine()
			e.Payments = choosy{provider{w}, c.err}
			_, err := e.Checkout(context.Background(), pay(id, "ann", "k1", "pm_ok"))
			var x *Error
			if CodeOf(err) != c.code || c.code != "" && (!errors.As(err, &x) || x.Fields["decline_code"] != "payment_method_not_supported" || len(w.money) != 0 || w.holds[id].State != Held) {
				t.Fatalf("got %v, money %v", err, w.money)
			}
		})
	}
}

func TestACheckoutCountsToTheCrowdAsLongAsItLasts(t *testing.T) {
	w := newWorld()
	e := w.engine()
	e.paying.Store(crowd - 1)
	during := false
	e.Score = func(context.Context, Attempt) (Score, error) {
		during = e.Crowded()
		return Score{}, nil
	}
	before := e.Crowded()
	if _, err := e.Checkout(context.Background(), pay(hold(t, w, "ann"), "ann", "k1", "pm_ok")); err != nil {
		t.Fatal(err)
	}
	if before || !during || e.Crowded() {
		t.Errorf("crowded before, during and after: %t, %t, %t", before, during, e.Crowded())
	}
}
