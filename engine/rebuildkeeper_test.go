package engine

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// keeperWorld is a world that a keeper watches, under a lock: the keeper has
// goroutines of its own.
type keeperWorld struct {
	repairs
	mu sync.Mutex
}

func (w *keeperWorld) Inspect(context.Context, *Sale, int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inspect(w.sale)
}

func (w *keeperWorld) sales() []*Sale {
	w.mu.Lock()
	defer w.mu.Unlock()
	return []*Sale{w.sale}
}

func (w *keeperWorld) open() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inspect(w.sale) == nil && w.sale.Repair(0).Frozen.IsZero()
}

// Take is where the rebuild of one shard begins; Reopen is where it ends. Nobody
// else touches the world in between.
func (w *keeperWorld) Take(ctx context.Context, s *Sale, shard int, why Cause, d time.Duration) (RebuildLease, bool, error) {
	w.mu.Lock()
	l, taken, err := w.repairs.Take(ctx, s, shard, why, d)
	if !taken {
		w.mu.Unlock()
	}
	return l, taken, err
}

func (w *keeperWorld) Reopen(ctx context.Context, l RebuildLease, r Rebuilt) (time.Duration, error) {
	defer w.mu.Unlock()
	return w.repairs.Reopen(ctx, l, r)
}

func watch(t *testing.T, w *keeperWorld, k *Keeper) {
	t.Helper()
	k.Rebuilder = w.rebuilder()
	k.Rebuilder.Record = w
	k.Gate, k.Sales, k.Stale, k.Log = w, w.sales, func(uint32) {}, slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = k.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestAKeeperRebuildsWhatIsLostAndWhatWasLeftFrozen(t *testing.T) {
	w, _ := lossy(t)
	k := &keeperWorld{repairs: repairs{w}}
	for _, how := range []loss{killed, flushed, restarted} {
		k.mu.Lock()
		w.lose(how)
		w.now = w.now.Add(time.Minute)
		k.mu.Unlock()
	}
	keeper := &Keeper{Every: time.Hour} // woken by calls alone
	keeper.Wake()
	watch(t, k, keeper)
	await(t, "the gate is open", k.open)

	k.mu.Lock()
	w.lose(killed)
	w.now = w.now.Add(time.Minute)
	k.mu.Unlock()
	await(t, "it is open again", func() bool { keeper.Wake(); return k.open() })

	k.mu.Lock()
	k.change(func(_ *GateLease, r *Repair) { r.Frozen = w.now }) // somebody died before the last note
	w.now = w.now.Add(time.Minute)
	epoch := w.sale.Epoch
	k.mu.Unlock()
	await(t, "what was left frozen is open", func() bool { keeper.Wake(); return k.open() })
	if now := k.sales()[0].Epoch; now != epoch+1 {
		t.Errorf("epoch %d after %d", now, epoch)
	}
}

func TestWhatAnOperatorHasHaltedStaysSoUntilAnOperatorRebuildsIt(t *testing.T) {
	w, _ := lossy(t)
	old := w.sale
	olga := Cause{Actor: "olga", Reason: "look at this first"}
	if err := w.rebuilder().Halt(t.Context(), w.sale, 0, olga); err != nil {
		t.Fatal(err)
	}
	if r := w.sale.Repair(0); r.Frozen.IsZero() || r.Reason != CauseHalted || !w.frozen {
		t.Fatalf("%+v, frozen %v", r, w.frozen)
	}
	w.now = w.now.Add(time.Minute)
	k := &Keeper{Rebuilder: w.rebuilder(), Gate: repairs{w}, Sales: func() []*Sale { return nil }, Stale: func(uint32) {}, Log: w.rebuilder().Log}
	k.init()
	k.visit(t.Context(), w.sale)
	k.visit(t.Context(), old) // one that has not heard yet, and finds the gate closed
	if !w.frozen || w.sale.Epoch != 1 {
		t.Fatalf("a keeper has opened it, epoch %d", w.sale.Epoch)
	}
	olga.Lost = CauseOperator
	if _, err := w.rebuilder().Rebuild(t.Context(), w.sale, 0, olga); err != nil {
		t.Fatal(err)
	}
	if r := w.sale.Repair(0); w.frozen || w.sale.Epoch != 2 || !r.Frozen.IsZero() {
		t.Errorf("frozen %v, epoch %d, %+v", w.frozen, w.sale.Epoch, r)
	}
}

func TestAKeeperThatIsSetToManualOnlyWatches(t *testing.T) {
	w, _ := lossy(t)
	w.lose(killed)
	k := &keeperWorld{repairs: repairs{w}}
	keeper := &Keeper{Every: time.Millisecond, Manual: true}
	watch(t, k, keeper)
	await(t, "the loss is noticed", func() bool {
		keeper.init()
		keeper.mu.Lock()
		defer keeper.mu.Unlock()
		return keeper.said[shardKey{1, 0}] == "server"
	})
	if k.open() || k.sales()[0].Epoch != 1 {
		t.Error("it has rebuilt the gate")
	}
}
