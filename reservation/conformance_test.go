package reservation_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/reservation"
	"github.com/flashsale-engine/flashsale/reservation/gatetest"
)

func TestTheGateKeepsItsPromisesOnRedis(t *testing.T)     { conform(t, onRedis) }
func TestTheGateKeepsItsPromisesOnMiniredis(t *testing.T) { gatetest.Run(t, onMiniredis) }

func TestTheGateKeepsItsPromisesOverFourShardsOnRedis(t *testing.T) {
	conform(t, over(4, onRedis))
}

func TestTheGateKeepsItsPromisesOverFourShardsOnMiniredis(t *testing.T) {
	gatetest.Run(t, over(4, onMiniredis))
}

func TestTheGateKeepsItsPromisesOnARedisCluster(t *testing.T) {
	t.Parallel()
	on := onCluster(t)
	t.Run("one shard", func(t *testing.T) { conform(t, on) })
	t.Run("four shards", func(t *testing.T) { conform(t, over(4, on)) })
}

// conform runs the suite on a real clock, beside the other suites that wait for one.
func conform(t *testing.T, backend func(*testing.T) gatetest.Backend) {
	t.Parallel()
	gatetest.Run(t, backend)
}

// over spreads a backend's sales over shards.
func over(shards int, backend func(*testing.T) gatetest.Backend) func(*testing.T) gatetest.Backend {
	return func(t *testing.T) gatetest.Backend {
		b := backend(t)
		b.Shards = shards
		return b
	}
}

func open(t testing.TB, o reservation.Options) *reservation.Gate {
	t.Helper()
	if o.SoldOutFor == 0 {
		o.SoldOutFor = -1 // every answer is to be the gate's own
	}
	if o.CallTimeout == 0 {
		o.CallTimeout = 30 * time.Second // not what is tested, on a machine that may be busy
	}
	g, err := reservation.Open(o)
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

func backend(t *testing.T, url string, tick time.Duration) gatetest.Backend {
	return gatetest.Backend{
		Tick: tick,
		Gate: open(t, reservation.Options{URL: url, Lease: gatetest.LeaseTicks * tick, Keep: gatetest.KeepTicks * tick, MaxAttempts: gatetest.MaxAttempts}),
		Lose: func(saleNo uint32, key string) {
			lost := int64(0)
			for shard := range 4 { // as many as a case's sale may have
				n, err := client(t, url).Del(t.Context(), reservation.KeyOf(saleNo, shard, key)).Result()
				if err != nil {
					t.Fatal(err)
				}
				lost += n
			}
			if lost == 0 {
				t.Fatalf("no key %s to lose", key)
			}
		},
	}
}

func client(t testing.TB, at string) redis.UniversalClient {
	t.Helper()
	var c redis.UniversalClient
	if strings.Contains(at, "addr=") {
		o, err := redis.ParseClusterURL(at)
		if err != nil {
			t.Fatal(err)
		}
		c = redis.NewClusterClient(o)
	} else {
		o, err := redis.ParseURL(at)
		if err != nil {
			t.Fatal(err)
		}
		c = redis.NewClient(o)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func onMiniredis(t *testing.T) gatetest.Backend {
	m := miniredis.RunT(t)
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	m.SetTime(now)
	b := backend(t, "redis://"+m.Addr(), 10*time.Second)
	b.Advance = func(d time.Duration) { now = now.Add(d); m.SetTime(now) }
	return b
}

func onRedis(t *testing.T) gatetest.Backend {
	return onServer(t, testenv.Redis(t))
}

// onCluster gives the suite a Redis Cluster of three masters and their replicas.
func onCluster(t *testing.T) func(*testing.T) gatetest.Backend {
	url := testenv.OwnRedisCluster(t).URL
	return func(t *testing.T) gatetest.Backend { return onServer(t, url) }
}

// onServer has no hand on the clock, so it waits for it: Tick is short enough to
// wait for and long enough for a case's calls on a machine that starves it meanwhile.
func onServer(t *testing.T, url string) gatetest.Backend {
	b := backend(t, url, 3*time.Second)
	c := client(t, url)
	clock := func() time.Time {
		now, err := c.Time(context.Background()).Result()
		if err != nil {
			t.Fatal(err)
		}
		return now
	}
	b.Advance = func(d time.Duration) {
		for until := clock().Add(d + time.Millisecond); ; {
			left := until.Sub(clock())
			if left <= 0 {
				return
			}
			<-time.After(left)
		}
	}
	return b
}
