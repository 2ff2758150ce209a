package main

import (
	"context"

	"github.com/flashsale-engine/flashsale/internal/fault"
	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// faulty is the writer's record with a plan's points around the commit.
type faulty struct {
	orders.Record
	plan *fault.Plan
}

func (f faulty) Commit(ctx context.Context, b record.Batch) (record.Result, error) {
	return fault.Around(ctx, f.plan, "commit", func() (record.Result, error) { return f.Record.Commit(ctx, b) })
}
