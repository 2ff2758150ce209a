package loadtest

import (
	"context"
	"fmt"
	"time"
)

// Event is something that happens to the engine during a run, at its time whatever the
// crowd does: a sale that opens, a provider that falls silent.
type Event struct {
	At   time.Duration // after T0
	Name string
	Do   func(context.Context) error
}

// Mark says when an event came about.
type Mark struct {
	From  float64 `json:"from"` // seconds after T0, when it began
	At    float64 `json:"at"`   // … and when it was done
	Name  string  `json:"name"`
	Error string  `json:"error,omitempty"`
}

// stage lets the events happen, in their order, and returns when they have, or when
// ctx ends.
func (r *run) stage(ctx context.Context) {
	for _, e := range r.cfg.Events {
		if !sleepUntil(ctx, r.start.Add(e.At)) {
			return
		}
		m := Mark{Name: e.Name, From: time.Since(r.start).Seconds()}
		if err := e.Do(ctx); err != nil {
			m.Error = err.Error()
		}
		m.At = time.Since(r.start).Seconds()
		r.tally.mark(m)
		if r.cfg.Progress != nil {
			_, _ = fmt.Fprintf(r.cfg.Progress, "%4.0fs  %s %s\n", m.At, m.Name, m.Error)
		}
	}
}

func (t *tally) mark(m Mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marks = append(t.marks, m)
}
