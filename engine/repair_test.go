package engine

import (
	"context"
	"log/slog"
	"testing"
)

// mender repairs the tiny world, and notes what was audited.
func mender(w *world) (*Repairer, *[]string) {
	audited := &[]string{}
	return &Repairer{Engine: w.engine(), Log: slog.New(slog.DiscardHandler),
		Audit: func(_ context.Context, act Act, target string, _ map[string]any) error {
			*audited = append(*audited, act.Actor+" "+act.Name+" "+target)
			return nil
		}}, audited
}

func TestARepairNeverMakesStockOrMoney(t *testing.T) {
	ctx := context.Background()
	// Each begins with one order that was paid and captured, and then spoils something.
	for name, c := range map[string]struct {
		spoil func(w *world, id ReservationID, a *Attempt)
		find  func(id ReservationID, a AttemptID) Finding
		plan  Action
		done  bool
		check func(t *testing.T, w *world, id ReservationID, a *Attempt)
	}{
		"an event that nobody has is published again": {
			spoil: func(w *world, id ReservationID, a *Attempt) {
				delete(w.orders, id)
				w.stream, w.read, a.State = nil, 0, PaymentAuthorising
				w.money[a.ID] = PaymentAuthorised
			},
			find: func(id ReservationID, _ AttemptID) Finding {
				return Finding{Kind: "lost", Cause: CauseNoOrder, Reservation: id.String(), Order: id.Order()}
			},
			plan: Republish, done: true,
			check: func(t *testing.T, w *world, id ReservationID, _ *Attempt) {
				if w.orders[id].State != Confirmed || w.stock.Sold != 2 {
					t.Errorf("no order: %+v", w.stock)
				}
			},
		},
		"an accepted hold whose money is gone makes no order": {
			spoil: func(w *world, id ReservationID, a *Attempt) {
				delete(w.orders, id)
				w.stream, a.State = nil, PaymentVoided
				w.money[a.ID] = PaymentVoided
			},
			find: func(id ReservationID, _ AttemptID) Finding {
				return Finding{Kind: "lost", Cause: CauseNoOrder, Reservation: id.String(), Order: id.Order()}
			},
			plan: None,
			check: func(t *testing.T, w *world, id ReservationID, _ *Attempt) {
				if _, made := w.orders[id]; made {
					t.Error("an order without money")
				}
			},
		},
		"money that the provider holds for an ended attempt goes back": {
			spoil: func(w *world, id ReservationID, a *Attempt) {
				delete(w.orders, id)
				delete(w.holds, id)
				a.State = PaymentVoided
				w.money[a.ID] = PaymentAuthorised
			},
			find: func(_ ReservationID, a AttemptID) Finding {
				return Finding{Kind: "unpaid", Cause: CauseHeldOn, Attempt: a.String()}
			},
			plan: GiveBack, done: true,
			check: func(t *testing.T, w *world, _ ReservationID, a *Attempt) {
				if w.money[a.ID] != PaymentVoided {
					t.Errorf("the provider says %s", w.money[a.ID])
				}
			},
		},
		"captured money without an order is owed": {
			spoil: func(w *world, id ReservationID, a *Attempt) {
				delete(w.orders, id)
				delete(w.holds, id)
				a.State = PaymentCaptured
			},
			find: func(id ReservationID, a AttemptID) Finding {
				return Finding{Kind: "unpaid", Cause: CauseCaptured, Reservation: id.String(), Order: id.Order(), Attempt: a.String()}
			},
			plan: RefundTaken, done: true,
			check: func(t *testing.T, _ *world, _ ReservationID, a *Attempt) {
				if a.Refund == "" {
					t.Error("nothing is owed")
				}
			},
		},
		"captured money is not owed if an order has it after all": {
			spoil: func(_ *world, _ ReservationID, a *Attempt) { a.State = PaymentCaptured },
			find: func(id ReservationID, a AttemptID) Finding {
				return Finding{Kind: "unpaid", Cause: CauseCaptured, Reservation: id.String(), Order: id.Order(), Attempt: a.String()}
			},
			plan: RefundTaken,
			check: func(t *testing.T, _ *world, _ ReservationID, a *Attempt) {
				if a.Refund != "" {
					t.Error("an order's money would go back")
				}
			},
		},
		"captured money is not owed while the gate has the reservation as accepted": {
			spoil: func(w *world, id ReservationID, a *Attempt) {
				delete(w.orders, id)
				a.State = PaymentCaptured
			},
			find: func(id ReservationID, a AttemptID) Finding {
				return Finding{Kind: "unpaid", Cause: CauseCaptured, Reservation: id.String(), Order: id.Order(), Attempt: a.String()}
			},
			plan: RefundTaken,
			check: func(t *testing.T, _ *world, _ ReservationID, a *Attempt) {
				if a.Refund != "" {
					t.Error("the money of an order that is to come would go back")
				}
			},
		},
		"an oversold SKU is for people": {
			spoil: func(*world, ReservationID, *Attempt) {},
			find: func(ReservationID, AttemptID) Finding {
				return Finding{Kind: "oversold", Cause: CauseOversold, Sale: "spring"}
			},
			check: func(*testing.T, *world, ReservationID, *Attempt) {},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			id := hold(t, w, "ann")
			mustCheckout(t, w, pay(id, "ann", "k1", "pm_ok"))
			a := w.tries[NewAttemptID(id, "k1")]
			c.spoil(w, id, a)
			r, audited := mender(w)
			plan := r.Plan(ctx, []Finding{c.find(id, a.ID)})
			if plan[0].Action != c.plan || plan[0].What == "" || len(*audited) != 0 {
				t.Fatalf("planned %+v, audited %v", plan[0], *audited)
			}
			r.Do(ctx, plan, "eva")
			if plan[0].Done != c.done || (plan[0].Error == "") != (c.done || c.plan == None) {
				t.Errorf("did %+v", plan[0])
			}
			if (len(*audited) == 1) != (c.plan != None) {
				t.Errorf("audited %v", *audited)
			}
			c.check(t, w, id, a)
		})
	}
}

func TestEveryCauseHasAPlan(t *testing.T) {
	for _, c := range []FindingCause{CauseGateStock, CauseGateSums, CauseGateBehind, CauseGateAhead, CauseGateUnknown, CauseRecordSums, CauseRunningSums, CauseOversold,
		CauseOrderMoney, CauseOrderTotal, CauseCaptured, CauseTaken, CauseHeldOn, CauseStranger, CauseChargedTwice, CauseAmount, CauseMoneyLedger} {
		if plans[c].what == "" {
			t.Errorf("nothing is said about %s", c)
		}
	}
}
