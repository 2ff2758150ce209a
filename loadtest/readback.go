package loadtest

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// ReadBack is what became of the orders that buyers were told of.
type ReadBack struct {
	Orders    int `json:"orders"`    // confirmed, as told during the run
	Read      int `json:"read"`      // of those, read back
	Confirmed int `json:"confirmed"` // of those, still confirmed
}

// readBackAll reads confirmed orders again, each as its buyer: a yes that
// cannot be found afterwards was no yes.
func (r *run) readBackAll(ctx context.Context) ReadBack {
	told := r.tally.purchases // the visits are over: nobody else writes
	out := ReadBack{Orders: len(told)}
	if r.cfg.ReadBack < 0 {
		return out
	}
	sample := dice(r.cfg.Seed, streamReadBack).Perm(len(told))
	sample = sample[:min(len(sample), r.cfg.ReadBack)]

	next := make(chan int)
	var readers sync.WaitGroup
	var mu sync.Mutex
	for range min(r.cfg.Connections, len(sample)) {
		readers.Go(func() {
			for i := range next {
				read, confirmed := r.readBack(ctx, i, told[i])
				mu.Lock()
				out.Read, out.Confirmed = out.Read+read, out.Confirmed+confirmed
				mu.Unlock()
			}
		})
	}
	for _, i := range sample {
		next <- i
	}
	close(next)
	readers.Wait()
	return out
}

// readBack counts one order as read, and as confirmed.
func (r *run) readBack(ctx context.Context, i int, p purchase) (read, confirmed int) {
	v := r.visit(i, time.Now())
	v.buyer, v.sku = p.buyer, p.sku
	a, ok := v.readBack(ctx, p)
	if !ok {
		return 0, 0
	}
	r.tally.latency(StepOrder, v.due, time.Since(v.due))
	if a.status != http.StatusOK || a.body.State != string(engine.Confirmed) || a.body.ID != p.order ||
		string(a.body.Reservation) != p.reservation || !v.asked(a.body) {
		r.tally.wrong("order %s was confirmed to buyer %d for reservation %s; read back it is: status %d %s, id %q, reservation %q, lines %v",
			p.order, p.buyer, p.reservation, a.status, a.code, a.body.ID, a.body.Reservation, a.body.Lines)
		return 1, 0
	}
	return 1, 1
}
