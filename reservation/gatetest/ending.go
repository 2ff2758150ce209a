package gatetest

import (
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

var ending = []testCase{
	{"a release gives the units back once", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 2)
		for i := range 3 {
			r, err := w.Gate.Release(w.ctx, s, h.ID)
			w.ok(err)
			w.is(r.State, engine.Released)
			w.that(r.Replayed == (i > 0), "call %d: replayed %v", i+1, r.Replayed)
		}
		w.counts(s, 0, 5, 0, 0, 0)
		w.is(w.hold(s, 1, 1, 0, 2).State, engine.Released)
	}},
	{"the release of an expired hold says expired", func(w *world) {
		s := w.sale(w.short, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.Advance(w.Tick)
		w.is(w.find(s, h.ID).State, engine.Expired)
		r, err := w.Gate.Release(w.ctx, s, h.ID)
		w.ok(err)
		w.is(r.State, engine.Expired)
		w.counts(s, 0, 5, 0, 0, 0)
	}},
	{"a reaper expires what is due, within its limit, and says if there is more", func(w *world) {
		s := w.sale(w.short, 50)
		for b := range uint64(10) {
			w.hold(s, b, 1, 0, 1)
		}
		w.Advance(w.Tick)
		w.hold(s, 99, 1, 0, 1) // not due
		r := w.reap(s, 4)
		w.that(r.Expired == 4 && r.More, "%+v", r)
		r = w.reap(s, 6)
		w.that(r.Expired == 6, "%+v", r)
		r = w.reap(s, 6)
		w.that(r.Expired == 0 && !r.More, "%+v", r)
		w.counts(s, 0, 49, 1, 0, 0)
	}},
	{"several due holds of one buyer respect the reaper's limit", func(w *world) {
		s := w.sale(w.short, 50)
		for n := range uint64(4) {
			w.hold(s, 1, n, 0, 1)
		}
		w.Advance(w.Tick)
		for i := range 4 {
			r := w.reap(s, 1)
			w.that(r.Expired == 1 && r.More, "round %d: %+v", i, r)
		}
		for range 8 {
			w.that(w.reap(s, 1).Expired == 0, "expired twice")
		}
		w.that(!w.reap(s, 1).More, "no end")
	}},
	{"an overdue payment is listed, and again after the lease, until it is resolved", func(w *world) {
		s := w.sale(w.short, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.begin(s, h.ID, 3)
		w.that(len(w.reap(s, 10).Overdue) == 0, "overdue at once")
		for range 2 {
			w.Advance(LeaseTicks * w.Tick)
			r := w.reap(s, 10)
			w.that(len(r.Overdue) == 1 && r.Overdue[0].ID == h.ID && r.Overdue[0].Fence == Fence(3) && r.Overdue[0].State == engine.Paying, "%+v", r)
			w.that(len(w.reap(s, 10).Overdue) == 0, "listed twice within the lease")
		}
		_, err := w.Gate.Return(w.ctx, s, h.ID, Fence(3))
		w.ok(err)
		w.Advance(LeaseTicks * w.Tick)
		w.that(len(w.reap(s, 10).Overdue) == 0, "listed after it was resolved")
	}},
	{"a payment that begins again after a return is reported when it is overdue", func(w *world) {
		s := w.sale(func(s *engine.Sale) { w.short(s); s.HoldTTL = 9 * w.Tick }, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.begin(s, h.ID, 1)
		w.Advance(LeaseTicks * w.Tick)
		w.that(len(w.reap(s, 10).Overdue) == 1, "not overdue")
		_, err := w.Gate.Return(w.ctx, s, h.ID, Fence(1))
		w.ok(err)
		w.begin(s, h.ID, 2)
		w.Advance(LeaseTicks * w.Tick)
		r := w.reap(s, 10)
		w.that(len(r.Overdue) == 1 && r.Overdue[0].Fence == Fence(2), "%+v", r)
	}},
	{"tombstones answer for a while and are then forgotten; accepted holds are not", func(w *world) {
		s := w.sale(nil, 5)
		sold, gone := w.hold(s, 1, 1, 0, 1), w.hold(s, 1, 2, 0, 1)
		w.begin(s, sold.ID, 1)
		_, _, err := w.Gate.Claim(w.ctx, s, sold.ID, Fence(1), nil)
		w.ok(err)
		_, err = w.Gate.Release(w.ctx, s, gone.ID)
		w.ok(err)
		w.reap(s, 10)
		w.is(w.find(s, gone.ID).State, engine.Released)
		w.Advance(KeepTicks * w.Tick)
		w.reap(s, 10)
		_, err = w.Gate.Find(w.ctx, s, gone.ID)
		w.code(err, engine.CodeNotFound)
		w.is(w.find(s, sold.ID).State, engine.Accepted)
		again := w.hold(s, 1, 2, 0, 1)
		w.that(!again.Replayed && again.ID != gone.ID, "the forgotten hold came back: %+v", again)
	}},
	{"a buyer's tombstones are bounded", func(w *world) {
		s := w.sale(nil, 5)
		for n := range uint64(40) {
			h := w.hold(s, 1, n, 0, 1)
			_, err := w.Gate.Release(w.ctx, s, h.ID)
			w.ok(err)
			w.Advance(2 * time.Millisecond)
		}
		seen := 0
		w.ok(w.Gate.Holds(w.ctx, s, func(engine.Hold) error { seen++; return nil }))
		w.that(seen == 16, "%d tombstones", seen)
	}},
}
