package history_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/reservation"
	"github.com/flashsale-engine/flashsale/reservation/history"
)

// operations is how many a run of the test records at least; `make soak` raises it.
var operations = flag.Int("operations", 200_000, "operations to record and check")

// patience ends a crowd that a lost answer leaves waiting.
var patience = flag.Duration("patience", 4*time.Minute, "how long one sale's crowd may take")

const (
	maxAttempts = 3
	nodes       = 3
)

var lastSale atomic.Uint32

func init() { lastSale.Store(rand.Uint32()) }

// crowd is one sale, its nodes and what they do.
type crowd struct {
	url        string
	operations int
	sessions   int
	shards     int
	ttl        time.Duration
	stock      int64 // of each SKU; 0: scarce from early on, and gone by the end
	faults     bool
	soldOutFor time.Duration // negative: nodes know nothing, every answer is the gate's
	done       *atomic.Int64
	calm       func() // ends the faults, before the gate is read
}

// run drives a crowd over a sale of its own and gives the history.
func (c crowd) run(t *testing.T) *history.History {
	t.Helper()
	seed := rand.Uint64()
	s := &engine.Sale{
		No: lastSale.Add(1), ID: "history", State: engine.SaleOpen, Epoch: 7, Version: 1, Shards: max(c.shards, 1),
		HoldTTL: c.ttl, HoldCap: 10 * c.ttl, PerBuyerLimit: 4,
	}
	if c.stock == 0 {
		c.stock = int64(c.sessions/2 + c.operations/400)
	}
	for i := range uint16(4) {
		s.Items = append(s.Items, engine.Item{No: i, Stock: c.stock})
	}
	var gates []*reservation.Gate
	var sources []history.Source
	for range nodes {
		g, err := reservation.Open(reservation.Options{URL: c.url, MaxAttempts: maxAttempts, Lease: 3 * c.ttl, SoldOutFor: c.soldOutFor, CallTimeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}()
		gates, sources = append(gates, g), append(sources, g)
	}
	if err := gates[0].Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), *patience, fmt.Errorf("sale %d, seed %d", s.No, seed))
	defer cancel()
	overdue := make(chan engine.Hold, 1024)
	reaping, stop := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	reaper := reservation.Reaper{
		Gate: gates[nodes-1], Idle: 20 * time.Millisecond,
		Sales: func(context.Context) ([]*engine.Sale, error) { return []*engine.Sale{s}, nil },
		Overdue: func(_ *engine.Sale, h engine.Hold) {
			select {
			case overdue <- h:
			default: // comes again
			}
		},
	}
	go func() { stopped <- reaper.Run(reaping) }()
	load := history.Load{Nodes: sources, Sale: s, Operations: c.operations, Sessions: c.sessions, Seed: seed, Faults: c.faults, Done: c.done}
	if !c.faults {
		load.Overdue = overdue
	}
	rec, err := load.Run(ctx)
	if c.calm != nil {
		c.calm()
	}
	stop()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("the reaper: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := &history.History{Sale: s, MaxAttempts: maxAttempts, Ops: rec.Ops(), Stale: max(c.soldOutFor, 0)}
	if err := history.Rest(t.Context(), h, gates[0]); err != nil {
		t.Fatal(err)
	}
	return h
}

// prove checks a history both ways.
func prove(t *testing.T, h *history.History) history.Report {
	t.Helper()
	began := time.Now()
	r, err := history.Check(h)
	if err != nil {
		t.Fatal(err)
	}
	checked := time.Since(began)
	began = time.Now()
	p, err := history.Porcupine(h, 2*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if p.Unknown > 0 {
		t.Errorf("porcupine gave up on %d of %d partitions", p.Unknown, p.Buyers+p.SKUs)
	}
	if testing.Verbose() {
		t.Log("\n" + history.Mix(h.Ops))
	}
	t.Logf("%+v in %s; porcupine %+v in %s", r, checked.Round(time.Millisecond), p, time.Since(began).Round(time.Millisecond))
	return r
}

func TestWhatClientsSeeIsLinearizable(t *testing.T) {
	const round = 25_000
	var sum history.Report
	for sum.Operations < *operations {
		h := crowd{url: testenv.Redis(t), operations: min(round, *operations), sessions: 48, ttl: 60 * time.Millisecond, soldOutFor: -1}.run(t)
		sum.Add(prove(t, h))
	}
	t.Logf("%+v", sum)
	for what, n := range map[string]int{"expiries": sum.Expiries, "placed": sum.Placed, "decisions": int(sum.Decisions)} {
		if n < sum.Operations/200 {
			t.Errorf("%d %s of %d operations: the crowd does not try what it should", n, what, sum.Operations)
		}
	}
}
