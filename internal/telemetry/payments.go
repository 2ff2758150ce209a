package telemetry

import (
	"context"

	"github.com/flashsale-engine/flashsale/engine"
)

// Payments makes each call of the payment provider a step of the trace in which the
// attempt was begun, whoever calls, and when.
func (t *Telemetry) Payments(p engine.Payments) engine.Payments {
	if t == nil {
		return p
	}
	return payments{p, t}
}

type payments struct {
	engine.Payments
	t *Telemetry
}

func (p payments) call(ctx context.Context, name string, a engine.Attempt, do func(context.Context, engine.Attempt) (engine.Payment, error)) (engine.Payment, error) {
	ctx, span := p.t.Resume(ctx, a.Traceparent, name)
	out, err := do(ctx, a)
	if span.On() {
		span.Set("attempt", a.ID.String(), "provider", a.Provider, "state", string(out.State))
		span.End(err)
	}
	return out, err
}

func (p payments) Authorise(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return p.call(ctx, "authorise", a, p.Payments.Authorise)
}

func (p payments) Capture(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return p.call(ctx, "capture", a, p.Payments.Capture)
}

func (p payments) Void(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return p.call(ctx, "void", a, p.Payments.Void)
}

func (p payments) Refund(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return p.call(ctx, "refund", a, p.Payments.Refund)
}

func (p payments) Lookup(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return p.call(ctx, "look up", a, p.Payments.Lookup)
}
