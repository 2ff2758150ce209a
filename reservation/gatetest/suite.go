// Package gatetest is the conformance suite of the gate: what engine.Gate,
// GateReader, GateControl and Outbox promise, as cases that every backend
// passes. A backend calls Run in one line, so that twins cannot drift apart.
package gatetest

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Gate is what is tested.
type Gate interface {
	engine.Gate
	engine.GateReader
	engine.GateControl
	engine.GateHolds
	engine.GateRepair
	engine.Outbox
}

// Backend is one gate under test, with its settings as Lease, Keep and
// MaxAttempts below.
type Backend struct {
	Gate Gate
	// Advance brings the gate's own clock forward: by waiting, if it is real.
	Advance func(d time.Duration)
	// Shards of the sales; 0: one.
	Shards int
	// Lose removes one of a sale's keys, in every shard, as an eviction would:
	// sale, sku or buyers.
	Lose func(saleNo uint32, key string)
	// Tick is a span that the backend's clock can afford to wait for, and that
	// a case's few calls do not take, on a machine that has other things to do.
	Tick time.Duration
}

// The settings that a backend's gate is opened with, in ticks where they are times.
const (
	LeaseTicks  = 2
	KeepTicks   = 4
	MaxAttempts = 3
)

// Run runs every case on a fresh backend each. They wait for the clock together: a
// case begins once the one before it waits or is over. So no case is kept from its
// next call by many that begin, and a long Tick costs the suite its longest case.
func Run(t *testing.T, backend func(t *testing.T) Backend) {
	var all sync.WaitGroup
	for _, c := range slices.Concat(holding, paying, ending, controlling, repairs) {
		waits := make(chan struct{})
		next := sync.OnceFunc(func() { close(waits) })
		all.Go(func() {
			defer next()
			t.Run(c.name, func(t *testing.T) {
				w := &world{T: t, Backend: backend(t), ctx: t.Context()}
				advance := w.Advance
				w.Advance = func(d time.Duration) { next(); advance(d) }
				c.run(w)
				w.conserved()
			})
		})
		<-waits
	}
	all.Wait()
}

type testCase struct {
	name string
	run  func(w *world)
}

// world is a case's sale and shorthand.
type world struct {
	*testing.T
	Backend
	ctx   context.Context
	sales []*engine.Sale
}

var lastSale atomic.Uint32

func init() { lastSale.Store(rand.Uint32()) } //nolint:gosec // sale numbers that runs on a shared Redis rarely share; no secret

// SaleNo gives a sale number that nobody else uses on a shared backend.
func SaleNo() uint32 { return lastSale.Add(1) }

// Sale makes an open sale; its holds last an hour unless the case says.
func Sale(stocks ...int64) *engine.Sale {
	s := &engine.Sale{
		No: SaleNo(), ID: "t", Name: "T", Currency: "USD", State: engine.SaleOpen, Epoch: 1,
		HoldTTL: time.Hour, HoldCap: 2 * time.Hour, PerBuyerLimit: 4, Shards: 1, Version: 1,
	}
	for i, n := range stocks {
		s.Items = append(s.Items, engine.Item{No: uint16(i), SKU: "sku-" + string(rune('a'+i)), UnitPrice: 100, Stock: n})
	}
	return s
}

// draft is a sale that is not at the gate yet.
func (w *world) draft(stocks ...int64) *engine.Sale {
	s := Sale(stocks...)
	s.Shards = max(w.Shards, 1)
	return s
}

func (w *world) sale(edit func(s *engine.Sale), stocks ...int64) *engine.Sale {
	w.Helper()
	s := w.draft(stocks...)
	if edit != nil {
		edit(s)
	}
	w.ok(w.Gate.Create(w.ctx, s))
	w.sales = append(w.sales, s)
	return s
}

// short makes holds last one tick.
func (w *world) short(s *engine.Sale) { s.HoldTTL, s.HoldCap = w.Tick, 10*w.Tick }

// Request asks for units of SKUs, given as number and quantity in turn.
func Request(buyer, nonce uint64, lines ...int) engine.HoldRequest {
	var r engine.HoldRequest
	binary.BigEndian.PutUint64(r.Buyer[:], buyer)
	binary.BigEndian.PutUint64(r.Nonce[:], nonce)
	for i := 0; i+1 < len(lines); i += 2 {
		r.Lines = append(r.Lines, engine.Line{No: uint16(lines[i]), Quantity: lines[i+1]})
	}
	return r
}

// Fence gives a payment attempt's fence.
func Fence(n uint64) (f engine.Fence) { binary.BigEndian.PutUint64(f[:], n); return f }

func (w *world) hold(s *engine.Sale, buyer, nonce uint64, lines ...int) engine.Hold {
	w.Helper()
	h, err := w.Gate.Hold(w.ctx, s, Request(buyer, nonce, lines...))
	w.ok(err)
	return h
}

func (w *world) begin(s *engine.Sale, id engine.ReservationID, f uint64) engine.Hold {
	w.Helper()
	h, err := w.Gate.BeginPayment(w.ctx, s, id, Fence(f))
	w.ok(err)
	w.is(h.State, engine.Paying)
	return h
}

func (w *world) find(s *engine.Sale, id engine.ReservationID) engine.Hold {
	w.Helper()
	h, err := w.Gate.Find(w.ctx, s, id)
	w.ok(err)
	return h
}

func (w *world) units(s *engine.Sale, no int) engine.Counters {
	w.Helper()
	cs, err := w.Gate.Counters(w.ctx, s)
	w.ok(err)
	return cs[no]
}

// counts checks available, held, paying and sold of a SKU.
func (w *world) counts(s *engine.Sale, no int, available, held, paying, sold int64) {
	w.Helper()
	c := w.units(s, no)
	if c.Available != available || c.Held != held || c.Paying != paying || c.Sold != sold {
		w.Fatalf("SKU %d: available %d, held %d, paying %d, sold %d; want %d, %d, %d, %d",
			no, c.Available, c.Held, c.Paying, c.Sold, available, held, paying, sold)
	}
}

func (w *world) reap(s *engine.Sale, limit int) engine.Reaped {
	w.Helper()
	r, err := w.Gate.Reap(w.ctx, s, limit)
	w.ok(err)
	return r
}

// conserved holds after every case: counters add up, and they are the sum of the holds.
func (w *world) conserved() {
	w.Helper()
	for _, s := range w.sales {
		cs, err := w.Gate.Counters(w.ctx, s)
		if engine.CodeOf(err) == engine.CodeGateFrozen {
			continue // the case lost it
		}
		w.ok(err)
		sums := make([]engine.Counters, len(cs))
		w.ok(w.Gate.Holds(w.ctx, s, func(h engine.Hold) error {
			for _, l := range h.Lines {
				c := &sums[l.No]
				switch h.State {
				case engine.Held:
					c.Held += int64(l.Quantity)
				case engine.Paying:
					c.Paying += int64(l.Quantity)
				case engine.Accepted:
					c.Sold += int64(l.Quantity)
				}
			}
			return nil
		}))
		for i, c := range cs {
			if !c.Conserved() {
				w.Errorf("SKU %d does not conserve: %+v", i, c)
			}
			if c.Held != sums[i].Held || c.Paying != sums[i].Paying || c.Sold != sums[i].Sold {
				w.Errorf("SKU %d counts %+v, its holds %+v", i, c, sums[i])
			}
		}
	}
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) code(err error, want engine.Code) {
	w.Helper()
	if engine.CodeOf(err) != want || errors.Is(err, engine.ErrUnknown) {
		w.Fatalf("got %v, want %s", err, want)
	}
}

func (w *world) is(got, want engine.ReservationState) {
	w.Helper()
	if got != want {
		w.Fatalf("state %s, want %s", got, want)
	}
}

func (w *world) that(ok bool, format string, args ...any) {
	w.Helper()
	if !ok {
		w.Fatalf(format, args...)
	}
}
