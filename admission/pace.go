package admission

import (
	"math"
	"time"
)

// Breaker is the state of the payment's circuit breaker.
type Breaker int

// A breaker's states.
const (
	BreakerClosed Breaker = iota // payments are made
	BreakerHalf                  // some are tried
	BreakerOpen                  // none is
)

// Reading is what one tick of the loop knows. Counts are totals since the opening.
type Reading struct {
	Now time.Time

	// Of the queue; see Status.
	Front, Joined, Called int64
	Claimed               int64 // places reached whose buyers came
	Missed                int64 // places reached whose buyers did not: lapsed or given back

	// Of the sale.
	Available int64 // units that can be taken now
	Returning int64 // units expected back as soon as somebody called now could take them
	Held      int64 // units in holds and payments, any of which may come back
	Inside    int64 // buyers admitted who have taken none yet, and still may
	Took      int64 // admitted buyers who took units
	Passed    int64 // admitted buyers whose admission ended without
	Sold      int64 // units
	Returned  int64 // units that came back from holds
	PerBuyer  float64

	// Of what must bear the load.
	GateLatency    time.Duration // how long the gate took for a look
	WriterLag      time.Duration // age of the oldest order not yet written
	Payment        Breaker
	PaymentLatency time.Duration

	// The operator's word.
	Cap    float64 // places per second at most; 0: none
	Paused bool
}

// Heard fills in what the queue knows.
func (r *Reading) Heard(s Status) {
	r.Now, r.Front, r.Joined, r.Called, r.Claimed, r.Missed = s.Now, s.Front, s.Joined, s.Called(), s.Claimed, s.Lapsed+s.Holed
}

// Decision is what one tick decides.
type Decision struct {
	To    int64   // where the front may be now
	Rate  float64 // places per second that the load allows
	Speed float64 // places per second that the front has made lately: what waiters can reckon with
	Limit Limit   // what holds the front back
	Reach int64   // places from here on cannot be reached by stock, as far as can be known
}

// Step is the move of the front that the decision asks for.
func (d Decision) Step(r Reading) Step {
	return Step{From: r.Front, To: d.To, Rate: math.Round(d.Speed*10) / 10, Reach: d.Reach, Limit: d.Limit}
}

// Pace is the closed loop that moves the front: as many are called as stock can
// serve, no faster than everything behind can bear. It has no clock of its own, and
// serves one goroutine.
//
// Stock sets how many may be called in all; load sets how fast. The load's part
// grows like a TCP sender's: doubling each second until the first sign of strain,
// then by steps; strain halves it, and it does not grow again before things are calm.
type Pace struct {
	set Settings

	last      time.Time
	rate      float64
	threshold float64   // doubling ends here
	strained  Limit     // what was strained last and is not calm yet; empty: nothing
	cut       time.Time // when the rate was last cut
	due       float64   // places that the rate allows and the front has not taken
	speed     float64
	past      []moment // of the last Answer, oldest first, and one before
	tight     bool     // the rate was what bound at the last tick
}

// NewPace makes a loop; zero settings take their defaults.
func NewPace(s Settings) *Pace {
	s = s.withDefaults()
	return &Pace{set: s, rate: s.Start, threshold: math.Inf(1), tight: true}
}

// maxTick bounds what a loop that was away makes up for.
const maxTick = 2 * time.Second

// Next decides one tick. Ticks should be a quarter of a second apart, or so.
func (p *Pace) Next(r Reading) Decision {
	dt := 0.0
	if !p.last.IsZero() {
		dt = min(max(r.Now.Sub(p.last), 0), maxTick).Seconds()
	}
	p.last = r.Now
	p.adapt(r, dt)
	rate, limit := p.allowed(r)
	p.due = min(p.due+rate*dt, max(rate, 1)) // what was not used for a second is forgotten
	if rate == 0 {
		p.due = 0
	}
	waiting := max(r.Joined-r.Front, 0)
	stock, quota := p.room(r), int64(p.due)
	move := min(stock, quota, waiting)
	p.due -= float64(move)
	p.tight = quota < min(stock, waiting) // or a faster rate would not have helped
	if dt > 0 {
		p.speed += (float64(move)/dt - p.speed) * (1 - math.Exp(-dt/5))
	}
	switch {
	case move == waiting:
		limit = LimitNone
	case rate > 0 && !p.tight:
		limit = LimitStock
	}
	return Decision{To: r.Front + move, Rate: rate, Speed: p.speed, Limit: limit, Reach: p.reach(r)}
}

// adapt grows the rate, or cuts it. Between low and high water it keeps it.
func (p *Pace) adapt(r Reading, dt float64) {
	over, calm := p.strain(r)
	switch {
	case r.Payment != BreakerClosed: // when it closes, begin again, carefully
		if p.strained == "" {
			p.threshold = max(p.rate/2, p.set.Start)
		}
		p.rate, p.strained = p.set.Start, LimitPayment
	case over != "":
		if p.strained == "" || r.Now.Sub(p.cut) >= p.set.CutEvery {
			p.rate, p.cut = max(p.rate/2, p.set.Least), r.Now
			p.threshold = p.rate
		}
		p.strained = over
	case p.strained != "" && !calm:
	case p.tight: // a rate that nobody needs says nothing of what can be borne
		p.strained = ""
		if p.rate < p.threshold {
			p.rate = min(p.rate*math.Exp2(dt), p.threshold)
		} else {
			p.rate += p.set.Grow * dt
		}
	default:
		p.strained = ""
	}
	p.rate = min(p.rate, p.set.Most)
}

// strain says what is above its high water, and whether all is below its low one.
func (p *Pace) strain(r Reading) (over Limit, calm bool) {
	switch {
	case r.GateLatency >= p.set.GateHigh:
		return LimitGate, false
	case r.WriterLag >= p.set.WriterHigh:
		return LimitWriter, false
	case r.PaymentLatency >= p.set.PaymentHigh:
		return LimitPayment, false
	}
	return "", r.GateLatency < p.set.GateHigh/2 && r.WriterLag < p.set.WriterHigh/4 && r.PaymentLatency < p.set.PaymentHigh/2
}

// allowed is the rate that the load and the operator leave, and which of them it is.
func (p *Pace) allowed(r Reading) (float64, Limit) {
	rate, limit := p.rate, p.strained
	if limit == "" {
		limit = LimitRamp
	}
	if r.Cap > 0 && r.Cap < rate {
		rate, limit = r.Cap, LimitOperator
	}
	switch {
	case r.Paused:
		return 0, LimitOperator
	case r.Payment == BreakerOpen:
		return 0, LimitPayment
	}
	return rate, limit
}
