package reservation

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/flashsale-engine/flashsale/engine"
)

func groupSale(t *testing.T, g *Gate, shards int, stock int64) *engine.Sale {
	t.Helper()
	s := &engine.Sale{No: 1, Epoch: 1, State: engine.SaleOpen, PerBuyerLimit: 3, Shards: shards, HoldTTL: time.Hour, HoldCap: 2 * time.Hour, Items: []engine.Item{{Stock: stock}, {No: 1, Stock: stock}}}
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHoldAllDecidesAsHoldDoesOneAfterTheOther(t *testing.T) {
	for seed := range uint64(20) {
		dice := rand.New(rand.NewPCG(seed, 7))
		together, single := openInside(t, "redis://"+miniredis.RunT(t).Addr(), Options{SoldOutFor: -1}), openInside(t, "redis://"+miniredis.RunT(t).Addr(), Options{SoldOutFor: -1})
		s := groupSale(t, together, 1, 40)
		groupSale(t, single, 1, 40)
		rs := make([]engine.HoldRequest, dice.IntN(maxBatch)+1)
		for i := range rs {
			rs[i] = engine.HoldRequest{Buyer: buyerKey(dice.Uint64N(50)), Nonce: nonceOf(dice.Uint64N(3)), Lines: []engine.Line{{No: uint16(dice.UintN(2)), Quantity: dice.IntN(3) + 1}}}
		}
		answers := 0
		together.HoldAll(t.Context(), s, rs, func(i int, h *engine.Hold, err error) {
			answers++
			want, wantErr := single.Hold(t.Context(), s, rs[i])
			if engine.CodeOf(err) != engine.CodeOf(wantErr) || err == nil && (h.Replayed != want.Replayed || h.ID.Nonce != want.ID.Nonce || h.Seq != want.Seq) {
				t.Fatalf("seed %d, request %d: %+v %v, want %+v %v", seed, i, *h, err, want, wantErr)
			}
		}, func() {})
		if answers != len(rs) {
			t.Errorf("seed %d: %d answers to %d requests", seed, answers, len(rs))
		}
		a, _ := together.Counters(t.Context(), s)
		b, _ := single.Counters(t.Context(), s)
		if len(a) != 2 || len(b) != 2 || a[0] != b[0] || a[1] != b[1] {
			t.Errorf("seed %d: %+v, want %+v", seed, a, b)
		}
	}
}

func TestHoldAllFindsTheLastUnitOfAnyShard(t *testing.T) {
	g := openInside(t, "redis://"+miniredis.RunT(t).Addr(), Options{})
	s := groupSale(t, g, 4, 10)
	var rs []engine.HoldRequest
	for i := range uint64(60) {
		rs = append(rs, engine.HoldRequest{Buyer: buyerKey(i * 0x9e3779b97f4a7c15), Lines: []engine.Line{{Quantity: 1}}})
	}
	got := map[engine.Code]int{}
	g.HoldAll(t.Context(), s, rs, func(_ int, _ *engine.Hold, err error) { got[engine.CodeOf(err)]++ }, func() {})
	if got[""] != 10 || got[engine.CodeSoldOut] != 50 {
		t.Errorf("%v", got)
	}
}

func TestHoldAllBeyondTheQueueIsOverloadedAtOnce(t *testing.T) {
	x := newGated(t, Options{MaxQueue: maxBatch})
	var wg sync.WaitGroup
	wg.Go(func() { _ = x.hold(context.Background(), 1) })
	<-x.arrived
	rs := make([]engine.HoldRequest, maxBatch+10)
	for i := range rs {
		rs[i] = engine.HoldRequest{Buyer: buyerKey(uint64(i) + 2), Lines: []engine.Line{{Quantity: 1}}}
	}
	ctx, leave := context.WithCancel(t.Context())
	overloaded, left, held := 0, 0, 0
	wg.Go(func() {
		x.HoldAll(ctx, x.s, rs, func(_ int, _ *engine.Hold, err error) {
			switch {
			case err == nil:
				held++
			case engine.CodeOf(err) == engine.CodeOverloaded:
				overloaded++
			case errors.Is(err, context.Canceled) && !errors.Is(err, engine.ErrUnknown):
				left++
			}
		}, func() {})
	})
	x.waiting(t, maxBatch)
	leave() // what was not sent yet is not
	x.pass <- struct{}{}
	wg.Wait()
	if overloaded != 10 || left != maxBatch || held != 0 {
		t.Errorf("%d overloaded, %d left, %d held", overloaded, left, held)
	}
}

func TestACallerWithTimeIsNotWatchedAndStillNotServedInVain(t *testing.T) {
	x := newGated(t, Options{})
	var wg sync.WaitGroup
	wg.Go(func() { _ = x.hold(context.Background(), 1) })
	<-x.arrived
	ctx, leave := context.WithTimeout(context.Background(), time.Hour)
	wg.Go(func() {
		if err := x.hold(ctx, 2); errors.Is(err, engine.ErrUnknown) || !errors.Is(err, context.Canceled) || engine.CodeOf(err) != engine.CodeUnavailable {
			t.Errorf("got %v", err)
		}
	})
	x.waiting(t, 1)
	leave()
	x.pass <- struct{}{}
	wg.Wait()
	cs, err := x.Counters(t.Context(), x.s)
	if err != nil || cs[0].Held != 1 {
		t.Errorf("%+v, %v", cs, err)
	}
}
