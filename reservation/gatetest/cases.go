package gatetest

import (
	"slices"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

var cases = slices.Concat(holding, paying, ending, controlling)

var holding = []testCase{
	{"a hold sets its units aside and says until when", func(w *world) {
		s := w.sale(nil, 5, 5)
		h := w.hold(s, 1, 1, 0, 2, 1, 1)
		w.is(h.State, engine.Held)
		w.that(h.ID.Sale == s.No && h.Seq == 1 && !h.Replayed && len(h.Lines) == 2, "%+v", h)
		w.that(h.ExpiresAt.Sub(h.ID.CreatedAt()) == s.HoldTTL, "expires %s after its creation", h.ExpiresAt.Sub(h.ID.CreatedAt()))
		w.counts(s, 0, 3, 2, 0, 0)
		w.counts(s, 1, 4, 1, 0, 0)
		got := w.find(s, h.ID)
		w.that(got.ExpiresAt.Equal(h.ExpiresAt) && got.Seq == 1 && got.ID == h.ID, "found %+v, held %+v", got, h)
	}},
	{"one unit more than the stock is sold out", func(w *world) {
		s := w.sale(nil, 3)
		for b := range uint64(3) {
			w.hold(s, b, 1, 0, 1)
		}
		_, err := w.Gate.Hold(w.ctx, s, Request(9, 1, 0, 1))
		w.code(err, engine.CodeSoldOut)
		w.counts(s, 0, 0, 3, 0, 0)
	}},
	{"five hundred buyers of fifty units make exactly fifty holds", func(w *world) {
		s := w.sale(nil, 50)
		var wg sync.WaitGroup
		var mu sync.Mutex
		seqs, out := []uint64{}, 0
		for b := range uint64(500) {
			wg.Go(func() {
				h, err := w.Gate.Hold(w.ctx, s, Request(b, 1, 0, 1))
				mu.Lock()
				defer mu.Unlock()
				switch engine.CodeOf(err) {
				case "":
					seqs = append(seqs, h.Seq)
				case engine.CodeSoldOut:
					out++
				default:
					w.Error(err)
				}
			})
		}
		wg.Wait()
		w.that(len(seqs) == 50 && out == 450, "%d holds and %d sold out", len(seqs), out)
		// Each shard counts from 1, so the second place is taken as often as the
		// first at most, and so on; with one shard, each place is taken once.
		places := make([]int, 51)
		for _, q := range seqs {
			w.that(q >= 1 && q <= 50, "seq %d of 50 decisions", q)
			places[q]++
		}
		places[0] = s.Shards
		for q := 1; q <= 50; q++ {
			w.that(places[q] <= places[q-1], "seq is not dense: place %d is taken %d times, the one before %d times", q, places[q], places[q-1])
		}
	}},
	{"a cart is held whole or not at all", func(w *world) {
		s := w.sale(nil, 5, 1)
		w.hold(s, 1, 1, 1, 1)
		_, err := w.Gate.Hold(w.ctx, s, Request(2, 1, 0, 2, 1, 1))
		w.code(err, engine.CodeSoldOut)
		w.counts(s, 0, 5, 0, 0, 0)
	}},
	{"two lines of one SKU count together", func(w *world) {
		s := w.sale(nil, 3)
		_, err := w.Gate.Hold(w.ctx, s, Request(1, 1, 0, 2, 0, 2))
		w.code(err, engine.CodeSoldOut)
		h := w.hold(s, 1, 2, 0, 1, 0, 2)
		w.that(len(h.Lines) == 1 && h.Lines[0].Quantity == 3, "lines %+v", h.Lines)
		w.counts(s, 0, 0, 3, 0, 0)
	}},
	{"the limit counts a buyer's held, paying and sold units together", func(w *world) {
		s := w.sale(nil, 20)
		sold := w.hold(s, 1, 1, 0, 1)
		w.begin(s, sold.ID, 1)
		_, _, err := w.Gate.Claim(w.ctx, s, sold.ID, Fence(1), []byte("e"))
		w.ok(err)
		w.begin(s, w.hold(s, 1, 2, 0, 1).ID, 2)
		w.hold(s, 1, 3, 0, 1)
		_, err = w.Gate.Hold(w.ctx, s, Request(1, 4, 0, 2))
		w.code(err, engine.CodeBuyerLimit)
		w.hold(s, 1, 5, 0, 1)
		_, err = w.Gate.Hold(w.ctx, s, Request(1, 6, 0, 1))
		w.code(err, engine.CodeBuyerLimit)
		_, err = w.Gate.Hold(w.ctx, s, Request(2, 1, 0, 5))
		w.code(err, engine.CodeBuyerLimit)
	}},
	{"a repeated nonce gives its hold as it is now and keeps its deadline", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 1)
		w.Advance(2 * time.Millisecond)
		again := w.hold(s, 1, 1, 0, 3)
		w.that(again.Replayed && again.ID == h.ID && again.ExpiresAt.Equal(h.ExpiresAt) && again.Lines[0].Quantity == 1, "%+v", again)
		w.begin(s, h.ID, 1)
		w.is(w.hold(s, 1, 1, 0, 1).State, engine.Paying)
		w.counts(s, 0, 4, 0, 1, 0)
	}},
	{"a repeated nonce is answered when the stock is gone and the sale is paused", func(w *world) {
		s := w.sale(nil, 1)
		h := w.hold(s, 1, 1, 0, 1)
		s.State = engine.SalePaused
		w.ok(w.Gate.Install(w.ctx, s))
		w.that(w.hold(s, 1, 1, 0, 1).ID == h.ID, "another hold")
	}},
	{"the same nonce of two buyers makes two holds", func(w *world) {
		s := w.sale(nil, 5)
		w.that(w.hold(s, 1, 1, 0, 1).ID != w.hold(s, 2, 1, 0, 1).ID, "one hold for two buyers")
		w.counts(s, 0, 3, 2, 0, 0)
	}},
	{"an expired hold's unit is sold again at once, without a reaper", func(w *world) {
		s := w.sale(w.short, 1)
		old := w.hold(s, 1, 1, 0, 1)
		w.Advance(w.Tick)
		h := w.hold(s, 2, 1, 0, 1)
		w.that(s.Shards > 1 || h.Seq == old.Seq+2, "the expiry has no seq of its own: %d after %d", h.Seq, old.Seq)
		w.is(w.find(s, old.ID).State, engine.Expired)
		w.counts(s, 0, 0, 1, 0, 0)
	}},
	{"a shopper is not blocked by an expired hold of their own", func(w *world) {
		s := w.sale(w.short, 9)
		w.hold(s, 1, 1, 0, 4)
		w.Advance(w.Tick)
		w.hold(s, 1, 2, 0, 4)
		w.counts(s, 0, 5, 4, 0, 0)
	}},
	{"a repeated nonce of an expired hold says expired", func(w *world) {
		s := w.sale(w.short, 9)
		h := w.hold(s, 1, 1, 0, 1)
		w.Advance(w.Tick)
		again := w.hold(s, 1, 1, 0, 1)
		w.is(again.State, engine.Expired)
		w.that(again.ID == h.ID && again.Replayed && again.ExpiresAt.Equal(h.ExpiresAt), "%+v", again)
		w.counts(s, 0, 9, 0, 0, 0)
	}},
	{"an id with another creation time is not found", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, 1, 1, 0, 1)
		id := h.ID
		id.Created++
		_, err := w.Gate.Find(w.ctx, s, id)
		w.code(err, engine.CodeNotFound)
		_, err = w.Gate.BeginPayment(w.ctx, s, id, Fence(1))
		w.code(err, engine.CodeNotFound)
		_, err = w.Gate.Release(w.ctx, s, id)
		w.code(err, engine.CodeNotFound)
	}},
}

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
		s := w.sale(w.short, 1)
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
