package admission

import (
	"math"
	"time"
)

// Settings of a pace; zero values take the defaults.
type Settings struct {
	Start       float64       // places per second at the opening, and after an outage. Default 50
	Least       float64       // that strain leaves. Default 1
	Most        float64       // places per second, ever. Default 5,000
	Grow        float64       // places per second, each second, past the doubling. Default 20
	GateHigh    time.Duration // latency of the gate at which the rate is cut; calm is half. Default 100 ms
	WriterHigh  time.Duration // lag at which the rate is cut; calm is a quarter. Default 2 s
	PaymentHigh time.Duration // latency at which the rate is cut; calm is half. Default 3 s
	CutEvery    time.Duration // how long a cut is given to show. Default 2 s
	// Answer is how long after being reached nearly everybody has come who will: a few
	// of a waiter's polls. Default 10 s.
	Answer time.Duration
	// LeastYield is how many units a place takes for good at the very least, on average:
	// what nobody is told to be out of reach against, while there is no evidence. Default 0.05.
	LeastYield float64
}

func (s Settings) withDefaults() Settings {
	for _, f := range []struct {
		field *float64
		value float64
	}{{&s.Start, 50}, {&s.Least, 1}, {&s.Most, 5000}, {&s.Grow, 20}, {&s.LeastYield, 0.05}} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{{&s.GateHigh, 100 * time.Millisecond}, {&s.WriterHigh, 2 * time.Second}, {&s.PaymentHigh, 3 * time.Second}, {&s.CutEvery, 2 * time.Second}, {&s.Answer, 10 * time.Second}} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return s
}

// odds are how often something happened, and how often not.
type odds struct{ yes, no int64 }

// mean leans to "always" while there is little evidence: too few called are made up
// for at the next tick, too many are disappointed. A hundred cases speak for themselves.
func (o odds) mean() float64 {
	n := float64(o.yes + o.no)
	lean := max(0, 10-n/10)
	return (float64(o.yes) + lean) / (n + lean)
}

// low is a bound that the true share is hardly below: Wilson's, at three deviations.
func (o odds) low() float64 {
	n := float64(o.yes + o.no)
	if n == 0 {
		return 0
	}
	const z = 3
	share := float64(o.yes) / n
	return max(0, (share+z*z/(2*n)-z*math.Sqrt(share*(1-share)/n+z*z/(4*n*n)))/(1+z*z/n))
}

func perBuyer(r Reading) float64 {
	if r.PerBuyer > 0 {
		return r.PerBuyer
	}
	return 1
}

// room is how many more may be called before those who were called, as far as they
// come and take, leave nothing for the next.
func (p *Pace) room(r Reading) int64 {
	stock := float64(max(r.Available+r.Returning, 0))
	if stock == 0 {
		return 0
	}
	take := odds{r.Took, r.Passed}.mean() * perBuyer(r)
	show := p.show(r)
	// Of all who were called, so many will have come in the end. Whoever was called long
	// ago and did not come has gone, though the lease still runs: stock does not wait.
	coming := min(max(float64(r.Front)*show-float64(r.Claimed), 0), float64(r.Called))
	free := stock - (float64(r.Inside)+coming)*take
	if free <= 0 {
		return 0
	}
	return int64(min(math.Ceil(free/(show*take)), math.MaxInt32))
}

// leastShow bounds how many are called for those who do not come: a failure to claim,
// as when the way to us is blocked, must not be read as a queue of absentees.
const leastShow = 0.25

// show is the share of those reached who come. Leases take long to tell who has gone,
// so it is also judged by those who were reached long enough ago to have answered.
func (p *Pace) show(r Reading) float64 {
	share := odds{r.Claimed, r.Missed}.mean()
	for len(p.past) > 1 && r.Now.Sub(p.past[1].at) >= p.set.Answer {
		p.past = p.past[1:]
	}
	if len(p.past) > 0 && r.Now.Sub(p.past[0].at) >= p.set.Answer {
		old := p.past[0].front
		share = min(share, odds{r.Claimed, max(old-r.Claimed, 0)}.mean())
	}
	p.past = append(p.past, moment{r.Now, r.Front})
	return max(share, leastShow)
}

// moment is where the front was when.
type moment struct {
	at    time.Time
	front int64
}

// drift is how much worse than anything seen the rest of the queue may turn out.
const drift = 1.25

// reach is the place from which on nobody can be served by any unit that is not sold,
// if all that may come back does and as few as can be believed come, take and pay.
// Those who have not answered yet count as if they did not: the quick are not typical.
func (p *Pace) reach(r Reading) int64 {
	unsold := float64(max(r.Available+r.Returning, 0) + max(r.Held, 0))
	if unsold <= 0 {
		return r.Front
	}
	show := odds{r.Claimed, r.Missed + r.Called}.low()
	take := odds{r.Took, r.Passed + r.Inside}.low()
	pay := odds{r.Sold, r.Returned + r.Held}.low()
	yield := max(show*take*pay*perBuyer(r), p.set.LeastYield)
	return r.Front + int64(min(math.Ceil(unsold*drift/yield), math.MaxInt32))
}
