package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// Keeper watches the gates of all sales and has those rebuilt that were lost.
// Any number of nodes may run one.
type Keeper struct {
	Rebuilder *Rebuilder
	Gate      GateRepair
	// Sales lists the sales that have a gate.
	Sales func() []*Sale
	// Stale hears that a sale's snapshot may be old. It must not block.
	Stale func(saleNo uint32)
	// Manual leaves what was lost to the operators.
	Manual bool
	// Every is the longest time between two looks at a shard. Default 200 ms.
	Every time.Duration
	Log   *slog.Logger

	once    sync.Once
	wake    chan struct{}
	mu      sync.Mutex
	visited map[uint32]bool        // sales that are being looked at
	retry   map[shardKey]time.Time // not to be tried before
	said    map[shardKey]string    // what was logged last
}

type shardKey struct {
	sale  uint32
	shard int
}

// leastPause lies between two rounds of looks, however often somebody wakes.
const leastPause = 20 * time.Millisecond

// looksAtOnce bounds how many shards are looked at side by side.
const looksAtOnce = 16

// retryRebuild is the pause after a rebuild that failed.
const retryRebuild = 500 * time.Millisecond

func (k *Keeper) init() {
	k.once.Do(func() {
		k.wake = make(chan struct{}, 1)
		k.visited, k.retry, k.said = map[uint32]bool{}, map[shardKey]time.Time{}, map[shardKey]string{}
	})
}

// Wake asks for a look now. It never blocks.
func (k *Keeper) Wake() {
	k.init()
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run looks until ctx ends, and waits for the rebuilds that it began.
func (k *Keeper) Run(ctx context.Context) error {
	k.init()
	every := k.Every
	if every <= 0 {
		every = 200 * time.Millisecond
	}
	var work sync.WaitGroup
	defer work.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		k.look(ctx, &work)
		select { // a frozen gate refuses many calls, and each of them wakes
		case <-ctx.Done():
			return nil
		case <-time.After(leastPause):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
		case <-tick.C:
		}
	}
}

// look begins to visit every sale, but those that the last visit has not left yet:
// one whose server does not answer keeps no other waiting.
func (k *Keeper) look(ctx context.Context, work *sync.WaitGroup) {
	for _, s := range k.Sales() {
		k.mu.Lock()
		skip := s.Epoch == 0 || k.visited[s.No]
		k.visited[s.No] = true
		k.mu.Unlock()
		if skip {
			continue
		}
		work.Go(func() {
			k.visit(ctx, s)
			k.mu.Lock()
			delete(k.visited, s.No)
			k.mu.Unlock()
		})
	}
}

// visit inspects a sale's shards side by side and rebuilds the first that was
// lost. Of several one has to know what the others have, so they come one after
// the other, the lowest first, each at the next visit.
func (k *Keeper) visit(ctx context.Context, s *Sale) {
	causes := make([]Cause, max(s.Shards, 1))
	var looks sync.WaitGroup
	slots := make(chan struct{}, looksAtOnce)
	for shard := range causes {
		slots <- struct{}{}
		looks.Go(func() {
			defer func() { <-slots }()
			causes[shard] = k.lost(ctx, s, shard)
		})
	}
	looks.Wait()
	for shard, why := range causes {
		if why.Lost != "" && !k.Manual && !time.Now().Before(k.notBefore(s.No, shard)) {
			k.rebuild(ctx, s, shard, why)
			return
		}
	}
}

// lost says whether a shard is to be rebuilt, and why.
func (k *Keeper) lost(ctx context.Context, s *Sale, shard int) Cause {
	err := k.Gate.Inspect(ctx, s, shard)
	why := Cause{Lost: LostWhat(err), Actor: KeeperActor}
	if r := s.Repair(shard); !r.Frozen.IsZero() {
		switch {
		case r.Reason == CauseHalted:
			return Cause{} // it was said what to do: nothing
		case why.Lost == "":
			why.Lost = CauseUnfinished
		}
	}
	k.say(ctx, s, shard, why.Lost, err)
	return why
}

// LostWhat gives what Inspect says was lost: "" if nothing was, or if the gate
// does not answer: one that is away is not lost.
func LostWhat(err error) string {
	var x *Error
	if !errors.As(err, &x) || x.Code != CodeGateFrozen {
		return ""
	}
	if what, ok := x.Fields["lost"].(string); ok && what != "" {
		return what
	}
	return "keys"
}

func (k *Keeper) notBefore(no uint32, shard int) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.retry[shardKey{no, shard}]
}

func (k *Keeper) rebuild(ctx context.Context, s *Sale, shard int, why Cause) {
	_, err := k.Rebuilder.Rebuild(ctx, s, shard, why)
	// Done or not, this node's view of the sale is older than the record's.
	k.Stale(s.No)
	pause := time.Duration(0)
	switch {
	case err == nil:
		k.Wake() // there may be another one
	case errors.Is(err, ErrElsewhere):
		pause = retryRebuild / 4
	default:
		pause = retryRebuild
		if ctx.Err() == nil {
			k.Log.WarnContext(ctx, "a gate could not be rebuilt yet; it is tried again", "sale", s.ID, "shard", shard, "lost", why.Lost, "err", err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.retry[shardKey{s.No, shard}] = time.Now().Add(pause)
}

// say logs what was lost, once.
func (k *Keeper) say(ctx context.Context, s *Sale, shard int, lost string, err error) {
	k.mu.Lock()
	key := shardKey{s.No, shard}
	was := k.said[key]
	k.said[key] = lost
	k.mu.Unlock()
	switch lost {
	case was:
	case "":
		k.Log.InfoContext(ctx, "a gate is whole again", "sale", s.ID, "shard", shard)
	default:
		k.Log.WarnContext(ctx, "a gate was lost", "sale", s.ID, "shard", shard, "lost", lost, "automatic", !k.Manual, "err", err)
	}
}
