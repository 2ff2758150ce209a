package reservation

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// Batches of random operations, in which everything meets in one call of the
// script: repeats, several operations of one buyer, expiry, the reaper.

func TestRandomBatchesAgreeWithTheModelOnMiniredis(t *testing.T) {
	m := miniredis.RunT(t)
	g := openInside(t, "redis://"+m.Addr(), Options{Keep: time.Minute, Lease: 7 * time.Second, MaxAttempts: 2})
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(rt *rapid.T) {
		check(rt, g, 10*time.Second, func(d time.Duration) int64 {
			now = now.Add(d)
			m.SetTime(now)
			return now.UnixMilli()
		})
	})
}

// Redis has its own clock and its own Lua. Nothing is due here; times are
// taken from its answers.
func TestRandomBatchesAgreeWithTheModelOnRedis(t *testing.T) {
	g := openInside(t, testenv.Redis(t), Options{MaxAttempts: 2})
	rapid.Check(t, func(rt *rapid.T) { check(rt, g, time.Hour, nil) })
}

func openInside(t testing.TB, url string, o Options) *Gate {
	t.Helper()
	o.URL = url
	if o.SoldOutFor == 0 {
		o.SoldOutFor = -1 // clocks jump here, and every answer is to be the gate's own
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 30 * time.Second // calls are held on purpose, on a machine that may be busy
	}
	g, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

var testSale = rand.Uint32()

type machine struct {
	*rapid.T
	g       *Gate
	s       *engine.Sale
	m       *model
	advance func(time.Duration) int64
	last    uint64 // the highest seq seen
	claimed map[engine.ReservationID]uint64
	expired uint64
	buyers  uint64 // of crowds
}

func check(rt *rapid.T, g *Gate, ttl time.Duration, advance func(time.Duration) int64) {
	testSale++
	s := &engine.Sale{
		No: testSale, State: engine.SaleOpen, Epoch: 1, Version: 1, Shards: 1, HoldTTL: ttl, HoldCap: 3 * ttl,
		PerBuyerLimit: rapid.IntRange(1, 5).Draw(rt, "limit"),
	}
	x := &machine{T: rt, g: g, s: s, advance: advance, claimed: map[engine.ReservationID]uint64{}, m: &model{
		ttl: ttl.Milliseconds(), cap: 3 * ttl.Milliseconds(), keep: g.opt.Keep.Milliseconds(), lease: g.opt.Lease.Milliseconds(),
		limit: s.PerBuyerLimit, attempts: g.opt.MaxAttempts, open: true, holds: map[modelKey]*modelHold{},
	}}
	for i := range 3 {
		n := rapid.Int64Range(0, rapid.SampledFrom([]int64{8, 40, 1000}).Draw(rt, "most")).Draw(rt, "stock")
		s.Items = append(s.Items, engine.Item{No: uint16(i) * 300, Stock: n}) // numbers of one and two bytes
	}
	x.m.stock = make([]int64, 601)
	for _, it := range s.Items {
		x.m.stock[it.No] = it.Stock
	}
	x.ok(g.Create(rt.Context(), s))
	actions := map[string]func(*rapid.T){
		"":      func(rt *rapid.T) { x.T = rt; x.compare() },
		"batch": func(rt *rapid.T) { x.T = rt; x.batch() },
		"again": func(rt *rapid.T) { x.T = rt; x.batch() }, // twice as likely
		"crowd": func(rt *rapid.T) { x.T = rt; x.crowd() },
		"state": func(rt *rapid.T) { x.T = rt; x.state() },
		"stock": func(rt *rapid.T) { x.T = rt; x.restock() },
		"reap":  func(rt *rapid.T) { x.T = rt; x.reap() },
		"lose":  func(rt *rapid.T) { x.T = rt; x.rebuild() },
	}
	if advance != nil {
		x.m.moveTo(advance(0))
		actions["time"] = func(rt *rapid.T) {
			d := rapid.SampledFrom([]time.Duration{time.Millisecond, ttl / 2, ttl - 1, ttl, g.opt.Lease, g.opt.Keep / 2, g.opt.Keep}).Draw(rt, "d")
			x.m.moveTo(advance(d))
		}
	}
	rt.Repeat(actions)
}

func (x *machine) ok(err error) {
	if err != nil {
		x.Fatal(err)
	}
}

func buyerKey(n uint64) (b engine.BuyerKey) { binary.BigEndian.PutUint64(b[:], n); return b }
func nonceOf(n uint64) (b engine.Nonce)     { binary.BigEndian.PutUint64(b[:], n); return b }
func fenceNo(n uint64) (b engine.Fence)     { binary.BigEndian.PutUint64(b[:], n); return b }

// batch sends several operations of few buyers.
func (x *machine) batch() {
	n := rapid.IntRange(1, 12).Draw(x.T, "n")
	ops := make([]*op, n)
	asks := make([]func() (*modelHold, bool, engine.Code), n)
	for i := range ops {
		ops[i], asks[i] = x.operation()
	}
	x.decide(ops, asks)
}

// crowd sends holds of buyers that are mostly new: the script's fast way, and
// what makes it leave that way in its midst.
func (x *machine) crowd() {
	n := rapid.IntRange(1, 24).Draw(x.T, "n")
	spread := rapid.SampledFrom([]uint64{3, 1000}).Draw(x.T, "spread") // repeats within the call, or few
	first := 100 + x.buyers
	ops := make([]*op, n)
	asks := make([]func() (*modelHold, bool, engine.Code), n)
	for i := range ops {
		k := modelKey{first + rapid.Uint64Range(0, spread*uint64(n)/3).Draw(x.T, "buyer"), rapid.Uint64Range(1, 2).Draw(x.T, "nonce")}
		if rapid.IntRange(0, 39).Draw(x.T, "known") == 0 {
			k.buyer = rapid.Uint64Range(1, 5).Draw(x.T, "old")
		}
		x.buyers = max(x.buyers, k.buyer-min(k.buyer, 99))
		var lines []engine.Line
		for range rapid.IntRange(1, 2).Draw(x.T, "lines") {
			lines = append(lines, engine.Line{No: rapid.SampledFrom(x.s.Items).Draw(x.T, "sku").No, Quantity: rapid.SampledFrom([]int{1, 1, 1, 2, 4}).Draw(x.T, "quantity")})
		}
		ops[i], asks[i] = x.hold(k, lines)
	}
	x.decide(ops, asks)
}

func (x *machine) hold(k modelKey, lines []engine.Line) (*op, func() (*modelHold, bool, engine.Code)) {
	o, err := holdOp(x.s, engine.HoldRequest{Buyer: buyerKey(k.buyer), Nonce: nonceOf(k.nonce), Lines: lines})
	x.ok(err)
	return o, func() (*modelHold, bool, engine.Code) { return x.m.hold(k, lines) }
}

// decide sends operations in one call and asks the model of each in turn.
func (x *machine) decide(ops []*op, asks []func() (*modelHold, bool, engine.Code)) {
	_, err := x.g.decide(x.Context(), x.s.No, 0, x.s.Lease(0), ops, 0)
	x.ok(err)
	for i, o := range ops {
		before := len(x.m.holds)
		want, replayed, code := asks[i]()
		if code != "" || o.answer.refusal != 0 {
			if got := engine.CodeOf(refuse(o.answer.refusal)); o.answer.refusal == 0 || got != code {
				x.Fatalf("operation %d (%s): the gate says %d %s %+v, the model %q", i, kinds[o.kind], o.answer.refusal, got, o.answer.hold, code)
			}
			if at := o.answer.hold.Seq; at < x.last {
				x.Fatalf("operation %d was refused after decision %d, and one before it is %d", i, at, x.last)
			} else {
				x.last = at
			}
			continue
		}
		x.answer(i, o, want, replayed, len(x.m.holds) > before)
	}
}

// operation draws one, and gives the question to the model that goes with it.
func (x *machine) operation() (*op, func() (*modelHold, bool, engine.Code)) {
	k := modelKey{rapid.Uint64Range(1, 5).Draw(x.T, "buyer"), rapid.Uint64Range(1, 6).Draw(x.T, "nonce")}
	f := fenceNo(rapid.Uint64Range(1, 4).Draw(x.T, "fence"))
	if rapid.IntRange(0, 9).Draw(x.T, "barred") == 0 {
		f = f.Barred()
	}
	what := rapid.SampledFrom([]kind{opHold, opHold, opHold, opBegin, opBegin, opClaim, opReturn, opRelease, opBar, opExtend, opExtend}).Draw(x.T, "op")
	known := x.m.live()
	if what != opHold && len(known) > 0 && rapid.IntRange(0, 9).Draw(x.T, "stray") > 0 {
		k = rapid.SampledFrom(known).Draw(x.T, "of")
	}
	if what == opHold {
		var lines []engine.Line
		for range rapid.IntRange(1, 3).Draw(x.T, "lines") {
			lines = append(lines, engine.Line{No: rapid.SampledFrom(x.s.Items).Draw(x.T, "sku").No, Quantity: rapid.IntRange(1, 2).Draw(x.T, "quantity")})
		}
		return x.hold(k, lines)
	}
	id := engine.ReservationID{Sale: x.s.No, Buyer: buyerKey(k.buyer), Nonce: nonceOf(k.nonce), Created: engine.TimeZero}
	was := x.m.holds[k] // an operation can only name a hold that was there when it was sent
	if was != nil {
		id.Created = was.created
	}
	var until int64
	if what == opExtend { // also to before its end, into the past and beyond its cap: the gate's caller minds that one
		until = engine.TimeZero + 1
		if was != nil {
			until = was.deadline + rapid.SampledFrom([]int64{1, x.m.ttl / 2, x.m.ttl, 3 * x.m.ttl, 0, -1, -x.m.ttl / 2}).Draw(x.T, "longer")
		}
		f = untilFence(time.UnixMilli(until))
	}
	return moveOp(what, x.s, id, &f, []byte("event")), func() (*modelHold, bool, engine.Code) {
		h := x.m.holds[k]
		if was == nil || h != was {
			return nil, false, engine.CodeNotFound
		}
		var replayed bool
		var code engine.Code
		switch what {
		case opBegin:
			replayed, code = x.m.begin(h, f)
		case opClaim:
			replayed, code = x.m.claim(h, f)
		case opReturn:
			replayed, code = x.m.giveBack(h, f)
		case opRelease:
			replayed, code = x.m.release(h)
		case opBar:
			replayed, code = x.m.bar(h, f)
		case opExtend:
			replayed = x.m.extend(h, until)
		}
		return h, replayed, code
	}
}

func (x *machine) answer(i int, o *op, want *modelHold, replayed, fresh bool) {
	got := o.answer.hold
	if x.advance == nil { // the clock is Redis' own
		if fresh {
			want.created = got.ID.Created
			want.deadline = want.created + x.m.ttl
		} else if !replayed && (got.State == engine.Accepted || got.State == engine.Released) {
			want.deadline = got.ExpiresAt.UnixMilli()
		}
	}
	if !replayed {
		x.m.decisions++
		if got.Seq <= x.last {
			x.Fatalf("operation %d: seq %d after %d", i, got.Seq, x.last)
		}
		x.last, want.Seq = got.Seq, got.Seq
	} else if got.State != engine.Expired && got.Seq != want.Seq {
		x.Fatalf("operation %d: a repeat has seq %d, the decision had %d", i, got.Seq, want.Seq)
	}
	x.same(got, want)
	if got.Replayed != replayed {
		x.Fatalf("operation %d (%s): replayed %v, the model %v", i, kinds[o.kind], got.Replayed, replayed)
	}
	if o.kind == opClaim && (o.answer.entryID == "") != replayed {
		x.Fatalf("operation %d: entry %q, replayed %v", i, o.answer.entryID, replayed)
	}
	if o.kind == opClaim && !replayed {
		x.claimed[got.ID] = got.Seq
	}
}

func (x *machine) same(got engine.Hold, want *modelHold) {
	if got.State != want.State || got.ID.Created != want.created || !got.ExpiresAt.Equal(x.m.expires(want)) ||
		got.Attempts != want.Attempts || got.Fence != want.Fence || len(got.Lines) != len(want.Lines) {
		x.Fatalf("the gate has %+v, the model %+v, ending %s", got, want, x.m.expires(want))
	}
	for i := range got.Lines {
		if got.Lines[i] != want.Lines[i] {
			x.Fatalf("lines %v, the model %v", got.Lines, want.Lines)
		}
	}
}

func (x *machine) state() {
	x.m.open = rapid.Bool().Draw(x.T, "open")
	x.s.Version++
	x.s.State = engine.SalePaused
	if x.m.open {
		x.s.State = engine.SaleOpen
	}
	x.ok(x.g.Install(x.Context(), x.s))
}

func (x *machine) restock() {
	it := rapid.SampledFrom(x.s.Items).Draw(x.T, "sku")
	to := rapid.Int64Range(0, 8).Draw(x.T, "to")
	err := x.g.SetStock(x.Context(), x.s, it.No, to)
	// Due holds that nobody settled count as taken, so a no may be too careful.
	short := x.m.available(it.No)+to-x.m.stock[it.No] < 0
	if short && err == nil || err != nil && engine.CodeOf(err) != engine.CodeSoldOut {
		x.Fatalf("stock %d to %d with %d available: %v", x.m.stock[it.No], to, x.m.available(it.No), err)
	}
	if err == nil {
		x.m.stock[it.No] = to
	}
}
