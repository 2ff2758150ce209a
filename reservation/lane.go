package reservation

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// maxBatch is the most operations of one call: a hold's index is one byte.
const maxBatch = 256

// lane coalesces the operations of one sale and shard. Batching is natural: one
// call is in flight, and whatever arrives meanwhile goes into the next. Nothing
// waits for a timer, so a lone request goes at once. When so much waits that a
// call is well filled, a second one leaves before the first is back: Redis then
// finds work when it has done the first, and need not go to sleep and be woken,
// which costs it more than 30 µs a call.
//
// A lane has goroutines only while it has work; there is nothing to close.
type lane struct {
	gate  *Gate
	sale  uint32
	shard int
	made  prometheus.Counter // reservations of the sale

	mu     sync.Mutex
	queue  []*op
	drains int // goroutines that drain the queue
}

// wellFilled is how many operations are worth a call of their own while another
// is in flight.
const wellFilled = 48

// needs says whether one more goroutine should drain the queue. It needs mu.
func (l *lane) needs() bool {
	return len(l.queue) > 0 && (l.drains == 0 || l.drains == 1 && len(l.queue) >= l.gate.wellFilled)
}

type laneKey struct {
	sale  uint32
	shard int
}

// lane finds or makes the lane of a sale's shard.
func (g *Gate) lane(s *engine.Sale, shard int) *lane {
	k := laneKey{s.No, shard}
	g.lanesMu.RLock()
	l := g.lanes[k]
	g.lanesMu.RUnlock()
	if l != nil {
		return l
	}
	g.lanesMu.Lock()
	defer g.lanesMu.Unlock()
	if l = g.lanes[k]; l == nil {
		l = &lane{gate: g, sale: s.No, shard: shard, made: g.metrics.granted.WithLabelValues(s.ID)}
		g.lanes[k] = l
	}
	return l
}

// do sends one operation and waits for its answer. Without an error the
// operation is the caller's, who reads the answer and frees it. If the caller's
// context ends before the operation was sent it certainly did not happen; after
// that nobody knows.
func (l *lane) do(ctx context.Context, o *op) (*op, error) {
	o.until = ctx
	if _, err := l.enqueue(o); err != nil {
		return nil, err
	}
	if l.bounds(ctx) {
		<-o.done
		return o.told()
	}
	select {
	case <-o.done:
		return o.told()
	case <-ctx.Done():
	}
	if o.stage.CompareAndSwap(queued, abandoned) {
		return nil, errNotSent(ctx.Err())
	}
	select {
	case <-o.done: // answered at the same moment
		return o.told()
	default:
		return nil, unknown(ctx.Err())
	}
}

// bounds says whether the lane answers early enough for a context without its
// caller watching that: it ends no sooner than a call that begins now. What it
// finds ended in the queue is not sent, and a call is bounded. To wait for two
// things at once is a tenth of what a hold costs here.
func (l *lane) bounds(ctx context.Context) bool {
	if ctx.Done() == nil {
		return true
	}
	ends, has := ctx.Deadline()
	return has && time.Until(ends) > l.gate.opt.CallTimeout
}

func errNotSent(cause error) error {
	return unavailable(cause, "the request ended before it reached the gate")
}

// told gives an operation that was answered, or frees it and gives its error.
func (o *op) told() (*op, error) {
	if err := o.err; err != nil {
		o.free()
		return nil, err
	}
	return o, nil
}

// enqueue takes as many of the operations as there is room for, and says why it
// did not take the others.
func (l *lane) enqueue(ops ...*op) (taken int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if taken = min(len(ops), l.gate.opt.MaxQueue-len(l.queue)); taken < len(ops) {
		err = overloaded()
	}
	if taken == 0 {
		return 0, err
	}
	if l.drains == 0 && !l.gate.enter() {
		return 0, unavailable(errClosed, "the gate is closed")
	}
	l.queue = append(l.queue, ops[:taken]...)
	if l.needs() && (l.drains == 0 || l.gate.enter()) {
		l.drains++
		go l.drain()
	}
	return taken, err
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
		ctx, span := l.traced(batch)
		_, err := l.gate.decide(ctx, l.sale, l.shard, batch[0].lease, batch, 0)
		span.End(err)
		made := 0
		for _, o := range batch {
			if o.err = err; err == nil && o.kind == opHold && o.answer.refusal == 0 && !o.answer.hold.Replayed {
				made++
			}
		}
		l.made.Add(float64(made)) // before the operations are somebody else's
		if err != nil && engine.CodeOf(err) == engine.CodeUnavailable {
			l.shed(err) // first: who has been told, and asks again, is not turned away by this
		}
		l.gate.tellAll(batch) // and they may be somebody else's
	}
}

// traced begins the span of a call, if a request that it serves is traced.
func (l *lane) traced(batch []*op) (context.Context, telemetry.Span) {
	ctx := context.Background()
	if l.gate.opt.Trace == nil {
		return ctx, telemetry.Span{}
	}
	var served []telemetry.Span
	for _, o := range batch {
		if o.span.On() {
			served = append(served, o.span)
		}
	}
	if served == nil {
		return ctx, telemetry.Span{}
	}
	return l.gate.opt.Trace.Shared(ctx, served, "gate call", "db.system.name", "redis", "db.operation.batch.size", len(batch), "sale.no", int(l.sale), "shard", l.shard)
}

// take gives the next operations of one lease; nil ends the lane's goroutine.
func (l *lane) take(batch []*op) []*op {
	batch, ended := l.next(batch)
	for _, o := range ended {
		o.err = errNotSent(o.until.Err())
	}
	l.gate.tellAll(ended)
	return batch
}

// next moves operations out of the queue: those to be sent, and those whose
// callers have given up.
func (l *lane) next(batch []*op) (_, ended []*op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drains--
	if !l.needs() {
		if l.drains == 0 {
			l.queue = nil
		}
		return nil, nil
	}
	l.drains++
	if batch == nil {
		batch = make([]*op, 0, maxBatch)
	}
	taken := 0
	for _, o := range l.queue {
		if len(batch) == maxBatch || len(batch) > 0 && o.lease != batch[0].lease {
			break
		}
		taken++
		if !o.stage.CompareAndSwap(queued, sent) {
			continue
		}
		if o.until.Err() != nil {
			ended = append(ended, o)
			continue
		}
		batch = append(batch, o)
	}
	clear(l.queue[:taken])
	l.queue = l.queue[taken:]
	return batch, ended
}

// shed answers everything that waits, after a call that Redis did not answer:
// none of it was sent, and sending it one time-out after another would keep its
// callers waiting for the same news.
func (l *lane) shed(cause error) {
	l.mu.Lock()
	waiting := l.queue
	l.queue = nil
	l.mu.Unlock()
	told := waiting[:0]
	for _, o := range waiting {
		if o.stage.CompareAndSwap(queued, sent) {
			// The cause may be unknown; these are not: %v keeps ErrUnknown out.
			o.err = unavailable(fmt.Errorf("not sent, because the call before had no answer: %v", cause), "Redis does not answer") //nolint:errorlint // see above
			told = append(told, o)
		}
	}
	l.gate.tellAll(told)
}

// tell hands an operation back to whoever waits for it.
func (o *op) tell() {
	switch {
	case o.group != nil:
		o.group.add(o)
	case o.later.who != nil:
		o.hear()
	default:
		o.done <- struct{}{}
	}
}
