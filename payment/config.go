package payment

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// GuardConfig are the settings of a Guard; zero fields take defaults.
type GuardConfig struct {
	// Timeout ends one try. Default 5 s.
	Timeout time.Duration
	// Budget ends a whole call, pauses and repeated tries included; a try begins
	// only while its full Timeout fits in. It is what the engine must allow for
	// as its PaymentTimeout. Default Timeout + 2 s.
	Budget time.Duration
	// Tries is how often a call is tried at most. Default 3.
	Tries int
	// Backoff is the pause before the second try; it doubles up to MaxBackoff,
	// and each pause is a random part of it, half at least. Defaults 50 ms, 1 s.
	Backoff, MaxBackoff time.Duration
	// Concurrency bounds the authorisations under way, SettleConcurrency the
	// captures, voids and look-ups. Defaults 256 and 64.
	Concurrency, SettleConcurrency int
	// Interval is the window in which a closed breaker counts. Default 2 ×
	// Timeout, 10 s at least.
	Interval time.Duration
	// OpenFor is how long a breaker stays open before it lets Probes through;
	// that many successes close it. Defaults 5 s and 3.
	OpenFor time.Duration
	Probes  int
	// A breaker opens when at least MinCalls of a window have ended and
	// FailureRatio of them failed. Defaults 10 and 0.5.
	MinCalls     int
	FailureRatio float64
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
}

// WithDefaults fills in what was left zero.
func (c GuardConfig) WithDefaults() GuardConfig {
	or(&c.Timeout, 5*time.Second)
	or(&c.Budget, c.Timeout+2*time.Second)
	or(&c.Tries, 3)
	or(&c.Backoff, 50*time.Millisecond)
	or(&c.MaxBackoff, max(time.Second, c.Backoff))
	or(&c.Concurrency, 256)
	or(&c.SettleConcurrency, 64)
	or(&c.Interval, max(10*time.Second, 2*c.Timeout))
	or(&c.OpenFor, 5*time.Second)
	or(&c.Probes, 3)
	or(&c.MinCalls, 10)
	or(&c.FailureRatio, 0.5)
	return c
}

func or[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// Validate checks the settings, and above all how they stand to each other.
func (c GuardConfig) Validate() error {
	bad := func(format string, args ...any) error { return fmt.Errorf("payment: "+format, args...) }
	switch {
	case c.Timeout <= 0:
		return bad("Timeout %s must be positive", c.Timeout)
	case c.Budget < c.Timeout:
		return bad("Budget %s is shorter than the Timeout %s of one try", c.Budget, c.Timeout)
	case c.Tries < 1:
		return bad("Tries %d must be positive", c.Tries)
	case c.Backoff <= 0 || c.MaxBackoff < c.Backoff:
		return bad("Backoff %s must be positive and MaxBackoff %s no shorter", c.Backoff, c.MaxBackoff)
	case c.Concurrency < 1 || c.SettleConcurrency < 1:
		return bad("Concurrency %d and SettleConcurrency %d must be positive", c.Concurrency, c.SettleConcurrency)
	case c.Interval < 2*c.Timeout:
		// gobreaker forgets a call that began before the window was cleared, so
		// with a shorter one a provider that only times out never counts.
		return bad("Interval %s must be at least twice the Timeout %s, or time-outs are never counted", c.Interval, c.Timeout)
	case c.OpenFor <= 0:
		return bad("OpenFor %s must be positive", c.OpenFor)
	case c.FailureRatio <= 0 || c.FailureRatio > 1:
		return bad("FailureRatio %g must lie above 0 and at most at 1", c.FailureRatio)
	case c.MinCalls < 1 || c.Probes < 1:
		return bad("MinCalls %d and Probes %d must be positive", c.MinCalls, c.Probes)
	}
	for _, l := range []struct {
		name string
		n    int
	}{{"Concurrency", c.Concurrency}, {"SettleConcurrency", c.SettleConcurrency}} {
		if c.Probes > l.n {
			return bad("Probes %d exceed %s %d", c.Probes, l.name, l.n)
		}
		// When the provider hangs, this many calls end in a window.
		if ends := l.n * int(c.Interval/c.Timeout-1); ends < c.MinCalls {
			return bad("with %s %d only %d calls can time out in an Interval of %s, and the breaker waits for MinCalls %d", l.name, l.n, ends, c.Interval, c.MinCalls)
		}
	}
	return nil
}
