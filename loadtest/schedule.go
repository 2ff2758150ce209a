package loadtest

import (
	"context"
	"math/rand/v2"
	"time"
)

// Streams of random numbers, apart from the arrivals' own (which are 0, 1, 2…).
const (
	streamSchedule = 1<<63 + iota
	streamReadBack
)

// dice gives one stream of a seed's random numbers.
func dice(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // a run must be repeatable by its seed; nothing here is secret
}

// schedule gives the time of each arrival after T0, in order: a spike of all at
// once, or exactly as many as the curve has.
func schedule(c Config) []time.Duration {
	if curve := c.curve(); curve != nil {
		return curve.times(c.arrivals(), dice(c.Seed, streamSchedule))
	}
	return make([]time.Duration, c.arrivals())
}

// Schedule is when each buyer of such a run is due, after T0, in order.
func (c Config) Schedule() []time.Duration { return schedule(c.WithDefaults()) }

// sleepUntil waits for a moment and says whether it came before ctx ended.
func sleepUntil(ctx context.Context, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
