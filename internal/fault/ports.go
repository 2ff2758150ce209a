package fault

import (
	"context"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Attempts puts the plan's points around the durable note of an attempt.
func (p *Plan) Attempts(a engine.Attempts) engine.Attempts {
	if p == nil {
		return a
	}
	return attempts{a, p}
}

type attempts struct {
	engine.Attempts
	plan *Plan
}

func (a attempts) Begin(ctx context.Context, at engine.Attempt, lease time.Duration) (engine.Attempt, error) {
	return Around(a.plan, "attempt", func() (engine.Attempt, error) { return a.Attempts.Begin(ctx, at, lease) })
}

// Payments puts them around the calls that move money.
func (p *Plan) Payments(m engine.Payments) engine.Payments {
	if p == nil {
		return m
	}
	return payments{m, p}
}

type payments struct {
	engine.Payments
	plan *Plan
}

func (m payments) Authorise(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return Around(m.plan, "authorise", func() (engine.Payment, error) { return m.Payments.Authorise(ctx, a) })
}

func (m payments) Capture(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return Around(m.plan, "capture", func() (engine.Payment, error) { return m.Payments.Capture(ctx, a) })
}

// Gate puts them around the claim.
func (p *Plan) Gate(g engine.Gate) engine.Gate {
	if p == nil {
		return g
	}
	return gate{g, p}
}

type gate struct {
	engine.Gate
	plan *Plan
}

func (g gate) Claim(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence, event []byte) (h engine.Hold, e engine.OutboxEntry, err error) {
	e, err = Around(g.plan, "claim", func() (e engine.OutboxEntry, err error) {
		h, e, err = g.Gate.Claim(ctx, s, id, f, event)
		return e, err
	})
	return h, e, err
}

// Stream puts them around the hand-over of an event.
func (p *Plan) Stream(s engine.Stream) engine.Stream {
	if p == nil {
		return s
	}
	return stream{s, p}
}

type stream struct {
	engine.Stream
	plan *Plan
}

func (s stream) Publish(ctx context.Context, e engine.OutboxEntry) error {
	_, err := Around(s.plan, "publish", func() (struct{}, error) { return struct{}{}, s.Stream.Publish(ctx, e) })
	return err
}
