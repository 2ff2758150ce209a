package loadtest

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	firstPoll    = 100 * time.Millisecond
	maxPoll      = time.Second
)

// insist sends a call until its answer is not transient, or patience ends. It
// repeats the call unchanged, Idempotency-Key and all: an answer that never
// came may have been a yes. It says false if the run was cut short meanwhile.
func (v *visit) insist(ctx context.Context, c call) (answer, bool) {
	backoff := firstBackoff
	for try := 0; ; try++ {
		if ctx.Err() != nil {
			return answer{}, false
		}
		a := v.once(c)
		a.repeats = try
		if !a.transient() || try >= v.cfg.MaxRetries || a.retryAfter > v.cfg.MaxRetryAfter {
			return a, true
		}
		v.tally.retries.Add(1)
		pause := a.retryAfter
		if pause == 0 {
			pause, backoff = backoff, min(2*backoff, maxBackoff)
		}
		// Spread over a tenth, so that those refused together don't return together.
		pause += time.Duration(v.rng.Int64N(int64(pause)/10 + 1))
		if !sleepUntil(ctx, time.Now().Add(pause)) {
			return a, false
		}
	}
}

// once sends a call and books its answer.
func (v *visit) once(c call) answer {
	c.token = v.token(v.buyer)
	a := v.sender.send(c)
	o := Outcome{c.step, a.status, a.code}
	v.tally.answered(o)
	if v.cfg.Answered != nil && c.step != StepPoll {
		v.cfg.Answered(o)
	}
	return a
}

// poll asks what became of a pending checkout until there is an answer or
// PollFor is over. Each question's latency counts from when it was due.
func (v *visit) poll(ctx context.Context) End {
	deadline, every := time.Now().Add(v.cfg.PollFor), firstPoll
	for !v.due.After(deadline) {
		if !sleepUntil(ctx, v.due) {
			return Unfinished
		}
		a := v.once(call{step: StepPoll, method: http.MethodGet, path: v.location})
		v.tally.latency(StepPoll, v.due, time.Since(v.due))
		if end, known := v.outcome(a); known {
			return end
		}
		every = min(every*3/2, maxPoll)
		v.due = time.Now().Add(max(a.retryAfter, every+time.Duration(v.rng.Int64N(int64(every)/10+1))))
	}
	return Pending
}

// outcome reads a poll's answer; false means ask again.
func (v *visit) outcome(a answer) (End, bool) {
	switch {
	case a.transient(), a.status == http.StatusNotFound: // an order that is not there yet
		return "", false
	case a.code == string(engine.CodeReservationExpired): // and its gate was rebuilt since
		return Expired, true
	case a.status != http.StatusOK:
		return v.failed(StepPoll, a), true
	case a.code == codeNextAction: // it was queued, or had no answer, and now its bank wants a word
		return NeedsAction, true
	}
	switch engine.ReservationState(a.body.State) {
	case engine.Confirmed:
		return v.order(StepPoll, a), true
	case engine.Refused:
		return Refused, true
	case engine.Held, engine.Released: // the hold came back from a payment that was declined
		return Declined, true
	case engine.Expired: // held again, and then its time was over
		return Expired, true
	case engine.Paying, engine.Accepted:
		return "", false
	}
	return v.failed(StepPoll, a), true
}

// readBack asks for an order of an earlier purchase.
func (v *visit) readBack(ctx context.Context, p purchase) (answer, bool) {
	return v.insist(ctx, call{step: StepOrder, method: http.MethodGet, path: "/v1/orders/" + url.PathEscape(p.order)})
}
