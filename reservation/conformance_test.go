package reservation_test

import (
	"context"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/reservation"
	"github.com/flashsale-engine/flashsale/reservation/gatetest"
)

func TestTheGateKeepsItsPromisesOnRedis(t *testing.T)     { gatetest.Run(t, onRedis) }
func TestTheGateKeepsItsPromisesOnMiniredis(t *testing.T) { gatetest.Run(t, onMiniredis) }

func open(t testing.TB, o reservation.Options) *reservation.Gate {
	t.Helper()
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
			if n, err := client(t, url).Del(t.Context(), reservation.Key(saleNo, key)).Result(); err != nil || n != 1 {
				t.Fatalf("%d keys lost, error %v", n, err)
			}
		},
	}
}

func client(t testing.TB, url string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
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

// onRedis has no hand on the clock, so it waits for it: Tick is short enough to
// wait for and long enough for a case's calls on a busy machine.
func onRedis(t *testing.T) gatetest.Backend {
	if testing.Short() {
		t.Skip("needs redis-server")
	}
	b := backend(t, testenv.Redis(t), 300*time.Millisecond)
	c := client(t, testenv.Redis(t))
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
