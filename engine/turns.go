package engine

import (
	"context"
	"sync"
	"time"
)

// Turns lets one run happen at a time. Whoever comes while one is under way shares
// the next: all who wait get the same answer, to a question that was asked after
// they came. So any number of callers cost two runs, not their number.
type Turns[T any] struct {
	// Run is what is run, with the longest settling time of all who wait for it.
	Run func(ctx context.Context, settle time.Duration) (T, error)
	// AtMost bounds a run. It does not end when those who wait for it go away.
	AtMost time.Duration

	mu      sync.Mutex
	running bool
	next    *turn[T]
}

type turn[T any] struct {
	settle time.Duration
	shared int // by how many
	done   chan struct{}
	out    T
	err    error
}

// Do joins the next run.
func (t *Turns[T]) Do(ctx context.Context, settle time.Duration) (T, error) {
	t.mu.Lock()
	mine := t.next
	if mine == nil {
		mine = &turn[T]{done: make(chan struct{})}
		t.next = mine
	}
	mine.settle = max(mine.settle, settle)
	mine.shared++
	if !t.running {
		t.begin(context.WithoutCancel(ctx))
	}
	t.mu.Unlock()
	select {
	case <-mine.done:
		return mine.out, mine.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// begin starts the next run. The caller holds mu.
func (t *Turns[T]) begin(ctx context.Context) {
	this := t.next
	t.running, t.next = true, nil
	go func() {
		bounded, cancel := context.WithTimeout(ctx, t.AtMost)
		defer cancel()
		this.out, this.err = t.Run(bounded, this.settle)
		close(this.done)
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.running = false; t.next != nil {
			t.begin(ctx)
		}
	}()
}
