package reservation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

func bigSale(stock int64) *engine.Sale {
	testSale++
	return &engine.Sale{No: testSale, Epoch: 1, State: engine.SaleOpen, PerBuyerLimit: 9, HoldTTL: time.Hour, HoldCap: 2 * time.Hour, Items: []engine.Item{{Stock: stock}}}
}

func oneUnit(buyer uint64) engine.HoldRequest {
	return engine.HoldRequest{Buyer: buyerKey(buyer), Nonce: nonceOf(1), Lines: []engine.Line{{Quantity: 1}}}
}

func TestAScriptThatRedisHasForgottenIsSentAgain(t *testing.T) {
	b := testenv.OwnRedis(t)
	g := openInside(t, b.URL, Options{})
	s := bigSale(10)
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(3) {
		if err := g.client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if h, err := g.Hold(t.Context(), s, oneUnit(i)); err != nil || h.Seq != i+1 {
			t.Fatalf("%+v, %v", h, err)
		}
	}
}

// Redis dies by kill -9 under load and comes back on the same data. It writes
// its log before each answer (appendfsync always), so whatever was acknowledged
// is there; what was unknown is settled by repeating it, and the sum is exact.
// With everysec this test fails: Redis holds its log's writes back, but not the
// answers, while a background fsync runs, and what it held back dies with it.
func TestARedisKilledInFlightComesBackWithoutLossOrOversell(t *testing.T) {
	b := testenv.OwnRedis(t)
	g := openInside(t, b.URL, Options{CallTimeout: 5 * time.Second})
	if err := g.client.ConfigSet(t.Context(), "appendfsync", "always").Err(); err != nil {
		t.Fatal(err)
	}
	const stock, buyers = 3000, 4000
	s := bigSale(stock)
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var repeats atomic.Int32
	// until repeats a request as a client would, until it is answered for good.
	until := func(buyer uint64) (engine.Hold, error) {
		for {
			h, err := g.Hold(context.Background(), s, oneUnit(buyer))
			if err == nil || !engine.Transient(err) {
				return h, err
			}
			if code := engine.CodeOf(err); code != engine.CodeUnavailable {
				return h, fmt.Errorf("while Redis was away: %w", err)
			}
			repeats.Add(1)
			<-time.After(20 * time.Millisecond)
		}
	}
	var mu sync.Mutex
	acked := map[engine.ReservationID]bool{}
	some := make(chan struct{})
	for w := range uint64(16) {
		wg.Go(func() {
			for i := w; i < buyers; i += 16 {
				h, err := until(i)
				mu.Lock()
				if err == nil {
					acked[h.ID] = true
				} else if engine.CodeOf(err) != engine.CodeSoldOut {
					t.Error(err)
				}
				if len(acked) == stock/10 {
					select {
					case <-some:
					default:
						close(some)
					}
				}
				mu.Unlock()
			}
		})
	}
	<-some
	if err := b.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := b.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if repeats.Load() == 0 {
		t.Error("nothing was in flight when Redis died")
	}

	found := 0
	if err := g.Holds(t.Context(), s, func(h engine.Hold) error {
		if !acked[h.ID] {
			t.Errorf("%s was made and never acknowledged", h.ID)
		}
		found++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	cs, err := g.Counters(t.Context(), s)
	if err != nil || len(acked) != stock || found != stock || cs[0].Held != stock || !cs[0].Conserved() {
		t.Errorf("%d acknowledged, %d found, %+v, %v", len(acked), found, cs, err)
	}
}

func TestAnEmptyRedisAfterARestartIsFrozenNotSoldOut(t *testing.T) {
	b := testenv.OwnRedis(t)
	g := openInside(t, b.URL, Options{})
	s := bigSale(10)
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	h, err := g.Hold(t.Context(), s, oneUnit(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"hold":    second(g.Hold(t.Context(), s, oneUnit(2))),
		"begin":   second(g.BeginPayment(t.Context(), s, h.ID, fenceNo(1))),
		"release": second(g.Release(t.Context(), s, h.ID)),
		"find":    second(g.Find(t.Context(), s, h.ID)),
		"install": g.Install(t.Context(), s),
	} {
		var e *engine.Error
		if !errors.As(err, &e) || e.Code != engine.CodeGateFrozen || e.RetryAfter == 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestARedisThatHangsLeavesTheAnswerUnknown(t *testing.T) {
	t.Parallel()
	b := testenv.OwnRedis(t)
	g, hasty := openInside(t, b.URL, Options{}), openInside(t, b.URL, Options{CallTimeout: 3 * time.Second})
	s := bigSale(10)
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := hasty.client.Ping(t.Context()).Err(); err != nil { // without a connection it would hang before it sends anything
		t.Fatal(err)
	}
	if err := b.Pause(); err != nil {
		t.Fatal(err)
	}
	_, err := hasty.Hold(t.Context(), s, oneUnit(1))
	if !errors.Is(err, engine.ErrUnknown) || engine.CodeOf(err) != engine.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	if err := b.Continue(); err != nil {
		t.Fatal(err)
	}
	// Whether it happened is settled by asking again.
	if h, err := g.Hold(t.Context(), s, oneUnit(1)); err != nil || h.Seq != 1 {
		t.Errorf("%+v, %v", h, err)
	}
}

// A failover may bring a clock that is a little behind. The hold's log entry
// was walked already, while it was paying.
func TestAHoldReturnedAfterTheClockSteppedBackStillExpires(t *testing.T) {
	m := miniredis.RunT(t)
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	m.SetTime(now)
	g := openInside(t, "redis://"+m.Addr(), Options{})
	s := bigSale(10)
	s.HoldTTL = 10 * time.Second
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(g.Create(t.Context(), s))
	h, err := g.Hold(t.Context(), s, oneUnit(1))
	ok(err)
	ok(second(g.BeginPayment(t.Context(), s, h.ID, fenceNo(1))))
	m.SetTime(now.Add(10 * time.Second))
	ok(second(g.Reap(t.Context(), s, 10)))
	m.SetTime(now.Add(9 * time.Second))
	ok(second(g.Return(t.Context(), s, h.ID, fenceNo(1))))
	m.SetTime(now.Add(11 * time.Second))
	r, err := g.Reap(t.Context(), s, 10)
	if err != nil || r.Expired != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A log entry may outlive the record that it names. A reclaim on the way to a
// buyer's hold then looks at the buyer itself, and must not lose the new hold.
func TestAHoldSurvivesAStaleLogEntryOfItsOwnBuyer(t *testing.T) {
	m := miniredis.RunT(t)
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	g := openInside(t, "redis://"+m.Addr(), Options{Keep: 5 * time.Second})
	s := bigSale(1)
	s.HoldTTL = 10 * time.Second
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m.SetTime(now)
	ok(g.Create(t.Context(), s))
	first, err := g.Hold(t.Context(), s, oneUnit(1))
	ok(err)
	ok(second(g.Release(t.Context(), s, first.ID)))
	ok(second(g.Hold(t.Context(), s, oneUnit(2))))
	m.SetTime(now.Add(5 * time.Second))
	ok(second(g.Reap(t.Context(), s, 100)))
	if _, err := g.Find(t.Context(), s, first.ID); engine.CodeOf(err) != engine.CodeNotFound {
		t.Fatalf("the tombstone is there: %v", err)
	}
	m.SetTime(now.Add(10 * time.Second))
	h, err := g.Hold(t.Context(), s, oneUnit(1))
	ok(err)
	ok(second(g.Find(t.Context(), s, h.ID)))
}

// More due holds than one call may expire: the caller never hears "sold out"
// for units that are free.
func TestAHoldSearchesExpiredStockBeyondOneCallsBudget(t *testing.T) {
	m := miniredis.RunT(t)
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	m.SetTime(now)
	g := openInside(t, "redis://"+m.Addr(), Options{})
	s := bigSale(0)
	s.HoldTTL = 10 * time.Second
	s.Items = []engine.Item{{Stock: 1000}, {No: 1, Stock: 1}}
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(1000) {
		if _, err := g.Hold(t.Context(), s, oneUnit(i)); err != nil {
			t.Fatal(err)
		}
	}
	last := func(b uint64) (engine.Hold, error) {
		return g.Hold(t.Context(), s, engine.HoldRequest{Buyer: buyerKey(b), Lines: []engine.Line{{No: 1, Quantity: 1}}})
	}
	if _, err := last(5000); err != nil { // at the end of the log
		t.Fatal(err)
	}
	m.SetTime(now.Add(10 * time.Second))
	h, err := last(5001)
	if err != nil || h.Seq != 1000+1+1001+1 {
		t.Errorf("%+v, %v", h, err)
	}
}
