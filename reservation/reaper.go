package reservation

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Reaper expires due holds in the background and hands overdue payments on.
// Holds are right without it: whoever opens a record settles it. It keeps the
// counters close to the truth, and it is how a payment that a dead node left is
// found. It also completes transfers between shards that a dead node left open,
// and evens the shards out. Any number of nodes may run one.
type Reaper struct {
	Gate engine.GateControl
	// Shards balances sales with several shards; nil: nobody does.
	Shards engine.GateShards
	// Sales lists the sales that may have holds.
	Sales func(ctx context.Context) ([]*engine.Sale, error)
	// Overdue takes a paying hold whose answer is overdue. It must not block:
	// it hands over. A hold that it drops comes again after the lease.
	Overdue func(s *engine.Sale, h engine.Hold)
	// Idle is the pause when nothing is due. Default 100 ms.
	Idle time.Duration
	// Limit is how many holds one call may end. Default 256, about half a
	// millisecond of Redis.
	Limit int
	// Every is the least time between two balances of a sale. Default 500 ms.
	Every time.Duration
	// Transfers is how many of them one balance may make. Default 16.
	Transfers int
	// Log hears of failures, once each until it works again. Default slog.Default().
	Log *slog.Logger
}

// Run works until ctx ends, and returns its cause.
func (r *Reaper) Run(ctx context.Context) error {
	if r.Gate == nil || r.Sales == nil || r.Overdue == nil {
		return errors.New("reservation: a reaper needs Gate, Sales and Overdue")
	}
	idle, log := r.Idle, r.Log
	if idle <= 0 {
		idle = 100 * time.Millisecond
	}
	if log == nil {
		log = slog.Default()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := map[string]bool{}
	balanced := map[uint32]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		more := r.round(ctx, failing, balanced, log)
		if more {
			timer.Reset(0)
		} else {
			timer.Reset(idle)
		}
	}
}

// round visits every sale once and says whether one has more to do.
func (r *Reaper) round(ctx context.Context, failing map[string]bool, balanced map[uint32]time.Time, log *slog.Logger) (more bool) {
	note := func(what string, err error) {
		if err != nil && !failing[what] && ctx.Err() == nil {
			log.WarnContext(ctx, "reaping fails; it is tried again", "sale", what, "err", err)
		}
		failing[what] = err != nil
	}
	sales, err := r.Sales(ctx)
	if note("", err); err != nil {
		return false
	}
	limit := r.Limit
	if limit <= 0 {
		limit = 256
	}
	for _, s := range sales {
		if s.Epoch == 0 || ctx.Err() != nil {
			continue
		}
		done, err := r.Gate.Reap(ctx, s, limit)
		note(s.ID, err)
		for _, h := range done.Overdue {
			r.Overdue(s, h)
		}
		more = more || err == nil && done.More
		if r.Shards != nil && s.Shards > 1 && time.Since(balanced[s.No]) >= cmp.Or(max(r.Every, 0), 500*time.Millisecond) {
			balanced[s.No] = time.Now()
			_, err := r.Shards.Balance(ctx, s, cmp.Or(max(r.Transfers, 0), 16))
			note(s.ID+" between its shards", err)
		}
	}
	return more
}
