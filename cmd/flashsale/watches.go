package main

import (
	"context"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/ops"
	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/orders/record"
	"github.com/flashsale-engine/flashsale/reservation"
)

// watches adds the loops that look at what is shared by all nodes, for the
// metrics. Those with the role reaper look, so that who scrapes all of them sees
// it some times, and not as often as there are nodes; the stream is watched by
// the writers too.
func (n *node) watches(roles map[string]func(context.Context) error) error {
	if n.has(roleReaper) || n.has(roleWriter) {
		roles["stream watch"] = orders.NewStreamWatch(n.stream, n.ledger, n.reg).Run
	}
	if !n.has(roleReaper) {
		return nil
	}
	redis, sales := reservation.NewHealth(n.gate), ops.NewSaleMetrics(n.cache.Active, n.gate)
	n.reg.MustRegister(redis, sales)
	postgres, err := record.NewHealth(n.db, n.reg)
	if err != nil {
		return err
	}
	roles["redis watch"], roles["sales watch"], roles["postgres watch"] = redis.Run, sales.Run, postgres.Run
	roles["fast verification"] = every(fastVerifyEvery, n.truth.VerifyFast)
	if n.set.VerifyEvery > 0 {
		roles["verification"] = every(n.set.VerifyEvery, n.truth.Verify)
	}
	return nil
}

// fastVerifyEvery is the time between two comparisons of the counters.
const fastVerifyEvery = 10 * time.Second

// every has a verification made again and again. Its metrics say what it found,
// and that it could not.
func every(d time.Duration, verify func(context.Context, time.Duration) (engine.Verdict, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				_, _ = verify(ctx, 2*time.Second)
			}
		}
	}
}
