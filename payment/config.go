package payment

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/outside"
)

// GuardConfig are the settings of a Guard. They mean what they mean in
// outside.Config, which also fills in what is zero and checks how they stand to
// each other.
type GuardConfig struct {
	Timeout time.Duration
	// Budget ends a whole call, pauses and repeated tries included: it is what
	// the engine must allow for as its PaymentTimeout.
	Budget              time.Duration
	Tries               int
	Backoff, MaxBackoff time.Duration
	// Concurrency bounds the authorisations under way, SettleConcurrency the
	// captures, voids, refunds and look-ups. Defaults 256 and 64.
	Concurrency, SettleConcurrency int
	Interval                       time.Duration
	OpenFor                        time.Duration
	Probes, MinCalls               int
	FailureRatio                   float64
	// Board shows the two breakers; nil shows them to nobody.
	Board *outside.Board
}

func (c GuardConfig) lane(name string, concurrency, otherwise int) outside.Config {
	or(&concurrency, otherwise)
	return outside.Config{
		Name: name, Timeout: c.Timeout, Budget: c.Budget, Tries: c.Tries, Backoff: c.Backoff, MaxBackoff: c.MaxBackoff,
		Concurrency: concurrency, Interval: c.Interval, OpenFor: c.OpenFor, Probes: c.Probes, MinCalls: c.MinCalls,
		FailureRatio: c.FailureRatio, Judge: judge,
	}
}

func or[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

func register(reg prometheus.Registerer, cs ...prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	for _, c := range cs {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}
