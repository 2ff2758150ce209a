package payment

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// crew runs a bounded number of functions at once, and lets another bounded
// number of them note what they did. Those are apart, because notes wait for each
// other to share a statement, and the next call need not wait for them.
type crew struct {
	slots, notes chan struct{}
	wg           sync.WaitGroup
}

const maxNoting = 256

func newCrew(n int) *crew {
	return &crew{slots: make(chan struct{}, n), notes: make(chan struct{}, maxNoting)}
}

// run starts f as soon as there is room, or says false once ctx has ended. What f
// leaves to be noted is run when its slot is free again.
func (c *crew) run(ctx context.Context, f func() (note func())) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	c.wg.Go(func() {
		note := c.inSlot(f)
		if note == nil {
			return
		}
		defer func() { <-c.notes }()
		note()
	})
	return true
}

// inSlot gives the slot back only once there is room for the note.
func (c *crew) inSlot(f func() func()) func() {
	defer func() { <-c.slots }()
	note := f()
	if note != nil {
		c.notes <- struct{}{}
	}
	return note
}

func (c *crew) wait() { c.wg.Wait() }

// tasks remembers what is in hand and what rests after a failure, so that a
// look at the ledger does not take up either.
type tasks struct {
	backoff, maxBackoff time.Duration

	mu sync.Mutex
	m  map[string]*task
}

type task struct {
	inHand bool
	fails  int
	rests  time.Time // until then
}

func newTasks(backoff, maxBackoff time.Duration) *tasks {
	return &tasks{backoff: backoff, maxBackoff: maxBackoff, m: map[string]*task{}}
}

// begin takes a task in hand, unless it is or rests.
func (t *tasks) begin(key string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.m[key]
	if k == nil {
		k = &task{}
		t.m[key] = k
	}
	if k.inHand || time.Now().Before(k.rests) {
		return false
	}
	k.inHand = true
	return true
}

// end lets go of a task: forgotten if it is done, resting if it failed. A call
// that was not made because the breaker is open is no failure of the task's own.
func (t *tasks) end(key string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.m, key)
		return
	}
	k := t.m[key]
	k.inHand = false
	rest := t.backoff << min(k.fails, 20)
	if rest <= 0 || rest > t.maxBackoff {
		rest = t.maxBackoff
	}
	rest = rest/2 + rand.N(rest/2+1) //nolint:gosec // jitter, not a secret
	var e *engine.Error
	switch {
	case errors.Is(err, ErrBreakerOpen) && errors.As(err, &e):
		rest = max(e.RetryAfter, t.backoff)
	default:
		k.fails++
	}
	k.rests = time.Now().Add(rest)
}

// size counts what a look may have to pass over, and forgets what has rested
// so long that it was evidently settled elsewhere.
func (t *tasks) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	longAgo := time.Now().Add(-10*time.Minute - t.maxBackoff)
	for key, k := range t.m {
		if !k.inHand && k.rests.Before(longAgo) {
			delete(t.m, key)
		}
	}
	return len(t.m)
}
