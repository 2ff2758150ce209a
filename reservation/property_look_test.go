package reservation

import (
	"encoding/binary"
	"errors"
	"strconv"

	"pgregory.net/rapid"

	"github.com/flashsale-engine/flashsale/engine"
)

// What the random batches' machine looks at, between them.

// reap lets the gate's reaper work within a limit, and checks that what it ends
// was due, and that nothing due is left when it says so.
func (x *machine) reap() {
	limit := rapid.SampledFrom([]int{1, 2, 3, 100}).Draw(x.T, "limit")
	rounds := rapid.SampledFrom([]int{1, 5000}).Draw(x.T, "rounds")
	for more, i := true, 0; more; i++ {
		if i == rounds {
			if rounds > 1 {
				x.Fatalf("the reaper finds no end")
			}
			return
		}
		r, err := x.g.Reap(x.Context(), x.s, limit)
		x.ok(err)
		if r.Expired+len(r.Overdue) > limit {
			x.Fatalf("a limit of %d: %+v", limit, r)
		}
		for _, o := range r.Overdue {
			h := x.m.holds[modelKey{binary.BigEndian.Uint64(o.ID.Buyer[:]), binary.BigEndian.Uint64(o.ID.Nonce[:])}]
			if h == nil || h.State != engine.Paying || h.review > x.m.now {
				x.Fatalf("%+v is not overdue: %+v", o, h)
			}
			h.review = x.m.now + x.m.lease
		}
		more = r.More
	}
	if x.advance == nil {
		return
	}
	for k, h := range x.m.holds {
		if h.State == engine.Paying && h.review <= x.m.now {
			x.Fatalf("%v is overdue and was not listed", k)
		}
	}
	x.ok(x.g.Holds(x.Context(), x.s, func(h engine.Hold) error {
		if h.State == engine.Held && h.ExpiresAt.UnixMilli() <= x.m.now {
			x.Fatalf("%+v is due and was not expired", h)
		}
		return nil
	}))
}

// compare holds the gate's whole state against the model's.
func (x *machine) compare() {
	seen := map[modelKey]bool{}
	sums := map[uint16]*engine.Counters{}
	for _, it := range x.s.Items {
		sums[it.No] = &engine.Counters{}
	}
	settled := uint64(0)
	x.ok(x.g.Holds(x.Context(), x.s, func(h engine.Hold) error {
		k := modelKey{binary.BigEndian.Uint64(h.ID.Buyer[:]), binary.BigEndian.Uint64(h.ID.Nonce[:])}
		want := x.m.holds[k]
		if want == nil || seen[k] {
			x.Fatalf("the gate has %+v, the model nothing, or it twice", h)
		}
		seen[k] = true
		for _, l := range h.Lines {
			switch h.State {
			case engine.Held:
				sums[l.No].Held += int64(l.Quantity)
			case engine.Paying:
				sums[l.No].Paying += int64(l.Quantity)
			case engine.Accepted:
				sums[l.No].Sold += int64(l.Quantity)
			}
		}
		if h.State == engine.Expired {
			settled++
		}
		if h.State == engine.Held && want.State == engine.Expired {
			h.State = engine.Expired // due, and nobody has looked yet
		}
		x.same(h, want)
		return nil
	}))
	for k, h := range x.m.holds {
		if seen[k] {
			continue
		}
		if h.State != engine.Released && h.State != engine.Expired || h.deadline+x.m.keep > x.m.now {
			x.Fatalf("the gate has forgotten %v: %+v", k, h)
		}
		delete(x.m.holds, k) // rightly forgotten
		if h.State == engine.Expired {
			x.expired++
		}
	}
	cs, err := x.g.Counters(x.Context(), x.s)
	x.ok(err)
	for _, c := range cs {
		want := sums[c.No]
		if !c.Conserved() || c.Held != want.Held || c.Paying != want.Paying || c.Sold != want.Sold || c.Stock != x.m.stock[c.No] {
			x.Fatalf("SKU %d: %+v, by its holds %+v, stock %d", c.No, c, want, x.m.stock[c.No])
		}
	}
	// Dense: every decision and every expiry took one place, and nothing else did.
	text, err := x.g.client.HGet(x.Context(), keysOf(x.s.No, 0).sku, seqField).Result()
	x.ok(err)
	if seq, _ := strconv.ParseUint(text, 10, 64); seq != x.m.decisions+settled+x.expired {
		x.Fatalf("seq %d after %d decisions, %d expiries and %d forgotten ones", seq, x.m.decisions, settled, x.expired)
	}
	x.outbox()
}

func (x *machine) outbox() {
	entries, err := x.g.Pending(x.Context(), x.s, 0, 1000)
	x.ok(err)
	if len(entries) != len(x.claimed) {
		x.Fatalf("%d entries for %d claims", len(entries), len(x.claimed))
	}
	for _, e := range entries {
		if seq, ok := x.claimed[e.ID]; !ok || seq != e.Seq || string(e.Payload) != "event" {
			x.Fatal(errors.New("an entry of no claim"), e)
		}
	}
}
