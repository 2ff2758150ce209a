package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Boundaries are the calls that the dice fall on: every one by which the story
// of a checkout leaves the process. Points are before and after some of them.
var Boundaries = []string{
	"hold", "begin", "claim", "return", "release", // the gate
	"attempt", "resume", "keep", "note", "park", "owe", // the durable list of attempts
	"authorise", "capture", "void", "refund", "lookup", // the provider
	"publish", // the stream
	"commit",  // the record
}

// fate is what becomes of a call.
type fate int

const (
	well   fate = iota
	slow        // carried out, late
	before      // not carried out, and that is said
	after       // carried out, and nobody says so
	hang        // not carried out, and nobody says so until the caller's time is over
)

const (
	slowest  = 300 * time.Millisecond
	hangsFor = 3 * time.Second // where the caller's patience has no end
)

// dice deal out fates: the same seed deals the same ones in the same order.
type dice struct {
	mu      sync.Mutex
	rng     *rand.Rand
	percent int // of calls that do not go well
}

// Dice is a plan under which that many calls of a hundred go wrong, a quarter of
// them in each way: slow, refused before, unanswered after, hanging.
func Dice(seed uint64, percent int) *Plan {
	return &Plan{dice: &dice{rng: rand.New(rand.NewPCG(seed, 0xd1ce)), percent: percent}} //nolint:gosec // seeded on purpose: faults must repeat
}

// throw gives the fate of the next call, and how slow it is.
func (d *dice) throw() (fate, time.Duration) {
	if d == nil {
		return well, 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rng.IntN(100) >= d.percent {
		return well, 0
	}
	return slow + fate(d.rng.IntN(4)), time.Duration(d.rng.Int64N(int64(slowest)))
}

// fateful runs f as the dice say.
func fateful[T any](ctx context.Context, d *dice, what string, f func() (T, error)) (none T, err error) {
	way, late := d.throw()
	switch way {
	case slow:
		wait(ctx, late)
	case before:
		return none, engine.E(engine.CodeUnavailable, "a fault before %s", what)
	case hang:
		wait(ctx, hangsFor)
		return none, unheard(what)
	case after:
		if v, err := f(); err != nil {
			return v, err // it did not happen, so there is nothing to keep silent about
		}
		return none, unheard(what)
	}
	return f()
}

func unheard(what string) error {
	return engine.Wrap(fmt.Errorf("%w: a fault after %s", engine.ErrUnknown, what), engine.CodeUnavailable, "no answer")
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
