package gatetest

import (
	"github.com/flashsale-engine/flashsale/engine"
)

var paying = []testCase{
	{"a payment moves the units to paying and the deadline to the cap", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 2)
		p := w.begin(s, h.ID, 7)
		w.that(p.ExpiresAt.Equal(h.ID.CreatedAt().Add(s.HoldCap)), "cap at %s", p.ExpiresAt)
		w.that(p.Attempts == 1 && p.Fence == Fence(7) && p.Seq == 2 && !p.Replayed, "%+v", p)
		w.counts(s, 0, 3, 0, 2, 0)
		again := w.begin(s, h.ID, 7)
		w.that(again.Replayed && again.Attempts == 1 && again.Seq == 2, "%+v", again)
	}},
	{"another attempt waits while one pays", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.begin(s, h.ID, 1)
		_, err := w.Gate.BeginPayment(w.ctx, s, h.ID, Fence(2))
		w.code(err, engine.CodeAttemptInProgress)
		_, err = w.Gate.Release(w.ctx, s, h.ID)
		w.code(err, engine.CodePaymentInProgress)
		_, _, err = w.Gate.Claim(w.ctx, s, h.ID, Fence(2), nil)
		w.code(err, engine.CodeAttemptInProgress)
	}},
	{"a payment cannot begin on a due hold, which expires in that step", func(w *world) {
		s := w.sale(w.short, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.Advance(w.Tick)
		_, err := w.Gate.BeginPayment(w.ctx, s, h.ID, Fence(1))
		w.code(err, engine.CodeReservationExpired)
		w.counts(s, 0, 5, 0, 0, 0)
	}},
	{"the clock does not end a paying hold", func(w *world) {
		s := w.sale(func(s *engine.Sale) { w.short(s); s.HoldCap = 3 * w.Tick }, 1)
		h := w.hold(s, 1, 1, 0, 1)
		w.begin(s, h.ID, 1)
		w.Advance(s.HoldCap)
		_, err := w.Gate.Hold(w.ctx, s, Request(2, 1, 0, 1))
		w.code(err, engine.CodeSoldOut)
		w.reap(s, 10)
		w.is(w.find(s, h.ID).State, engine.Paying)
		_, _, err = w.Gate.Claim(w.ctx, s, h.ID, Fence(1), nil)
		w.ok(err)
	}},
	{"a claim sells the units and puts the event out once", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 2)
		w.begin(s, h.ID, 1)
		c, e, err := w.Gate.Claim(w.ctx, s, h.ID, Fence(1), []byte("event\x00\r\n"))
		w.ok(err)
		w.is(c.State, engine.Accepted)
		w.that(e.EntryID != "" && e.ID == h.ID && e.Epoch == 1 && e.Seq == 3 && string(e.Payload) == "event\x00\r\n" && e.AcceptedAt.Equal(c.ExpiresAt), "%+v", e)
		again, e2, err := w.Gate.Claim(w.ctx, s, h.ID, Fence(1), []byte("event2"))
		w.ok(err)
		w.that(again.Replayed && again.Seq == c.Seq && e2.Seq == e.Seq && e2.AcceptedAt.Equal(e.AcceptedAt) && string(e2.Payload) == "event2", "%+v", e2)
		w.counts(s, 0, 3, 0, 0, 2)

		list, err := w.Gate.Pending(w.ctx, s, 0, 10)
		w.ok(err)
		w.that(len(list) == 1, "%d entries", len(list))
		got := list[0]
		w.that(got.EntryID == e.EntryID && got.ID == e.ID && string(got.Payload) == string(e.Payload) && got.Seq == 3 && got.Epoch == 1 && got.AcceptedAt.Equal(e.AcceptedAt), "pending %+v, claimed %+v", got, e)
		w.ok(w.Gate.Remove(w.ctx, s, []engine.OutboxEntry{e2})) // without an id: nothing
		w.ok(w.Gate.Remove(w.ctx, s, []engine.OutboxEntry{e, e2}))
		w.ok(w.Gate.Remove(w.ctx, s, []engine.OutboxEntry{e}))
		list, err = w.Gate.Pending(w.ctx, s, 0, 10)
		w.ok(err)
		w.that(len(list) == 0, "%d entries after the removal", len(list))
	}},
	{"an accepted hold answers its own attempt and refuses others", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.begin(s, h.ID, 1)
		_, _, err := w.Gate.Claim(w.ctx, s, h.ID, Fence(1), nil)
		w.ok(err)
		b, err := w.Gate.BeginPayment(w.ctx, s, h.ID, Fence(1))
		w.ok(err)
		w.is(b.State, engine.Accepted)
		w.that(b.Replayed, "not marked as a repeat")
		_, err = w.Gate.BeginPayment(w.ctx, s, h.ID, Fence(2))
		w.code(err, engine.CodeAlreadyPaid)
		_, _, err = w.Gate.Claim(w.ctx, s, h.ID, Fence(2), nil)
		w.code(err, engine.CodeAlreadyPaid)
		_, err = w.Gate.Release(w.ctx, s, h.ID)
		w.code(err, engine.CodeAlreadyPaid)
		r, err := w.Gate.Return(w.ctx, s, h.ID, Fence(1))
		w.ok(err)
		w.is(r.State, engine.Accepted)
		w.counts(s, 0, 4, 0, 0, 1)
	}},
	{"a hold that is taken away from its attempt can only be returned", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 1)
		again, err := w.Gate.Bar(w.ctx, s, h.ID, Fence(1))
		w.ok(err)
		w.that(again.State == engine.Held && again.Replayed, "%+v", again)
		w.begin(s, h.ID, 1)
		for i := range 2 {
			b, err := w.Gate.Bar(w.ctx, s, h.ID, Fence(1))
			w.ok(err)
			w.that(b.State == engine.Paying && b.Fence == Fence(1).Barred() && b.Replayed == (i > 0), "%+v", b)
		}
		_, _, err = w.Gate.Claim(w.ctx, s, h.ID, Fence(1), nil)
		w.code(err, engine.CodeAttemptInProgress)
		_, err = w.Gate.BeginPayment(w.ctx, s, h.ID, Fence(1))
		w.code(err, engine.CodeAttemptInProgress)
		r, err := w.Gate.Return(w.ctx, s, h.ID, Fence(1))
		w.ok(err)
		w.is(r.State, engine.Paying)
		w.counts(s, 0, 4, 0, 1, 0)
		r, err = w.Gate.Return(w.ctx, s, h.ID, Fence(1).Barred())
		w.ok(err)
		w.is(r.State, engine.Held)
		w.begin(s, h.ID, 2)
		_, _, err = w.Gate.Claim(w.ctx, s, h.ID, Fence(2), nil)
		w.ok(err)
		b, err := w.Gate.Bar(w.ctx, s, h.ID, Fence(2))
		w.ok(err)
		w.that(b.State == engine.Accepted && b.Fence == Fence(2), "%+v", b)
	}},
	{"a claim of a hold that is due, released or never paying gets nothing", func(w *world) {
		s := w.sale(w.short, 5)
		due, released, held := w.hold(s, 1, 1, 0, 1), w.hold(s, 2, 1, 0, 1), w.hold(s, 3, 1, 0, 1)
		_, err := w.Gate.Release(w.ctx, s, released.ID)
		w.ok(err)
		_, _, err = w.Gate.Claim(w.ctx, s, held.ID, Fence(1), nil)
		w.code(err, engine.CodeAttemptInProgress)
		w.Advance(w.Tick)
		_, _, err = w.Gate.Claim(w.ctx, s, due.ID, Fence(1), nil)
		w.code(err, engine.CodeReservationExpired)
		_, _, err = w.Gate.Claim(w.ctx, s, released.ID, Fence(1), nil)
		w.code(err, engine.CodeReservationReleased)
		_, err = w.Gate.BeginPayment(w.ctx, s, released.ID, Fence(1))
		w.code(err, engine.CodeReservationReleased)
		list, err := w.Gate.Pending(w.ctx, s, 0, 10)
		w.ok(err)
		w.that(len(list) == 0, "%d events of nothing", len(list))
	}},
	{"a declined attempt with time left gives the hold back with its own deadline", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.begin(s, h.ID, 1)
		r, err := w.Gate.Return(w.ctx, s, h.ID, Fence(1))
		w.ok(err)
		w.is(r.State, engine.Held)
		w.that(r.ExpiresAt.Equal(h.ExpiresAt) && !r.Replayed, "%+v", r)
		w.counts(s, 0, 4, 1, 0, 0)
		_, _, err = w.Gate.Claim(w.ctx, s, h.ID, Fence(1), nil)
		w.code(err, engine.CodeAttemptInProgress)
	}},
	{"a hold whose payment ended too late is released, once", func(w *world) {
		s := w.sale(w.short, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.begin(s, h.ID, 1)
		w.Advance(w.Tick)
		for i := range 3 {
			r, err := w.Gate.Return(w.ctx, s, h.ID, Fence(1))
			w.ok(err)
			w.is(r.State, engine.Released)
			w.that(r.Replayed == (i > 0), "call %d: replayed %v", i+1, r.Replayed)
		}
		w.counts(s, 0, 5, 0, 0, 0)
	}},
	{"a returned hold still expires at its deadline", func(w *world) {
		s := w.sale(w.short, 1)
		h := w.hold(s, 1, 1, 0, 1)
		w.begin(s, h.ID, 1)
		_, err := w.Gate.Return(w.ctx, s, h.ID, Fence(1))
		w.ok(err)
		w.Advance(w.Tick)
		w.that(w.reap(s, 10).Expired == 1, "not expired")
		w.is(w.find(s, h.ID).State, engine.Expired)
		w.hold(s, 2, 1, 0, 1)
	}},
	{"the return of an attempt that lost its hold changes nothing", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.begin(s, h.ID, 1)
		_, err := w.Gate.Return(w.ctx, s, h.ID, Fence(1))
		w.ok(err)
		w.begin(s, h.ID, 2)
		r, err := w.Gate.Return(w.ctx, s, h.ID, Fence(1))
		w.ok(err)
		w.is(r.State, engine.Paying)
		w.that(r.Replayed && r.Fence == Fence(2), "%+v", r)
		w.counts(s, 0, 4, 0, 1, 0)
	}},
	{"attempts are counted once each and run out", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 1)
		for f := range uint64(MaxAttempts) {
			for range 2 { // the same attempt may begin again after a return
				b := w.begin(s, h.ID, f+1)
				w.that(b.Attempts == int(f)+1 && !b.Replayed, "attempt %d counts as %d", f+1, b.Attempts)
				_, err := w.Gate.Return(w.ctx, s, h.ID, Fence(f+1))
				w.ok(err)
			}
		}
		_, err := w.Gate.BeginPayment(w.ctx, s, h.ID, Fence(99))
		w.code(err, engine.CodeAttemptsExhausted)
		w.is(w.find(s, h.ID).State, engine.Held)
	}},
}
