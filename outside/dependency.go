package outside

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Refused is the error of a call that was not made. It certainly had no effect.
type Refused struct {
	Name    string        // of the dependency
	Because error         // ErrOpen, ErrFull, or the caller's own end
	After   time.Duration // when to come back; zero: not stated
}

func (r *Refused) Error() string { return r.Name + " was not called: " + r.Because.Error() }

// Unwrap gives the reason.
func (r *Refused) Unwrap() error { return r.Because }

// ErrOpen is the reason of a call that was not made because its breaker is open.
var ErrOpen = errors.New("circuit breaker open")

// ErrFull is that of a call that was not made because its bulkhead is full.
var ErrFull = errors.New("bulkhead full")

// Mode is who decides whether calls are let through.
type Mode int32

// The modes.
const (
	Auto   Mode = iota // the breaker
	Open               // an operator: no call is made
	Closed             // an operator: every call is made, and the breaker learns nothing
)

var modeNames = [...]string{Auto: "auto", Open: "open", Closed: "closed"}

func (m Mode) String() string { return modeNames[m] }

// ParseMode reads a mode's name.
func ParseMode(s string) (Mode, error) {
	for m, name := range modeNames {
		if s == name {
			return Mode(m), nil
		}
	}
	return Auto, fmt.Errorf("%q is not a mode: auto, open or closed", s)
}

// Dependency is something that is called, and how it fares.
type Dependency struct {
	config  Config
	board   *Board
	slots   chan struct{}
	breaker *gobreaker.CircuitBreaker[struct{}]
	opened  atomic.Int64 // Unix nanoseconds
	mode    atomic.Int32
	retries atomic.Int64 // what the retry budget holds, in thousandths of a try
}

// windowParts is in how many steps a breaker's window slides.
const windowParts = 10

// New declares a dependency and puts it on the board, if there is one.
func New(b *Board, c Config) (*Dependency, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d := &Dependency{config: c, board: b, slots: make(chan struct{}, c.Concurrency)}
	d.retries.Store(int64(c.RetryBurst) * 1000)
	d.breaker = gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        c.Name,
		MaxRequests: uint32(min(c.Probes, math.MaxInt32)),
		Interval:    c.Interval,
		// The window slides. One that is cleared as a whole forgets the calls that
		// are under way then: a burst that times out across the turn is not counted.
		BucketPeriod: max(1, c.Interval/windowParts),
		Timeout:      c.OpenFor,
		ReadyToTrip: func(n gobreaker.Counts) bool {
			// Requests counts those under way too, which have no result yet.
			ended := n.TotalSuccesses + n.TotalFailures
			return int(ended) >= c.MinCalls && float64(n.TotalFailures) >= c.FailureRatio*float64(ended) || int(n.ConsecutiveFailures) >= c.InARow
		},
		// Runs under the breaker's mutex: nothing here may block.
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				d.opened.Store(time.Now().UnixNano())
			}
		},
		IsSuccessful: func(err error) bool { return c.Judge(err) == Success },
		IsExcluded:   func(err error) bool { return c.Judge(err) == Excluded },
	})
	if err := b.add(d); err != nil {
		return nil, err
	}
	return d, nil
}

// Name is the dependency's and its breaker's.
func (d *Dependency) Name() string { return d.config.Name }

// Config gives the settings in effect.
func (d *Dependency) Config() Config { return d.config }

// Mode is who decides: the breaker, or an operator.
func (d *Dependency) Mode() Mode { return Mode(d.mode.Load()) }

// Force lets an operator decide, or with Auto gives the decision back to the
// breaker, which goes on from where it stood.
func (d *Dependency) Force(m Mode) { d.mode.Store(int32(m)) }

// State is what callers meet now: closed, half-open or open.
func (d *Dependency) State() string {
	switch d.Mode() {
	case Open:
		return "open"
	case Closed:
		return "closed"
	}
	return d.breaker.State().String()
}

// InFlight counts the calls that are under way.
func (d *Dependency) InFlight() int { return len(d.slots) }

// retryAfter is when an open breaker lets probes through, a second at least.
func (d *Dependency) retryAfter() time.Duration {
	return max(time.Until(time.Unix(0, d.opened.Load()).Add(d.config.OpenFor)), time.Second)
}

func (d *Dependency) refused(because error, after time.Duration) error {
	return &Refused{Name: d.config.Name, Because: because, After: after}
}

// through makes a try if bulkhead and breaker let it, and is told how it ended.
func (d *Dependency) through(try func() error) error {
	select {
	case d.slots <- struct{}{}:
	default:
		return d.refused(ErrFull, time.Second)
	}
	defer func() { <-d.slots }()
	switch d.Mode() {
	case Closed:
		return try()
	case Open:
		return d.refused(ErrOpen, d.config.OpenFor)
	}
	called := false
	_, err := d.breaker.Execute(func() (struct{}, error) {
		called = true
		return struct{}{}, try()
	})
	if err != nil && !called {
		return d.refused(ErrOpen, d.retryAfter())
	}
	return err
}

// earn adds a call's share to the retry budget; spend takes a try out of it.
func (d *Dependency) earn() {
	most, share := int64(d.config.RetryBurst)*1000, int64(d.config.RetryRatio*1000)
	if now := d.retries.Load(); now < most {
		d.retries.CompareAndSwap(now, min(now+share, most)) // losing a race loses a fraction of a try
	}
}

func (d *Dependency) spend() bool {
	if d.retries.Add(-1000) >= 0 {
		return true
	}
	d.retries.Add(1000)
	return false
}

// rest pauses, and says false if the caller leaves meanwhile.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
