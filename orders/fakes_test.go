package orders_test

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// outbox is an engine.Outbox in memory.
type outbox struct {
	mu      sync.Mutex
	entries []engine.OutboxEntry
	all     []engine.OutboxEntry // removed ones too
}

func (o *outbox) put(e engine.OutboxEntry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.entries, o.all = append(o.entries, e), append(o.all, e)
}

func (o *outbox) Pending(_ context.Context, s *engine.Sale, minAge time.Duration, n int) (out []engine.OutboxEntry, _ error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.entries {
		if e.Sale == s.No && time.Since(e.AcceptedAt) >= minAge && len(out) < n {
			out = append(out, e)
		}
	}
	return out, nil
}

func (o *outbox) Remove(_ context.Context, _ *engine.Sale, gone []engine.OutboxEntry) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.entries = slices.DeleteFunc(o.entries, func(e engine.OutboxEntry) bool {
		return slices.ContainsFunc(gone, func(g engine.OutboxEntry) bool { return g.EntryID == e.EntryID && g.Sale == e.Sale })
	})
	return nil
}

func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.entries)
}

// notes is an engine.Notifier that remembers.
type notes struct {
	mu  sync.Mutex
	got map[engine.ReservationID]engine.Outcome
	err error
}

func newNotes() *notes { return &notes{got: map[engine.ReservationID]engine.Outcome{}} }

func (n *notes) Notify(_ context.Context, node string, outcomes []engine.Outcome) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return n.err
	}
	for _, o := range outcomes {
		if node == "node-1" {
			n.got[o.ID] = o
		}
	}
	return nil
}

func (n *notes) of(id engine.ReservationID) engine.ReservationState {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.got[id].State
}

func (n *notes) len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.got)
}
