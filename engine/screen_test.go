package engine

import (
	"context"
	"errors"
	"testing"
)

func TestAScreeningEndsAnAttemptOnlyByDenyingIt(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		screen *Screening
		fresh  bool
		code   Code
		state  PaymentState
		hold   ReservationState
	}{
		"no screening":                  {nil, true, "", PaymentAuthorising, Paying},
		"allowed":                       {&Screening{}, true, "", PaymentAuthorising, Paying},
		"unscored":                      {&Screening{Unscored: true}, true, "", PaymentAuthorising, Paying},
		"denied":                        {&Screening{Deny: true}, true, CodePaymentDeclined, PaymentDeclined, Held},
		"denied the second time":        {&Screening{Deny: true}, false, CodePaymentDeclined, PaymentVoided, Held},
		"denied, and authorised before": {&Screening{Deny: true}, false, "", PaymentAuthorised, Paying},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			e := w.engine()
			if c.screen != nil {
				e.Screen = func(context.Context, Attempt) Screening { return *c.screen }
			}
			id := hold(t, w, "ann")
			a := Attempt{ID: NewAttemptID(id, "k"), Reservation: id, Buyer: "ann", Method: "pm_ok", State: PaymentAuthorising}
			s, err := e.Sales.Sale(ctx, "drop")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Gate.BeginPayment(ctx, s, id, a.ID.Fence()); err != nil {
				t.Fatal(err)
			}
			if a, err = e.Attempts.Begin(ctx, a, e.lease()); err != nil {
				t.Fatal(err)
			}
			a.Fresh = c.fresh
			if c.state == PaymentAuthorised {
				if err := e.Attempts.Note(ctx, a.ID, Payment{State: PaymentAuthorised}, ""); err != nil {
					t.Fatal(err)
				}
				a.State = PaymentAuthorised
			}
			err = e.screen(ctx, s, a)
			if CodeOf(err) != c.code || errors.Is(err, ErrUnknown) {
				t.Fatal(err)
			}
			if got := w.tries[a.ID].State; got != c.state {
				t.Fatalf("the attempt is %s", got)
			}
			if got := w.holds[id].State; got != c.hold {
				t.Fatalf("the hold is %s", got)
			}
		})
	}
}
