package engine

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// attempts is the record's list of payment attempts.
type attempts struct{ *world }

func (w attempts) Begin(_ context.Context, a Attempt, lease time.Duration) (out Attempt, err error) {
	err = w.do("note attempt", func() error {
		if a.Epoch != w.sale.Lease(0).Epoch {
			return E(CodeGateFrozen, "")
		}
		if have, ok := w.tries[a.ID]; ok {
			out = *have
			out.Fresh = false
			return nil
		}
		a.LeaseUntil, a.BegunAt = w.now.Add(lease), w.now
		kept := a
		w.tries[a.ID] = &kept
		out = a
		out.Fresh = true
		return nil
	})
	return out, err
}

func (w attempts) Find(_ context.Context, id AttemptID) (out Attempt, err error) {
	err = w.do("find attempt", func() error {
		a, ok := w.tries[id]
		if !ok {
			return E(CodeNotFound, "")
		}
		out = *a
		return nil
	})
	return out, err
}

func (w attempts) Resume(_ context.Context, id AttemptID, lease time.Duration) (out Attempt, err error) {
	err = w.do("resume", func() error {
		a, ok := w.tries[id]
		if !ok {
			return E(CodeNotFound, "")
		}
		if w.now.Before(a.LeaseUntil) || Final(PaymentMoves, a.State) || a.State == PaymentCaptured {
			return E(CodeAttemptInProgress, "")
		}
		a.LeaseUntil = w.now.Add(lease)
		out = *a
		a.Parked = NotParked
		return nil
	})
	return out, err
}

func (w attempts) Keep(_ context.Context, a Attempt, lease time.Duration) (out Attempt, err error) {
	err = w.do("keep", func() error {
		have := w.tries[a.ID]
		if !have.LeaseUntil.Equal(a.LeaseUntil) || Final(PaymentMoves, have.State) || have.Cancelled != "" {
			return E(CodeAttemptInProgress, "")
		}
		have.LeaseUntil = w.now.Add(lease)
		out = *have
		return nil
	})
	return out, err
}

func (w attempts) Cancel(_ context.Context, a Attempt, reason string, lease time.Duration) (out Attempt, err error) {
	err = w.do("cancel", func() error {
		have := w.tries[a.ID]
		if !have.LeaseUntil.Equal(a.LeaseUntil) || Final(PaymentMoves, have.State) || have.State == PaymentCaptured {
			return E(CodeAttemptInProgress, "")
		}
		have.LeaseUntil = w.now.Add(lease)
		if have.Cancelled == "" {
			have.Cancelled = reason
		}
		out = *have
		return nil
	})
	return out, err
}

func (w attempts) Bar(_ context.Context, a Attempt) error {
	return w.do("bar on record", func() error {
		have := w.tries[a.ID]
		if o, ok := w.orders[a.Reservation]; ok && o.Attempt == a.ID {
			return E(CodeAlreadyPaid, "")
		}
		if !have.LeaseUntil.Equal(a.LeaseUntil) || !w.now.Before(have.LeaseUntil) || Final(PaymentMoves, have.State) {
			return E(CodeAttemptInProgress, "")
		}
		w.barred[a.ID] = true
		return nil
	})
}

func (w attempts) OfReservation(_ context.Context, id ReservationID) (out []Attempt, err error) {
	w.pass("attempts of a reservation")
	for _, a := range w.sortedTries() {
		if a.Reservation == id {
			out = append(out, *a)
		}
	}
	return out, nil
}

func (w attempts) ByFence(_ context.Context, id ReservationID, f Fence) (Attempt, error) {
	w.pass("attempt by fence")
	for _, a := range w.tries {
		if a.Reservation == id && (a.ID.Fence() == f || a.ID.Fence().Barred() == f) {
			return *a, nil
		}
	}
	return Attempt{}, E(CodeNotFound, "")
}

func (w attempts) Note(_ context.Context, a Attempt, p Payment, reason string) error {
	return w.do("note "+string(p.State), func() error {
		have := w.tries[a.ID]
		if CanMove(PaymentMoves, have.State, p.State) {
			have.State, have.Reason, have.Parked = p.State, reason, NotParked
		}
		if have.State == p.State && p.State == PaymentNeedsAction {
			have.Action = p.Action
		}
		if a.LeaseUntil.Equal(have.LeaseUntil) {
			have.LeaseUntil = w.now
		}
		return nil
	})
}

func (w attempts) Park(_ context.Context, a Attempt, how Parking, room int) (ok bool, err error) {
	err = w.do("park "+string(how), func() error {
		queued := 0
		for _, t := range w.tries {
			if t.Parked == Queued {
				queued++
			}
		}
		have := w.tries[a.ID]
		if have.State != PaymentAuthorising || !have.LeaseUntil.Equal(a.LeaseUntil) || how == Queued && queued >= room {
			return nil
		}
		have.Parked, have.LeaseUntil, ok = how, w.now, true
		return nil
	})
	return ok && err == nil, err
}

func (w attempts) Drop(_ context.Context, a Attempt, reason string) (ok bool, err error) {
	err = w.do("drop", func() error {
		have := w.tries[a.ID]
		if have.State == PaymentAuthorising && have.LeaseUntil.Equal(a.LeaseUntil) {
			have.State, have.Reason, have.Parked, have.LeaseUntil, ok = PaymentVoided, reason, NotParked, w.now, true
		}
		return nil
	})
	return ok && err == nil, err
}

func (w attempts) Reroute(_ context.Context, a Attempt, to string) error {
	return w.do("reroute", func() error {
		have := w.tries[a.ID]
		if have.State != PaymentAuthorising || !have.LeaseUntil.Equal(a.LeaseUntil) {
			return E(CodeAttemptInProgress, "")
		}
		have.Provider = to
		return nil
	})
}

func (w attempts) Owe(_ context.Context, id AttemptID, reason string) error {
	return w.do("owe", func() error {
		if a := w.tries[id]; a.Refund == "" {
			a.Refund = reason
		}
		return nil
	})
}

// provider is the payment provider: idempotent by attempt.
type provider struct{ *world }

func (w provider) Choose(context.Context, Attempt) (string, error) {
	w.chosen++
	return []string{"first", "second", "third"}[min(w.chosen-1, 2)], nil
}

// knows says whether the provider that is asked is the one that saw the attempt.
func (w provider) knows(a Attempt) bool { by, seen := w.seenBy[a.ID]; return seen && by == a.Provider }

func (w provider) Authorise(_ context.Context, a Attempt) (p Payment, err error) {
	err = w.do("authorise", func() error {
		if w.away {
			return E(CodePaymentUnavailable, "the breaker is open").After(5 * time.Second)
		}
		state, seen := w.money[a.ID]
		if !seen {
			switch w.answers[a.Method] {
			case "authorised", "silent":
				state = PaymentAuthorised
			case "declined":
				state = PaymentDeclined
			case "action":
				state = PaymentNeedsAction
			default:
				state = PaymentUnknown
			}
			w.money[a.ID], w.seenBy[a.ID] = state, a.Provider
		}
		if w.answers[a.Method] == "silent" {
			return Wrap(ErrUnknown, CodeUnavailable, "silent")
		}
		p = w.word(a, state)
		return nil
	})
	return p, err
}

func (w provider) word(a Attempt, state PaymentState) Payment {
	p := Payment{State: state, Provider: a.Provider, Ref: "pi"}
	switch state {
	case PaymentDeclined:
		p.DeclineCode = "insufficient_funds"
	case PaymentNeedsAction:
		p.Action = NextAction{Type: "redirect_to_url", URL: "https://pay.example/3ds"}
	}
	return p
}

func (w provider) Capture(_ context.Context, a Attempt) (p Payment, err error) {
	err = w.do("capture", func() error {
		if w.knows(a) && w.money[a.ID] == PaymentAuthorised {
			w.money[a.ID] = PaymentCaptured
		}
		p = w.word(a, w.money[a.ID])
		return nil
	})
	return p, err
}

func (w provider) Void(_ context.Context, a Attempt) (p Payment, err error) {
	err = w.do("void", func() error {
		if _, seen := w.money[a.ID]; seen && !w.knows(a) {
			p = w.word(a, PaymentVoided) // it bars what it has never seen
			return nil
		}
		if s := w.money[a.ID]; s != PaymentDeclined && s != PaymentCaptured && s != PaymentRefunded {
			w.money[a.ID], w.seenBy[a.ID] = PaymentVoided, a.Provider
		}
		p = w.word(a, w.money[a.ID])
		return nil
	})
	return p, err
}

func (w provider) Refund(_ context.Context, a Attempt) (p Payment, err error) {
	err = w.do("refund", func() error {
		if w.money[a.ID] == PaymentCaptured {
			w.money[a.ID] = PaymentRefunded
		}
		p = w.word(a, w.money[a.ID])
		return nil
	})
	return p, err
}

func (w provider) Lookup(_ context.Context, a Attempt) (p Payment, err error) {
	err = w.do("lookup", func() error {
		s := w.money[a.ID]
		if !w.knows(a) {
			return E(CodeNotFound, "")
		}
		p = w.word(a, s)
		return nil
	})
	return p, err
}

// minute is one round of what the background roles do. Its errors are what a
// role would log: the next round takes the same things up again.
func (w *world) minute(e *Engine) (errs []error) {
	ctx := context.Background()
	w.now = w.now.Add(time.Minute)
	note := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	if lost := LostWhat(w.inspect(w.sale)); lost != "" || !w.sale.Repair(0).Frozen.IsZero() {
		_, err := w.rebuilder().Rebuild(ctx, w.sale, 0, Cause{Lost: lost})
		note("rebuild", err)
	}
	w.write()
	w.relay(ctx, note)
	for _, h := range w.sortedHolds() {
		if h.State == Paying {
			note("resolve", e.Resolve(ctx, w.sale, *h))
		}
	}
	w.expire()
	w.pay(ctx, e, note)
	return errs
}

// relay is one round of the relay.
func (w *world) relay(ctx context.Context, note func(string, error)) {
	for _, entry := range slices.Clone(w.outbox) {
		note("relay", w.Publish(ctx, entry))
	}
}

// expire is what the gate's clock does.
func (w *world) expire() {
	for _, h := range w.holds {
		if w.epoch > 0 && !w.frozen && h.State == Held && !w.now.Before(h.ID.CreatedAt().Add(w.sale.HoldTTL)) {
			h.State = Expired
			w.move(&w.stock.Held, &w.stock.Available, w.units(h))
		}
	}
}

// pay is one round of the payments role.
func (w *world) pay(ctx context.Context, e *Engine, note func(string, error)) {
	for _, a := range w.sortedTries() {
		o, ordered := w.orders[a.Reservation]
		if !Final(PaymentMoves, a.State) && a.State != PaymentCaptured && (!ordered || o.Attempt != a.ID) {
			note("resolve attempt", e.ResolveAttempt(ctx, *a))
		}
		o, ordered = w.orders[a.Reservation]
		ours := ordered && o.Attempt == a.ID
		note("settle", w.settle(ctx, a, ours && o.State == Confirmed, ours && o.State == Refused))
	}
}

// sortedTries gives the attempts in the same order each time.
func (w *world) sortedTries() []*Attempt {
	return slices.SortedFunc(maps.Values(w.tries), func(a, b *Attempt) int { return bytes.Compare(a.ID[:], b.ID[:]) })
}

// sortedHolds gives the holds in the same order each time.
func (w *world) sortedHolds() []*Hold {
	return slices.SortedFunc(maps.Values(w.holds), func(a, b *Hold) int { return strings.Compare(a.ID.String(), b.ID.String()) })
}

// sortedOrders gives the orders' ids in the same order each time.
func (w *world) sortedOrders() []ReservationID {
	return slices.SortedFunc(maps.Keys(w.orders), func(a, b ReservationID) int { return strings.Compare(a.String(), b.String()) })
}

// settle is what the payments role does: it captures for orders, voids for those
// that are not to be, and refunds what is owed.
func (w *world) settle(ctx context.Context, a *Attempt, confirmed, refused bool) error {
	switch {
	case refused && a.State == PaymentAuthorised:
		p, err := (provider{w}).Void(ctx, *a)
		if err == nil {
			err = (attempts{w}).Note(ctx, *a, p, "order_refused")
		}
		return err
	case confirmed && a.State == PaymentAuthorised:
		p, err := (provider{w}).Capture(ctx, *a)
		if err == nil {
			err = (attempts{w}).Note(ctx, *a, p, "order_confirmed")
		}
		return err
	case a.State == PaymentCaptured && a.Refund != "":
		p, err := (provider{w}).Refund(ctx, *a)
		if err == nil {
			err = (attempts{w}).Note(ctx, *a, p, a.Refund)
		}
		return err
	}
	return nil
}

// recover runs the background roles, undisturbed, until nothing is left to do.
func (w *world) recover(e *Engine) error {
	w.plan = nil
	var errs []error
	for range 13 {
		errs = w.minute(e)
	}
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}
