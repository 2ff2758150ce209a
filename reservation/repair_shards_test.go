package reservation

import (
	"testing"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"

	"github.com/flashsale-engine/flashsale/engine"
)

// reserve is a sale over some shards of which any may be lost at any time, while
// transfers between them are under way and their calls come late.
type reserve struct {
	*rapid.T
	g     *Gate
	s     *engine.Sale // as whoever reads the record now has it
	lost  map[int]bool
	holds map[int][]engine.Hold
	late  []func() // calls that somebody has sent and that have not arrived
	buyer uint64
}

const reserveStock = 60

func TestUnitsAreNeitherMadeNorLostWhenShardsAreLostInTransfers(t *testing.T) {
	m := miniredis.RunT(t)
	g := openInside(t, "redis://"+m.Addr(), Options{})
	rapid.Check(t, func(rt *rapid.T) {
		x := &reserve{T: rt, g: g, lost: map[int]bool{}, holds: map[int][]engine.Hold{}}
		x.s = leasedTo(x.ok, g, shardedSale(rapid.IntRange(2, 4).Draw(rt, "shards"), reserveStock, reserveStock), 1)
		x.ok(g.Create(rt.Context(), x.s))
		act := func(f func()) func(*rapid.T) { return func(rt *rapid.T) { x.T = rt; f() } }
		rt.Repeat(map[string]func(*rapid.T){
			"":        act(x.check),
			"depart":  act(x.depart),
			"again":   act(x.depart),
			"arrive":  act(x.arrive),
			"hold":    act(x.hold),
			"lose":    act(x.lose),
			"rebuild": act(x.rebuild),
			"stock":   act(x.stock),
		})
		for len(x.lost) > 0 {
			x.rebuildOne(x.lowest())
		}
		x.check()
	})
}

func (x *reserve) shard(name string) int { return rapid.IntRange(0, x.s.Shards-1).Draw(x.T, name) }

// frozenOr lets a call be refused because of a lease.
func (x *reserve) frozenOr(err error) {
	if code := engine.CodeOf(err); err != nil && code != engine.CodeGateFrozen {
		x.Fatal(err)
	}
}

// depart begins a transfer, and leaves its other two calls to come late, or never.
func (x *reserve) depart() {
	s := x.s
	o := order{no: uint16(rapid.IntRange(0, 1).Draw(x.T, "sku")), from: x.shard("from"), to: x.shard("to"), most: rapid.Int64Range(1, 9).Draw(x.T, "most"), least: 1}
	if o.from == o.to {
		return
	}
	mine, number := token(), int64(1)
	for range transferTries {
		kind, t, err := x.g.depart(x.Context(), s, o, number, mine)
		if err != nil {
			x.frozenOr(err)
			return
		}
		switch kind {
		case departTaken:
			number = t.Number + 1
			continue
		case departOther: // somebody may complete it, and may be slow
			if rapid.Bool().Draw(x.T, "complete") {
				x.frozenOr(x.g.complete(x.Context(), s, t))
			}
			x.late = append(x.late, func() { x.frozenOr(x.g.complete(x.Context(), s, t)) })
		case departed:
			x.late = append(x.late, func() { x.frozenOr(x.g.arrive(x.Context(), s, t)) }, func() { x.frozenOr(x.g.complete(x.Context(), s, t)) })
			if rapid.Bool().Draw(x.T, "arrive now") {
				x.frozenOr(x.g.arrive(x.Context(), s, t))
			}
		}
		return
	}
	x.Fatalf("no number for %+v", o)
}

// arrive lets some call come that was sent a while ago.
func (x *reserve) arrive() {
	if len(x.late) > 0 {
		rapid.SampledFrom(x.late).Draw(x.T, "late")()
	}
}

func (x *reserve) hold() {
	x.buyer++
	shard := x.shard("home")
	h, _, err := x.g.holdAtHome(x.Context(), x.s, holdFor(homeOf(x.s, shard, x.buyer), one(uint16(rapid.IntRange(0, 1).Draw(x.T, "sku")))))
	if err == nil {
		x.holds[shard] = append(x.holds[shard], h)
	} else if engine.CodeOf(err) != engine.CodeSoldOut {
		x.frozenOr(err)
	}
}

func (x *reserve) lose() {
	if rapid.IntRange(0, 2).Draw(x.T, "spared") > 0 {
		return
	}
	shard := x.shard("lost")
	x.ok(x.g.Freeze(x.Context(), x.s, shard))
	x.lost[shard] = true
}

// rebuild has some lost shard come back; it may have to wait for another.
func (x *reserve) rebuild() {
	if len(x.lost) > 0 {
		x.rebuildOne(x.shard("back"))
	}
}

func (x *reserve) lowest() int {
	for shard := range x.s.Shards {
		if x.lost[shard] {
			return shard
		}
	}
	return 0
}

func (x *reserve) rebuildOne(shard int) {
	if !x.lost[shard] {
		return
	}
	x.ok(x.g.Freeze(x.Context(), x.s, shard))
	next := *x.s
	next.Epoch++
	next.Leases = append([]engine.GateLease(nil), x.s.Leases...)
	next.Leases[shard].Epoch = next.Epoch
	x.s = &next // the record has it, whatever becomes of the rebuild
	kept := x.holds[shard][:rapid.IntRange(0, len(x.holds[shard])).Draw(x.T, "kept")]
	err := x.g.Rebuild(x.Context(), x.s, shard, x.s.Lease(shard), kept)
	if shard != x.lowest() {
		if engine.CodeOf(err) != engine.CodeUnavailable {
			x.Fatalf("shard %d comes before shard %d: %v", shard, x.lowest(), err)
		}
		return
	}
	x.ok(err)
	x.holds[shard] = kept
	delete(x.lost, shard)
}

// stock changes the stock, which is refused while a shard is lost.
func (x *reserve) stock() {
	no := rapid.IntRange(0, 1).Draw(x.T, "sku")
	to := rapid.Int64Range(reserveStock-20, reserveStock+20).Draw(x.T, "to")
	err := x.g.SetStock(x.Context(), x.s, uint16(no), to)
	switch {
	case err == nil && len(x.lost) > 0:
		x.Fatalf("the stock is set while %v are lost", x.lost)
	case err == nil:
		next := *x.s
		next.Items = append([]engine.Item(nil), x.s.Items...)
		next.Items[no].Stock = to
		x.s = &next
	case engine.CodeOf(err) != engine.CodeSoldOut:
		x.frozenOr(err)
	}
}

// check holds whenever no shard is lost: each unit is there once.
func (x *reserve) check() {
	if len(x.lost) > 0 {
		return
	}
	cs, err := x.g.Counters(x.Context(), x.s)
	x.ok(err)
	for _, c := range cs {
		held := int64(0)
		for _, list := range x.holds {
			for _, h := range list {
				if h.Lines[0].No == c.No {
					held++
				}
			}
		}
		if !c.Conserved() || c.Stock != x.s.Items[c.No].Stock || c.Held != held {
			x.Fatalf("SKU %d has %+v of stock %d, and %d are held", c.No, c, x.s.Items[c.No].Stock, held)
		}
	}
}

func (x *reserve) ok(err error) {
	if err != nil {
		x.Fatal(err)
	}
}
