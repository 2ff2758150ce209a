package reservation

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// want is a hold that its home shard could not serve, waiting for one SKU.
type want struct {
	ctx    context.Context
	home   int
	units  int64
	ticket uint64 // who came first: the same order at every SKU's board
	done   chan struct{}
	gone   bool // a look at every shard says that there are not enough units
	err    error
}

// board gathers the wants of one SKU of a sale on this node. One round is under
// way at a time: it looks at all shards, tells those for whom nothing is left,
// and brings the others what they ask for. Who comes meanwhile waits for the
// next round, so nobody is told of a look that began before their refusal, and a
// crowd costs no more looks than one buyer.
type board struct {
	gate *Gate
	sale *engine.Sale
	no   uint16

	mu      sync.Mutex
	waiting []*want
	busy    bool
}

type boardKey struct {
	sale uint32
	no   uint16
}

type boards struct {
	mu      sync.Mutex
	by      map[boardKey]*board
	tickets atomic.Uint64
}

// boardOf finds or makes the board of a SKU. One of other leases is left to those
// who wait at it: its calls decide nothing.
func (g *Gate) boardOf(s *engine.Sale, no uint16) *board {
	k := boardKey{s.No, no}
	g.boards.mu.Lock()
	defer g.boards.mu.Unlock()
	b := g.boards.by[k]
	if b == nil || b.sale.Epoch != s.Epoch || !slices.Equal(b.sale.Leases, s.Leases) {
		if g.boards.by == nil {
			g.boards.by = map[boardKey]*board{}
		}
		b = &board{gate: g, sale: s, no: no}
		g.boards.by[k] = b
	}
	return b
}

// fetch brings units of the lines into the home shard. gone says that a look at
// every shard found too few of some line; else the hold may be tried again.
func (g *Gate) fetch(ctx context.Context, s *engine.Sale, home int, lines []engine.Line, ticket uint64) (gone bool, err error) {
	for _, l := range lines {
		w := &want{ctx: ctx, home: home, units: int64(l.Quantity), ticket: ticket, done: make(chan struct{})}
		if err := g.boardOf(s, l.No).ask(w); err != nil {
			return false, err
		}
		select {
		case <-w.done:
		case <-ctx.Done():
			return false, unavailable(ctx.Err(), "the request ended while units were fetched from other shards")
		}
		if w.err != nil || w.gone {
			return w.gone, w.err
		}
	}
	return false, nil
}

func (b *board) ask(w *want) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) >= b.gate.opt.MaxQueue {
		return overloaded()
	}
	if !b.busy {
		if !b.gate.enter() {
			return unavailable(errClosed, "the gate is closed")
		}
		b.busy = true
		go b.work()
	}
	b.waiting = append(b.waiting, w)
	return nil
}

// pace is the least time between two rounds that found nothing: a crowd that
// keeps asking for what is gone must not keep Redis busy with looking.
const pace = 2 * time.Millisecond

func (b *board) work() {
	defer b.gate.leave()
	for {
		b.mu.Lock()
		round := b.waiting
		b.waiting = nil
		if len(round) == 0 {
			b.busy = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		round = slices.DeleteFunc(round, func(w *want) bool { return w.ctx.Err() != nil })
		if len(round) == 0 {
			continue
		}
		began := time.Now()
		b.serve(context.Background(), round)
		for _, w := range round {
			close(w.done)
		}
		if round[0].gone {
			time.Sleep(pace - time.Since(began))
		}
	}
}

// serve answers one round.
func (b *board) serve(ctx context.Context, round []*want) {
	slices.SortStableFunc(round, func(x, y *want) int { return cmp.Compare(x.ticket, y.ticket) })
	v, err := b.look(ctx, round)
	if err != nil {
		for _, w := range round {
			w.err = err
		}
		return
	}
	have, sum := v.available(b.no)
	reach := sum + v.flying()[b.no]
	share, target := sum/int64(len(have)), make([]int64, len(have))
	pool, agreed := sum, len(v.late()) == 0
	for _, w := range round {
		switch {
		case w.units > reach:
			w.gone = agreed // else nobody knows, and they ask again
		case w.units <= pool:
			target[w.home] += w.units
			pool -= w.units
		}
	}
	b.bring(ctx, round, plan(b.no, have, target, share))
}

// look surveys the shards. It completes what others left open, and before it
// lets anybody hear "gone" it takes back what is due, in every shard.
func (b *board) look(ctx context.Context, round []*want) (survey, error) {
	g, s := b.gate, b.sale
	most := int64(0)
	for _, w := range round {
		most = max(most, w.units)
	}
	sku := skuField(b.no)
	v, err := g.survey(ctx, s, sku)
	if err != nil {
		return nil, err
	}
	completed, err := g.completeAll(ctx, s, v, b.no)
	if err != nil {
		return nil, err
	}
	_, sum := v.available(b.no)
	short := sum < most
	if short {
		if err := g.reclaim(ctx, s); err != nil {
			return nil, err
		}
	}
	if completed > 0 || short {
		return g.survey(ctx, s, sku)
	}
	return v, nil
}

// completeAll brings open transfers to their end: those of a SKU, or of all.
func (g *Gate) completeAll(ctx context.Context, s *engine.Sale, v survey, only ...uint16) (n int, err error) {
	for _, t := range v.open() {
		if len(only) > 0 && !slices.Contains(only, t.No) {
			continue
		}
		if err := g.complete(ctx, s, t); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// reclaim expires due holds in every shard, until none is left or a call's
// budget has ended often enough.
func (g *Gate) reclaim(ctx context.Context, s *engine.Sale) error {
	return eachShard(s, func(shard int) error {
		for range searches {
			d, err := g.decide(ctx, s.No, shard, s.Lease(shard), nil, -reclaimBudget)
			if err != nil || !d.more {
				return err
			}
		}
		return nil
	})
}

// reclaimBudget is how many due holds one call takes back.
const reclaimBudget = 256

// plan says which transfers give every shard its target. A shard that gets some
// gets up to its share of all, from those that have more than theirs, so that it
// does not have to ask again at once.
func plan(no uint16, have, target []int64, share int64) (out []order) {
	spare := make([]int64, len(have))
	for i := range have {
		spare[i] = max(have[i]-target[i], 0)
	}
	for to := range have {
		need := target[to] - have[to]
		if need <= 0 {
			continue
		}
		extra := max(share-have[to]-need, 0)
		for _, from := range richest(spare) {
			if from == to || need == 0 && extra == 0 {
				continue
			}
			units := min(spare[from], need)
			need -= units
			more := min(max(spare[from]-units-max(share-target[from], 0), 0), extra)
			extra -= more
			if units += more; units > 0 {
				out = append(out, order{no: no, from: from, to: to, most: units, least: 1, stay: target[from]})
				spare[from] -= units
			}
		}
	}
	return out
}

// rest is how long units that were brought for somebody are left to them: two
// shards that want the same last unit would else take it from each other for ever.
const rest = 20 * time.Millisecond

func richest(units []int64) []int {
	order := make([]int, len(units))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(units[b], units[a]) })
	return order
}

// bring makes the transfers, those of different destinations side by side.
func (b *board) bring(ctx context.Context, round []*want, orders []order) {
	var wg sync.WaitGroup
	for len(orders) > 0 {
		n := 1
		for n < len(orders) && orders[n].to == orders[0].to {
			n++
		}
		mine := orders[:n]
		orders = orders[n:]
		wg.Go(func() {
			for _, o := range mine {
				o.rest = b.gate.rest
				if _, _, err := b.gate.transfer(ctx, b.sale, o); err != nil {
					// Units may be on the way, but no hold was made: %v keeps ErrUnknown out.
					err = unavailable(fmt.Errorf("%v", err), "units of another shard could not be fetched") //nolint:errorlint // see above
					for _, w := range round {
						if w.home == o.to && !w.gone {
							w.err = err
						}
					}
					return
				}
			}
		})
	}
	wg.Wait()
}
