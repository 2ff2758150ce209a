package engine

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A key's final answer is the same again, whatever has happened to the hold since.
func TestAFinalAnswerIsGivenAgainUnchanged(t *testing.T) {
	ctx := context.Background()
	plain := func(o *Order) Order { c := *o; c.Seq, c.Epoch, c.Attempt = 0, 0, AttemptID{}; return c }
	t.Run("an order, after its capture, and when the gate has forgotten it", func(t *testing.T) {
		w := newWorld()
		id := hold(t, w, "ann")
		first := mustCheckout(t, w, pay(id, "ann", "k1", "pm_ok"))
		if err := w.recover(w.engine()); err != nil {
			t.Fatal(err)
		}
		again := mustCheckout(t, w, pay(id, "ann", "k1", "pm_ok"))
		delete(w.holds, id)
		forgotten := mustCheckout(t, w, pay(id, "ann", "k1", "pm_ok"))
		for _, r := range []CheckoutResult{again, forgotten} {
			if !r.Replayed || r.Order == nil || !reflect.DeepEqual(plain(r.Order), plain(first.Order)) {
				t.Errorf("first %+v\nthen  %+v", first.Order, r.Order)
			}
		}
		if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k9", "pm_ok")); CodeOf(err) != CodeAlreadyPaid {
			t.Errorf("another key gets %v", err)
		}
	})
	for name, c := range map[string]struct {
		method string
		later  func(t *testing.T, w *world, id ReservationID)
		says   string
	}{
		"a decline while the hold lasts":         {"pm_no", func(*testing.T, *world, ReservationID) {}, "insufficient_funds"},
		"a decline when the hold has expired":    {"pm_no", func(_ *testing.T, w *world, _ ReservationID) { w.minute(w.engine()); w.minute(w.engine()) }, "insufficient_funds"},
		"a decline when another card has paid":   {"pm_no", func(t *testing.T, w *world, id ReservationID) { mustCheckout(t, w, pay(id, "ann", "k2", "pm_ok")) }, "insufficient_funds"},
		"a decline when the gate has forgotten":  {"pm_no", func(_ *testing.T, w *world, id ReservationID) { delete(w.holds, id) }, "insufficient_funds"},
		"a decline while another card is paying": {"pm_no", func(t *testing.T, w *world, id ReservationID) { mustCheckout(t, w, pay(id, "ann", "k2", "pm_action")) }, "insufficient_funds"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			id := hold(t, w, "ann")
			_, first := w.engine().Checkout(ctx, pay(id, "ann", "k1", c.method))
			c.later(t, w, id)
			_, again := w.engine().Checkout(ctx, pay(id, "ann", "k1", c.method))
			var x, y *Error
			if !errors.As(first, &x) || !errors.As(again, &y) || x.Replayed || !y.Replayed {
				t.Fatalf("first %v, then %v", first, again)
			}
			if y.Replayed = false; !reflect.DeepEqual(x, y) || !strings.Contains(x.Detail, c.says) {
				t.Errorf("first %+v\nthen  %+v", x, y)
			}
			if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_other")); CodeOf(err) != CodeKeyReused {
				t.Errorf("the same key with another method gets %v", err)
			}
		})
	}
}

func TestAKeyWithAnotherBodyLeavesTheHoldPayable(t *testing.T) {
	w := newWorld()
	id := hold(t, w, "ann")
	ctx := context.Background()
	_, _ = w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_no"))
	if _, err := w.engine().Checkout(ctx, pay(id, "ann", "k1", "pm_ok")); CodeOf(err) != CodeKeyReused || w.holds[id].State != Held {
		t.Fatalf("got %v, the hold is %s", err, w.holds[id].State)
	}
}

// A payment that recovery ended before it was sent tells its buyer what to do.
func TestAPaymentThatWasNeverSentSaysSo(t *testing.T) {
	w := newWorld()
	id := hold(t, w, "ann")
	w.plan = map[int]fault{2: dieAfter} // noted, and no provider called
	surviving(func() { _, _ = w.engine().Checkout(context.Background(), pay(id, "ann", "k1", "pm_ok")) })
	w.now = w.now.Add(30 * time.Second)
	if err := w.engine().Resolve(context.Background(), w.sale, *w.holds[id]); err != nil {
		t.Fatal(err)
	}
	_, err := w.engine().Checkout(context.Background(), pay(id, "ann", "k1", "pm_ok"))
	var x *Error
	if !errors.As(err, &x) || x.Code != CodePaymentDeclined || x.Fields["decline_code"] != "payment_cancelled" ||
		!strings.Contains(x.Detail, "never sent") || !strings.Contains(x.Detail, "new Idempotency-Key") {
		t.Fatalf("got %v", err)
	}
	if r := mustCheckout(t, w, pay(id, "ann", "k2", "pm_ok")); r.Order == nil {
		t.Fatalf("a new key gets %+v", r)
	}
}

func TestAPlanSaysWhatWouldBeDoneAndDoesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		pass   time.Duration
		want   Step
	}{
		"being worked on":         {"pm_charged_then_silent", 0, StepLeave},
		"charged, then silent":    {"pm_charged_then_silent", time.Minute, StepClaim},
		"processing":              {"pm_processing", time.Minute, StepLeave},
		"processing at the cap":   {"pm_processing", 11 * time.Minute, StepCancel},
		"waiting for its buyer":   {"pm_action", time.Minute, StepLeave},
		"an order":                {"pm_ok", time.Minute, StepNothing},
		"declined":                {"pm_no", time.Minute, StepNothing},
		"the buyer never came by": {"pm_action", 11 * time.Minute, StepCancel},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			id := hold(t, w, "ann")
			_, _ = w.engine().Checkout(context.Background(), pay(id, "ann", "k1", c.method))
			if c.pass == 0 {
				w.tries[NewAttemptID(id, "k1")].LeaseUntil = w.now.Add(time.Second)
			}
			w.now, w.trace = w.now.Add(c.pass), nil
			plan, err := w.engine().Plan(context.Background(), NewAttemptID(id, "k1"))
			if err != nil || plan.Step != c.want {
				t.Fatalf("got %q (%s), %v", plan.Step, plan.Reason, err)
			}
			for _, call := range w.trace {
				if call != "lookup" && call != "find attempt" {
					t.Errorf("it called %s", call)
				}
			}
		})
	}
}

func TestAPathThroughAStateTableIsTheShortest(t *testing.T) {
	for _, c := range []struct {
		from, to PaymentState
		want     []PaymentState
	}{
		{PaymentUnknown, PaymentRefunded, []PaymentState{PaymentAuthorised, PaymentCaptured, PaymentRefunded}},
		{PaymentAuthorising, PaymentVoided, []PaymentState{PaymentVoided}},
		{PaymentVoided, PaymentCaptured, nil},
		{PaymentCaptured, PaymentCaptured, nil},
	} {
		if got := Path(PaymentMoves, c.from, c.to); !slices.Equal(got, c.want) {
			t.Errorf("%s to %s: %v", c.from, c.to, got)
		}
	}
}
