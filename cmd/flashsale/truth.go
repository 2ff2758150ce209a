package main

import (
	"context"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/ops"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// longestRun bounds a whole verification, whoever still waits for it.
const longestRun = 10 * time.Minute

// truth is this node's proof that nothing was lost, doubled or made up: ops.Truth.
type truth struct {
	chain    *record.Chain
	repairer *engine.Repairer
	full     engine.Turns[engine.Verdict]
	fast     engine.Turns[engine.Verdict]
	fixing   chan struct{} // one at a time
}

func newTruth(n *node, shown *ops.TruthMetrics) *truth {
	audit := record.NewAudit(n.db)
	verifier := func(settle, pause time.Duration) *engine.Verifier {
		return &engine.Verifier{Sales: n.sales.List, Gate: n.gate, Outbox: n.gate, Stream: n.stream, Record: audit,
			Books: n.router, Clock: systemClock{n.set.ClockSkew}, Settle: settle, Pause: pause}
	}
	t := &truth{chain: record.NewChain(n.db), fixing: make(chan struct{}, 1),
		repairer: &engine.Repairer{Engine: n.engine, Lifecycle: n.lifecycle, Restore: audit.Restore, Audit: audit.Note, Log: n.log}}
	t.full.AtMost, t.fast.AtMost = longestRun, time.Minute
	t.full.Run = func(ctx context.Context, settle time.Duration) (engine.Verdict, error) {
		v, err := verifier(settle, 100*time.Millisecond).Verify(ctx)
		shown.Note("full", v, err)
		if err == nil && len(v.Findings) > 0 {
			v.Repairs = t.repairer.Plan(ctx, v.Findings)
		}
		return v, err
	}
	t.fast.Run = func(ctx context.Context, settle time.Duration) (engine.Verdict, error) {
		v, err := verifier(settle, 50*time.Millisecond).Fast(ctx)
		shown.Note("fast", v, err)
		return v, err
	}
	return t
}

func (t *truth) Verify(ctx context.Context, settle time.Duration) (engine.Verdict, error) {
	return t.full.Do(ctx, settle)
}

func (t *truth) VerifyFast(ctx context.Context, settle time.Duration) (engine.Verdict, error) {
	return t.fast.Do(ctx, settle)
}

func (t *truth) Fix(ctx context.Context, settle time.Duration, actor string) (out engine.Mending, err error) {
	select {
	case t.fixing <- struct{}{}:
		defer func() { <-t.fixing }()
	case <-ctx.Done():
		return out, ctx.Err()
	}
	if out.Before, err = t.full.Do(ctx, settle); err != nil || len(out.Before.Repairs) == 0 {
		return out, err
	}
	// The verdict may be shared with others who asked: what is done is noted in a copy.
	out.Before.Repairs = append([]engine.Mend(nil), out.Before.Repairs...)
	t.repairer.Do(context.WithoutCancel(ctx), out.Before.Repairs, actor)
	after, err := t.full.Do(ctx, settle)
	out.After = &after
	return out, err
}

func (t *truth) CheckChain(ctx context.Context, since int64, expect string) (engine.ChainReport, error) {
	return t.chain.Check(ctx, since, expect)
}

func (t *truth) Head(ctx context.Context) (engine.Seal, error) { return t.chain.Head(ctx) }
