package reservation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/flashsale-engine/flashsale/engine"
)

// book is a record with at most one order, and counts how often it is asked.
type book struct {
	engine.Orders // the rest is not asked
	order         atomic.Pointer[engine.Order]
	asked         atomic.Int32
}

func (b *book) Order(_ context.Context, id engine.ReservationID) (engine.Order, error) {
	b.asked.Add(1)
	if o := b.order.Load(); o != nil && o.ID == id {
		return *o, nil
	}
	return engine.Order{}, engine.E(engine.CodeNotFound, "no order")
}

func ear(t *testing.T, g *Gate, orders engine.Orders) *Replies {
	t.Helper()
	r := g.Listen(orders)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestAnOutcomeReachesTheNodeThatWaitsForIt(t *testing.T) {
	m := miniredis.RunT(t)
	g := openInside(t, "redis://"+m.Addr(), Options{})
	mine, other := ear(t, g, &book{}), ear(t, g, &book{})
	if mine.Node() == other.Node() || mine.Node() == "" {
		t.Fatalf("nodes %q and %q", mine.Node(), other.Node())
	}
	for len(m.PubSubChannels("fs:node:*")) < 2 { // until both have subscribed
		<-time.After(time.Millisecond)
	}
	id := engine.ReservationID{Sale: 7, Created: engine.TimeZero + 5, Buyer: buyerKey(1)}
	want := engine.Outcome{ID: id, State: engine.Confirmed, Provider: "sandbox", Payment: engine.PaymentAuthorised, PlacedAt: time.UnixMilli(engine.TimeZero + 9).UTC()}
	wait, cancel := mine.Expect(id)
	defer cancel()
	again, cancelAgain := mine.Expect(id)
	defer cancelAgain()

	many := make([]engine.Outcome, notifyMost+3)
	many[len(many)-1] = want
	if err := g.Notifier().Notify(t.Context(), mine.Node(), many); err != nil {
		t.Fatal(err)
	}
	for _, w := range []func(context.Context) (engine.Outcome, error){wait, again} {
		if got, err := w(t.Context()); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if err := g.Notifier().Notify(t.Context(), "nobody", many); err != nil {
		t.Error(err)
	}
}

func TestALostReplyCostsAPoll(t *testing.T) {
	m := miniredis.RunT(t)
	g := openInside(t, "redis://"+m.Addr(), Options{Log: slog.New(slog.DiscardHandler)})
	b := &book{}
	r := ear(t, g, b)
	m.Close()
	id := engine.ReservationID{Sale: 7, Created: engine.TimeZero}
	b.order.Store(&engine.Order{ID: id, State: engine.Refused, Reason: "sold_out"})
	wait, cancel := r.Expect(id)
	defer cancel()
	o, err := wait(t.Context())
	if err != nil || o.State != engine.Refused || o.Reason != "sold_out" || b.asked.Load() != 1 {
		t.Errorf("%+v, %v, asked %d times", o, err, b.asked.Load())
	}
}

func TestWaitingEndsWithItsContextAndLeavesNothing(t *testing.T) {
	m := miniredis.RunT(t)
	g := openInside(t, "redis://"+m.Addr(), Options{})
	r := ear(t, g, &book{})
	id := engine.ReservationID{Sale: 1}
	wait, cancel := r.Expect(id)
	_, cancelOther := r.Expect(id)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	cancel()
	cancel()
	if len(r.waiting[id]) != 1 {
		t.Errorf("%d wait", len(r.waiting[id]))
	}
	cancelOther()
	if len(r.waiting) != 0 {
		t.Errorf("%d ids wait", len(r.waiting))
	}
}

func TestHashesDependOnSecretBuyerAndKeyAndNotOnWhereTheyAreCut(t *testing.T) {
	a, b := &engine.Sale{}, &engine.Sale{Secret: [16]byte{15: 1}}
	var h Hasher
	if h.Buyer(a, "x") == h.Buyer(b, "x") || h.Buyer(a, "x") == h.Buyer(a, "y") {
		t.Error("buyers collide")
	}
	if h.Nonce(a, "x", "k") == h.Nonce(b, "x", "k") || h.Nonce(a, "ab", "c") == h.Nonce(a, "a", "bc") || h.Nonce(a, "x", "k") == h.Nonce(a, "y", "k") {
		t.Error("nonces collide")
	}
	// Names that are at the gate must be found by the next version too.
	if b, n := h.Buyer(a, "x"), h.Nonce(a, "x", "k"); fmt.Sprintf("%x %x", b, n) != "a54dc5e5d5f49f7e cbb04e85fc7fa6a9" {
		t.Errorf("the hashes have changed: %x %x", b, n)
	}
	if engine.Nonce(h.Buyer(a, "x")) == h.Nonce(a, "x", "") {
		t.Error("a buyer's key is a nonce")
	}
}

// rounds is a gate whose reaper has work for some rounds.
type rounds struct {
	engine.GateControl
	left  int
	calls chan int
}

func (g *rounds) Reap(_ context.Context, _ *engine.Sale, limit int) (engine.Reaped, error) {
	g.left--
	g.calls <- limit
	switch {
	case g.left == 1:
		return engine.Reaped{}, engine.E(engine.CodeGateFrozen, "frozen")
	case g.left > 0:
		return engine.Reaped{More: true, Overdue: []engine.Hold{{Seq: uint64(g.left)}}}, nil
	}
	return engine.Reaped{}, nil
}

func TestTheReaperGoesOnWhileThereIsMoreAndHandsOverdueHoldsOn(t *testing.T) {
	g := &rounds{left: 4, calls: make(chan int)}
	var overdue []uint64
	r := Reaper{
		Gate: g, Idle: time.Millisecond, Limit: 7, Log: slog.New(slog.DiscardHandler),
		Sales: func(context.Context) ([]*engine.Sale, error) {
			return []*engine.Sale{{ID: "draft"}, {ID: "live", Epoch: 1}}, nil
		},
		Overdue: func(s *engine.Sale, h engine.Hold) { overdue = append(overdue, h.Seq) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	for range 6 {
		if limit := <-g.calls; limit != 7 {
			t.Errorf("limit %d", limit)
		}
	}
	cancel()
	for {
		select {
		case <-g.calls:
			continue
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		break
	}
	if len(overdue) != 2 || overdue[0] != 3 || overdue[1] != 2 {
		t.Errorf("overdue %v", overdue)
	}
	if (&Reaper{}).Run(t.Context()) == nil {
		t.Error("an empty reaper runs")
	}
}
