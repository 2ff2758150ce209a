package admission_test

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/admission"
)

// A sale, simulated: a million wait for 20,000 units. What each place does is drawn
// from a seed when it is reached; nothing else is random.

const (
	simWaiters = 1_000_000
	simUnits   = 20_000
	simLease   = 30.0 // seconds, as all times here
	simUse     = 60.0
	simHold    = 120.0
)

type event struct {
	at float64
	do func()
}

type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any          { old := *e; x := old[len(old)-1]; *e = old[:len(old)-1]; return x }

type saleSim struct {
	rng       *rand.Rand
	gone      float64 // share of the waiters
	now       float64
	due       events
	r         admission.Reading
	present   int64 // called, and will come
	decisions []admission.Decision
	soldOut   float64 // when the last unit was sold
	worstIdle float64 // longest span in which units lay idle
	idleSince float64
	idleAt    admission.Reading
}

func (s *saleSim) after(d float64, do func()) { heap.Push(&s.due, event{s.now + d, do}) }

func (s *saleSim) exp(mean float64) float64 { return s.rng.ExpFloat64() * mean }

// called draws the fate of the next place.
func (s *saleSim) called() {
	s.r.Called++
	come := s.exp(3)
	if s.rng.Float64() < s.gone || come >= simLease {
		s.after(simLease, func() { s.r.Called--; s.r.Missed++ })
		return
	}
	s.present++
	s.after(come, func() {
		s.present--
		s.r.Called--
		s.r.Claimed++
		s.r.Inside++
		s.shop(s.now+simUse, s.exp(6))
	})
}

// shop is an admitted buyer, who tries for as long as the admission lasts.
func (s *saleSim) shop(until, d float64) {
	interested, units := s.rng.Float64() < 0.85, int64(1)
	if s.rng.Float64() < 0.3 {
		units = 2
	}
	var try func()
	try = func() {
		switch {
		case !interested || s.now >= until:
			s.r.Inside--
			s.r.Passed++
		case s.r.Available < units:
			s.after(2, try)
		default:
			s.r.Inside--
			s.r.Took++
			s.take(units)
		}
	}
	s.after(d, try)
}

func (s *saleSim) take(units int64) {
	s.r.Available -= units
	s.r.Held += units
	if s.rng.Float64() < 0.9 {
		s.after(s.exp(12), func() {
			s.r.Held -= units
			s.r.Sold += units
			if s.r.Sold == simUnits {
				s.soldOut = s.now
			}
		})
		return
	}
	s.after(simHold, func() { s.r.Held -= units; s.r.Returned += units; s.r.Available += units })
}

// run goes on until the last unit is sold, and half a minute more.
func (s *saleSim) run(t *testing.T) {
	p := admission.NewPace(admission.Settings{Most: 1000})
	s.r = admission.Reading{Joined: simWaiters, Available: simUnits, PerBuyer: 1.3}
	for ; s.soldOut == 0 || s.now < s.soldOut+30; s.now += 0.25 {
		if s.now > 3600 {
			t.Fatalf("after an hour: %+v", s.r)
		}
		for len(s.due) > 0 && s.due[0].at <= s.now {
			e := heap.Pop(&s.due).(event)
			tick := s.now
			s.now = e.at
			e.do()
			s.now = tick
		}
		s.r.Now = noon.Add(time.Duration(s.now * float64(time.Second)))
		d := p.Next(s.r)
		for ; s.r.Front < d.To; s.r.Front++ {
			s.called()
		}
		s.decisions = append(s.decisions, d)
		s.idle(d)
	}
}

// idle measures how long on end there are more than twice the units that those on the
// way will take, though stock is what the pace says binds.
func (s *saleSim) idle(d admission.Decision) {
	onTheWay := float64(s.r.Inside+s.present) * 0.85 * 1.3
	if d.Limit != admission.LimitStock || onTheWay >= 0.5*float64(s.r.Available) || s.r.Available < 2 {
		s.idleSince = s.now
	}
	if s.now-s.idleSince > s.worstIdle {
		s.worstIdle = s.now - s.idleSince
		s.idleAt = s.r
	}
}

func simulate(t *testing.T, seed uint64, gone float64) *saleSim {
	s := &saleSim{rng: rand.New(rand.NewPCG(seed, 1)), gone: gone}
	s.run(t)
	return s
}

// told is when a place hears for good that stock cannot reach it.
func (s *saleSim) told(place int64) float64 {
	for i := len(s.decisions) - 1; i >= 0; i-- {
		if s.decisions[i].Reach > place {
			return float64(i+1) * 0.25
		}
	}
	return 0
}

// wronged counts the places that heard so, and were reached all the same.
func (s *saleSim) wronged() int64 {
	low := s.decisions[0].Reach
	for _, d := range s.decisions {
		low = min(low, d.Reach)
	}
	return max(s.r.Front-low, 0)
}

// called95 is when the front was at 95 of a hundred of the places that it came to: what
// remains after that is units that come back from holds, few at a time.
func (s *saleSim) called95() float64 {
	for i, d := range s.decisions {
		if d.To >= s.r.Front*95/100 {
			return float64(i) * 0.25
		}
	}
	return s.now
}

// In hindsight, a place beyond the last that was reached could never be served. How long
// such a one waits before it hears that is bounded: the further, the sooner.
func TestAMillionWaitFor20000Units(t *testing.T) {
	for seed := range uint64(5) {
		s, nobodyGone := simulate(t, seed, 0.3), simulate(t, seed, 0)
		front := s.r.Front
		t.Logf("seed %d: %d places reached, 95%% by %.0f s (%.0f s if nobody is gone), sold out at %.0f s (%.0f s); starved for %.1f s at most; "+
			"told: the last at %.1f s, 3x at %.1f s, 1.5x at %.1f s, 1.1x at %.1f s, the next at %.1f s; %d wronged",
			seed, front, s.called95(), nobodyGone.called95(), s.soldOut, nobodyGone.soldOut, s.worstIdle,
			s.told(simWaiters-1), s.told(3*front), s.told(front*3/2), s.told(front*11/10), s.told(front), s.wronged())
		if s.worstIdle > 15 {
			t.Errorf("units lay idle for %.1f s, at %+v", s.worstIdle, s.idleAt)
		}
		if took := s.called95(); took > 2*nobodyGone.called95()+10 {
			t.Errorf("those who are gone jam the queue: %.0f s, and %.0f s without them", took, nobodyGone.called95())
		}
		if s.r.Sold != simUnits || s.r.Available != 0 || s.r.Held != 0 {
			t.Errorf("in the end: %+v", s.r)
		}
		if s.wronged() > front/1000 {
			t.Errorf("%d places were told that they are out of reach, and were reached", s.wronged())
		}
		for _, c := range []struct {
			place  int64
			within float64
		}{{simWaiters - 1, 0.25}, {3 * front, 45}, {front * 3 / 2, 60}, {front * 11 / 10, 100}, {front, s.soldOut + 0.25}} {
			if told := s.told(c.place); told > c.within {
				t.Errorf("place %d of %d is told after %.1f s, which is more than %.1f s", c.place, front, told, c.within)
			}
		}
	}
}
