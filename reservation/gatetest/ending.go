package gatetest

import (
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

var ending = []testCase{
	{"an extended hold lives on, and not for ever", func(w *world) {
		s := w.sale(w.short, 5)
		h := w.hold(s, 1, 1, 0, 2)
		until := h.ExpiresAt.Add(2 * w.Tick)
		for i, at := range []time.Time{until, until, h.ExpiresAt} { // again, and for less
			e, err := w.Gate.Extend(w.ctx, s, h.ID, at)
			w.ok(err)
			w.that(e.State == engine.Held && e.ExpiresAt.Equal(until) && e.Seq == 2 && e.Replayed == (i > 0), "call %d: %+v", i+1, e)
		}
		w.Advance(w.Tick)
		w.that(w.reap(s, 10).Expired == 0, "it has expired at its first deadline")
		w.is(w.find(s, h.ID).State, engine.Held)
		w.counts(s, 0, 3, 2, 0, 0)
		w.Advance(2 * w.Tick)
		w.that(w.reap(s, 10).Expired == 1, "it has not expired")
		w.counts(s, 0, 5, 0, 0, 0)
	}},
	{"a paying hold that is extended comes back for longer", func(w *world) {
		s := w.sale(w.short, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.begin(s, h.ID, 1)
		until := h.ExpiresAt.Add(2 * w.Tick)
		e, err := w.Gate.Extend(w.ctx, s, h.ID, until)
		w.ok(err)
		w.that(e.State == engine.Paying && !e.Replayed, "%+v", e)
		w.Advance(w.Tick)
		r, err := w.Gate.Return(w.ctx, s, h.ID, Fence(1))
		w.ok(err)
		w.that(r.State == engine.Held && r.ExpiresAt.Equal(until), "%+v", r)
		w.Advance(2 * w.Tick)
		w.that(w.reap(s, 10).Expired == 1, "it has not expired")
	}},
	{"who was extended for longer hides nobody who is due", func(w *world) {
		s := w.sale(w.short, 5)
		long, less := w.hold(s, as64, 1, 0, 1), w.hold(s, as128, 1, 0, 1)
		for i, h := range []engine.Hold{long, less} { // the longer one first
			_, err := w.Gate.Extend(w.ctx, s, h.ID, h.ExpiresAt.Add(time.Duration(20-19*i)*w.Tick))
			w.ok(err)
		}
		w.Advance(w.Tick)
		w.that(w.reap(s, 10).Expired == 0, "what was extended has expired") // and the hints of the old deadlines are gone
		w.Advance(w.Tick)
		w.that(w.reap(s, 10).Expired == 1, "the one that was extended for less has not expired")
		w.is(w.find(s, long.ID).State, engine.Held)
		// Neither does it after a rebuild, which makes one log of all.
		w.freeze(s)
		next := w.rebuild(s, w.remains(s)...)
		w.hold(next, as192, 1, 0, 4)
		w.Advance(2 * w.Tick)
		w.hold(next, as128, 2, 0, 4) // takes the units of one that is due
		w.is(w.find(next, long.ID).State, engine.Held)
		w.counts(next, 0, 0, 5, 0, 0)
	}},
	{"what has ended is not extended", func(w *world) {
		s := w.sale(w.short, 5)
		gone, sold, due := w.hold(s, 1, 1, 0, 1), w.hold(s, 2, 1, 0, 1), w.hold(s, 3, 1, 0, 1)
		_, err := w.Gate.Release(w.ctx, s, gone.ID)
		w.ok(err)
		w.begin(s, sold.ID, 1)
		_, _, err = w.Gate.Claim(w.ctx, s, sold.ID, Fence(1), nil)
		w.ok(err)
		w.Advance(w.Tick)
		for id, want := range map[engine.ReservationID]engine.ReservationState{gone.ID: engine.Released, sold.ID: engine.Accepted, due.ID: engine.Expired} {
			e, err := w.Gate.Extend(w.ctx, s, id, due.ExpiresAt.Add(time.Hour))
			w.ok(err)
			w.that(e.State == want && e.Replayed, "%+v, want %s", e, want)
		}
		stranger := due.ID
		stranger.Nonce[7]++ // a hold is told by the last five
		_, err = w.Gate.Extend(w.ctx, s, stranger, due.ExpiresAt.Add(time.Hour))
		w.code(err, engine.CodeNotFound)
		w.counts(s, 0, 4, 0, 0, 1)
	}},
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
