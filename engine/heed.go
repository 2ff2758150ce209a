package engine

import (
	"context"
	"time"
)

// Heed acts on a provider's event. The event is no more than a hint where to
// look: what counts is what the provider says when it is asked, so events that
// are late, doubled, out of order or forged change nothing.
func (e *Engine) Heed(ctx context.Context, ev ProviderEvent) error {
	if ev.Attempt == (AttemptID{}) {
		return nil
	}
	a, err := e.Attempts.Find(ctx, ev.Attempt)
	switch {
	case CodeOf(err) == CodeNotFound:
		return nil // another installation's, on the same account
	case err != nil:
		return err
	case a.State == PaymentCaptured, a.State == PaymentRefunded:
		return nil
	case a.State == PaymentAuthorising && e.Clock.Now().Before(a.LeaseUntil):
		return nil // the usual one: the node that pays is about to hear it itself
	case a.State == PaymentNeedsAction && e.Clock.Now().Before(a.LeaseUntil):
		// Somebody has asked, perhaps a moment too early.
		return E(CodeAttemptInProgress, "attempt %s is being asked about", a.ID).After(time.Second)
	case Final(PaymentMoves, a.State):
		return e.stray(ctx, a)
	}
	return e.ResolveAttempt(ctx, a)
}

// stray gives back money of an attempt that had ended: an authorisation that
// came through although it was cancelled.
func (e *Engine) stray(ctx context.Context, a Attempt) error {
	p, err := e.Payments.Lookup(ctx, a)
	if err != nil {
		return ignoreCode(err, CodeNotFound)
	}
	switch p.State {
	case PaymentAuthorised, PaymentNeedsAction:
		_, err = e.Payments.Void(ctx, a)
	case PaymentCaptured:
		_, err = e.Payments.Refund(ctx, a)
	default:
		return nil
	}
	e.Log.WarnContext(ctx, "a payment that had ended held money; it goes back", "attempt", a.ID.String(), "on_record", a.State, "at_provider", p.State, "err", err)
	return err
}
