package reservation

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/flashsale-engine/flashsale/engine"
)

// maxBatch is the most operations of one call: a hold's index is one byte.
const maxBatch = 256

// lane coalesces the operations of one sale and shard. Batching is natural: one
// call is in flight, and whatever arrives meanwhile goes into the next. Nothing
// waits for a timer, so a lone request goes at once.
//
// A lane has a goroutine only while it has work; there is nothing to close.
type lane struct {
	gate  *Gate
	sale  uint32
	shard int

	mu    sync.Mutex
	queue []*op
	busy  bool // a goroutine is draining the queue
}

type laneKey struct {
	sale  uint32
	shard int
}

// lane finds or makes the lane of a sale's shard.
func (g *Gate) lane(sale uint32, shard int) *lane {
	k := laneKey{sale, shard}
	g.lanesMu.RLock()
	l := g.lanes[k]
	g.lanesMu.RUnlock()
	if l != nil {
		return l
	}
	g.lanesMu.Lock()
	defer g.lanesMu.Unlock()
	if l = g.lanes[k]; l == nil {
		l = &lane{gate: g, sale: sale, shard: shard}
		g.lanes[k] = l
	}
	return l
}

// do sends one operation, waits for its answer and gives the operation back. If
// the caller's context ends before the operation was sent it certainly did not
// happen; after that nobody knows.
func (l *lane) do(ctx context.Context, o *op) (answer, error) {
	if err := l.enqueue(o); err != nil {
		return answer{}, err
	}
	select {
	case <-o.done:
		return o.told()
	case <-ctx.Done():
	}
	if o.stage.CompareAndSwap(queued, abandoned) {
		return answer{}, unavailable(ctx.Err(), "the request ended before it reached the gate")
	}
	select {
	case <-o.done: // answered at the same moment
		return o.told()
	default:
		return answer{}, unknown(ctx.Err())
	}
}

// told takes the answer out of an operation and frees it.
func (o *op) told() (a answer, err error) {
	if err = o.err; err == nil {
		a = o.answer
	}
	o.free()
	return a, err
}

func (l *lane) enqueue(o *op) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= l.gate.opt.MaxQueue {
		return overloaded()
	}
	l.queue = append(l.queue, o)
	if !l.busy {
		if !l.gate.enter() {
			l.queue = l.queue[:len(l.queue)-1]
			return unavailable(errClosed, "the gate is closed")
		}
		l.busy = true
		go l.drain()
	}
	return nil
}

// drain sends batches until the queue is empty.
func (l *lane) drain() {
	defer l.gate.leave()
	var batch []*op
	for {
		runtime.Gosched() // lets callers that were woken together queue up together
		if batch = l.take(batch[:0]); batch == nil {
			return
		}
		if len(batch) == 0 {
			continue // all given up
		}
		l.gate.metrics.batch(len(batch))
		_, err := l.gate.decide(context.Background(), l.sale, l.shard, batch[0].epoch, batch, 0)
		for _, o := range batch {
			o.err = err
			o.done <- struct{}{} // and o may be somebody else's
		}
		if err != nil && engine.CodeOf(err) == engine.CodeUnavailable {
			l.shed(err)
		}
	}
}

// take moves the next operations of one epoch out of the queue; nil ends the
// lane's goroutine.
func (l *lane) take(batch []*op) []*op {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.busy, l.queue = false, nil
		return nil
	}
	if batch == nil {
		batch = make([]*op, 0, maxBatch)
	}
	taken := 0
	for _, o := range l.queue {
		if len(batch) == maxBatch || len(batch) > 0 && o.epoch != batch[0].epoch {
			break
		}
		taken++
		if o.stage.CompareAndSwap(queued, sent) {
			batch = append(batch, o)
		}
	}
	clear(l.queue[:taken])
	l.queue = l.queue[taken:]
	return batch
}

// shed answers everything that waits, after a call that Redis did not answer:
// none of it was sent, and sending it one time-out after another would keep its
// callers waiting for the same news.
func (l *lane) shed(cause error) {
	l.mu.Lock()
	waiting := l.queue
	l.queue = nil
	l.mu.Unlock()
	for _, o := range waiting {
		if o.stage.CompareAndSwap(queued, sent) {
			// The cause may be unknown; these are not: %v keeps ErrUnknown out.
			o.err = unavailable(fmt.Errorf("not sent, because the call before had no answer: %v", cause), "Redis does not answer") //nolint:errorlint // see above
			o.done <- struct{}{}
		}
	}
}
