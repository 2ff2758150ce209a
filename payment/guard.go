package payment

import (
	"context"
	"errors"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/outside"
)

// Guard makes a Provider fit for the engine: it is engine.Payments. It calls the
// provider as two dependencies (see package outside):
//
//   - payment-NAME-authorise, for buyers who wait;
//   - payment-NAME-settle, for capture, void, refund and look-up.
//
// They are apart because settling is the way out of trouble with authorising: a
// card network that fails, or hangs and fills the bulkhead, must not stop the
// look-ups and voids that give units back; a backlog of captures must not shut
// the door to buyers; and look-ups must not use up the probes of a half-open
// breaker. The price is that an outage of everything is discovered twice.
type Guard struct {
	provider  Provider
	authorise *outside.Dependency
	settle    *outside.Dependency

	doAuthorise, doCapture, doVoid, doRefund, doLookup *call
}

type call = outside.Call[engine.Attempt, engine.Payment]

var _ engine.Payments = (*Guard)(nil)

// NewGuard puts retries, bulkheads, a time-out and breakers around a provider.
func NewGuard(p Provider, c GuardConfig) (*Guard, error) {
	if p == nil {
		return nil, errors.New("payment: a Guard needs a provider")
	}
	g := &Guard{provider: p}
	var err error
	if g.authorise, err = outside.New(c.Board, c.lane("payment-"+p.Name()+"-authorise", c.Concurrency, 256)); err != nil {
		return nil, err
	}
	if g.settle, err = outside.New(c.Board, c.lane("payment-"+p.Name()+"-settle", c.SettleConcurrency, 64)); err != nil {
		return nil, err
	}
	// An authorisation is tried again only if it certainly had no effect: an
	// unknown outcome goes to the engine at once, which looks it up. The others
	// are repeatable by what they do.
	g.doAuthorise = newCall(g.authorise, "authorise", retriable, p.Authorise)
	g.doCapture = newCall(g.settle, "capture", repeatable, p.Capture)
	g.doVoid = newCall(g.settle, "void", repeatable, p.Void)
	g.doRefund = newCall(g.settle, "refund", repeatable, p.Refund)
	g.doLookup = newCall(g.settle, "lookup", repeatable, p.Lookup)
	return g, nil
}

func newCall(d *outside.Dependency, op string, again func(error) bool, do func(context.Context, engine.Attempt) (engine.Payment, error)) *call {
	return outside.NewCall(d, outside.Spec[engine.Attempt, engine.Payment]{
		Op: op, Again: again, Doubt: engine.ErrUnknown, Answers: neverSeen, Result: resultOf, Degraded: degraded,
		Do: func(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
			p, err := do(ctx, a)
			return p, classify(err)
		},
	})
}

// Name is the provider's.
func (g *Guard) Name() string { return g.provider.Name() }

// Budget is the longest that a call takes: the engine's PaymentTimeout.
func (g *Guard) Budget() time.Duration { return g.authorise.Config().Budget }

// State is the authorise breaker's: closed, half-open or open.
func (g *Guard) State() string { return g.authorise.State() }

// SettleState is that of the breaker of capture, void, refund and look-up.
func (g *Guard) SettleState() string { return g.settle.State() }

// Choose names the one provider there is.
func (g *Guard) Choose(context.Context, engine.Attempt) (string, error) { return g.Name(), nil }

// Authorise reserves the money, under the attempt's id as idempotency key.
func (g *Guard) Authorise(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return g.doAuthorise.Do(ctx, a)
}

// Capture takes authorised money.
func (g *Guard) Capture(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return g.doCapture.Do(ctx, a)
}

// Void gives an authorisation back.
func (g *Guard) Void(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return g.doVoid.Do(ctx, a)
}

// Refund gives captured money back.
func (g *Guard) Refund(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return g.doRefund.Do(ctx, a)
}

// Lookup asks what became of an attempt.
func (g *Guard) Lookup(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return g.doLookup.Do(ctx, a)
}

// retriable errors are those of a request that certainly had no effect and may
// fare better soon.
func retriable(err error) bool {
	return engine.CodeOf(err) == engine.CodePaymentUnavailable && !errors.Is(err, engine.ErrUnknown) && !errors.Is(err, ErrRejected)
}

// repeatable ones are also those of a request that may have had its effect.
func repeatable(err error) bool {
	return retriable(err) || errors.Is(err, engine.ErrUnknown) && !errors.Is(err, ErrRejected)
}

func neverSeen(err error) bool { return engine.CodeOf(err) == engine.CodeNotFound }

// judge says what an outcome tells about the provider: it is well when it
// answers, and a decline has no error at all.
func judge(err error) outside.Verdict {
	if errors.Is(err, ErrRejected) || neverSeen(err) {
		return outside.Success
	}
	return outside.Judge(err)
}

// classify makes sure that an error says what it means: one that does not is
// taken for the worst, an outcome unknown.
func classify(err error) error {
	if err == nil || errors.Is(err, engine.ErrUnknown) {
		return err
	}
	switch engine.CodeOf(err) {
	case engine.CodePaymentUnavailable, engine.CodeNotFound:
		return err
	}
	return unknown(err, "the payment provider failed")
}

// degraded is payment's stated answer when there is none: there is no going on
// without money, so it is an error, which says whether money may have moved.
func degraded(_ engine.Attempt, err error) (engine.Payment, error) {
	var e *engine.Error
	var refused *outside.Refused
	switch {
	case errors.As(err, &e) && errors.Is(err, engine.ErrUnknown) && e != err: //nolint:errorlint // joined: an earlier try is in doubt
		return engine.Payment{}, unknown(err, "an earlier try was left unanswered")
	case !errors.As(err, &refused):
		return engine.Payment{}, err
	case errors.Is(err, outside.ErrOpen):
		return engine.Payment{}, notTaken(err, "the payment provider has been failing; it is tried again soon").After(refused.After)
	case errors.Is(err, outside.ErrFull):
		return engine.Payment{}, notTaken(err, "too many payments are under way").After(refused.After)
	}
	return engine.Payment{}, notTaken(err, "the caller left before the payment provider was called")
}

// resultOf names a result from a closed set: a payment state, or why there is none.
func resultOf(p engine.Payment, err error) string {
	switch {
	case err == nil:
		return string(p.State)
	case errors.Is(err, ErrRejected):
		return "rejected"
	case neverSeen(err):
		return "not_found"
	case errors.Is(err, engine.ErrUnknown):
		return "no_answer"
	}
	return "unavailable"
}
