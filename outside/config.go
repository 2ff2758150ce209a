package outside

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Verdict is what the outcome of a call says about the dependency's health.
type Verdict int

// The verdicts.
const (
	Success  Verdict = iota // it is well, whatever it said
	Failure                 // it is not
	Excluded                // the call says nothing about it
)

// Config are the settings of a Dependency; zero fields take defaults.
type Config struct {
	// Name is short, stable and unique on a Board: it labels metrics and is the
	// name of the breaker. Lower-case letters, digits, dots and dashes.
	Name string
	// Timeout ends one try. Default 5 s.
	Timeout time.Duration
	// Budget ends a whole call, pauses and repeated tries included: a try begins
	// only while its full Timeout fits in. Default Timeout + 2 s.
	Budget time.Duration
	// Tries is how often a call is tried at most. Default 3.
	Tries int
	// Backoff is the pause before the second try; it doubles up to MaxBackoff,
	// and each pause is a random part of it, half at least. Defaults 50 ms, 1 s.
	Backoff, MaxBackoff time.Duration
	// RetryRatio bounds repeated tries to this share of the calls, so that
	// trouble does not multiply the load on what is in trouble. RetryBurst of
	// them are free before it binds. Defaults 0.2 and 100.
	RetryRatio float64
	RetryBurst int
	// Concurrency bounds the calls under way; one more is refused at once. Default 64.
	Concurrency int
	// Interval is the window in which a closed breaker counts; it slides in tenths.
	// Default 2 × Timeout, 10 s at least.
	Interval time.Duration
	// OpenFor is how long a breaker stays open before it lets Probes through;
	// that many successes close it. Defaults 5 s and 3.
	OpenFor time.Duration
	Probes  int
	// A breaker opens when at least MinCalls of a window have ended and
	// FailureRatio of them failed. Defaults 10 and 0.5. It also opens when InARow
	// have failed without a success between: a busy dependency that falls silent
	// in the middle of a window would else need as many failures as the window
	// has successes, which is seconds of callers who wait for nothing. Default 20, or MinCalls if more.
	MinCalls     int
	FailureRatio float64
	InARow       int
	// Judge says what an outcome tells about the dependency's health. Default
	// Judge: no error is a success, our own cancel excluded, the rest failures.
	Judge func(err error) Verdict
}

// Judge is the judgement of a Config that has none of its own.
func Judge(err error) Verdict {
	switch {
	case err == nil:
		return Success
	case errors.Is(err, context.Canceled):
		return Excluded
	}
	return Failure
}

// WithDefaults fills in what was left zero.
func (c Config) WithDefaults() Config {
	or(&c.Timeout, 5*time.Second)
	or(&c.Budget, c.Timeout+2*time.Second)
	or(&c.Tries, 3)
	or(&c.Backoff, 50*time.Millisecond)
	or(&c.MaxBackoff, max(time.Second, c.Backoff))
	or(&c.RetryRatio, 0.2)
	or(&c.RetryBurst, 100)
	or(&c.Concurrency, 64)
	or(&c.Interval, max(10*time.Second, 2*c.Timeout))
	or(&c.OpenFor, 5*time.Second)
	or(&c.Probes, 3)
	or(&c.MinCalls, 10)
	or(&c.FailureRatio, 0.5)
	or(&c.InARow, max(20, c.MinCalls))
	if c.Judge == nil {
		c.Judge = Judge
	}
	return c
}

func or[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

var goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

// Validate checks the settings, and above all how they stand to each other.
func (c Config) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("outside: "+c.Name+": "+format, args...)
	}
	switch {
	case !goodName.MatchString(c.Name):
		return fmt.Errorf("outside: Name %q: use lower-case letters, digits, dots and dashes", c.Name)
	case c.Timeout <= 0:
		return bad("Timeout %s must be positive", c.Timeout)
	case c.Budget < c.Timeout:
		return bad("Budget %s is shorter than the Timeout %s of one try", c.Budget, c.Timeout)
	case c.Tries < 1:
		return bad("Tries %d must be positive", c.Tries)
	case c.Backoff <= 0 || c.MaxBackoff < c.Backoff:
		return bad("Backoff %s must be positive and MaxBackoff %s no shorter", c.Backoff, c.MaxBackoff)
	case c.RetryRatio < 0 || c.RetryRatio > 10 || c.RetryBurst < 0:
		return bad("RetryRatio %g must lie between 0 and 10, and RetryBurst %d must not be negative", c.RetryRatio, c.RetryBurst)
	case c.Concurrency < 1:
		return bad("Concurrency %d must be positive", c.Concurrency)
	case c.Interval < 2*c.Timeout:
		// A call counts where it began: with a shorter window a dependency that only
		// times out is forgotten as soon as it is counted.
		return bad("Interval %s must be at least twice the Timeout %s, or time-outs are never counted", c.Interval, c.Timeout)
	case c.OpenFor <= 0:
		return bad("OpenFor %s must be positive", c.OpenFor)
	case c.FailureRatio <= 0 || c.FailureRatio > 1:
		return bad("FailureRatio %g must lie above 0 and at most at 1", c.FailureRatio)
	case c.MinCalls < 1 || c.Probes < 1 || c.InARow < 1:
		return bad("MinCalls %d, InARow %d and Probes %d must be positive", c.MinCalls, c.InARow, c.Probes)
	case c.Probes > c.Concurrency:
		return bad("Probes %d exceed Concurrency %d", c.Probes, c.Concurrency)
	}
	// When the dependency hangs, this many calls end in a window.
	if ends := c.Concurrency * int(c.Interval/c.Timeout-1); ends < c.MinCalls {
		return bad("with Concurrency %d only %d calls can time out in an Interval of %s, and the breaker waits for MinCalls %d", c.Concurrency, ends, c.Interval, c.MinCalls)
	}
	return nil
}
