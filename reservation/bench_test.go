package reservation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// What the gate costs Redis, by Redis' own processor clock, each beside script A
// (what everyone writes: a hash per reservation, pipelined by 16) in the same
// round, because machines are noisy. x-naive is the median over rounds of the
// ratio. Rounds are few and long: -benchtime 9x.
//
//	go test ./reservation -run xxx -bench Script -benchtime 9x

// naiveScript is script A. KEYS: reservation, buyers, stock, deadlines; ARGV:
// reservation, buyer, quantity, limit, milliseconds to live.
var naiveScript = redis.NewScript(`
local t = redis.call('TIME')
local deadline = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[5]
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {1, redis.call('HGET', KEYS[1], 'expires')}
end
local quantity = tonumber(ARGV[3])
if tonumber(redis.call('HGET', KEYS[2], ARGV[2]) or 0) + quantity > tonumber(ARGV[4]) then
  return {-2, 0}
end
if tonumber(redis.call('GET', KEYS[3]) or 0) < quantity then
  return {-1, 0}
end
redis.call('HINCRBY', KEYS[2], ARGV[2], quantity)
redis.call('DECRBY', KEYS[3], quantity)
redis.call('HSET', KEYS[1], 'buyer', ARGV[2], 'quantity', quantity, 'state', 'held', 'expires', deadline)
redis.call('ZADD', KEYS[4], deadline, ARGV[1])
return {0, deadline}`)

// bench is one sale on a Redis of its own.
type bench struct {
	*testing.B
	g     *Gate
	s     *engine.Sale
	buyer uint64
	naive uint64
	// flights is how many calls are under way at once, as when several shards or
	// nodes share a Redis. With one, Redis goes to sleep between calls, and being
	// woken is a fifth of what a call of 64 costs.
	flights int
}

func newBench(b *testing.B, skus int) *bench {
	b.Helper()
	x := &bench{B: b, g: openInside(b, testenv.OwnRedis(b).URL, Options{}), s: bigSale(0)}
	x.s.Items = nil
	for i := range skus {
		x.s.Items = append(x.s.Items, engine.Item{No: uint16(i), Stock: engine.MaxStock})
	}
	x.ok(x.g.client.ConfigSet(b.Context(), "appendonly", "no").Err())
	x.ok(x.g.Create(b.Context(), x.s))
	x.ok(naiveScript.Load(b.Context(), x.g.client).Err())
	x.ok(x.g.client.Set(b.Context(), "{a}stock", "1000000000", 0).Err())
	return x
}

func (x *bench) ok(err error) {
	if err != nil {
		x.Helper()
		x.Fatal(err)
	}
}

func spread(n uint64) uint64 { return n * 0x9e3779b97f4a7c15 }

// holds makes n operations of buyers that are new.
func (x *bench) holds(n, lines int) []*op {
	ops := make([]*op, n)
	for i := range ops {
		x.buyer++
		r := engine.HoldRequest{Buyer: buyerKey(spread(x.buyer)), Nonce: nonceOf(spread(x.buyer))}
		for l := range lines {
			no := (spread(x.buyer)>>32 + uint64(l)) % uint64(len(x.s.Items))
			r.Lines = append(r.Lines, engine.Line{No: uint16(no), Quantity: 1})
		}
		var err error
		ops[i], err = holdOp(x.s, r)
		x.ok(err)
	}
	return ops
}

// moves makes an operation on each hold.
func (x *bench) moves(k kind, of []*op) []*op {
	f := fenceNo(1)
	ops := make([]*op, len(of))
	for i, o := range of {
		ops[i] = moveOp(k, x.s, o.answer.hold.ID, &f, make([]byte, 200))
	}
	return ops
}

// send decides operations in calls of n, and gives what Redis spent on each.
func (x *bench) send(ops []*op, n int) float64 {
	before := x.cpu()
	calls, done := make(chan []*op), make(chan error)
	flights := max(x.flights, 1)
	for range flights {
		go func() {
			var failed error
			for part := range calls {
				if _, err := x.g.decide(context.Background(), x.s.No, 0, x.s.Lease(0), part, 0); err != nil {
					failed = err
				}
			}
			done <- failed
		}()
	}
	for part := range slices.Chunk(ops, n) {
		calls <- part
	}
	close(calls)
	for range flights {
		x.ok(<-done)
	}
	return (x.cpu() - before) / float64(len(ops))
}

// naiveHolds makes n holds by script A in pipelines of 16.
func (x *bench) naiveHolds(n int) float64 {
	before := x.cpu()
	for range n / 16 {
		p := x.g.client.Pipeline()
		for range 16 {
			x.naive++
			id := fmt.Sprintf("%016x%016x", spread(x.naive), x.naive)
			p.EvalSha(context.Background(), naiveScript.Hash(), []string{"{a}r:" + id, "{a}buyers", "{a}stock", "{a}deadlines"},
				id, id[:16], 1, 4, 120000)
		}
		_, err := p.Exec(context.Background())
		x.ok(err)
	}
	return (x.cpu() - before) / float64(n)
}

// cpu is the processor time that Redis has used, in microseconds.
func (x *bench) cpu() (us float64) {
	info, err := x.g.client.Info(context.Background(), "cpu").Result()
	x.ok(err)
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && (k == "used_cpu_user" || k == "used_cpu_sys") {
			f, err := strconv.ParseFloat(v, 64)
			x.ok(err)
			us += f * 1e6
		}
	}
	return us
}

// rounds measures one way of ours beside script A.
func (x *bench) rounds(ours func() float64) {
	x.Helper()
	var us, ratios []float64
	ours() // warms both up
	x.naiveHolds(4096)
	for x.Loop() {
		a, b := ours(), x.naiveHolds(8192)
		us, ratios = append(us, a), append(ratios, a/b)
	}
	x.ReportMetric(median(us), "redis-µs/op")
	x.ReportMetric(median(ratios), "x-naive")
	x.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

const perRound = 16384

func BenchmarkScriptHold(b *testing.B) {
	for _, c := range []struct{ call, skus, lines, flights int }{
		{1, 1, 1, 1}, {16, 1, 1, 1}, {64, 1, 1, 1}, {256, 1, 1, 1}, {16, 8, 1, 1}, {64, 8, 1, 1}, {256, 8, 1, 1}, {64, 1000, 1, 1}, {64, 8, 4, 1},
		{64, 1, 1, 4}, {64, 8, 1, 4}, {256, 8, 1, 4},
	} {
		b.Run(fmt.Sprintf("%dcall/%dskus/%dlines/%dflights", c.call, c.skus, c.lines, c.flights), func(b *testing.B) {
			x := newBench(b, c.skus)
			x.flights = c.flights
			x.rounds(func() float64 { return x.send(x.holds(perRound, c.lines), c.call) })
		})
	}
}

// BenchmarkScriptRefused has every tenth hold refused, for want of stock or for
// the buyer's limit.
func BenchmarkScriptRefused(b *testing.B) {
	for _, why := range []string{"soldout", "limit"} {
		b.Run("64call/8skus/"+why, func(b *testing.B) {
			x := newBench(b, 8)
			sold := uint16(8)
			x.s.Items = append(x.s.Items, engine.Item{No: sold})
			_, err := x.g.client.HSet(b.Context(), keysOf(x.s.No, 0).sku, "8", "0 0 0 0 0").Result()
			x.ok(err)
			x.s.Items = x.s.Items[:8]
			x.rounds(func() float64 {
				ops := x.holds(perRound, 1)
				for i := 0; i < len(ops); i += 10 {
					l := engine.Line{No: sold, Quantity: 1}
					if why == "limit" {
						l = engine.Line{Quantity: x.s.PerBuyerLimit + 1}
					}
					ops[i], err = holdOp(x.s, engine.HoldRequest{Buyer: ops[i].buyer, Lines: []engine.Line{l}})
					x.ok(err)
				}
				us := x.send(ops, 64)
				if ops[0].answer.refusal == 0 || ops[1].answer.refusal != 0 {
					x.Fatal("other than asked for was refused")
				}
				return us
			})
		})
	}
}

// BenchmarkScriptMoves measures what happens to holds that exist, 64 per call.
func BenchmarkScriptMoves(b *testing.B) {
	for _, what := range []string{"replay", "begin", "claim", "return", "release", "expire", "mixed"} {
		b.Run("64call/8skus/"+what, func(b *testing.B) {
			x := newBench(b, 8)
			if what == "expire" {
				x.s.HoldTTL = time.Millisecond
				x.s.Version++
				x.ok(x.g.Install(b.Context(), x.s))
			}
			x.rounds(func() float64 {
				held := x.holds(perRound/4, 1)
				x.send(held, 64)
				switch what {
				case "begin":
					return x.send(x.moves(opBegin, held), 64)
				case "claim":
					x.send(x.moves(opBegin, held), 64)
					return x.send(x.moves(opClaim, held), 64)
				case "return":
					x.send(x.moves(opBegin, held), 64)
					return x.send(x.moves(opReturn, held), 64)
				case "release":
					return x.send(x.moves(opRelease, held), 64)
				case "expire":
					return x.expire()
				case "mixed": // of 64: 40 holds, 12 begin to pay, 12 release
					var ops []*op
					for i := 0; i+24 <= len(held); i += 24 {
						ops = append(ops, x.holds(40, 1)...)
						ops = append(ops, x.moves(opBegin, held[i:i+12])...)
						ops = append(ops, x.moves(opRelease, held[i+12:i+24])...)
					}
					return x.send(ops, 64)
				}
				again := make([]*op, len(held))
				for i, o := range held {
					var err error
					again[i], err = holdOp(x.s, engine.HoldRequest{Buyer: o.buyer, Nonce: o.nonce, Lines: o.lines})
					x.ok(err)
				}
				us := x.send(again, 64)
				if !again[0].answer.hold.Replayed {
					x.Fatal("no repeat")
				}
				return us
			})
		})
	}
}

func (x *bench) expire() float64 {
	before, n := x.cpu(), 0
	for {
		r, err := x.g.Reap(context.Background(), x.s, 64)
		x.ok(err)
		n += r.Expired
		if !r.More {
			return (x.cpu() - before) / float64(n)
		}
	}
}

// BenchmarkBytesPerHold fills a gate with a million holds of one line.
func BenchmarkBytesPerHold(b *testing.B) {
	x := newBench(b, 8)
	used := func() float64 {
		info, err := x.g.client.Info(context.Background(), "memory").Result()
		x.ok(err)
		_, after, _ := strings.Cut(info, "used_memory_dataset:")
		n, err := strconv.ParseFloat(strings.TrimSpace(strings.SplitN(after, "\n", 2)[0]), 64)
		x.ok(err)
		return n
	}
	for b.Loop() {
		sum := func() (n float64) {
			for _, k := range keysOf(x.s.No, 0).all {
				u, err := x.g.client.MemoryUsage(context.Background(), k, 0).Result()
				if err != nil && !errors.Is(err, redis.Nil) {
					x.Fatal(err)
				}
				n += float64(u)
			}
			return n
		}
		before, keysBefore := used(), sum()
		const many = 1_000_000
		for range many / 8000 {
			x.send(x.holds(8000, 1), 64)
		}
		b.ReportMetric((used()-before)/many, "B/hold")
		b.ReportMetric((sum()-keysBefore)/many, "B/hold-by-key")
	}
}

// BenchmarkGateHold measures the whole way through the batcher, many callers at once.
func BenchmarkGateHold(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprint(callers, "callers"), func(b *testing.B) {
			x := newBench(b, 8)
			reqs := make([]engine.HoldRequest, b.N)
			for i := range reqs {
				n := spread(uint64(i) + 1)
				reqs[i] = engine.HoldRequest{Buyer: buyerKey(n), Lines: []engine.Line{{No: uint16(n % 8), Quantity: 1}}}
				binary.BigEndian.PutUint64(reqs[i].Nonce[:], n)
			}
			next := make(chan int, 4096)
			done := make(chan error, callers)
			for range callers {
				go func() {
					var failed error
					for i := range next {
						if _, err := x.g.Hold(context.Background(), x.s, reqs[i]); err != nil {
							failed = err
						}
					}
					done <- failed
				}()
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				next <- i
			}
			close(next)
			for range callers {
				x.ok(<-done)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "holds/s")
		})
	}
}
