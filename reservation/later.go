package reservation

import (
	"context"
	"slices"

	"github.com/flashsale-engine/flashsale/engine"
)

// later says who hears the answer to a hold that nobody waits for.
type later struct {
	who   engine.OnHold
	gate  *Gate
	sale  *engine.Sale
	asked int64
}

// HoldThen implements engine.Later. It is Hold without a goroutine that waits:
// to park one for each hold and to wake it up costs a crowd more than the gate's
// part of the decision.
func (g *Gate) HoldThen(ctx context.Context, s *engine.Sale, r engine.HoldRequest, who engine.OnHold) {
	if g.soldOut.says(s, r.Buyer, r.Lines) {
		who.Held(new(engine.Hold), errKnownSoldOut)
		return
	}
	asked := g.soldOut.now()
	o, err := holdOp(s, r)
	if err != nil {
		who.Held(new(engine.Hold), err)
		return
	}
	o.until, o.later = ctx, later{who, g, s, asked}
	if _, err := g.lane(s, shardOf(s, r.Buyer)).enqueue(o); err != nil {
		o.free()
		who.Held(new(engine.Hold), g.judged(opHold, nil, err))
	}
}

// hear passes the answer on.
func (o *op) hear() {
	g, s, who := o.later.gate, o.later.sale, o.later.who
	if o.needsMore(s) {
		// Copied, because Hold may leave an operation behind when the context ends.
		r := engine.HoldRequest{Buyer: o.buyer, Nonce: o.nonce, Lines: slices.Clone(o.lines)}
		ctx := o.until
		o.free()
		go func() {
			h, err := g.Hold(ctx, s, r)
			who.Held(&h, err)
		}()
		return
	}
	err := g.judged(opHold, o, o.err)
	if !o.answer.hold.Replayed {
		g.soldOut.learn(s, o.lines, o.later.asked, err)
	}
	who.Held(&o.answer.hold, err)
	o.free()
}

// needsMore says whether a hold takes more than one call: the script's budget has
// ended, or other shards have to be asked.
func (o *op) needsMore(s *engine.Sale) bool {
	return o.err == nil && (o.answer.refusal == refAgain || o.answer.refusal == refSoldOut && s.Shards > 1)
}

// tellAtOnce is how many answers one goroutine passes on: each is a system call
// of its caller's connection.
const tellAtOnce = 16

// tellAll hands the operations of a call back, in order to those who wait. The
// answers for others are shared among goroutines: the next call need not wait
// for them, and other processors can help.
func (g *Gate) tellAll(batch []*op) {
	var part []*op
	for _, o := range batch {
		if o.later.who == nil {
			o.tell()
			continue
		}
		if len(part) == tellAtOnce {
			g.tellAside(part)
			part = nil
		}
		if part == nil {
			part = make([]*op, 0, tellAtOnce)
		}
		part = append(part, o)
	}
	for _, o := range part {
		o.tell()
	}
}

func (g *Gate) tellAside(part []*op) {
	g.working.Add(1) // it is not 0: the lane is counted
	go func() {
		defer g.leave()
		for _, o := range part {
			o.tell()
		}
	}()
}
