package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/ops"
)

// TimeLine implements ops.Buyers: the way of one reservation, from those who keep it.
func (n stories) TimeLine(ctx context.Context, id engine.ReservationID) (ops.TimeLine, error) {
	out := ops.TimeLine{Reservation: id.String(), Events: []ops.Event{}, Traces: []string{}, Unknown: []string{}}
	unknown := func(format string, args ...any) { out.Unknown = append(out.Unknown, fmt.Sprintf(format, args...)) }
	s, err := n.cache.SaleByNo(ctx, id.Sale)
	if err != nil {
		return out, err
	}
	add := func(at time.Time, from, name, format string, args ...any) {
		out.Events = append(out.Events, ops.Event{At: at, From: from, ID: name, Sale: s.ID, What: fmt.Sprintf(format, args...)})
	}
	attempts, err := n.attempts.OfReservation(ctx, id)
	if err != nil {
		return out, err
	}
	h, err := n.gate.Find(ctx, s, id)
	switch {
	case err == nil:
		add(id.CreatedAt(), "gate", id.String(), "%s", holdStory(h))
	case engine.CodeOf(err) == engine.CodeNotFound && len(attempts) == 0:
		return out, engine.E(engine.CodeNotFound, "neither the gate nor the record knows %s", id)
	default:
		unknown("the gate does not say what became of the reservation (%v)", engine.CodeOf(err))
		add(id.CreatedAt(), "gate", id.String(), "reservation")
	}
	for _, a := range attempts {
		add(a.BegunAt, "payments", a.ID.String(), "payment of %d %s begun, by %s", a.Amount.Amount, a.Amount.Currency, orNone(a.Provider))
		if p := strings.Split(a.Traceparent, "-"); len(p) > 1 && !slices.Contains(out.Traces, p[1]) {
			out.Traces = append(out.Traces, p[1])
		}
		if a.State == engine.PaymentDeclined {
			unknown("payment %s was declined: %s; when, is in its trace only", a.ID, a.Reason)
		}
	}
	if o, err := n.orders.Order(ctx, id); err == nil {
		add(o.PlacedAt, "orders", id.Order(), "order %s", orderStory(o))
	} else if engine.CodeOf(err) != engine.CodeNotFound {
		unknown("the record does not say whether there is an order (%v)", engine.CodeOf(err))
	}
	moves, err := n.attempts.MoneyOf(ctx, id)
	if err != nil {
		unknown("the record does not say what money has moved (%v)", engine.CodeOf(err))
	}
	for _, m := range moves {
		add(m.At, "money", m.Attempt.String(), "%d %s %s by %s, noted by %s: %s", m.Amount.Amount, m.Amount.Currency, m.Kind, orNone(m.Provider), m.Actor, m.Reason)
	}
	slices.SortStableFunc(out.Events, func(a, b ops.Event) int { return a.At.Compare(b.At) })
	return out, nil
}
