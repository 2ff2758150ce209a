package reservation

import (
	"context"

	"github.com/flashsale-engine/flashsale/engine"
)

// allot brings the stock of a SKU over all shards to an absolute number.
//
// It claims every shard, which takes the right to go on from whoever else was at
// it, reads what each was allotted, and gives or takes the difference. A crash on
// the way leaves a sum that differs from the number, and the same call again
// reads that sum. While it takes away, the sum is at most what it was; while it
// gives, at most the number.
func (g *Gate) allot(ctx context.Context, s *engine.Sale, item uint16, stock int64) error {
	a := allotment{g: g, s: s, item: item, token: token()}
	var sum int64
	for shard := range s.Shards {
		got, err := a.call(ctx, shard, "claim", 0)
		if err != nil {
			return err
		}
		if len(got) == 0 {
			return nil // a later version of the sale stands there
		}
		sum += got[0]
	}
	if stock >= sum {
		return a.give(ctx, stock-sum)
	}
	return a.take(ctx, sum-stock)
}

type allotment struct {
	g     *Gate
	s     *engine.Sale
	item  uint16
	token string
}

func (a allotment) call(ctx context.Context, shard int, what string, units int64) ([]int64, error) {
	l := a.s.Lease(shard)
	reply, err := a.g.run(ctx, "allot", allotScript, keysOf(a.s.No, shard).forTransfer(), l, l.Epoch, a.s.Version, uint64(a.item), a.token, what, units)
	if err != nil {
		return nil, err
	}
	n := 1
	if what == "claim" {
		n = 2
	}
	return integers(reply, n)
}

// step gives units to a shard, or takes at most as many; done is how many.
func (a allotment) step(ctx context.Context, shard int, units int64) (done int64, err error) {
	if units == 0 {
		return 0, nil
	}
	got, err := a.call(ctx, shard, "step", units)
	if err != nil {
		return 0, err
	}
	if len(got) == 0 {
		return 0, engine.E(engine.CodeUnavailable, "another change of the stock of SKU %d is under way", a.item).After(retryAfter)
	}
	return got[0], nil
}

func (a allotment) give(ctx context.Context, units int64) error {
	for shard := range a.s.Shards {
		if _, err := a.step(ctx, shard, part(units, shard, a.s.Shards)); err != nil {
			return err
		}
	}
	return nil
}

// takePasses bounds the looks for units that transfers carry past each other.
const takePasses = 8

// take takes units from whichever shards have them: all, or none.
func (a allotment) take(ctx context.Context, units int64) error {
	taken := make([]int64, a.s.Shards)
	for range takePasses {
		v, err := a.g.survey(ctx, a.s, skuField(a.item))
		if err != nil {
			return err
		}
		if _, err := a.g.completeAll(ctx, a.s, v, a.item); err != nil {
			return err
		}
		have, sum := v.available(a.item)
		if sum+v.flying()[a.item] < units {
			break
		}
		for _, shard := range richest(have) {
			got, err := a.step(ctx, shard, -min(units, have[shard]))
			if err != nil {
				return err // the sum is too low now; whoever repeats the call sees it
			}
			taken[shard] -= got
			if units += got; units == 0 {
				return nil
			}
		}
	}
	for shard, n := range taken {
		if _, err := a.step(ctx, shard, n); err != nil {
			return err
		}
	}
	return tooFew(a.item)
}
