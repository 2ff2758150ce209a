package main

import (
	"context"
	"fmt"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/ops"
	"github.com/flashsale-engine/flashsale/reservation"
)

// stories tell support what became of a buyer: see docs/support.md.
type stories struct{ *node }

// mostAttempts bounds a story; no buyer has begun as many payments.
const mostAttempts = 1000

// Story implements ops.Buyers. What cannot be asked is said, not left out.
func (n stories) Story(ctx context.Context, buyer, sale string, record bool) (ops.Story, error) {
	out := ops.Story{Node: n.replies.Node(), Decisions: []ops.Told{}, Events: []ops.Event{}, Unknown: []string{}}
	unknown := func(format string, args ...any) { out.Unknown = append(out.Unknown, fmt.Sprintf(format, args...)) }
	sales, err := n.sales.List(ctx)
	if err != nil {
		if sales = n.cache.Active(); len(sales) == 0 {
			return out, err
		}
		unknown("the record does not answer (%v): only sales that are active are looked at", engine.CodeOf(err))
	}
	if sale != "" {
		if sales = only(sales, sale); len(sales) == 0 {
			return out, engine.E(engine.CodeNotFound, "no sale %s", sale)
		}
	}
	n.told(&out, buyer, sale, sales, unknown)
	if !record {
		return out, nil
	}
	for _, s := range sales {
		if s.Epoch == 0 || s.State == engine.SaleClosed && sale == "" {
			continue // not at the gate any more, unless somebody asks for just this one
		}
		holds, err := n.gate.OfBuyer(ctx, s, reservation.Hasher{}.Buyer(s, buyer))
		if err != nil {
			unknown("the gate of sale %s does not say (%v)", s.ID, engine.CodeOf(err))
		}
		for _, h := range holds {
			out.Events = append(out.Events, ops.Event{At: h.ID.CreatedAt().UTC(), From: "gate", ID: h.ID.String(), Sale: s.ID, What: holdStory(h)})
		}
	}
	n.paid(ctx, &out, buyer, sale, sales, unknown)
	return out, nil
}

func only(sales []*engine.Sale, id string) []*engine.Sale {
	for _, s := range sales {
		if s.ID == id {
			return []*engine.Sale{s}
		}
	}
	return nil
}

// told adds what this node has answered, with the names of what it was about.
func (n stories) told(out *ops.Story, buyer, sale string, sales []*engine.Sale, unknown func(string, ...any)) {
	if n.trail == nil {
		out.Since = time.Now().UTC()
		unknown("this node remembers no answers: it has not the role api, or --decisions is 0")
		return
	}
	names, skus := map[uint32]string{}, map[uint32]string{}
	for _, s := range sales {
		names[n.trail.Name(s.ID)] = s.ID
		for _, it := range s.Items {
			skus[n.trail.Name(it.SKU)] = it.SKU
		}
	}
	list, since := n.trail.Decisions(buyer)
	out.Since = since
	for _, d := range list {
		// A checkout names a reservation and not its sale.
		if name, known := names[d.Sale]; known || d.Sale == 0 || sale == "" {
			out.Decisions = append(out.Decisions, ops.Told{Decision: d, Sale: name, SKU: skus[d.SKU]})
		}
	}
}

func holdStory(h engine.Hold) string {
	text := fmt.Sprintf("reservation, %s, now %s", placeOf(h.Seq, "put back by a rebuild of the gate"), h.State)
	switch h.State {
	case engine.Held, engine.Paying:
		text += " until " + stampOf(h.ExpiresAt)
	case engine.Expired, engine.Released:
		text += " since " + stampOf(h.ExpiresAt)
	}
	if h.Attempts > 0 {
		text += fmt.Sprintf(", %d payment attempts", h.Attempts)
	}
	return text
}

// placeOf is a decision's place. What was put back from the record has none at the gate
// that is there now: its place was in one that is gone.
func placeOf(seq uint64, otherwise string) string {
	if seq == 0 {
		return otherwise
	}
	return fmt.Sprintf("seq %d", seq)
}

// orderStory is an order's decision. One that was written anew may be of a gate that was rebuilt.
func orderStory(o engine.Order) string {
	text := fmt.Sprintf("%s, %s of epoch %d", o.State, placeOf(o.Seq, "written anew after a rebuild, by the gate"), o.Epoch)
	if o.Reason != "" {
		text += ", " + o.Reason
	}
	return text
}

func stampOf(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// paid adds the buyer's payments and what orders they made.
func (n stories) paid(ctx context.Context, out *ops.Story, buyer, sale string, sales []*engine.Sale, unknown func(string, ...any)) {
	var no uint32
	names := map[uint32]string{}
	for _, s := range sales {
		if names[s.No] = s.ID; sale != "" {
			no = s.No
		}
	}
	attempts, err := n.attempts.OfBuyer(ctx, buyer, no, mostAttempts)
	if err != nil {
		unknown("the record does not say what the buyer has paid for (%v)", engine.CodeOf(err))
		return
	}
	seen := map[engine.ReservationID]bool{}
	for _, a := range attempts {
		text := fmt.Sprintf("payment of %d %s for %s by %s, now %s", a.Amount.Amount, a.Amount.Currency, a.Reservation, orNone(a.Provider), a.State)
		for _, why := range []string{a.Reason, string(a.Parked), a.Refund} {
			if why != "" {
				text += ", " + why
			}
		}
		out.Events = append(out.Events, ops.Event{At: a.BegunAt, From: "payments", ID: a.ID.String(), Sale: names[a.Reservation.Sale], What: text})
		if seen[a.Reservation] {
			continue
		}
		seen[a.Reservation] = true
		o, err := n.orders.Order(ctx, a.Reservation)
		if engine.CodeOf(err) == engine.CodeNotFound {
			continue
		} else if err != nil {
			unknown("the record does not say whether %s became an order (%v)", a.Reservation, engine.CodeOf(err))
			continue
		}
		out.Events = append(out.Events, ops.Event{At: o.PlacedAt, From: "orders", ID: o.ID.Order(), Sale: o.SaleID, What: fmt.Sprintf("order of %s, %s", a.Reservation, orderStory(o))})
	}
}

func orNone(s string) string {
	if s == "" {
		return "no provider yet"
	}
	return s
}
