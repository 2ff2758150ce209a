package fault

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestDiceOfOneSeedFallTheSameWay(t *testing.T) {
	deal := func(seed uint64) (out [400]fate) {
		p := Dice(seed, 20)
		for i := range out {
			out[i], _ = p.dice.throw()
		}
		return out
	}
	once := deal(3)
	if again := deal(3); again != once {
		t.Error("the same seed deals other fates")
	}
	if once == deal(4) {
		t.Error("two seeds deal the same fates")
	}
	counts := map[fate]int{}
	for _, f := range deal(3) {
		counts[f]++
	}
	for f := slow; f <= hang; f++ {
		if counts[f] == 0 {
			t.Errorf("fate %d never happens: %v", f, counts)
		}
	}
	if bad := 400 - counts[well]; bad < 40 || bad > 120 {
		t.Errorf("%d of 400 calls go wrong at 20%%", bad)
	}
}

// What a port says of a call must be what happened: a fault that is told as
// "certainly not" must not have happened, and one after it must have.
func TestAFateIsWhatThePortSays(t *testing.T) {
	p, err := Parse("dice@9#100")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 60 {
		did := false
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond) // what is slow or hangs ends with it
		_, err := Around(ctx, p, "claim", func() (int, error) { did = true; return 1, nil })
		cancel()
		unknown := errors.Is(err, engine.ErrUnknown)
		switch {
		case err == nil && did:
			seen["slow"]++
		case unknown && did:
			seen["after"]++
		case unknown:
			seen["hang"]++
		case engine.CodeOf(err) == engine.CodeUnavailable && !did:
			seen["before"]++
		default:
			t.Fatalf("carried out: %v, and told: %v", did, err)
		}
	}
	if len(seen) != 4 {
		t.Errorf("not every fate was seen: %v", seen)
	}
}
