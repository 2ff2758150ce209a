package orders

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// tidier takes published entries out of the outbox, many per call, in the
// background. It may forget some: the relay publishes those again, and the record
// knows them by their order's id.
type tidier struct {
	sales  engine.Sales
	outbox engine.Outbox
	log    *slog.Logger
	done   func(...engine.OutboxEntry) // they have left the outbox, or are left to the relay

	mu      sync.Mutex
	waiting []engine.OutboxEntry
	idle    chan struct{} // closed when the worker ends; nil: no worker
}

const (
	maxTidy      = 16_384 // entries that may wait
	tidyPatience = 2 * time.Second
)

// add queues an entry and sees to it that somebody works. It never blocks.
func (t *tidier) add(e engine.OutboxEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) >= maxTidy {
		t.done(e)
		return
	}
	t.waiting = append(t.waiting, e)
	if t.idle == nil {
		t.idle = make(chan struct{})
		go t.work(t.idle)
	}
}

func (t *tidier) work(idle chan struct{}) {
	defer close(idle)
	for {
		t.mu.Lock()
		batch := t.waiting
		t.waiting = nil
		if len(batch) == 0 {
			t.idle = nil
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		bySale := map[uint32][]engine.OutboxEntry{}
		for _, e := range batch {
			bySale[e.Sale] = append(bySale[e.Sale], e)
		}
		for no, entries := range bySale {
			t.remove(no, entries)
			t.done(entries...)
		}
	}
}

func (t *tidier) remove(no uint32, entries []engine.OutboxEntry) {
	ctx, cancel := context.WithTimeout(context.Background(), tidyPatience)
	defer cancel()
	s, err := t.sales.SaleByNo(ctx, no)
	if err == nil {
		err = t.outbox.Remove(ctx, s, entries)
	}
	if err != nil {
		t.log.Warn("published events stay in the outbox; the relay repeats them", "sale_no", no, "events", len(entries), "err", err)
	}
}

// wait returns when nothing waits, or when ctx ends.
func (t *tidier) wait(ctx context.Context) {
	t.mu.Lock()
	idle := t.idle
	t.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
