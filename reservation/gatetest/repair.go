package gatetest

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// home gives a hold's shard.
func home(s *engine.Sale, id engine.ReservationID) int {
	return int(binary.BigEndian.Uint64(id.Buyer[:]) % uint64(max(s.Shards, 1)))
}

// leased gives a sale with a lease for each shard, as the record has it.
func leased(s *engine.Sale) *engine.Sale {
	next := *s
	next.Leases = nil
	for shard := range max(s.Shards, 1) {
		next.Leases = append(next.Leases, s.Lease(shard))
	}
	return &next
}

// raise gives the sale whose shard has the next lease.
func (w *world) raise(s *engine.Sale, shard int) *engine.Sale {
	w.Helper()
	next := leased(s)
	server, err := w.Gate.Server(w.ctx, s, shard)
	w.ok(err)
	next.Epoch++
	next.Version++
	next.Leases[shard] = engine.GateLease{Epoch: next.Epoch, Server: server}
	return next
}

func (w *world) freeze(s *engine.Sale) {
	w.Helper()
	for shard := range max(s.Shards, 1) {
		w.ok(w.Gate.Freeze(w.ctx, s, shard))
	}
}

// rebuild brings every shard of a sale back with just these holds.
func (w *world) rebuild(s *engine.Sale, holds ...engine.Hold) *engine.Sale {
	w.Helper()
	w.freeze(s)
	for shard := range max(s.Shards, 1) {
		next := w.raise(s, shard)
		w.ok(w.Gate.Rebuild(w.ctx, next, shard, next.Lease(shard), at(s, shard, holds)))
		s = next
	}
	w.sales = append(w.sales, s)
	return s
}

// at gives the holds of one shard.
func at(s *engine.Sale, shard int, holds []engine.Hold) []engine.Hold {
	return slices.DeleteFunc(slices.Clone(holds), func(h engine.Hold) bool { return home(s, h.ID) != shard })
}

func (w *world) remains(s *engine.Sale) (out []engine.Hold) {
	w.Helper()
	for shard := range max(s.Shards, 1) {
		w.ok(w.Gate.Remains(w.ctx, s, shard, func(h engine.Hold) error { out = append(out, h); return nil }))
	}
	return out
}

// lost checks what Inspect says of a sale's shard of buyer 0 ("": all is well).
func (w *world) lost(s *engine.Sale, what string) {
	w.Helper()
	err := w.Gate.Inspect(w.ctx, s, 0)
	if what == "" {
		w.ok(err)
		return
	}
	w.code(err, engine.CodeGateFrozen)
	var e *engine.Error
	if errors.As(err, &e); e.Fields["lost"] != what {
		w.Fatalf("%v, lost %v, want %s", err, e.Fields["lost"], what)
	}
}

// as64 and up are buyers who are at home in shard 0, whatever the shards.
const (
	as64  = 64
	as128 = 128
	as192 = 192
	as256 = 256
)

var repairs = []testCase{
	{"another server's lease decides nothing", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, as64, 1, 0, 1)
		other := leased(s)
		for i := range other.Leases {
			other.Leases[i].Server = "another"
		}
		_, err := w.Gate.Hold(w.ctx, other, Request(as64, 2, 0, 1))
		w.code(err, engine.CodeGateFrozen)
		_, err = w.Gate.Hold(w.ctx, other, Request(as64, 1, 0, 1)) // not even a repeat
		w.code(err, engine.CodeGateFrozen)
		_, err = w.Gate.BeginPayment(w.ctx, other, h.ID, Fence(1))
		w.code(err, engine.CodeGateFrozen)
		_, err = w.Gate.Find(w.ctx, other, h.ID)
		w.code(err, engine.CodeGateFrozen)
		_, err = w.Gate.Counters(w.ctx, other)
		w.code(err, engine.CodeGateFrozen)
		_, err = w.Gate.Reap(w.ctx, other, 10)
		w.code(err, engine.CodeGateFrozen)
		w.code(w.Gate.Install(w.ctx, other), engine.CodeGateFrozen)
		w.code(w.Gate.SetStock(w.ctx, other, 0, 9), engine.CodeGateFrozen)
		w.code(w.Gate.Create(w.ctx, other), engine.CodeGateFrozen)
		w.lost(other, "server")
		w.counts(s, 0, 4, 1, 0, 0)
	}},
	{"the lease's own server decides", func(w *world) {
		s := w.draft(5)
		for i := range max(w.Shards, 1) {
			server, err := w.Gate.Server(w.ctx, s, i)
			w.ok(err)
			w.that(server != "", "a server without a name")
			s.Leases = append(s.Leases, engine.GateLease{Epoch: 1, Server: server})
		}
		w.ok(w.Gate.Create(w.ctx, s))
		w.sales = append(w.sales, s)
		h := w.hold(s, as64, 1, 0, 2)
		w.begin(s, h.ID, 1)
		w.counts(s, 0, 3, 0, 2, 0)
		w.lost(s, "")
	}},
	{"a shard says what it has lost", func(w *world) {
		for key, what := range map[string]string{"sale": "terms", "sku": "keys", "buyers": "keys"} {
			s := w.sale(nil, 5)
			w.hold(s, as64, 1, 0, 1)
			w.lost(s, "")
			w.Lose(s.No, key)
			w.lost(s, what)
			w.sales = w.sales[:0]
		}
		s := w.sale(nil, 5)
		older := *s
		older.Epoch = 9
		w.lost(&older, "epoch")
	}},
	{"a frozen gate refuses all and forgets nothing", func(w *world) {
		s := w.sale(nil, 5)
		h := w.hold(s, as64, 1, 0, 1)
		paying := w.hold(s, as128, 1, 0, 1)
		w.begin(s, paying.ID, 1)
		w.freeze(s)
		w.freeze(s)
		_, err := w.Gate.Hold(w.ctx, s, Request(as192, 1, 0, 1))
		w.code(err, engine.CodeGateFrozen)
		_, _, err = w.Gate.Claim(w.ctx, s, paying.ID, Fence(1), nil)
		w.code(err, engine.CodeGateFrozen)
		_, err = w.Gate.Find(w.ctx, s, h.ID)
		w.code(err, engine.CodeGateFrozen)
		w.code(w.Gate.Install(w.ctx, s), engine.CodeGateFrozen)
		w.code(w.Gate.Create(w.ctx, s), engine.CodeGateFrozen)
		w.lost(s, "terms")
		left := w.remains(s)
		w.that(len(left) == 2 && left[0].ID == h.ID && left[1].ID == paying.ID, "%+v", left)
		for i, was := range []engine.Hold{h, paying} { // the paying one as it would be without its payment
			w.that(left[i].State == engine.Held && left[i].ExpiresAt.Equal(was.ExpiresAt), "%+v", left)
		}
	}},
	{"freezing an old lease leaves a new one alone", func(w *world) {
		s := w.sale(nil, 5)
		next := w.rebuild(s)
		w.freeze(s)
		w.hold(next, as64, 1, 0, 1)
	}},
	{"an empty gate is frozen too, so that nothing late creates it anew", func(w *world) {
		s := w.draft(5)
		w.freeze(s)
		w.code(w.Gate.Create(w.ctx, s), engine.CodeGateFrozen)
		w.that(len(w.remains(s)) == 0, "holds in an empty gate")
		next := w.rebuild(s)
		w.counts(next, 0, 5, 0, 0, 0)
	}},
	{"what remains is held, in time, and the oldest first", func(w *world) {
		s := w.sale(w.short, 9)
		w.hold(s, as64, 1, 0, 1) // expires
		w.Advance(w.Tick)
		longer := *s
		longer.HoldTTL, longer.HoldCap, longer.Version = Sale().HoldTTL, Sale().HoldCap, s.Version+1
		w.ok(w.Gate.Install(w.ctx, &longer))
		first := w.hold(s, as128, 1, 0, 1)
		w.Advance(2 * time.Millisecond)
		second := w.hold(s, as64, 2, 0, 1)
		w.freeze(s)
		left := w.remains(s)
		w.that(len(left) == 2 && left[0].ID == first.ID && left[1].ID == second.ID, "%+v", left)
	}},
	{"a rebuilt gate has the holds it was given and no others", func(w *world) {
		s := w.sale(nil, 9, 9)
		held := w.hold(s, as64, 1, 0, 1, 1, 2)
		gone := w.hold(s, as64, 2, 0, 1)
		paying := w.hold(s, as128, 1, 0, 2)
		paying = w.begin(s, paying.ID, 7)
		sold := w.hold(s, as192, 1, 1, 3)
		w.begin(s, sold.ID, 8)
		sold, _, err := w.Gate.Claim(w.ctx, s, sold.ID, Fence(8), []byte("event"))
		w.ok(err)
		next := w.rebuild(s, sold, paying, held)
		w.counts(next, 0, 6, 1, 2, 0)
		w.counts(next, 1, 4, 2, 0, 3)
		w.lost(next, "")
		w.lost(s, "epoch")
		for _, h := range []engine.Hold{held, paying, sold} {
			got := w.find(next, h.ID)
			w.that(got.State == h.State && slices.Equal(got.Lines, h.Lines) && got.ExpiresAt.Equal(h.ExpiresAt) && got.Fence == h.Fence && got.Attempts == h.Attempts && got.Seq == 0,
				"%+v was %+v", got, h)
		}
		_, err = w.Gate.Find(w.ctx, next, gone.ID)
		w.code(err, engine.CodeNotFound)
		entries, err := w.Gate.Pending(w.ctx, next, 0, 10)
		w.ok(err)
		w.that(len(entries) == 1 && entries[0].ID == sold.ID && entries[0].Epoch == 1, "the outbox has %+v", entries)
		h := w.hold(next, as256, 1, 0, 1)
		w.that(h.Seq == 1, "the new epoch counts from %d", h.Seq)
		_, err = w.Gate.Hold(w.ctx, s, Request(as256, 2, 0, 1))
		w.code(err, engine.CodeGateFrozen)
	}},
	{"a rebuilt hold answers its own request, and the limit counts it", func(w *world) {
		s := w.sale(func(s *engine.Sale) { s.PerBuyerLimit = 3 }, 9)
		held := w.hold(s, as64, 1, 0, 1)
		sold := w.hold(s, as64, 2, 0, 1)
		w.begin(s, sold.ID, 8)
		sold, _, err := w.Gate.Claim(w.ctx, s, sold.ID, Fence(8), []byte("event"))
		w.ok(err)
		next := w.rebuild(s, held, sold)
		again := w.hold(next, as64, 1, 0, 1)
		w.that(again.Replayed && again.ID == held.ID, "%+v", again)
		_, err = w.Gate.Hold(w.ctx, next, Request(as64, 3, 0, 2))
		w.code(err, engine.CodeBuyerLimit)
		w.hold(next, as64, 4, 0, 1)
		w.counts(next, 0, 6, 2, 0, 1)
	}},
	{"a rebuilt accepted hold is paid, by its attempt and no other", func(w *world) {
		s := w.sale(nil, 9)
		sold := w.hold(s, as64, 1, 0, 1)
		w.begin(s, sold.ID, 8)
		sold, entry, err := w.Gate.Claim(w.ctx, s, sold.ID, Fence(8), []byte("event"))
		w.ok(err)
		w.ok(w.Gate.Remove(w.ctx, s, []engine.OutboxEntry{entry}))
		next := w.rebuild(s, sold)
		_, err = w.Gate.BeginPayment(w.ctx, next, sold.ID, Fence(9))
		w.code(err, engine.CodeAlreadyPaid)
		_, _, err = w.Gate.Claim(w.ctx, next, sold.ID, Fence(9), []byte("event"))
		w.code(err, engine.CodeAlreadyPaid)
		_, err = w.Gate.Release(w.ctx, next, sold.ID)
		w.code(err, engine.CodeAlreadyPaid)
		got, _, err := w.Gate.Claim(w.ctx, next, sold.ID, Fence(8), []byte("event"))
		w.ok(err)
		w.that(got.Replayed && got.State == engine.Accepted, "%+v", got)
		entries, err := w.Gate.Pending(w.ctx, next, 0, 10)
		w.ok(err)
		w.that(len(entries) == 0, "a second event %+v", entries)
	}},
	{"a rebuilt payment is claimed by its fence, and comes overdue", func(w *world) {
		s := w.sale(nil, 9)
		one := w.begin(s, w.hold(s, as64, 1, 0, 1).ID, 1)
		two := w.begin(s, w.hold(s, as128, 1, 0, 2).ID, 2)
		next := w.rebuild(s, one, two)
		_, _, err := w.Gate.Claim(w.ctx, next, one.ID, Fence(3), nil)
		w.code(err, engine.CodeAttemptInProgress)
		got, entry, err := w.Gate.Claim(w.ctx, next, one.ID, Fence(1), []byte("event"))
		w.ok(err)
		w.that(got.State == engine.Accepted && entry.EntryID != "" && entry.Epoch == next.Lease(0).Epoch, "%+v %+v", got, entry)
		w.Advance(LeaseTicks * w.Tick)
		r := w.reap(next, 10)
		w.that(len(r.Overdue) == 1 && r.Overdue[0].ID == two.ID && r.Overdue[0].Fence == Fence(2), "%+v", r)
		back, err := w.Gate.Return(w.ctx, next, two.ID, Fence(2))
		w.ok(err)
		w.is(back.State, engine.Held)
		w.counts(next, 0, 6, 2, 0, 1)
	}},
	{"a rebuilt hold expires when it would have", func(w *world) {
		s := w.sale(w.short, 2)
		early := w.hold(s, as64, 1, 0, 1)
		w.Advance(2 * time.Millisecond)
		late := w.hold(s, as128, 1, 0, 1)
		next := w.rebuild(s, late, early)
		w.Advance(w.Tick)
		w.hold(next, as192, 2, 0, 2) // takes their units
		w.is(w.find(next, early.ID).State, engine.Expired)
		w.is(w.find(next, late.ID).State, engine.Expired)
		w.Advance(w.Tick)
		w.that(w.reap(next, 10).Expired == 1, "a hold of a rebuilt gate does not expire")
		w.counts(next, 0, 2, 0, 0, 0)
	}},
	{"a rebuilt payment that was extended comes back for as long", func(w *world) {
		s := w.sale(w.short, 2)
		h, other := w.hold(s, as64, 1, 0, 1), w.hold(s, as128, 1, 0, 1)
		w.begin(s, h.ID, 1)
		w.begin(s, other.ID, 2)
		until := h.ExpiresAt.Add(2 * w.Tick)
		_, err := w.Gate.Extend(w.ctx, s, h.ID, until)
		w.ok(err)
		kept, given := w.find(s, h.ID), w.find(s, other.ID)
		w.freeze(s)
		for _, r := range w.remains(s) {
			if r.ID == h.ID {
				kept.OwnEnd = r.ExpiresAt
			}
		}
		next := w.rebuild(s, kept, given)
		w.Advance(w.Tick)
		for id, want := range map[engine.ReservationID]engine.ReservationState{h.ID: engine.Held, other.ID: engine.Released} {
			r, err := w.Gate.Return(w.ctx, next, id, map[engine.ReservationID]engine.Fence{h.ID: Fence(1), other.ID: Fence(2)}[id])
			w.ok(err)
			w.that(r.State == want && (want != engine.Held || r.ExpiresAt.Equal(until)), "%+v, want %s", r, want)
		}
		w.Advance(2 * w.Tick)
		w.that(w.reap(next, 10).Expired == 1, "it has not expired")
		w.counts(next, 0, 2, 0, 0, 0)
	}},
	{"a hold that was returned before keeps its attempts", func(w *world) {
		s := w.sale(nil, 2)
		h := w.hold(s, as64, 1, 0, 1)
		for f := range uint64(MaxAttempts) {
			w.begin(s, h.ID, f+1)
			_, err := w.Gate.Return(w.ctx, s, h.ID, Fence(f+1))
			w.ok(err)
		}
		w.freeze(s)
		next := w.rebuild(s, w.remains(s)...)
		_, err := w.Gate.BeginPayment(w.ctx, next, h.ID, Fence(99))
		w.code(err, engine.CodeAttemptsExhausted)
	}},
	{"holds that take more than there is are refused, and what remains is not lost", func(w *world) {
		s := w.sale(nil, 3)
		h := w.hold(s, as64, 1, 0, 1)
		w.freeze(s)
		next := s
		last := max(s.Shards, 1) - 1
		for shard := range last {
			next = w.raise(next, shard)
			w.ok(w.Gate.Rebuild(w.ctx, next, shard, next.Lease(shard), at(s, shard, []engine.Hold{h})))
		}
		over := h
		over.ID.Buyer = Request(as64+uint64(last), 1).Buyer
		over.Lines = []engine.Line{{No: 0, Quantity: 4}}
		next = w.raise(next, last)
		w.code(w.Gate.Rebuild(w.ctx, next, last, next.Lease(last), []engine.Hold{over}), engine.CodeSoldOut)
		if last == 0 {
			w.that(len(w.remains(s)) == 1, "a rebuild that was refused has taken what remained")
		}
		w.ok(w.Gate.Rebuild(w.ctx, next, last, next.Lease(last), at(s, last, []engine.Hold{h})))
		w.sales = append(w.sales[:0], next)
		w.counts(next, 0, 2, 1, 0, 0)
	}},
	{"a rebuild is of a higher epoch, on a frozen shard, on its lease's server", func(w *world) {
		s := w.sale(nil, 3)
		next := w.raise(s, 0)
		w.code(w.Gate.Rebuild(w.ctx, next, 0, next.Lease(0), nil), engine.CodeGateFrozen) // it is open
		w.freeze(s)
		w.code(w.Gate.Rebuild(w.ctx, s, 0, s.Lease(0), nil), engine.CodeGateFrozen)
		elsewhere := engine.GateLease{Epoch: next.Epoch, Server: "another"}
		w.code(w.Gate.Rebuild(w.ctx, next, 0, elsewhere, nil), engine.CodeGateFrozen)
		s = w.rebuild(s)
		w.code(w.Gate.Rebuild(w.ctx, s, 0, s.Lease(0), nil), engine.CodeGateFrozen) // it is done
		w.counts(s, 0, 3, 0, 0, 0)
	}},
	{"a hold that is given twice or belongs elsewhere is refused", func(w *world) {
		s := w.sale(nil, 3)
		h := w.hold(s, as64, 1, 0, 1)
		w.freeze(s)
		next := w.raise(s, 0)
		w.code(w.Gate.Rebuild(w.ctx, next, 0, next.Lease(0), []engine.Hold{h, h}), engine.CodeInternal)
		strange := h
		strange.ID.Sale++
		w.code(w.Gate.Rebuild(w.ctx, next, 0, next.Lease(0), []engine.Hold{strange}), engine.CodeInternal)
		strange = h
		strange.State = engine.Released
		w.code(w.Gate.Rebuild(w.ctx, next, 0, next.Lease(0), []engine.Hold{strange}), engine.CodeInternal)
		w.sales = w.sales[:0]
	}},
}
