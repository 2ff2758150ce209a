package engine

import (
	"context"
	"slices"
)

// inBooks is what the provider's books say of one attempt.
type inBooks struct {
	Payment
	charges int // payments of the attempt that are captured
}

// books compares the provider's word on money with the record's. The books are
// read first and the record after: what the books hold, the record knew before.
func (v *Verifier) books(ctx context.Context, out *Verdict) error {
	if v.Books == nil {
		return nil
	}
	all := map[AttemptID]inBooks{}
	err := v.Books.Payments(ctx, func(id AttemptID, p Payment) error {
		out.Checked.Payments++
		was, known := all[id]
		if known && was.State == PaymentCaptured && p.State != PaymentCaptured {
			p = was.Payment // whatever else there is, this is what costs somebody money
		}
		now := inBooks{p, was.charges}
		if p.State == PaymentCaptured && (!known || p.Ref != was.Ref) {
			now.charges++
		}
		all[id] = now
		return nil
	})
	if CodeOf(err) == CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	standing, err := v.standing(ctx, all)
	if err != nil {
		return err
	}
	for id, p := range all {
		s := standing[id]
		cause, detail, open := disagree(p, s)
		if open {
			out.Checked.Unresolved++
		}
		// The record may know of it too, and have said so.
		if detail == "" || slices.ContainsFunc(out.Findings, func(f Finding) bool { return f.Attempt == id.String() }) {
			continue
		}
		out.add("unpaid", cause, 1, Finding{Attempt: id.String()}, "attempt %s of %d %s: %s", id, p.Amount.Amount, p.Amount.Currency, detail)
	}
	return nil
}

// standing asks the record about attempts, some thousands at a time.
func (v *Verifier) standing(ctx context.Context, all map[AttemptID]inBooks) (map[AttemptID]Standing, error) {
	ids := make([]AttemptID, 0, len(all))
	for id := range all {
		ids = append(ids, id)
	}
	out := make(map[AttemptID]Standing, len(ids))
	for some := range slices.Chunk(ids, 10_000) {
		list, err := v.Record.Standing(ctx, some)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			out[s.ID] = s
		}
	}
	return out, nil
}

// disagree says what is wrong between the provider and the record about one
// attempt, or that it is open: on its way to an end.
func disagree(p inBooks, s Standing) (cause FindingCause, detail string, open bool) {
	resolving := s.State == PaymentAuthorising || s.State == PaymentUnknown || s.State == PaymentNeedsAction || s.State == PaymentAuthorised
	switch p.State {
	case PaymentCaptured:
		switch {
		case p.charges > 1:
			return CauseChargedTwice, "the provider captured it more than once", false
		case s.Owed || !s.Ordered && resolving: // a refund, or an order, is on its way
			return "", "", true
		case !s.Ordered && s.State == "":
			return CauseStranger, "the provider captured it, and the record does not know the attempt", false
		case !s.Ordered:
			return CauseTaken, "the provider captured it, and no confirmed order has it", false
		case s.Amount != p.Amount:
			return CauseAmount, "the provider captured another amount than the record has", false
		}
	case PaymentAuthorised, PaymentNeedsAction, PaymentUnknown:
		switch {
		case resolving:
			return "", "", true
		case s.Ordered: // captured by the time the record was asked
			return "", "", false
		case p.State == PaymentAuthorised && s.State == "":
			return CauseStranger, "the provider holds the money, and the record does not know the attempt", false
		case p.State == PaymentAuthorised:
			return CauseHeldOn, "the provider holds the money, and the record has ended the attempt: " + string(s.State), false
		}
	case PaymentVoided, PaymentDeclined, PaymentRefunded:
		if s.Ordered && (p.State != PaymentRefunded || !s.Owed) {
			return CauseOrderMoney, "a confirmed order was paid by it, and at the provider it is " + string(p.State), false
		}
	}
	return "", "", resolving && s.State != PaymentAuthorised && !s.Ordered
}
