package gatetest

import (
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

var controlling = []testCase{
	{"a sale takes holds only while it accepts", func(w *world) {
		s := w.sale(func(s *engine.Sale) { s.State = engine.SaleArmed; s.HoldTTL = 2 * time.Hour }, 50)
		try := func(want engine.Code) {
			w.Helper()
			_, err := w.Gate.Hold(w.ctx, s, Request(uint64(s.Version), 1, 0, 1))
			w.code(err, want)
		}
		set := func(state engine.SaleState, opens, closes time.Time) {
			w.Helper()
			s.State, s.OpensAt, s.ClosesAt = state, opens, closes
			s.Version++
			w.ok(w.Gate.Install(w.ctx, s))
		}
		try(engine.CodeSaleNotOpen)
		// The gate's own clock, which a test's may differ from.
		set(engine.SaleOpen, time.Time{}, time.Time{})
		now := w.hold(s, 1000, 1, 0, 1).ID.CreatedAt()
		set(engine.SaleArmed, now, time.Time{})
		try("")
		set(engine.SaleArmed, now.Add(time.Hour), time.Time{})
		try(engine.CodeSaleNotOpen)
		set(engine.SaleOpen, now.Add(time.Hour), time.Time{})
		try("")
		set(engine.SaleOpen, time.Time{}, now)
		try(engine.CodeSaleNotOpen)
		set(engine.SaleOpen, time.Time{}, now.Add(time.Hour))
		try("")
		for _, state := range []engine.SaleState{engine.SalePaused, engine.SaleDraining, engine.SaleClosed} {
			set(state, time.Time{}, time.Time{})
			try(engine.CodeSaleNotOpen)
		}
	}},
	{"payments go on while a sale is paused or draining", func(w *world) {
		for _, state := range []engine.SaleState{engine.SalePaused, engine.SaleDraining} {
			s := w.sale(nil, 5)
			a, b, c := w.hold(s, 1, 1, 0, 1), w.hold(s, 2, 1, 0, 1), w.hold(s, 3, 1, 0, 1)
			s.State = state
			w.ok(w.Gate.Install(w.ctx, s))
			w.begin(s, a.ID, 1)
			w.begin(s, b.ID, 1)
			_, _, err := w.Gate.Claim(w.ctx, s, a.ID, Fence(1), nil)
			w.ok(err)
			_, err = w.Gate.Return(w.ctx, s, b.ID, Fence(1))
			w.ok(err)
			_, err = w.Gate.Release(w.ctx, s, c.ID)
			w.ok(err)
		}
	}},
	{"an install makes no keys", func(w *world) {
		s := w.draft(5)
		w.code(w.Gate.Install(w.ctx, s), engine.CodeGateFrozen)
		_, err := w.Gate.Hold(w.ctx, s, Request(1, 1, 0, 1))
		w.code(err, engine.CodeGateFrozen)
		_, err = w.Gate.Counters(w.ctx, s)
		w.code(err, engine.CodeGateFrozen)
		w.code(w.Gate.SetStock(w.ctx, s, 0, 1), engine.CodeGateFrozen)
		_, err = w.Gate.Reap(w.ctx, s, 10)
		w.code(err, engine.CodeGateFrozen)
		w.code(w.Gate.Holds(w.ctx, s, nil), engine.CodeGateFrozen)
	}},
	{"a later version of a sale is not undone by an earlier one", func(w *world) {
		s := w.sale(nil, 5)
		late := *s
		late.Version, late.State = 7, engine.SalePaused
		w.ok(w.Gate.Install(w.ctx, &late))
		w.ok(w.Gate.SetStock(w.ctx, &late, 0, 9))
		w.ok(w.Gate.Install(w.ctx, s))
		w.ok(w.Gate.SetStock(w.ctx, s, 0, 5))
		_, err := w.Gate.Hold(w.ctx, s, Request(1, 1, 0, 1))
		w.code(err, engine.CodeSaleNotOpen)
		w.counts(s, 0, 9, 0, 0, 0)
	}},
	{"a sale that was created and never used is created anew; a used one is not", func(w *world) {
		s := w.sale(nil, 5)
		s.Items[0].Stock = 8
		w.ok(w.Gate.Create(w.ctx, s))
		w.counts(s, 0, 8, 0, 0, 0)
		w.hold(s, 1, 1, 0, 1)
		w.code(w.Gate.Create(w.ctx, s), engine.CodeGateFrozen)
		w.counts(s, 0, 7, 1, 0, 0)
	}},
	{"another epoch is frozen for everything", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 1)
		other := *s
		other.Epoch = 2
		_, err := w.Gate.Hold(w.ctx, &other, Request(1, 1, 0, 1))
		w.code(err, engine.CodeGateFrozen)
		_, err = w.Gate.Find(w.ctx, &other, h.ID)
		w.code(err, engine.CodeGateFrozen)
		_, _, err = w.Gate.Claim(w.ctx, &other, h.ID, Fence(1), nil)
		w.code(err, engine.CodeGateFrozen)
		_, err = w.Gate.Counters(w.ctx, &other)
		w.code(err, engine.CodeGateFrozen)
		w.code(w.Gate.Install(w.ctx, &other), engine.CodeGateFrozen)
		w.code(w.Gate.Create(w.ctx, &other), engine.CodeGateFrozen)
		w.code(w.Gate.SetStock(w.ctx, &other, 0, 9), engine.CodeGateFrozen)
		w.counts(s, 0, 4, 1, 0, 0)
	}},
	{"stock is set absolutely and never below what is taken", func(w *world) {
		s := w.sale(nil, 5)
		w.hold(s, 1, 1, 0, 3)
		for range 2 {
			w.ok(w.Gate.SetStock(w.ctx, s, 0, 10))
			w.counts(s, 0, 7, 3, 0, 0)
		}
		w.code(w.Gate.SetStock(w.ctx, s, 0, 2), engine.CodeSoldOut)
		w.ok(w.Gate.SetStock(w.ctx, s, 0, 3))
		w.counts(s, 0, 0, 3, 0, 0)
		_, err := w.Gate.Hold(w.ctx, s, Request(2, 1, 0, 1))
		w.code(err, engine.CodeSoldOut)
	}},
	{"lost keys freeze the sale and never say sold out", func(w *world) {
		for _, key := range []string{"sale", "sku", "buyers"} {
			s := w.sale(nil, 5)
			h := w.hold(s, 1, 1, 0, 1)
			w.begin(s, h.ID, 1)
			w.Lose(s.No, key)
			_, err := w.Gate.Hold(w.ctx, s, Request(65, 1, 0, 1)) // at home in the same shard
			w.code(err, engine.CodeGateFrozen)
			_, _, err = w.Gate.Claim(w.ctx, s, h.ID, Fence(1), nil)
			w.code(err, engine.CodeGateFrozen)
			w.code(w.Gate.Create(w.ctx, s), engine.CodeGateFrozen)
			if key != "buyers" {
				w.code(w.Gate.Install(w.ctx, s), engine.CodeGateFrozen)
			}
			w.sales = w.sales[:0]
		}
	}},
}
