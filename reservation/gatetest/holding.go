package gatetest

import (
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

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
	{"nonces that end alike make one hold, which says whose it is", func(w *world) {
		s := w.sale(nil, 9)
		asked := Request(1, 1, 0, 1)
		h := w.hold(s, 1, 1, 0, 1)
		other := asked
		other.Nonce[2] ^= 1
		for range 2 {
			again, err := w.Gate.Hold(w.ctx, s, other)
			w.that(err == nil && again.Replayed && again.ID == h.ID && again.ID.Nonce == asked.Nonce, "%+v, %v", again, err)
		}
		w.counts(s, 0, 8, 1, 0, 0)
		other.Nonce[3] ^= 1
		more, err := w.Gate.Hold(w.ctx, s, other)
		w.that(err == nil && !more.Replayed && more.ID.Nonce == other.Nonce, "%+v, %v", more, err)
		w.counts(s, 0, 7, 2, 0, 0)
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
