package outside

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Spec is one operation of a dependency.
type Spec[In, Out any] struct {
	// Op labels its metrics.
	Op string
	// Do makes one try and ends it when ctx does.
	Do func(ctx context.Context, in In) (Out, error)
	// Again says whether a repetition may mend an error. A call that was refused
	// here is never repeated: behind an open breaker, soon is too early. Nil: never.
	Again func(error) bool
	// Doubt marks errors of a try that may have had its effect. If one was, and a
	// later try ends without an answer, the call's error is both. Nil: no error does.
	Doubt error
	// Answers says of an error that it is the dependency's own word all the same,
	// such as "no such thing". Nil: no error is.
	Answers func(error) bool
	// Result names an outcome for the metrics, from a small closed set; of a
	// refused call it is not asked. Nil: ok or error.
	Result func(Out, error) string
	// Degraded is the stated answer when there is none: what the engine goes on
	// with, or the error that callers are to see. Nil: the error as it is.
	Degraded func(in In, err error) (Out, error)
}

// Always repeats after every error: for what may be done twice.
func Always(error) bool { return true }

// Call is an operation that can be called; make it once.
type Call[In, Out any] struct {
	spec    Spec[In, Out]
	d       *Dependency
	seconds prometheus.Observer
	calls   *counters
}

// NewCall makes an operation of d.
func NewCall[In, Out any](d *Dependency, s Spec[In, Out]) *Call[In, Out] {
	seconds, calls := d.board.meters(d.config.Name, s.Op)
	return &Call[In, Out]{spec: s, d: d, seconds: seconds, calls: calls}
}

// Do calls: it tries until there is an answer, an error that a repetition cannot
// mend, or no time or retry budget left for another full try.
func (c *Call[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	out, err := c.repeat(ctx, in)
	if err == nil || c.spec.Degraded == nil {
		return out, err
	}
	if out, err = c.spec.Degraded(in, err); err == nil {
		c.calls.inc("degraded")
	}
	return out, err
}

func (c *Call[In, Out]) repeat(ctx context.Context, in In) (out Out, err error) {
	if err := ctx.Err(); err != nil {
		return out, c.d.refused(err, 0)
	}
	c.d.earn()
	cfg := &c.d.config
	lastStart := time.Now().Add(cfg.Budget - cfg.Timeout)
	if end, ok := ctx.Deadline(); ok && end.Add(-cfg.Timeout).Before(lastStart) {
		lastStart = end.Add(-cfg.Timeout)
	}
	backoff := cfg.Backoff
	var doubt error
	for n := 1; ; n++ {
		out, err = c.try(ctx, in)
		if err == nil || c.spec.Answers != nil && c.spec.Answers(err) {
			return out, err
		}
		if c.spec.Doubt != nil && errors.Is(err, c.spec.Doubt) {
			doubt = err
		}
		wait := backoff/2 + rand.N(backoff/2+1) //nolint:gosec // jitter, not a secret
		if n >= cfg.Tries || !c.again(err) || time.Now().Add(wait).After(lastStart) || !c.afford() || !rest(ctx, wait) {
			if doubt != nil && !errors.Is(err, c.spec.Doubt) {
				err = errors.Join(doubt, err)
			}
			return out, err
		}
		backoff = min(2*backoff, cfg.MaxBackoff)
	}
}

func (c *Call[In, Out]) again(err error) bool {
	if c.spec.Again == nil {
		return false
	}
	var r *Refused
	return !errors.As(err, &r) && c.spec.Again(err)
}

// afford takes a repeated try from the retry budget.
func (c *Call[In, Out]) afford() bool {
	if c.d.spend() {
		return true
	}
	c.calls.inc("retry_budget_spent")
	return false
}

// try makes one try, if bulkhead and breaker let it.
func (c *Call[In, Out]) try(ctx context.Context, in In) (out Out, err error) {
	err = c.d.through(func() (err error) {
		// Not the caller's cancel: a caller who leaves must not make an outcome unknown.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.d.config.Timeout)
		defer cancel()
		began := time.Now()
		out, err = c.spec.Do(ctx, in)
		c.seconds.Observe(time.Since(began).Seconds())
		c.calls.inc(c.result(out, err))
		return err
	})
	if why, ok := err.(*Refused); ok { //nolint:errorlint // ours, and unwrapped; one that the call itself met is its error
		c.calls.inc(refusal(why))
	}
	return out, err
}

func (c *Call[In, Out]) result(out Out, err error) string {
	switch {
	case c.spec.Result != nil:
		return c.spec.Result(out, err)
	case err == nil:
		return "ok"
	}
	return "error"
}

func refusal(err error) string {
	if errors.Is(err, ErrOpen) {
		return "breaker_open"
	}
	return "bulkhead_full"
}
