package reservation

import (
	"context"
	"math/rand/v2"
	"sync"

	"github.com/flashsale-engine/flashsale/engine"
)

// balanceRest leaves units alone that came a moment ago: what was fetched for a
// shard's buyers is not taken away again, and no unit wanders.
const balanceRest = 100 * rest

// Balance implements engine.GateShards. A shard gets units when it has less than
// half of its share of what is available, and they come from shards that have
// more than theirs, as many as bring one of the two to its share. Between the
// two marks nothing moves, and the last few units move only when asked for.
func (g *Gate) Balance(ctx context.Context, s *engine.Sale, limit int) (engine.Balanced, error) {
	var done engine.Balanced
	if s.Shards <= 1 {
		return done, nil
	}
	v, err := g.survey(ctx, s, "")
	if err != nil {
		return done, err
	}
	if done.Completed, err = g.completeAll(ctx, s, v); err != nil {
		return done, err
	}
	for _, i := range rand.Perm(len(s.Items)) { //nolint:gosec // under the limit each has its turn; nobody gains by guessing it
		have, sum := v.available(s.Items[i].No)
		for share := sum / int64(len(have)); done.Transfers < limit; {
			o, ok := even(s.Items[i].No, have, share)
			if !ok {
				break
			}
			t, kind, err := g.transfer(ctx, s, o)
			if err != nil {
				return done, err
			}
			if kind != departed {
				break // it is in use
			}
			have[o.from] -= t.Units
			have[o.to] += t.Units
			done.Transfers++
			done.Units += t.Units
		}
	}
	return done, nil
}

// leastShare is the share below which nothing is balanced.
const leastShare = 4

// even gives the next transfer from the richest shard to the poorest.
func even(no uint16, have []int64, share int64) (order, bool) {
	by := richest(have)
	rich, poor := by[0], by[len(by)-1]
	units := min(have[rich]-share, share-have[poor])
	if share < leastShare || 2*have[poor] >= share || units < 1 {
		return order{}, false
	}
	return order{no: no, from: rich, to: poor, most: units, least: 1, stay: share, rest: balanceRest}, true
}

// eachShard runs f for every shard of a sale at the same time and gives the
// first error in their order.
func eachShard(s *engine.Sale, f func(shard int) error) error {
	if s.Shards <= 1 {
		return f(0)
	}
	errs := make([]error, s.Shards)
	var wg sync.WaitGroup
	for shard := range errs {
		wg.Go(func() { errs[shard] = f(shard) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
