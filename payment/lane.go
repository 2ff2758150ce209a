package payment

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/flashsale-engine/flashsale/engine"
)

// errFull marks a call that was not made because its bulkhead is full.
var errFull = errors.New("bulkhead full")

// lane is a bulkhead, a time-out and a breaker, in this order. A Guard has two:
//
//   - authorise, for buyers who wait;
//   - settle, for capture, void and look-up.
//
// They are apart because settling is the way out of trouble with authorising: a
// card network that fails, or hangs and fills the bulkhead, must not stop the
// look-ups and voids that give units back; a backlog of captures must not shut
// the door to buyers; and look-ups must not use up the probes of a half-open
// breaker. The price is that an outage of everything is discovered twice.
type lane struct {
	name    string
	slots   chan struct{}
	timeout time.Duration
	openFor time.Duration
	breaker *gobreaker.CircuitBreaker[engine.Payment]
	opened  atomic.Int64 // Unix nanoseconds
}

func newLane(name string, concurrency int, c GuardConfig) *lane {
	l := &lane{name: name, slots: make(chan struct{}, concurrency), timeout: c.Timeout, openFor: c.OpenFor}
	l.breaker = gobreaker.NewCircuitBreaker[engine.Payment](gobreaker.Settings{
		Name:        name,
		MaxRequests: uint32(c.Probes),
		Interval:    c.Interval,
		Timeout:     c.OpenFor,
		ReadyToTrip: func(n gobreaker.Counts) bool {
			// Requests counts those under way too, which have no result yet.
			ended := n.TotalSuccesses + n.TotalFailures
			return int(ended) >= c.MinCalls && float64(n.TotalFailures) >= c.FailureRatio*float64(ended)
		},
		// Runs under the breaker's mutex: nothing here may block.
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				l.opened.Store(time.Now().UnixNano())
			}
		},
		IsSuccessful: func(err error) bool {
			// The provider is well when it answers: a decline has no error at all.
			return err == nil || errors.Is(err, ErrRejected) || engine.CodeOf(err) == engine.CodeNotFound
		},
		// A call that we gave up ourselves says nothing about the provider.
		IsExcluded: func(err error) bool { return errors.Is(err, context.Canceled) },
	})
	return l
}

// do makes one try: took is zero if the provider was not called.
func (l *lane) do(ctx context.Context, call func(context.Context) (engine.Payment, error)) (p engine.Payment, took time.Duration, err error) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		return p, 0, notTaken(errFull, "too many payments are under way").After(time.Second)
	}
	// Not the caller's cancel: a buyer who leaves must not make an outcome unknown.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.timeout)
	defer cancel()
	p, err = l.breaker.Execute(func() (engine.Payment, error) {
		began := time.Now()
		p, err := call(ctx)
		took = max(time.Since(began), 1)
		return p, classify(err)
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return p, 0, notTaken(ErrBreakerOpen, "the payment provider has been failing; it is tried again soon").After(l.retryAfter())
	}
	return p, took, err
}

// retryAfter is when an open breaker lets probes through, a second at least.
func (l *lane) retryAfter() time.Duration {
	return max(time.Until(time.Unix(0, l.opened.Load()).Add(l.openFor)), time.Second)
}

// classify makes sure that an error says what it means: one that does not is
// taken for the worst, an outcome unknown.
func classify(err error) error {
	if err == nil || errors.Is(err, engine.ErrUnknown) {
		return err
	}
	switch engine.CodeOf(err) {
	case engine.CodePaymentUnavailable, engine.CodeNotFound:
		return err
	}
	return unknown(err, "the payment provider failed")
}
