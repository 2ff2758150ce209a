package engine

import "context"

// FraudSuspected is the decline code of a payment that the screening denied.
const FraudSuspected = "fraud_suspected"

// Screening is what a fraud score says of an attempt.
type Screening struct {
	Deny     bool
	Unscored bool // there was no answer; the attempt goes on without one
}

// screen asks Options.Screen about an attempt that is about to be authorised. Its
// error ends the attempt: declined, or unknown. An attempt that was worked on
// before may have been authorised, so it is voided first; one whose provider has
// answered was screened when it was sent.
func (e *Engine) screen(ctx context.Context, s *Sale, a Attempt) error {
	if e.Screen == nil || a.State != PaymentAuthorising {
		return nil
	}
	v := e.Screen(ctx, a)
	if v.Unscored {
		e.Log.Info("a payment goes on unscored", "attempt", a.ID.String())
	}
	switch {
	case !v.Deny:
		return nil
	case a.Fresh:
		e.note(ctx, a, Payment{State: PaymentDeclined}, FraudSuspected)
	case !e.void(ctx, a, Payment{}, FraudSuspected):
		return Wrap(ErrUnknown, CodeUnavailable, "attempt %s was denied and could not be cancelled yet", a.ID)
	}
	return e.ended(ctx, s, a, declined(FraudSuspected))
}
