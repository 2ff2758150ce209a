package reservation

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// BenchmarkHoldCall measures what a hold costs Redis, by its own CPU clock:
// calls of n holds by new buyers, one SKU.
func BenchmarkHoldCall(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			g := openInside(b, testenv.Redis(b), Options{})
			s := bigSale(engine.MaxStock)
			if err := g.Create(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = g.client.Del(context.Background(), keysOf(s.No, 0).all...).Err() }()
			buyer, ops := uint64(0), make([]*op, n)
			before := redisCPU(b, g)
			for b.Loop() {
				for i := range ops {
					buyer++
					ops[i], _ = holdOp(s, oneUnit(buyer*0x9e3779b97f4a7c15))
				}
				if _, err := g.decide(context.Background(), s.No, 0, 1, ops, 0); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((redisCPU(b, g)-before).Nanoseconds())/1e3/float64(buyer), "redis-µs/hold")
			b.ReportMetric(b.Elapsed().Seconds()*1e6/float64(buyer), "µs/hold")
		})
	}
}

// BenchmarkGateHold measures the whole way through the batcher, many callers at once.
func BenchmarkGateHold(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		b.Run(fmt.Sprint(callers, "callers"), func(b *testing.B) {
			g := openInside(b, testenv.Redis(b), Options{})
			s := bigSale(engine.MaxStock)
			if err := g.Create(b.Context(), s); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = g.client.Del(context.Background(), keysOf(s.No, 0).all...).Err() }()
			next := make(chan uint64, 4096)
			done := make(chan error, callers)
			for range callers {
				go func() {
					var failed error
					for i := range next {
						if _, err := g.Hold(context.Background(), s, oneUnit(i*0x9e3779b97f4a7c15)); err != nil {
							failed = err
						}
					}
					done <- failed
				}()
			}
			b.ResetTimer()
			for i := range b.N {
				next <- uint64(i) + 1
			}
			close(next)
			for range callers {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "holds/s")
		})
	}
}

// redisCPU is the processor time that Redis has used.
func redisCPU(b *testing.B, g *Gate) time.Duration {
	b.Helper()
	info, err := g.client.Info(context.Background(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	var sum float64
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && (k == "used_cpu_user" || k == "used_cpu_sys") {
			f, _ := strconv.ParseFloat(v, 64)
			sum += f
		}
	}
	return time.Duration(sum * 1e9)
}
