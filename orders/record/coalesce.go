package record

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// coalescer turns many callers into few statements by natural batching: one
// statement is in flight, and whoever comes meanwhile shares the next one. Unless
// it lingers there is no timer, so a lone caller never waits for company.
type coalescer[T, R any] struct {
	max     int           // calls per statement
	timeout time.Duration // of one statement
	linger  time.Duration // before a statement, unless it is full: where no buyer waits for it
	do      func(ctx context.Context, in []T) ([]R, error)

	mu      sync.Mutex
	queue   []*call[T, R]
	running bool
	full    chan struct{} // told when a statement is full; nil without linger
}

type call[T, R any] struct {
	in   T
	out  R
	err  error
	done chan struct{}
}

// maxQueued bounds the callers that wait; one more is told to come back.
const maxQueued = 16_384

// call hands in to the next statement and waits. A caller who gives up waiting
// is told "unknown": the statement is not cancelled, it has others' work in it.
func (c *coalescer[T, R]) call(ctx context.Context, in T) (R, error) {
	k := &call[T, R]{in: in, done: make(chan struct{})}
	c.mu.Lock()
	if len(c.queue) >= maxQueued {
		c.mu.Unlock()
		return k.out, engine.E(engine.CodeOverloaded, "too many payment notes are waiting for the record").After(retryAfter)
	}
	c.queue = append(c.queue, k)
	if !c.running {
		c.running = true
		go c.run()
	}
	if len(c.queue) == c.max && c.full != nil {
		select {
		case c.full <- struct{}{}:
		default:
		}
	}
	c.mu.Unlock()
	select {
	case <-k.done:
		return k.out, k.err
	case <-ctx.Done():
		var none R
		return none, lost(ctx.Err(), writing)
	}
}

// run works until nobody waits, and ends.
func (c *coalescer[T, R]) run() {
	for {
		c.company()
		c.mu.Lock()
		n := min(len(c.queue), c.max)
		batch := c.queue[:n:n]
		c.queue = c.queue[n:]
		if n == 0 {
			c.queue, c.running = nil, false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		c.flush(batch)
	}
}

// company gives others time to come, if that is wanted: until the statement is
// full or the linger is over. What it was told of an earlier statement means nothing.
func (c *coalescer[T, R]) company() {
	if c.full == nil {
		return
	}
	t := time.NewTimer(c.linger)
	defer t.Stop()
	for {
		c.mu.Lock()
		alone := len(c.queue) < c.max
		c.mu.Unlock()
		if !alone {
			return
		}
		select {
		case <-t.C:
			return
		case <-c.full:
		}
	}
}

func (c *coalescer[T, R]) flush(batch []*call[T, R]) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	in := make([]T, len(batch))
	for i, k := range batch {
		in[i] = k.in
	}
	out, err := c.do(ctx, in)
	var data *DataError
	if errors.As(err, &data) && len(batch) > 1 {
		for i := range batch { // one of them is bad: only that one is told so
			c.flush(batch[i : i+1])
		}
		return
	}
	for i, k := range batch {
		if err == nil {
			k.out = out[i]
		}
		k.err = err
		close(k.done)
	}
}
