package history_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/reservation/history"
)

// Redis forgets its scripts and drops its connections all the time, and dies by
// kill -9 again and again, with calls in flight. It writes its log before each answer, so nothing that was
// answered may be missing from the history, and nothing that was not may be in
// it twice. Holds outlast the faults: what an unanswered call did must be seen by
// its repeat before the clock undoes it.
func TestAHistoryWithKillsInItIsLinearizable(t *testing.T) {
	const round = 20_000
	var sum history.Report
	kills := 0
	for sum.Operations < *operations/10 {
		b := testenv.OwnRedis(t)
		var done atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { kills += torment(t, b, &done, round/4, stop) })
		h := crowd{url: b.URL, operations: round, sessions: 48, ttl: time.Minute, stock: 3000, soldOutFor: -1, faults: true, done: &done, calm: func() { close(stop); wg.Wait() }}.run(t)
		r := prove(t, h)
		sum.Add(r)
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d kills: %+v", kills, sum)
	if sum.Unanswered == 0 || sum.Recovered == 0 {
		t.Errorf("the faults left no call unanswered (%d) or no decision to recover (%d)", sum.Unanswered, sum.Recovered)
	}
}

// torment flushes Redis' scripts and cuts its connections every few milliseconds
// and kills it each time another so many operations were sent.
func torment(t *testing.T, b *devstack.Backend, done *atomic.Int64, every int64, stop <-chan struct{}) (kills int) {
	o, err := redis.ParseURL(b.URL)
	if err != nil {
		t.Error(err)
		return 0
	}
	c := redis.NewClient(o)
	defer c.Close()
	// The test server starts with appendfsync no.
	durable := func() {
		if err := c.ConfigSet(t.Context(), "appendfsync", "always").Err(); err != nil {
			t.Error(err)
		}
	}
	durable()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for next := every; ; {
		select {
		case <-stop:
			return kills
		case <-tick.C:
		}
		if err := c.ScriptFlush(t.Context()).Err(); err != nil {
			t.Error(err)
		}
		if err := c.ClientKillByFilter(t.Context(), "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
			t.Error(err)
		}
		if done.Load() >= next {
			next += every
			kills++
			if err := b.Kill(); err != nil {
				t.Error(err)
			}
			if err := b.Restart(t.Context()); err != nil {
				t.Error(err)
				return kills
			}
			durable()
		}
	}
}
