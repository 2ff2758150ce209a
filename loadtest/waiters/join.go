package waiters

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// lateJoin is what a buyer saw who joined after the opening.
type lateJoin struct {
	sent, got time.Time
	ticket    int64
	state     string
}

// joinAll lets everybody join, as fast as the server takes them. A few look again,
// and some give their ticket back.
func (r *run) joinAll(ctx context.Context) error {
	r.say("joining: %d waiters over %d connections", r.cfg.Waiters, r.cfg.Connections)
	r.marks.joining = time.Now()
	var next, failed atomic.Int64
	var workers sync.WaitGroup
	var first error
	var once sync.Once
	for range r.cfg.Connections {
		workers.Go(func() {
			for ctx.Err() == nil && failed.Load() < 10 {
				i := int(next.Add(1)) - 1
				if i >= r.cfg.Waiters {
					return
				}
				if err := r.preJoin(ctx, i); err != nil {
					failed.Add(1)
					once.Do(func() { first = err })
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { workers.Wait(); close(done) }()
	for tick := time.NewTicker(5 * time.Second); ; {
		select {
		case <-done:
			tick.Stop()
			r.marks.joined = time.Now()
			r.say("joined in %.1f s", r.marks.joined.Sub(r.marks.joining).Seconds())
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return first
		case <-tick.C:
			r.say("%4.0f s: %d have joined", time.Since(r.marks.joining).Seconds(), min(next.Load(), int64(r.cfg.Waiters)))
		}
	}
}

// preJoin is one waiter before the opening.
func (r *run) preJoin(ctx context.Context, i int) error {
	token := r.token(i)
	a, err := r.join(ctx, i, token)
	if err != nil {
		return err
	}
	if a.body.Place != nil || a.body.Token != "" {
		r.contradict("%s has a place or a token before the opening: %+v", buyerID(i), a.body)
	}
	if i%100 == 0 { // looks again, as a page does that is reloaded
		again, err := r.join(ctx, i, token)
		if err != nil {
			return err
		}
		if *again.body.Ticket != *a.body.Ticket {
			r.contradict("%s has ticket %d, and then %d", buyerID(i), *a.body.Ticket, *again.body.Ticket)
		}
	}
	if r.cfg.fate(i).leaves {
		a := r.c.insist(ctx, ask{method: http.MethodDelete, path: r.queue, token: token}, r.repeat)
		if a.status != http.StatusOK {
			return fmt.Errorf("waiters: giving back a ticket: %s", a)
		}
		r.end(left)
	}
	return nil
}

func (r *run) repeat() { r.repeats.Add(1) }

// join asks for a ticket, and notes whose it is.
func (r *run) join(ctx context.Context, i int, token string) (answer, error) {
	a := r.c.insist(ctx, ask{method: http.MethodPost, path: r.queue, token: token}, r.repeat)
	if a.status != http.StatusOK && a.status != http.StatusCreated || a.body.Ticket == nil {
		return a, fmt.Errorf("waiters: joining: %s", a)
	}
	t := *a.body.Ticket
	if t < 0 || t >= int64(len(r.holder)) {
		return a, fmt.Errorf("waiters: ticket %d of %d waiters", t, r.cfg.Waiters)
	}
	// One that was given back before the opening may be given out again.
	if old := int(r.holder[t].Swap(uint32(i + 1))); old != 0 && old != i+1 && !r.cfg.fate(old-1).leaves {
		r.contradict("ticket %d belongs to %s and to %s", t, buyerID(old-1), buyerID(i))
	}
	return a, nil
}

// comeLate lets some join after the opening, one after the other.
func (r *run) comeLate(ctx context.Context) {
	n := r.cfg.late()
	var all sync.WaitGroup
	defer all.Wait()
	for i := range n {
		due := r.marks.opened.Add(time.Duration(float64(i) / float64(n) * mostLate / r.cfg.Hurry * float64(time.Second)))
		select {
		case <-r.soldOut:
			return
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return
		}
		all.Go(func() { r.lateJoin(ctx, r.cfg.Waiters+i) })
	}
}

// lateJoin is one who comes after the opening, or again.
func (r *run) lateJoin(ctx context.Context, i int) {
	a, err := r.join(ctx, i, r.token(i))
	if err != nil {
		if ctx.Err() == nil {
			r.contradict("%s, late: %v", buyerID(i), err)
		}
		return
	}
	r.late(ctx, i, a)
}

// late books a ticket that was given out after the opening.
func (r *run) late(ctx context.Context, i int, a answer) {
	ticket := *a.body.Ticket
	if a.body.Place == nil || *a.body.Place != ticket || ticket < r.n {
		r.contradict("%s joined after the opening: ticket %d of %d, place %v", buyerID(i), ticket, r.n, a.body.Place)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.placed[ticket] = *a.body.Place
	r.lates = append(r.lates, lateJoin{a.sent, a.got, ticket, a.body.State})
	if ticket < r.scanned { // the front came by before the answer did
		r.called(ctx, i, ticket, ticket)
	}
}
