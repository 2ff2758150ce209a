package reservation

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// lease gives a sale whose shards are leased to the servers that have them now,
// for an epoch.
func lease(t testing.TB, g *Gate, s *engine.Sale, epoch int64) *engine.Sale {
	t.Helper()
	return leasedTo(func(err error) { t.Helper(); mustOK(t, err) }, g, s, epoch)
}

func leasedTo(ok func(error), g *Gate, s *engine.Sale, epoch int64) *engine.Sale {
	next := *s
	next.Epoch, next.Leases = epoch, nil
	next.Version++
	for shard := range shardsOf(s) {
		server, err := g.Server(context.Background(), s, shard)
		ok(err)
		next.Leases = append(next.Leases, engine.GateLease{Epoch: epoch, Server: server})
	}
	return &next
}

// What the story asks of a rebuild at its size: 10,000 SKUs and 100,000 holds.
func TestALargeGateIsBackInSeconds(t *testing.T) {
	const skus, many = 10_000, 100_000
	for _, shards := range []int{1, 4} {
		t.Run(fmt.Sprint(shards, " shards"), func(t *testing.T) {
			b := testenv.OwnRedis(t)
			g := openInside(t, b.URL, Options{CallTimeout: 30 * time.Second})
			s := bigSale(0)
			s.Items, s.Shards = nil, shards
			for i := range skus {
				s.Items = append(s.Items, engine.Item{No: uint16(i), SKU: fmt.Sprint(i), Stock: 1000})
			}
			s = lease(t, g, s, 1)
			mustOK(t, g.Create(t.Context(), s))
			holds := make([][]engine.Hold, shards)
			states := []engine.ReservationState{engine.Held, engine.Accepted, engine.Paying, engine.Held}
			now := time.Now()
			for i := range uint64(many) {
				id := engine.ReservationID{Sale: s.No, Created: now.Add(-time.Duration(i) * time.Millisecond).UnixMilli(), Buyer: buyerKey(spread(i + 1)), Nonce: nonceOf(i)}
				shard := shardOf(s, id.Buyer)
				no := uint16(i % (skus - 1))
				holds[shard] = append(holds[shard], engine.Hold{
					ID: id, State: states[i/64%4], Fence: fenceNo(i + 1), Attempts: 1, ExpiresAt: now.Add(time.Hour + time.Duration(i)*time.Millisecond),
					Lines: []engine.Line{{No: no, Quantity: 1}, {No: no + 1, Quantity: 1}},
				})
			}
			again := lease(t, g, s, 2)
			half := *s
			began := time.Now()
			for shard := range shards {
				mustOK(t, g.Freeze(t.Context(), s, shard))
			}
			half.Leases = append([]engine.GateLease(nil), s.Leases...)
			for shard := range shards {
				one := time.Now()
				mustOK(t, g.Rebuild(t.Context(), &half, shard, again.Lease(shard), holds[shard]))
				half.Leases[shard] = again.Lease(shard)
				t.Logf("shard %d with %d holds: %s", shard, len(holds[shard]), time.Since(one))
			}
			took := time.Since(began)
			remains := time.Now()
			for shard := range shards {
				mustOK(t, g.Freeze(t.Context(), again, shard))
				n := 0
				mustOK(t, g.Remains(t.Context(), again, shard, func(engine.Hold) error { n++; return nil }))
				if n == 0 {
					t.Error("nothing remains")
				}
			}
			t.Logf("%d SKUs and %d holds in %d shards: rebuilt in %s, what remains read in %s", skus, many, shards, took, time.Since(remains))
			if took > time.Minute {
				t.Errorf("rebuilt in %s", took)
			}
		})
	}
}

// begun is a rebuild that has laid its shard down and not opened it.
func begun(t *testing.T, g *Gate, s *engine.Sale, shard int, l engine.GateLease, holds ...engine.Hold) (open func() error) {
	t.Helper()
	r := rebuild{g: g, s: s, shard: shard, l: l, k: keysOf(s.No, shard).forRebuild(), token: token()}
	now, err := r.begin(t.Context())
	mustOK(t, err)
	parts, err := restore(s, shard, holds, now, 1000)
	mustOK(t, err)
	b, err := r.settle(t.Context(), parts.taken)
	mustOK(t, err)
	skus, _, err := b.spell(s, parts.taken)
	mustOK(t, err)
	mustOK(t, r.put(t.Context(), newSKU, "HSET", skus))
	mustOK(t, r.put(t.Context(), newBuyers, "HSET", parts.buyers))
	mustOK(t, r.put(t.Context(), newDue, "RPUSH", parts.due))
	mustOK(t, r.put(t.Context(), newMoves, "HSET", b.moves))
	mustOK(t, r.put(t.Context(), newLater, "ZADD", parts.later))
	return func() error {
		_, err := g.run(t.Context(), "repair_open", openScript, r.k, l, r.began, g.terms(s, l.Epoch),
			len(skus)/2, len(parts.buyers)/2, len(parts.due), 0, len(b.moves)/2, 0, len(parts.later)/2)
		return err
	}
}

// raised gives a sale one of whose shards has a lease of the next epoch.
func raised(s *engine.Sale, shard int) *engine.Sale {
	next := *s
	next.Epoch++
	next.Leases = append([]engine.GateLease(nil), s.Leases...)
	next.Leases[shard].Epoch = next.Epoch
	return &next
}

func frozenOnly(t *testing.T, what string, err error) {
	t.Helper()
	if engine.CodeOf(err) != engine.CodeGateFrozen {
		t.Errorf("%s: %v", what, err)
	}
}

func TestARebuildThatDiesBeforeItsEndLeavesWhatRemained(t *testing.T) {
	g, _ := onMini(t)
	s := lease(t, g, bigSale(10), 1)
	mustOK(t, g.Create(t.Context(), s))
	h, err := g.Hold(t.Context(), s, oneUnit(1))
	mustOK(t, err)
	gone, err := g.Hold(t.Context(), s, oneUnit(2))
	mustOK(t, err)
	mustOK(t, g.Freeze(t.Context(), s, 0))
	next := raised(s, 0)
	open := begun(t, g, next, 0, next.Lease(0), h) // and it dies here
	mustOK(t, g.Freeze(t.Context(), s, 0))         // which is no reason to stop a living one
	n := 0
	mustOK(t, g.Remains(t.Context(), next, 0, func(engine.Hold) error { n++; return nil }))
	if n != 2 {
		t.Errorf("%d holds remain", n)
	}
	mustOK(t, g.Rebuild(t.Context(), next, 0, next.Lease(0), []engine.Hold{h, gone}))
	frozenOnly(t, "the dead one's last call", open())
	if cs, err := g.Counters(t.Context(), next); err != nil || cs[0].Held != 2 || cs[0].Available != 8 {
		t.Errorf("%+v, %v", cs, err)
	}
	frozenOnly(t, "a rebuild of the same epoch", g.Rebuild(t.Context(), next, 0, next.Lease(0), nil))
}

func TestARebuildEndsWhenTheShardIsFrozenForALaterEpoch(t *testing.T) {
	g, _ := onMini(t)
	s := lease(t, g, bigSale(10), 1)
	mustOK(t, g.Create(t.Context(), s))
	mustOK(t, g.Freeze(t.Context(), s, 0))
	next := raised(s, 0)
	open := begun(t, g, next, 0, next.Lease(0))
	mustOK(t, g.Freeze(t.Context(), next, 0))
	frozenOnly(t, "the rebuild that was under way", open())
	last := raised(next, 0)
	frozenOnly(t, "a rebuild of the epoch that was frozen", g.Rebuild(t.Context(), next, 0, next.Lease(0), nil))
	mustOK(t, g.Rebuild(t.Context(), last, 0, last.Lease(0), nil))
}

// Shard 1 is being rebuilt and has reckoned with shard 0, when that is lost and
// rebuilt as if shard 1 had nothing to say: both would give out the same units.
func TestARebuildThatReckonedWithAShardLostSinceIsStopped(t *testing.T) {
	g, _ := onMini(t)
	s := lease(t, g, shardedSale(2, 20), 1)
	mustOK(t, g.Create(t.Context(), s))
	mustOK(t, second(g.Transfer(t.Context(), s, 0, 0, 1, 4)))
	mustOK(t, g.Freeze(t.Context(), s, 1))
	one := raised(s, 1)
	open := begun(t, g, one, 1, one.Lease(1))
	mustOK(t, g.Freeze(t.Context(), one, 0))
	both := raised(one, 0)
	mustOK(t, g.Rebuild(t.Context(), both, 0, both.Lease(0), nil))
	frozenOnly(t, "the rebuild that reckoned with what was", open())
	mustOK(t, g.Rebuild(t.Context(), both, 1, both.Lease(1), nil))
	if c := whole(t, g, both, 0, 20); c.Available != 20 {
		t.Errorf("%+v", c)
	}
}

func TestARebuildWithAnOldSnapshotOfTheOthersIsRefused(t *testing.T) {
	g, _ := onMini(t)
	s := lease(t, g, shardedSale(2, 20), 1)
	mustOK(t, g.Create(t.Context(), s))
	mustOK(t, g.Freeze(t.Context(), s, 1))
	one := raised(s, 1)
	mustOK(t, g.Rebuild(t.Context(), one, 1, one.Lease(1), nil))
	mustOK(t, g.Freeze(t.Context(), one, 0))
	old := raised(s, 0) // knows nothing of shard 1's new lease
	old.Leases[0].Epoch = 9
	frozenOnly(t, "a rebuild that does not know the others' leases", g.Rebuild(t.Context(), old, 0, old.Lease(0), nil))
	now := raised(one, 0)
	now.Leases[0].Epoch = 10
	mustOK(t, g.Rebuild(t.Context(), now, 0, now.Lease(0), nil))
	whole(t, g, now, 0, 20)
}

// rebuild has the gate lost and brought back with what the model has. The gate
// goes on in a new epoch, and its decisions with it.
func (x *machine) rebuild() {
	if rapid.IntRange(0, 3).Draw(x.T, "spared") > 0 {
		return
	}
	x.ok(x.g.Freeze(x.Context(), x.s, 0))
	left := map[engine.ReservationID]engine.Hold{}
	x.ok(x.g.Remains(x.Context(), x.s, 0, func(h engine.Hold) error { left[h.ID] = h; return nil }))
	var holds []engine.Hold
	for k, h := range x.m.holds {
		h.Seq = 0
		got := h.Hold
		got.ID = engine.ReservationID{Sale: x.s.No, Created: h.created, Buyer: buyerKey(k.buyer), Nonce: nonceOf(k.nonce)}
		got.ExpiresAt = x.m.expires(h)
		was, remained := left[got.ID]
		if h.State == engine.Paying {
			if got.OwnEnd = was.ExpiresAt; !remained { // it is over, whenever that was
				h.deadline = h.created + x.m.ttl
			} else if was.ExpiresAt.UnixMilli() != h.deadline {
				x.Fatalf("%+v is held until %s", h, was.ExpiresAt)
			}
		}
		if delete(left, got.ID); remained != (h.State == engine.Held || h.State == engine.Paying && h.deadline > x.m.now) {
			x.Fatalf("%+v remained: %v", got, remained)
		}
		switch h.State {
		case engine.Held, engine.Paying, engine.Accepted:
			holds = append(holds, got)
			h.review = x.m.now + x.m.lease
		default:
			delete(x.m.holds, k)
		}
	}
	if len(left) > 0 {
		x.Fatalf("the model has nothing of %v", left)
	}
	for i := range x.s.Items {
		x.s.Items[i].Stock = x.m.stock[x.s.Items[i].No]
	}
	server, err := x.g.Server(x.Context(), x.s, 0)
	x.ok(err)
	l := engine.GateLease{Epoch: x.s.Lease(0).Epoch + 1, Server: server}
	x.ok(x.g.Rebuild(x.Context(), x.s, 0, l, holds))
	x.s.Leases = []engine.GateLease{l}
	x.last, x.m.decisions, x.expired = 0, 0, 0
}
