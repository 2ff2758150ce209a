package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/ops/live"
)

// consoles look at an engine under load as so many operators' screens do, and note how
// old what is on a screen gets.
type consoles struct {
	mu     sync.Mutex
	oldest []time.Duration // on a screen, just before the next snapshot came
	lost   error
}

// open has n consoles look until stop is called.
func (c *consoles) open(ctx context.Context, n int, a Admin) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			var shown time.Time
			err := a.snapshots(ctx, func(l *live.Live) error {
				now := time.Now()
				c.mu.Lock()
				defer c.mu.Unlock()
				if !shown.IsZero() {
					c.oldest = append(c.oldest, now.Sub(shown))
				}
				shown = l.At
				return nil
			})
			if ctx.Err() == nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.lost = err
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// print says how old the figures got. It is an error if a console lost its node.
func (c *consoles) print(out io.Writer, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil {
		return fmt.Errorf("a console lost its node: %w", c.lost)
	}
	if len(c.oldest) == 0 {
		return fmt.Errorf("%d consoles saw no two snapshots", n)
	}
	slices.Sort(c.oldest)
	at := func(q float64) time.Duration {
		return c.oldest[min(int(q*float64(len(c.oldest))), len(c.oldest)-1)].Round(time.Millisecond)
	}
	_, err := fmt.Fprintf(out, "%d consoles: %d snapshots; just before the next one came, what they showed was %s old (p50), %s (p99), %s at most\n",
		n, len(c.oldest), at(.5), at(.99), c.oldest[len(c.oldest)-1].Round(time.Millisecond))
	return err
}
