package reservation

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// BenchmarkTransfer measures one transfer, all three calls, by Redis' CPU clock
// and by the caller's.
func BenchmarkTransfer(b *testing.B) {
	g := openInside(b, testenv.Redis(b), Options{})
	s := shardedSale(16, engine.MaxStock)
	mustOK(b, g.Create(b.Context(), s))
	before, n := redisMicros(b, g), 0
	for b.Loop() {
		if _, err := g.Transfer(b.Context(), s, 0, n%16, (n+1)%16, 1); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric((redisMicros(b, g)-before)/float64(n), "redis-µs/transfer")
}

// BenchmarkLook measures a look at every shard for one SKU.
func BenchmarkLook(b *testing.B) {
	for _, shards := range []int{4, 16, 64} {
		b.Run(strconv.Itoa(shards), func(b *testing.B) {
			g := openInside(b, testenv.Redis(b), Options{})
			s := shardedSale(shards, 1000)
			mustOK(b, g.Create(b.Context(), s))
			before, n := redisMicros(b, g), 0
			for b.Loop() {
				if _, err := g.survey(b.Context(), s, "0"); err != nil {
					b.Fatal(err)
				}
				n++
			}
			b.ReportMetric((redisMicros(b, g)-before)/float64(n), "redis-µs/look")
		})
	}
}

// BenchmarkHoldByShards is what a hold costs Redis at 64 per call, when the
// calls take turns over 16 shards, against one; interleaved.
func BenchmarkHoldByShards(b *testing.B) {
	const n, calls = 64, 160
	g := openInside(b, testenv.Redis(b), Options{})
	sales := []*engine.Sale{shardedSale(1, engine.MaxStock), shardedSale(16, engine.MaxStock)}
	for _, s := range sales {
		mustOK(b, g.Create(b.Context(), s))
		defer func() {
			for shard := range s.Shards {
				_ = g.client.Del(context.Background(), keysOf(s.No, shard).all...).Err()
			}
		}()
	}
	buyer, rounds, ops, cost := uint64(0), 0, make([]*op, n), make([]float64, len(sales))
	for b.Loop() {
		for k, s := range sales {
			before := redisMicros(b, g)
			for call := range calls {
				for i := range ops {
					buyer++
					ops[i], _ = holdOp(s, oneUnit(buyer*0x9e3779b97f4a7c15))
				}
				if _, err := g.decide(context.Background(), s.No, call%s.Shards, s.Lease(call%s.Shards), ops, 0); err != nil {
					b.Fatal(err)
				}
			}
			cost[k] += redisMicros(b, g) - before
		}
		rounds++
	}
	per := float64(rounds * n * calls)
	b.ReportMetric(cost[0]/per, "µs/hold-1")
	b.ReportMetric(cost[1]/per, "µs/hold-16")
	b.ReportMetric(cost[1]/cost[0], "ratio")
}

// redisMicros is the processor time that Redis has used.
func redisMicros(b *testing.B, g *Gate) (us float64) {
	b.Helper()
	info, err := g.client.Info(context.Background(), "cpu").Result()
	mustOK(b, err)
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && (k == "used_cpu_user" || k == "used_cpu_sys") {
			f, _ := strconv.ParseFloat(v, 64)
			us += f * 1e6
		}
	}
	return us
}

// A crowd that asks for what is gone costs a few looks, not one each.
func TestACrowdAtASoldOutSaleSharesItsLooks(t *testing.T) {
	g := openInside(t, testenv.OwnRedis(t).URL, Options{SoldOutFor: -1})
	const shards, crowd, each = 16, 250, 8
	s := shardedSale(shards, 1)
	mustOK(t, g.Create(t.Context(), s))
	mustOK(t, second(g.Hold(t.Context(), s, holdFor(homeOf(s, 3, 1), one(0)))))
	scripts := func() int {
		info, err := g.client.Info(t.Context(), "commandstats").Result()
		mustOK(t, err)
		_, rest, _ := strings.Cut(info, "cmdstat_evalsha:calls=")
		text, _, _ := strings.Cut(rest, ",")
		n, err := strconv.Atoi(text)
		mustOK(t, err)
		return n
	}
	before := scripts()
	var refused atomic.Int64
	var wg sync.WaitGroup
	for w := range uint64(crowd) {
		wg.Go(func() {
			for i := range uint64(each) {
				if err := second(g.Hold(context.Background(), s, holdFor(buyerKey(100+w*each+i), one(0)))); engine.CodeOf(err) == engine.CodeSoldOut {
					refused.Add(1)
				} else {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	calls := scripts() - before
	t.Logf("%d refusals took %d calls of Redis", refused.Load(), calls)
	if refused.Load() != crowd*each || calls > crowd*each {
		t.Errorf("%d refusals took %d calls of Redis", refused.Load(), calls)
	}
}
