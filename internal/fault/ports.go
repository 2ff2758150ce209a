package fault

import (
	"context"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Attempts puts the plan around the durable list of attempts.
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
	return Around(ctx, a.plan, "attempt", func() (engine.Attempt, error) { return a.Attempts.Begin(ctx, at, lease) })
}

func (a attempts) Resume(ctx context.Context, id engine.AttemptID, lease time.Duration) (engine.Attempt, error) {
	return Around(ctx, a.plan, "resume", func() (engine.Attempt, error) { return a.Attempts.Resume(ctx, id, lease) })
}

func (a attempts) Keep(ctx context.Context, at engine.Attempt, lease time.Duration) (engine.Attempt, error) {
	return Around(ctx, a.plan, "keep", func() (engine.Attempt, error) { return a.Attempts.Keep(ctx, at, lease) })
}

func (a attempts) Note(ctx context.Context, at engine.Attempt, m engine.Payment, reason string) error {
	return around(ctx, a.plan, "note", func() error { return a.Attempts.Note(ctx, at, m, reason) })
}

func (a attempts) Park(ctx context.Context, at engine.Attempt, how engine.Parking, room int) (bool, error) {
	return Around(ctx, a.plan, "park", func() (bool, error) { return a.Attempts.Park(ctx, at, how, room) })
}

func (a attempts) Owe(ctx context.Context, id engine.AttemptID, reason string) error {
	return around(ctx, a.plan, "owe", func() error { return a.Attempts.Owe(ctx, id, reason) })
}

// Payments puts it around the calls that move money, or ask for it.
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

func (m payments) call(ctx context.Context, what string, a engine.Attempt, f func(context.Context, engine.Attempt) (engine.Payment, error)) (engine.Payment, error) {
	return Around(ctx, m.plan, what, func() (engine.Payment, error) { return f(ctx, a) })
}

func (m payments) Authorise(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return m.call(ctx, "authorise", a, m.Payments.Authorise)
}

func (m payments) Capture(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return m.call(ctx, "capture", a, m.Payments.Capture)
}

func (m payments) Void(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return m.call(ctx, "void", a, m.Payments.Void)
}

func (m payments) Refund(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return m.call(ctx, "refund", a, m.Payments.Refund)
}

func (m payments) Lookup(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return m.call(ctx, "lookup", a, m.Payments.Lookup)
}

// Gate puts it around what changes a hold.
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

func (g gate) call(ctx context.Context, what string, f func() (engine.Hold, error)) (engine.Hold, error) {
	return Around(ctx, g.plan, what, f)
}

func (g gate) Hold(ctx context.Context, s *engine.Sale, r engine.HoldRequest) (engine.Hold, error) {
	return g.call(ctx, "hold", func() (engine.Hold, error) { return g.Gate.Hold(ctx, s, r) })
}

func (g gate) BeginPayment(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence) (engine.Hold, error) {
	return g.call(ctx, "begin", func() (engine.Hold, error) { return g.Gate.BeginPayment(ctx, s, id, f) })
}

func (g gate) Return(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence) (engine.Hold, error) {
	return g.call(ctx, "return", func() (engine.Hold, error) { return g.Gate.Return(ctx, s, id, f) })
}

func (g gate) Release(ctx context.Context, s *engine.Sale, id engine.ReservationID) (engine.Hold, error) {
	return g.call(ctx, "release", func() (engine.Hold, error) { return g.Gate.Release(ctx, s, id) })
}

func (g gate) Claim(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence, event []byte) (engine.Hold, engine.OutboxEntry, error) {
	type claimed struct {
		hold  engine.Hold
		entry engine.OutboxEntry
	}
	c, err := Around(ctx, g.plan, "claim", func() (c claimed, err error) {
		c.hold, c.entry, err = g.Gate.Claim(ctx, s, id, f, event)
		return c, err
	})
	return c.hold, c.entry, err
}

// Stream puts it around the hand-over of an event.
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
	return around(ctx, s.plan, "publish", func() error { return s.Stream.Publish(ctx, e) })
}
