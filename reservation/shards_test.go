package reservation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// shardedSale is a big sale in slices.
func shardedSale(shards int, stocks ...int64) *engine.Sale {
	s := bigSale(0)
	s.Shards, s.Version, s.Items = shards, 1, nil
	for i, n := range stocks {
		s.Items = append(s.Items, engine.Item{No: uint16(i), SKU: fmt.Sprint("sku-", i), Stock: n})
	}
	return s
}

// homeOf gives the n-th buyer who is at home in a shard.
func homeOf(s *engine.Sale, shard int, n uint64) engine.BuyerKey {
	return buyerKey(n*uint64(s.Shards) + uint64(shard))
}

func holdFor(b engine.BuyerKey, lines ...engine.Line) engine.HoldRequest {
	return engine.HoldRequest{Buyer: b, Nonce: nonceOf(1), Lines: lines}
}

func one(no uint16) engine.Line { return engine.Line{No: no, Quantity: 1} }

func mustOK(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// whole checks that a SKU's units add up over all shards and in flight, now.
func whole(t testing.TB, g *Gate, s *engine.Sale, no uint16, stock int64) engine.Counters {
	t.Helper()
	cs, err := g.Counters(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if c := cs[no]; c.Stock != stock || !c.Conserved() {
		t.Errorf("SKU %d has %+v, of stock %d", no, c, stock)
	}
	return cs[no]
}

func onMini(t testing.TB) (*Gate, *miniredis.Miniredis) {
	m := miniredis.RunT(t)
	m.SetTime(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC))
	return openInside(t, "redis://"+m.Addr(), Options{SoldOutFor: -1}), m
}

func TestStockIsSpreadOverTheShardsAndTheRestGoesToTheFirst(t *testing.T) {
	g, _ := onMini(t)
	s := shardedSale(4, 10)
	mustOK(t, g.Create(t.Context(), s))
	v, err := g.Shards(t.Context(), s)
	mustOK(t, err)
	for i, want := range []int64{3, 3, 2, 2} {
		if c := v.Shards[i].Items[0]; c.Available != want || c.Stock != want {
			t.Errorf("shard %d has %+v, not %d", i, c, want)
		}
	}
	whole(t, g, s, 0, 10)
}

func TestACreateThatACrashCutShortIsCompletedByTheSameCreate(t *testing.T) {
	g, m := onMini(t)
	s := shardedSale(4, 10)
	mustOK(t, g.Create(t.Context(), s))
	for _, name := range []string{"sale", "sku", "moves"} { // as if the crash came before shards 2 and 3
		m.Del(keysOf(s.No, 2).tag + name)
		m.Del(keysOf(s.No, 3).tag + name)
	}
	m.Del(keysOf(s.No, 1).sale) // and in the middle of shard 1: a script is atomic, so this cannot be
	if err := g.Create(t.Context(), s); engine.CodeOf(err) != engine.CodeGateFrozen {
		t.Fatalf("a shard without its terms is taken for new: %v", err)
	}
	m.Del(keysOf(s.No, 1).sku)
	m.Del(keysOf(s.No, 1).tag + "moves")
	mustOK(t, g.Create(t.Context(), s))
	whole(t, g, s, 0, 10)

	mustOK(t, second(g.Hold(t.Context(), s, holdFor(homeOf(s, 3, 1), one(0)))))
	s.Items[0].Stock = 99
	if err := g.Create(t.Context(), s); engine.CodeOf(err) != engine.CodeGateFrozen {
		t.Fatalf("a sale in use is made anew: %v", err)
	}
	whole(t, g, s, 0, 10) // and not a shard of it
}

// A crash after each step, then recovery by another node. Every step is also
// repeated late, as a call that was believed lost may be.
func TestATransferThatACrashCutShortIsCompletedOnce(t *testing.T) {
	type step func(g *Gate, s *engine.Sale, tr *engine.Transfer) error
	o := order{no: 0, from: 0, to: 1, most: 4, least: 1}
	depart := func(g *Gate, s *engine.Sale, tr *engine.Transfer) error {
		kind, got, err := g.depart(t.Context(), s, o, 1, "aa")
		if kind == departed {
			*tr = got
		}
		return err
	}
	arrive := func(g *Gate, s *engine.Sale, tr *engine.Transfer) error { return g.arrive(t.Context(), s, *tr) }
	end := func(g *Gate, s *engine.Sale, tr *engine.Transfer) error { return g.end(t.Context(), s, *tr) }
	for name, c := range map[string]struct {
		before []step
		flying int64
		open   int
	}{
		"before the first step":                   {nil, 0, 0},
		"after the departure":                     {[]step{depart}, 4, 1},
		"after a departure that was called twice": {[]step{depart, depart}, 4, 1},
		"after the arrival":                       {[]step{depart, arrive}, 0, 1},
		"after two arrivals":                      {[]step{depart, arrive, arrive}, 0, 1},
		"after the end":                           {[]step{depart, arrive, end}, 0, 0},
	} {
		t.Run("a crash "+name, func(t *testing.T) {
			g, _ := onMini(t)
			s := shardedSale(2, 20)
			mustOK(t, g.Create(t.Context(), s))
			var tr engine.Transfer
			for _, f := range c.before {
				mustOK(t, f(g, s, &tr))
			}
			if got := whole(t, g, s, 0, 20); got.InFlight != c.flying || got.Available != 20-c.flying {
				t.Errorf("while it lies there: %+v", got)
			}
			done, err := g.Balance(t.Context(), s, 0)
			mustOK(t, err)
			if done.Completed != c.open {
				t.Errorf("%+v, %d open", done, c.open)
			}
			want := []int64{10, 10}
			if len(c.before) > 0 {
				want = []int64{6, 14}
			}
			late := append([]step{}, c.before...)
			for range 2 {
				v, err := g.survey(t.Context(), s, "0")
				mustOK(t, err)
				if have, _ := v.available(0); have[0] != want[0] || have[1] != want[1] {
					t.Errorf("shards have %v, not %v", have, want)
				}
				whole(t, g, s, 0, 20)
				for _, f := range late { // each call comes once more, long after
					mustOK(t, f(g, s, &tr))
				}
			}
		})
	}
}

func TestASecondTransferOfAPairCompletesTheFirst(t *testing.T) {
	g, _ := onMini(t)
	s := shardedSale(2, 20)
	mustOK(t, g.Create(t.Context(), s))
	_, first, err := g.depart(t.Context(), s, order{no: 0, from: 0, to: 1, most: 3, least: 1}, 1, "aa")
	mustOK(t, err)
	tr, err := g.Transfer(t.Context(), s, 0, 0, 1, 2)
	mustOK(t, err)
	if first.Units != 3 || tr.Number != 2 || tr.Units != 2 {
		t.Errorf("%+v, then %+v", first, tr)
	}
	if err := second(g.Transfer(t.Context(), s, 0, 0, 1, 6)); engine.CodeOf(err) != engine.CodeSoldOut {
		t.Errorf("five units are there and six moved: %v", err)
	}
	_, third, err := g.depart(t.Context(), s, order{no: 0, from: 0, to: 1, most: 2, least: 1}, 3, "cc")
	mustOK(t, err)
	mustOK(t, g.end(t.Context(), s, first)) // late, and not of this one
	if v, err := g.Shards(t.Context(), s); err != nil || len(v.Open) != 1 || v.Open[0] != third || v.Total[0].InFlight != 2 {
		t.Errorf("%+v, %v", v, err)
	}
	whole(t, g, s, 0, 20)
}

func TestTransfersAreFencedByTheEpochAndByTheirJournal(t *testing.T) {
	g, m := onMini(t)
	s := shardedSale(2, 20)
	mustOK(t, g.Create(t.Context(), s))
	mustOK(t, second(g.Transfer(t.Context(), s, 0, 0, 1, 2)))
	other := *s
	other.Epoch = 2
	for what, err := range map[string]error{
		"transfer": second(g.Transfer(t.Context(), &other, 0, 0, 1, 1)),
		"arrive":   g.arrive(t.Context(), &other, engine.Transfer{From: 0, To: 1, Number: 2, Units: 5}),
		"shards":   second(g.Shards(t.Context(), &other)),
	} {
		if engine.CodeOf(err) != engine.CodeGateFrozen {
			t.Errorf("%s of another epoch: %v", what, err)
		}
	}
	if err := g.arrive(t.Context(), s, engine.Transfer{From: 0, To: 1, Number: 7, Units: 5}); err == nil {
		t.Error("an arrival out of turn is taken")
	}
	m.Del(keysOf(s.No, 0).tag + "moves")
	if err := second(g.Transfer(t.Context(), s, 0, 0, 1, 2)); engine.CodeOf(err) != engine.CodeGateFrozen {
		t.Errorf("a lost journal begins anew: %v", err)
	}
}

// What a failover may do: the source forgets a departure whose arrival stands.
func TestUnitsThatAFailoverDoubledAreSeen(t *testing.T) {
	g, m := onMini(t)
	s := shardedSale(2, 20)
	mustOK(t, g.Create(t.Context(), s))
	k := keysOf(s.No, 0)
	was := m.HGet(k.sku, "0")
	mustOK(t, second(g.Transfer(t.Context(), s, 0, 0, 1, 2)))
	m.HSet(k.sku, "0", was)
	m.Del(k.tag + "net")
	m.HDel(k.tag+"moves", "out:1")
	cs, err := g.Counters(t.Context(), s)
	mustOK(t, err)
	if cs[0].Conserved() {
		t.Errorf("%+v is 22 units of 20, and passes", cs[0])
	}
}

// The two ways in which shards that are read one after another may disagree.
func TestALookReadsAgainWhatWasReadTooEarly(t *testing.T) {
	for name, c := range map[string]struct {
		out  journal
		in   int64
		late []int
	}{
		"nothing under way":                  {journal{number: 3}, 3, nil},
		"departed":                           {journal{number: 4, open: true}, 3, nil},
		"departed and arrived":               {journal{number: 4, open: true}, 4, nil},
		"arrived and not departed":           {journal{number: 3}, 4, []int{0}},
		"closed and not arrived":             {journal{number: 4}, 3, []int{1}},
		"the next departed, and not arrived": {journal{number: 5, open: true}, 3, []int{1}},
	} {
		v := survey{{out: map[int]journal{1: c.out}}, {in: map[int]int64{0: c.in}}}
		if got := v.late(); fmt.Sprint(got) != fmt.Sprint(c.late) {
			t.Errorf("%s: %v is read again, not %v", name, got, c.late)
		}
	}
}

// A sale over four shards, used by one caller, answers as one shard would:
// whatever transfers lie about half done, and wherever the units are.
func TestASaleOverShardsAnswersAsOverOne(t *testing.T) {
	m := miniredis.RunT(t)
	g := openInside(t, "redis://"+m.Addr(), Options{SoldOutFor: -1})
	g.rest = 0
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	advance := func(d time.Duration) int64 { now = now.Add(d); m.SetTime(now); return now.UnixMilli() }
	const ttl = 10 * time.Second
	rapid.Check(t, func(rt *rapid.T) {
		advance(0)
		s := shardedSale(rapid.IntRange(2, 5).Draw(rt, "shards"), rapid.Int64Range(0, 12).Draw(rt, "stock"), rapid.Int64Range(0, 6).Draw(rt, "stock"))
		s.HoldTTL, s.HoldCap, s.PerBuyerLimit = ttl, 3*ttl, 4
		if err := g.Create(rt.Context(), s); err != nil {
			rt.Fatal(err)
		}
		x := &sharded{T: rt, g: g, s: s, m: &model{
			now: now.UnixMilli(), ttl: ttl.Milliseconds(), cap: 3 * ttl.Milliseconds(), keep: time.Hour.Milliseconds(), limit: 4, attempts: 5,
			open: true, holds: map[modelKey]*modelHold{}, stock: []int64{s.Items[0].Stock, s.Items[1].Stock},
		}, ids: map[modelKey]engine.ReservationID{}}
		rt.Repeat(map[string]func(*rapid.T){
			"":         x.compare,
			"hold":     x.hold,
			"again":    x.hold,
			"release":  x.release,
			"transfer": x.transfer,
			"late":     x.late,
			"balance":  x.balance,
			"stock":    x.restock,
			"time": func(rt *rapid.T) {
				x.m.moveTo(advance(rapid.SampledFrom([]time.Duration{time.Millisecond, rest, ttl / 2, ttl}).Draw(rt, "d")))
			},
		})
	})
}

type sharded struct {
	*rapid.T
	g    *Gate
	s    *engine.Sale
	m    *model
	ids  map[modelKey]engine.ReservationID
	past []engine.Transfer // that departed once
}

func (x *sharded) compare(rt *rapid.T) {
	cs, err := x.g.Counters(rt.Context(), x.s)
	if err != nil {
		rt.Fatal(err)
	}
	for no, c := range cs {
		if c.Stock != x.m.stock[no] || !c.Conserved() {
			rt.Fatalf("SKU %d has %+v, the model stock %d", no, c, x.m.stock[no])
		}
	}
}

func (x *sharded) hold(rt *rapid.T) {
	k := modelKey{rapid.Uint64Range(0, 40).Draw(rt, "buyer"), rapid.Uint64Range(1, 2).Draw(rt, "nonce")}
	lines := []engine.Line{{No: uint16(rapid.IntRange(0, 1).Draw(rt, "sku")), Quantity: rapid.IntRange(1, 3).Draw(rt, "quantity")}}
	if rapid.Bool().Draw(rt, "both") {
		lines = append(lines, engine.Line{No: 1 - lines[0].No, Quantity: 1})
	}
	got, err := x.g.Hold(rt.Context(), x.s, engine.HoldRequest{Buyer: buyerKey(k.buyer), Nonce: nonceOf(k.nonce), Lines: lines})
	want, replayed, code := x.m.hold(k, lines)
	if engine.CodeOf(err) != code {
		rt.Fatalf("the gate says %v, the model %q", err, code)
	}
	if err != nil {
		return
	}
	if got.State != want.State || got.Replayed != replayed {
		rt.Fatalf("the gate holds %+v, the model %+v", got, want)
	}
	x.ids[k] = got.ID
}

func (x *sharded) release(rt *rapid.T) {
	known := x.m.live()
	if len(known) == 0 {
		return
	}
	k := rapid.SampledFrom(known).Draw(rt, "of")
	got, err := x.g.Release(rt.Context(), x.s, x.ids[k])
	if err != nil {
		rt.Fatal(err)
	}
	_, _ = x.m.release(x.m.holds[k])
	if got.State != x.m.holds[k].State {
		rt.Fatalf("released %+v, the model %+v", got, x.m.holds[k])
	}
}

// transfer makes some of the steps of one and leaves it there.
func (x *sharded) transfer(rt *rapid.T) {
	o := order{no: uint16(rapid.IntRange(0, 1).Draw(rt, "sku")), most: rapid.Int64Range(1, 5).Draw(rt, "most"), least: 1}
	o.from = rapid.IntRange(0, x.s.Shards-1).Draw(rt, "from")
	o.to = (o.from + rapid.IntRange(1, x.s.Shards-1).Draw(rt, "to")) % x.s.Shards
	v, err := x.g.survey(rt.Context(), x.s, "")
	if err != nil {
		rt.Fatal(err)
	}
	kind, t, err := x.g.depart(rt.Context(), x.s, o, v[o.from].out[o.to].number+1, token())
	if err != nil {
		rt.Fatal(err)
	}
	if kind != departed {
		return
	}
	x.past = append(x.past, t)
	steps := rapid.IntRange(0, 2).Draw(rt, "steps")
	if steps > 0 {
		err = x.g.arrive(rt.Context(), x.s, t)
	}
	if steps > 1 && err == nil {
		err = x.g.end(rt.Context(), x.s, t)
	}
	if err != nil {
		rt.Fatal(err)
	}
}

// late repeats steps of some earlier transfer, as a delayed call would.
func (x *sharded) late(rt *rapid.T) {
	if len(x.past) == 0 {
		return
	}
	t := rapid.SampledFrom(x.past).Draw(rt, "of")
	err := x.g.arrive(rt.Context(), x.s, t)
	if err == nil && rapid.Bool().Draw(rt, "end") {
		err = x.g.end(rt.Context(), x.s, t)
	}
	if err == nil {
		var kind int64
		kind, _, err = x.g.depart(rt.Context(), x.s, order{no: t.No, from: t.From, to: t.To, most: t.Units, least: 1}, t.Number, "0f")
		if kind == departed {
			rt.Fatalf("transfer %+v departed twice", t)
		}
	}
	if err != nil {
		rt.Fatal(err)
	}
}

func (x *sharded) balance(rt *rapid.T) {
	if _, err := x.g.Balance(rt.Context(), x.s, rapid.IntRange(0, 3).Draw(rt, "limit")); err != nil {
		rt.Fatal(err)
	}
}

func (x *sharded) restock(rt *rapid.T) {
	no := uint16(rapid.IntRange(0, 1).Draw(rt, "sku"))
	to := rapid.Int64Range(0, 15).Draw(rt, "stock")
	err := x.g.SetStock(rt.Context(), x.s, no, to)
	// The gate takes nothing back by itself for this, so its word may be one of before an expiry.
	if engine.CodeOf(err) == engine.CodeSoldOut && to < x.m.stock[no] {
		return
	}
	if err != nil || x.m.available(no)+to-x.m.stock[no] < 0 {
		rt.Fatalf("stock %d of SKU %d, of which %d are free of %d: %v", to, no, x.m.available(no), x.m.stock[no], err)
	}
	x.m.stock[no] = to
}

// Everything at once on a real Redis: buyers of all shards, operators who change
// the stock, transfers in both directions, balance; and somebody who adds up.
func TestNothingIsLostOrMadeWhileEverythingMoves(t *testing.T) {
	g := openInside(t, testenv.Redis(t), Options{SoldOutFor: -1})
	const shards, stock = 8, 400
	s := shardedSale(shards, stock)
	mustOK(t, g.Create(t.Context(), s))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	forever := func(f func() error) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := f(); err != nil && engine.CodeOf(err) != engine.CodeSoldOut && engine.CodeOf(err) != engine.CodeOverloaded {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		forever(func() error { // back and forth between the same shards
			from := rand.IntN(2)
			return second(g.Transfer(context.Background(), s, 0, from, 1-from, rand.Int64N(5)+1))
		})
		forever(func() error {
			from := rand.IntN(shards)
			return second(g.Transfer(context.Background(), s, 0, from, (from+1)%shards, rand.Int64N(5)+1))
		})
	}
	forever(func() error { return second(g.Balance(context.Background(), s, 4)) })
	var samples atomic.Int64
	var mu sync.RWMutex // the stock changes under it, so that a sample knows what to expect
	want := int64(stock)
	forever(func() error {
		mu.Lock()
		defer mu.Unlock()
		to := rand.Int64N(stock) + stock/2
		err := g.SetStock(context.Background(), s, 0, to)
		if err == nil {
			want = to
		}
		return err
	})
	forever(func() error {
		mu.RLock()
		defer mu.RUnlock()
		cs, err := g.Counters(context.Background(), s)
		if err == nil && (cs[0].Stock != want || !cs[0].Conserved()) {
			return fmt.Errorf("sample %d: %+v, of %d", samples.Load(), cs[0], want)
		}
		samples.Add(1)
		return err
	})
	var buyers sync.WaitGroup
	for w := range uint64(8) {
		buyers.Go(func() {
			for i := range uint64(150) {
				h, err := g.Hold(context.Background(), s, holdFor(buyerKey(w*1000+i), engine.Line{Quantity: 1 + int(i%3)}))
				if err == nil && i%2 == 0 {
					_, err = g.Release(context.Background(), s, h.ID)
				}
				if err != nil && engine.CodeOf(err) != engine.CodeSoldOut && engine.CodeOf(err) != engine.CodeOverloaded {
					t.Error(err)
				}
			}
		})
	}
	buyers.Wait()
	close(stop)
	wg.Wait()
	mustOK(t, second(g.Balance(t.Context(), s, 0)))
	c := whole(t, g, s, 0, want)
	t.Logf("%d samples; at the end %+v", samples.Load(), c)
	if c.InFlight != 0 || samples.Load() < 20 {
		t.Errorf("%+v after %d samples", c, samples.Load())
	}
}

// Buyers of one shard only, more than there are units anywhere: everything is
// sold, to the last unit of the farthest shard, before anybody hears sold out.
func TestOneShardsBuyersGetTheLastUnitOfEveryShard(t *testing.T) {
	c := testenv.OwnRedisCluster(t)
	g := openInside(t, c.URL, Options{SoldOutFor: -1})
	other := openInside(t, c.URL, Options{SoldOutFor: -1}) // another node
	const shards, stock, callers = 16, 800, 64
	s := shardedSale(shards, stock)
	mustOK(t, g.Create(t.Context(), s))
	var held, refused, samples atomic.Int64
	var firstNo, lastYes atomic.Int64 // when the first refusal was heard, and when the last hold was asked for
	firstNo.Store(1 << 62)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				whole(t, other, s, 0, stock)
				samples.Add(1)
			}
		}
	})
	began := time.Now()
	for w := range uint64(callers) {
		wg.Go(func() {
			for i := w; i < stock+200; i += callers {
				node := g
				if i%2 == 1 {
					node = other
				}
				asked := time.Since(began).Nanoseconds()
				_, err := node.Hold(context.Background(), s, holdFor(homeOf(s, 5, i+1), one(0)))
				switch {
				case err == nil:
					held.Add(1)
					for was := lastYes.Load(); was < asked && !lastYes.CompareAndSwap(was, asked); was = lastYes.Load() {
					}
				case engine.CodeOf(err) == engine.CodeSoldOut:
					refused.Add(1)
					heard := time.Since(began).Nanoseconds()
					for was := firstNo.Load(); heard < was && !firstNo.CompareAndSwap(was, heard); was = firstNo.Load() {
					}
					// Nothing comes back in this test: after a no there is not a unit left anywhere.
					if cs, err := node.Counters(context.Background(), s); err != nil || cs[0].Held != stock {
						t.Errorf("told sold out at %+v, %v", cs, err)
					}
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	close(stop)
	watch.Wait()
	if held.Load() != stock || refused.Load() != 200 {
		t.Errorf("%d held and %d refused of %d units", held.Load(), refused.Load(), stock)
	}
	if firstNo.Load() < lastYes.Load() {
		t.Errorf("somebody who asked %s after the start got a unit, after another was told sold out at %s", time.Duration(lastYes.Load()), time.Duration(firstNo.Load()))
	}
	if c := whole(t, g, s, 0, stock); c.Available != 0 || c.InFlight != 0 || c.Held != stock {
		t.Errorf("at the end %+v", c)
	}
	t.Logf("%d units of 16 shards to one shard's buyers in %s, %d samples added up", stock, took.Round(time.Millisecond), samples.Load())
}

// A buyer's repeat is answered by their shard wherever the unit came from.
func TestARepeatAfterAMovedUnitGivesTheSameHold(t *testing.T) {
	g, m := onMini(t)
	s := shardedSale(8, 1) // in shard 0
	s.HoldTTL = time.Minute
	mustOK(t, g.Create(t.Context(), s))
	r := holdFor(homeOf(s, 7, 1), one(0))
	h, err := g.Hold(t.Context(), s, r)
	mustOK(t, err)
	again, err := g.Hold(t.Context(), s, r)
	mustOK(t, err)
	if again.ID != h.ID || !again.Replayed || whole(t, g, s, 0, 1).Held != 1 {
		t.Errorf("%+v, then %+v", h, again)
	}
	if err := second(g.Hold(t.Context(), s, holdFor(homeOf(s, 3, 1), one(0)))); engine.CodeOf(err) != engine.CodeSoldOut {
		t.Errorf("the only unit twice: %v", err)
	}
	m.SetTime(time.Date(2026, 11, 20, 12, 1, 0, 0, time.UTC)) // the hold in shard 7 is due, and nobody has reaped
	mustOK(t, second(g.Hold(t.Context(), s, holdFor(homeOf(s, 3, 2), one(0)))))
	whole(t, g, s, 0, 1)
}

// Two carts want the same two last units, one of each SKU.
func TestCartsThatCompeteForLastUnitsDoNotBlockEachOther(t *testing.T) {
	g := openInside(t, "redis://"+miniredis.RunT(t).Addr(), Options{SoldOutFor: -1})
	for range 10 {
		s := shardedSale(6, 1, 1)
		mustOK(t, g.Create(t.Context(), s))
		var won, lost atomic.Int64
		var wg sync.WaitGroup
		for b := range uint64(6) {
			wg.Go(func() {
				_, err := g.Hold(context.Background(), s, holdFor(buyerKey(b), one(0), one(1)))
				switch engine.CodeOf(err) {
				case "":
					won.Add(1)
				case engine.CodeSoldOut:
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != 5 {
			t.Errorf("%d carts held, %d sold out", won.Load(), lost.Load())
		}
	}
}

func TestBalanceFillsPoorShardsAndThenLeavesThemAlone(t *testing.T) {
	g, m := onMini(t)
	s := shardedSale(4, 100)
	mustOK(t, g.Create(t.Context(), s))
	for i := range uint64(22) {
		mustOK(t, second(g.Hold(t.Context(), s, holdFor(homeOf(s, 2, i), one(0)))))
	}
	m.SetTime(time.Date(2026, 11, 20, 12, 0, 9, 0, time.UTC))
	first, err := g.Balance(t.Context(), s, 8)
	mustOK(t, err)
	again, err := g.Balance(t.Context(), s, 8)
	mustOK(t, err)
	v, err := g.survey(t.Context(), s, "0")
	mustOK(t, err)
	have, _ := v.available(0)
	if first.Transfers == 0 || first.Transfers > 8 || again.Transfers != 0 || 2*have[2] < 78/4 {
		t.Errorf("%+v, then %+v: %v", first, again, have)
	}
	whole(t, g, s, 0, 100)
}

// One who was thought dead goes on changing the stock after somebody else has.
func TestAStaleChangeOfStockDoesNothing(t *testing.T) {
	g, _ := onMini(t)
	s := shardedSale(3, 9)
	mustOK(t, g.Create(t.Context(), s))
	dead := allotment{g: g, s: s, item: 0, token: "dead"}
	for shard := range 3 {
		mustOK(t, second(dead.call(t.Context(), shard, "claim", 0)))
	}
	mustOK(t, second(dead.step(t.Context(), 0, 5))) // and here it stops: 14 units of 9
	mustOK(t, g.SetStock(t.Context(), s, 0, 12))
	if err := second(dead.step(t.Context(), 1, 5)); !engine.Transient(err) {
		t.Errorf("a stale step: %v", err)
	}
	whole(t, g, s, 0, 12)
	if err := g.SetStock(t.Context(), s, 0, 13); err != nil || errors.Is(err, engine.ErrUnknown) {
		t.Error(err)
	}
	whole(t, g, s, 0, 13)
}

// A master dies for good: its shards answer again from the replica, scripts and all.
func TestShardsAnswerAgainAfterTheirMasterDied(t *testing.T) {
	c := testenv.OwnRedisCluster(t)
	g, hasty := openInside(t, c.URL, Options{SoldOutFor: -1}), openInside(t, c.URL, Options{SoldOutFor: -1, CallTimeout: time.Second})
	s := shardedSale(6, 600)
	mustOK(t, g.Create(t.Context(), s))
	buyer := uint64(0)
	hold := func(g *Gate) error {
		buyer++
		return second(g.Hold(t.Context(), s, holdFor(buyerKey(buyer), one(0))))
	}
	for range 60 {
		mustOK(t, hold(g))
	}
	mustOK(t, c.Patience(t.Context(), 2*time.Second))
	mustOK(t, c.Nodes[1].Kill())
	began, failed := time.Now(), 0
	for good := 0; good < 12; { // two rounds over all shards
		err := hold(hasty)
		if err == nil {
			good++
			continue
		}
		good = 0
		failed++
		if code := engine.CodeOf(err); code != engine.CodeUnavailable || time.Since(began) > 2*time.Minute {
			t.Fatalf("after %s: %v", time.Since(began), err)
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Logf("all shards answer %s after the kill, %d refusals on the way", time.Since(began).Round(time.Millisecond), failed)
	mustOK(t, second(g.Transfer(t.Context(), s, 0, 0, 1, 1)))
	whole(t, g, s, 0, 600)
}
