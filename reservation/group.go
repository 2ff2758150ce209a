package reservation

import (
	"context"
	"sync"

	"github.com/flashsale-engine/flashsale/engine"
)

// group collects the answers to the operations of one caller.
type group struct {
	mu    sync.Mutex
	ready []*op
	slow  []slowHold
	wake  chan struct{} // filled when something is ready
}

// slowHold is a hold that needed more than one call.
type slowHold struct {
	index int
	hold  engine.Hold
	err   error
}

func (g *group) add(o *op) {
	g.mu.Lock()
	g.ready = append(g.ready, o)
	g.mu.Unlock()
	g.signal()
}

func (g *group) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// take gives what is ready, swapping it for the emptied lists of the last time.
func (g *group) take(ops []*op, slow []slowHold) ([]*op, []slowHold) {
	clear(ops)
	g.mu.Lock()
	defer g.mu.Unlock()
	outOps, outSlow := g.ready, g.slow
	g.ready, g.slow = ops[:0], slow[:0]
	return outOps, outSlow
}

// HoldAll implements engine.Gate. All of it goes to the lanes at once, without a
// goroutine for each.
func (g *Gate) HoldAll(ctx context.Context, s *engine.Sale, rs []engine.HoldRequest, each func(int, *engine.Hold, error), pause func()) {
	asked := g.soldOut.now()
	all := &group{wake: make(chan struct{}, 1)}
	left := g.ask(ctx, s, rs, all, each)
	var none engine.Hold
	var ops []*op
	var slow []slowHold
	for left > 0 {
		if len(all.wake) == 0 {
			pause()
		}
		<-all.wake
		ops, slow = all.take(ops, slow)
		for _, o := range ops {
			i := o.index
			if o.needsMore(s) {
				o.free()
				go func() {
					h, err := g.Hold(ctx, s, rs[i])
					all.mu.Lock()
					all.slow = append(all.slow, slowHold{i, h, err})
					all.mu.Unlock()
					all.signal()
				}()
				continue
			}
			err := g.judged(opHold, o, o.err)
			if !o.answer.hold.Replayed {
				g.soldOut.learn(s, rs[i].Lines, asked, err)
			}
			h := &o.answer.hold
			if err != nil {
				h = &none
			}
			each(i, h, err)
			o.free()
			left--
		}
		for _, h := range slow {
			each(h.index, &h.hold, h.err)
			left--
		}
	}
}

// ask queues what has to be asked and answers the rest. It says how many answers
// are still to come.
func (g *Gate) ask(ctx context.Context, s *engine.Sale, rs []engine.HoldRequest, all *group, each func(int, *engine.Hold, error)) (left int) {
	var none engine.Hold
	byShard := make([][]*op, max(1, s.Shards))
	for i, r := range rs {
		if g.soldOut.says(s, r.Buyer, r.Lines) {
			each(i, &none, errKnownSoldOut)
			continue
		}
		o, err := holdOp(s, r)
		if err != nil {
			each(i, &none, err)
			continue
		}
		o.until, o.group, o.index = ctx, all, i
		shard := shardOf(s, r.Buyer)
		if byShard[shard] == nil {
			byShard[shard] = make([]*op, 0, len(rs)/len(byShard)+1)
		}
		byShard[shard] = append(byShard[shard], o)
	}
	for shard, ops := range byShard {
		if len(ops) == 0 {
			continue
		}
		taken, err := g.lane(s, shard).enqueue(ops...)
		left += taken
		for _, o := range ops[taken:] {
			each(o.index, &none, g.judged(opHold, nil, err))
			o.free()
		}
	}
	return left
}
