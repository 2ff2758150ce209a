package admission

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// weigh lets n buyers join on a Redis of their own, and gives what each takes there: by
// what Redis has allocated more than before, and by MEMORY USAGE of the keys.
func weigh(t testing.TB, n int) (used, keys float64) {
	t.Helper()
	q, err := Open(Options{URL: testenv.OwnRedis(t).URL, CallTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	rdb := q.client
	ctx, r := context.Background(), Room{Sale: 1, ID: "demo", Epoch: 1}
	terms := Terms{Seed: Seed{1}, Lease: 1e9, Use: 1e9}
	if err := q.Arm(ctx, r, terms); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Join(ctx, r, nth(0)); err != nil { // whatever the first call makes
		t.Fatal(err)
	}
	before := usedMemory(t, rdb)
	k := keysOf(r)
	for i := 1; i <= n; { // as Join does, but many at once
		p := rdb.Pipeline()
		for last := min(i+999, n); i <= last; i++ {
			b := nth(i)
			p.EvalSha(ctx, joinScript.Hash(), k.of(b).all, r.Epoch, b[:], "join")
		}
		if _, err := p.Exec(ctx); err != nil {
			t.Fatal(err)
		}
	}
	used = float64(usedMemory(t, rdb)-before) / float64(n)
	names, err := rdb.Keys(ctx, "{fsq:1}:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	for _, name := range names {
		b, err := rdb.MemoryUsage(ctx, name, 0).Result()
		if err != nil {
			t.Fatal(err)
		}
		sum += b
	}
	if s, err := q.Status(ctx, r); err != nil || s.Joined != int64(n)+1 {
		t.Fatalf("%+v, %v", s, err)
	}
	return used, float64(sum) / float64(n)
}

// nth gives a buyer's key, as good as random.
func nth(i int) engine.BuyerKey {
	sum := sha256.Sum256([]byte(strconv.Itoa(i)))
	return engine.BuyerKey(sum[:8])
}

func usedMemory(t testing.TB, rdb redis.UniversalClient) int64 {
	t.Helper()
	info, err := rdb.Info(context.Background(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(strings.NewReader(info)); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "used_memory:"); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("Redis does not say what it uses")
	return 0
}

func TestAWaiterTakesLittleMemory(t *testing.T) {
	t.Parallel()
	used, keys := weigh(t, 100_000)
	t.Logf("at 100,000 waiters: %.1f bytes each by used_memory, %.1f by MEMORY USAGE", used, keys)
	if used > 40 || keys > 40 {
		t.Errorf("%s: more than 40 bytes", fmt.Sprint(used, keys))
	}
}

// BenchmarkBytesPerWaiter lets a million join, once: -benchtime 1x.
func BenchmarkBytesPerWaiter(b *testing.B) {
	const n = 1_000_000
	for range b.N {
		used, keys := weigh(b, n)
		b.ReportMetric(used, "used-B/waiter")
		b.ReportMetric(keys, "keys-B/waiter")
		b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "joins/s")
	}
}
