package payment

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Guard makes a Provider fit for the engine: it is engine.Payments.
type Guard struct {
	provider  Provider
	config    GuardConfig
	authorise *lane
	settle    *lane
	metrics   *guardMetrics
}

var _ engine.Payments = (*Guard)(nil)

// NewGuard puts retries, bulkheads, a time-out and breakers around a provider.
func NewGuard(p Provider, c GuardConfig) (*Guard, error) {
	if p == nil {
		return nil, errors.New("payment: a Guard needs a provider")
	}
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	g := &Guard{provider: p, config: c, authorise: newLane("authorise", c.Concurrency, c), settle: newLane("settle", c.SettleConcurrency, c)}
	var err error
	g.metrics, err = newGuardMetrics(c.Registerer, p.Name(), g.authorise, g.settle)
	return g, err
}

// Budget is the longest that a call takes: the engine's PaymentTimeout.
func (g *Guard) Budget() time.Duration { return g.config.Budget }

// State is the authorise breaker's: closed, half-open or open.
func (g *Guard) State() string { return g.authorise.breaker.State().String() }

// SettleState is that of the breaker of capture, void and look-up.
func (g *Guard) SettleState() string { return g.settle.breaker.State().String() }

// Authorise is tried again only if it certainly had no effect. An unknown
// outcome goes to the engine at once, which looks it up.
func (g *Guard) Authorise(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return g.call(ctx, "authorise", g.authorise, retriable, func(ctx context.Context) (engine.Payment, error) { return g.provider.Authorise(ctx, a) })
}

// Capture takes authorised money; it is repeated under its own key.
func (g *Guard) Capture(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return g.call(ctx, "capture", g.settle, repeatable, func(ctx context.Context) (engine.Payment, error) { return g.provider.Capture(ctx, a) })
}

// Void gives an authorisation back; it is repeated.
func (g *Guard) Void(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return g.call(ctx, "void", g.settle, repeatable, func(ctx context.Context) (engine.Payment, error) { return g.provider.Void(ctx, a) })
}

// Refund gives captured money back; it is repeated.
func (g *Guard) Refund(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return g.call(ctx, "refund", g.settle, repeatable, func(ctx context.Context) (engine.Payment, error) { return g.provider.Refund(ctx, a) })
}

// Lookup asks what became of an attempt; it is repeated.
func (g *Guard) Lookup(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return g.call(ctx, "lookup", g.settle, repeatable, func(ctx context.Context) (engine.Payment, error) { return g.provider.Lookup(ctx, a) })
}

// retriable errors are those of a request that certainly had no effect and may
// fare better soon. Behind an open breaker or a full bulkhead, soon is too early.
func retriable(err error) bool {
	return engine.CodeOf(err) == engine.CodePaymentUnavailable && !errors.Is(err, engine.ErrUnknown) && !final(err)
}

// repeatable ones are also those of a request that may have had its effect.
func repeatable(err error) bool {
	return retriable(err) || errors.Is(err, engine.ErrUnknown) && !final(err)
}

func final(err error) bool {
	return errors.Is(err, ErrBreakerOpen) || errors.Is(err, errFull) || errors.Is(err, ErrRejected)
}

// call tries until there is an answer, an error that a repetition cannot mend,
// or no time left for another full try. Once one try was left unanswered, a
// later one that was not even sent does not make the whole certain.
func (g *Guard) call(ctx context.Context, op string, l *lane, again func(error) bool, try func(context.Context) (engine.Payment, error)) (engine.Payment, error) {
	if err := ctx.Err(); err != nil {
		return engine.Payment{}, notTaken(err, "the caller left before the payment provider was called")
	}
	lastStart := time.Now().Add(g.config.Budget - g.config.Timeout)
	backoff := g.config.Backoff
	var unanswered error
	for n := 1; ; n++ {
		p, took, err := l.do(ctx, try)
		g.metrics.tried(op, took, p, err)
		if err == nil || engine.CodeOf(err) == engine.CodeNotFound {
			return p, err
		}
		if errors.Is(err, engine.ErrUnknown) {
			unanswered = err
		}
		wait := backoff/2 + rand.N(backoff/2+1) //nolint:gosec // jitter, not a secret
		if n == g.config.Tries || !again(err) || time.Now().Add(wait).After(lastStart) || !rest(ctx, wait) {
			if unanswered != nil && !errors.Is(err, engine.ErrUnknown) {
				return p, unknown(errors.Join(unanswered, err), "an earlier try was left unanswered")
			}
			return p, err
		}
		backoff = min(2*backoff, g.config.MaxBackoff)
	}
}

// rest pauses, and says false if the caller leaves meanwhile.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
