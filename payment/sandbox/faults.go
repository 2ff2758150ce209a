package sandbox

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Kind names one way to misbehave.
type Kind string

// What can become of a request.
const (
	ErrorBefore   Kind = "error"          // 500, nothing was done
	ErrorAfter    Kind = "error_after"    // 500, and it was done
	TimeoutBefore Kind = "timeout_before" // no answer, nothing was done
	TimeoutAfter  Kind = "timeout_after"  // no answer, and it was done
	RateLimit     Kind = "rate_limit"     // 429 with Retry-After, nothing was done
	Outage        Kind = "outage"         // 503 with Retry-After, nothing was done
	Slow          Kind = "slow"           // done and answered after delay_ms
	Decline       Kind = "decline"        // with decline_code
	Action        Kind = "requires_action"
	InProcess     Kind = "processing"
)

// What can become of a webhook.
const (
	Late       Kind = "late"         // delivered after delay_ms
	Duplicate  Kind = "duplicate"    // delivered twice
	OutOfOrder Kind = "out_of_order" // held until a later event was delivered, or delay_ms
	Forged     Kind = "forged"       // preceded by one signed with another secret
	Stale      Kind = "stale"        // preceded by one signed an hour ago
	Dropped    Kind = "dropped"      // never sent
)

var (
	requestFaults = []Kind{ErrorBefore, ErrorAfter, TimeoutBefore, TimeoutAfter, RateLimit, Outage, Slow, Decline, Action, InProcess}
	hookFaults    = []Kind{Late, Duplicate, OutOfOrder, Forged, Stale, Dropped}
)

// early says whether the fault comes before the work, which then is not done.
func (k Kind) early() bool {
	return k == ErrorBefore || k == TimeoutBefore || k == RateLimit || k == Outage
}

// Op is what a request wants.
type Op string

// The operations that a fault can be meant for.
const (
	OpAuthorise Op = "authorise"
	OpConfirm   Op = "confirm"
	OpCapture   Op = "capture"
	OpCancel    Op = "cancel"
	OpRefund    Op = "refund"
	OpRead      Op = "read" // one by its id
	OpSearch    Op = "search"
	OpList      Op = "list"
	OpAny       Op = "any" // any of those
	OpWebhook   Op = "webhook"
)

var ops = []Op{OpAuthorise, OpConfirm, OpCapture, OpCancel, OpRefund, OpRead, OpSearch, OpList, OpAny, OpWebhook}

// writes says whether the operation changes something: rates leave reads alone.
func (o Op) writes() bool { return o != OpRead && o != OpSearch && o != OpList }

// Fault is something that happens to the next requests of a kind.
type Fault struct {
	Op          Op     `json:"op"`
	Fault       Kind   `json:"fault"`
	Count       int    `json:"count"`                  // how many requests; 0 means 1
	Key         string `json:"key,omitempty"`          // only those with this Idempotency-Key
	Type        string `json:"type,omitempty"`         // of a webhook: only events of this type
	DeclineCode string `json:"decline_code,omitempty"` // of a decline; of an action or processing: it ends in this
	DelayMS     int    `json:"delay_ms,omitempty"`
}

func (f *Fault) check() error {
	if f.Op == "" {
		f.Op = OpAuthorise
	}
	if f.Count == 0 {
		f.Count = 1
	}
	if f.Fault == Decline && f.DeclineCode == "" {
		f.DeclineCode = "generic_decline"
	}
	kinds := requestFaults
	if f.Op == OpWebhook {
		kinds = hookFaults
	}
	switch {
	case !slices.Contains(ops, f.Op):
		return fmt.Errorf("op must be one of %v", ops)
	case !slices.Contains(kinds, f.Fault):
		return fmt.Errorf("fault of %s must be one of %v", f.Op, kinds)
	case (f.Fault == Decline || f.Fault == Action || f.Fault == InProcess) && f.Op != OpAuthorise && f.Op != OpConfirm:
		return fmt.Errorf("%s is a way of authorise and confirm", f.Fault)
	case f.Count < 1 || f.Count > 1_000_000:
		return fmt.Errorf("count must lie between 1 and 1000000")
	case f.DelayMS < 0 || f.DelayMS > maxDelayMS:
		return fmt.Errorf("delay_ms must lie between 0 and %d", maxDelayMS)
	}
	return nil
}

// fate is what the control has in store for one request.
type fate struct {
	delay   time.Duration
	fault   Kind  // what becomes of the request or its answer
	outcome Fault // how the payment goes
}

// faults deal out fates. It has a lock of its own, and no lock at all when the
// sandbox is to behave.
type faults struct {
	clock func() time.Time
	calm  atomic.Bool
	lag   atomic.Int64 // of a search

	mu      sync.Mutex
	control Control
	until   time.Time // the end of an outage that ends by itself
	dice    *rand.Rand
	queue   []Fault
}

// maxQueue bounds the scripted faults.
const maxQueue = 10_000

func (f *faults) searchLag() time.Duration { return time.Duration(f.lag.Load()) }

// fate rolls the dice for a request.
func (f *faults) fate(o Op, key string) (out fate) {
	if f.calm.Load() {
		return fate{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.nowLocked()
	if c.Outage {
		return fate{fault: Outage}
	}
	if c.concerns(o) {
		out.delay = time.Duration(c.LatencyMS) * time.Millisecond
		if c.JitterMS > 0 {
			out.delay += time.Duration(f.dice.Int64N(int64(c.JitterMS) * int64(time.Millisecond)))
		}
	}
	if next, ok := f.next(func(q *Fault) bool {
		return (q.Op == o || q.Op == OpAny) && (q.Key == "" || q.Key == key)
	}); ok {
		f.scripted(&out, next)
		return out
	}
	if !o.writes() || !c.concerns(o) {
		return out
	}
	out.fault = f.roll(c.requestRates())
	if out.fault == Slow {
		out.fault, out.delay = "", out.delay+slowFor(c.SlowMS)
	}
	if o == OpAuthorise || o == OpConfirm {
		if k := f.roll(c.outcomeRates()); k != "" {
			out.outcome = Fault{Fault: k}
			_ = out.outcome.check() // fills in what a decline is called
		}
	}
	return out
}

// scripted lays a fault of the queue upon a request.
func (f *faults) scripted(out *fate, next Fault) {
	switch next.Fault {
	case Decline, Action, InProcess:
		out.outcome = next
	case Slow:
		out.delay += slowFor(next.DelayMS)
	default:
		out.fault = next.Fault
	}
}

func slowFor(ms int) time.Duration {
	if ms == 0 {
		ms = 1000
	}
	return time.Duration(ms) * time.Millisecond
}

// hook rolls the dice for a webhook.
func (f *faults) hook(event string) (k Kind, delay time.Duration) {
	if f.calm.Load() {
		return "", 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	next, ok := f.next(func(q *Fault) bool { return q.Op == OpWebhook && (q.Type == "" || q.Type == event) })
	if ok {
		return next.Fault, slowFor(next.DelayMS)
	}
	return f.roll(f.control.hookRates()), slowFor(f.control.WebhookDelayMS)
}

// next takes the first scripted fault that is meant.
func (f *faults) next(meant func(*Fault) bool) (Fault, bool) {
	for i := range f.queue {
		q := &f.queue[i]
		if !meant(q) {
			continue
		}
		got := *q
		if q.Count--; q.Count == 0 {
			f.queue = slices.Delete(f.queue, i, i+1)
			f.settleCalm()
		}
		return got, true
	}
	return Fault{}, false
}

// rate is how often one thing happens.
type rate struct {
	share float64
	kinds []Kind // one of them, evenly
}

// roll throws once and gives the kind that it fell on: at most one happens.
func (f *faults) roll(rates []rate) Kind {
	total := 0.0
	for _, r := range rates {
		total += r.share
	}
	if total == 0 {
		return ""
	}
	at := f.dice.Float64()
	for _, r := range rates {
		if at -= r.share; at < 0 {
			return r.kinds[f.dice.IntN(len(r.kinds))]
		}
	}
	return ""
}
