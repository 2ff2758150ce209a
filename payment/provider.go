package payment

import (
	"context"
	"errors"
	"fmt"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/outside"
)

// Provider is one payment provider. It makes one try per call, ends it when ctx
// does, and classifies what happened:
//
//   - a Payment: the provider's word. A decline is one, and so is "still
//     processing" (state unknown), and so is the state in which it found a
//     payment that could not be captured or voided.
//   - an error that wraps engine.ErrUnknown: the request may have arrived.
//   - CodePaymentUnavailable: it certainly had no effect. It wraps ErrRejected
//     if the provider is well and refused this one request.
//   - CodeNotFound, from Lookup alone: the provider says it never saw the attempt.
type Provider interface {
	// Name is short and stable; it is kept with every payment.
	Name() string
	// Authorise reserves the money under the attempt's id as idempotency key.
	Authorise(ctx context.Context, a engine.Attempt) (engine.Payment, error)
	// Capture takes the whole authorised amount. Repeatable.
	Capture(ctx context.Context, a engine.Attempt) (engine.Payment, error)
	// Void cancels the attempt and bars it if it was never seen. It never gives
	// captured money back: it reports the state captured. Repeatable.
	Void(ctx context.Context, a engine.Attempt) (engine.Payment, error)
	// Refund gives the whole captured amount back. Repeatable.
	Refund(ctx context.Context, a engine.Attempt) (engine.Payment, error)
	// Lookup reads what became of the attempt.
	Lookup(ctx context.Context, a engine.Attempt) (engine.Payment, error)
}

// ErrRejected marks a request that a healthy provider refused for what it says:
// repeating it is useless, and the breaker does not count it.
var ErrRejected = errors.New("rejected by the provider")

// ErrBreakerOpen marks a call that was not made because its breaker is open.
var ErrBreakerOpen = outside.ErrOpen

// notTaken makes the error of a request that certainly had no effect.
func notTaken(cause error, format string, args ...any) *engine.Error {
	return engine.Wrap(cause, engine.CodePaymentUnavailable, format, args...)
}

// unknown makes the error of a request that may have had one.
func unknown(cause error, format string, args ...any) *engine.Error {
	if !errors.Is(cause, engine.ErrUnknown) {
		cause = fmt.Errorf("%w: %w", engine.ErrUnknown, cause)
	}
	return engine.Wrap(cause, engine.CodeUnavailable, format, args...)
}
