package admission_test

import (
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/admission"
)

const quarter = 250 * time.Millisecond

// loop drives a pace by quarters of a second.
type loop struct {
	*testing.T
	p *admission.Pace
	r admission.Reading
	d admission.Decision
}

func newLoop(t *testing.T) *loop {
	l := &loop{T: t, p: admission.NewPace(admission.Settings{})}
	l.r = admission.Reading{Now: noon, Joined: 1e6, Available: 1e6}
	return l
}

// run ticks for a span; everybody who is called comes and takes at once, if there is stock.
func (l *loop) run(d time.Duration) admission.Decision {
	for range int(d / quarter) {
		l.r.Now = l.r.Now.Add(quarter)
		l.d = l.p.Next(l.r)
		moved := l.d.To - l.r.Front
		l.r.Front += moved
		l.r.Claimed += moved
		l.r.Took += moved
		l.r.Held += moved
		l.r.Available = max(l.r.Available-moved, 0)
	}
	return l.d
}

func (l *loop) limit(want admission.Limit) {
	l.Helper()
	if l.d.Limit != want {
		l.Fatalf("%s binds, want %s: %+v", l.d.Limit, want, l.d)
	}
}

func TestThePaceStartsSlowly(t *testing.T) {
	l := newLoop(t)
	if d := l.run(quarter); d.To != 0 || d.Limit != admission.LimitRamp {
		t.Fatalf("%+v", d)
	}
	rate := l.d.Rate
	for range 4 {
		if d := l.run(time.Second); d.Rate < 1.9*rate || d.Rate > 2.1*rate {
			t.Fatalf("from %.0f to %.0f in a second", rate, d.Rate)
		}
		rate = l.d.Rate
	}
	l.limit(admission.LimitRamp)
	if l.run(time.Minute); l.d.Rate != 5000 {
		t.Errorf("it grew to %.0f", l.d.Rate)
	}
}

func TestStrainCutsThePaceUntilItIsCalm(t *testing.T) {
	for want, strain := range map[admission.Limit]func(r *admission.Reading, x float64){
		admission.LimitWriter:  func(r *admission.Reading, x float64) { r.WriterLag = time.Duration(x * float64(2*time.Second)) },
		admission.LimitPayment: func(r *admission.Reading, x float64) { r.PaymentLatency = time.Duration(x * float64(3*time.Second)) },
	} {
		l := newLoop(t)
		before := l.run(5 * time.Second).Rate
		strain(&l.r, 1.1)
		if got := l.run(quarter).Rate; got != before/2 {
			t.Errorf("%s: from %.0f to %.0f", want, before, got)
		}
		l.limit(want)
		if got := l.run(time.Second).Rate; got != before/2 {
			t.Errorf("%s: cut again within its time, to %.0f", want, got)
		}
		if got := l.run(time.Second).Rate; got != before/4 {
			t.Errorf("%s: not cut again, but %.0f", want, got)
		}
		strain(&l.r, 0.7) // below the high water, not yet calm
		if got := l.run(5 * time.Second).Rate; got != before/4 {
			t.Errorf("%s: between the waters it went to %.0f", want, got)
		}
		strain(&l.r, 0.1)
		if got := l.run(2 * time.Second).Rate; got <= before/4 || got > before/4+45 {
			t.Errorf("%s: past the doubling it grew to %.0f, by more or less than steps", want, got)
		}
		l.limit(admission.LimitRamp)
	}
}

func TestAnOutageOfPaymentStopsTheFront(t *testing.T) {
	l := newLoop(t)
	before := l.run(5 * time.Second)
	l.r.Payment = admission.BreakerOpen
	if d := l.run(10 * time.Second); d.To != before.To || d.Rate != 0 || d.Limit != admission.LimitPayment {
		t.Fatalf("%+v after %+v", d, before)
	}
	l.r.Payment = admission.BreakerHalf
	if d := l.run(time.Second); d.Rate != 50 || d.Limit != admission.LimitPayment {
		t.Fatalf("half open: %+v", d)
	}
	l.r.Payment = admission.BreakerClosed
	if d := l.run(time.Second); d.Rate < 90 || d.Rate > 110 {
		t.Fatalf("closed again: %+v", d)
	}
	if d := l.run(20 * time.Second); d.Rate <= before.Rate/2 {
		t.Fatalf("it never recovered: %+v", d)
	}
}

func TestTheGateAndTheOperatorBound(t *testing.T) {
	l := newLoop(t)
	l.run(10 * time.Second)
	l.r.GateLatency = 200 * time.Millisecond
	before := l.run(20 * time.Second)
	if before.Rate > 10 {
		t.Fatalf("%+v", before)
	}
	l.limit(admission.LimitGate)
	l.r.GateLatency = 0
	before = l.run(10 * time.Second)
	l.r.Cap = 10
	if d := l.run(4 * time.Second); d.Rate != 10 || d.To-before.To < 39 || d.To-before.To > 60 {
		t.Fatalf("%+v after %+v", d, before)
	}
	l.limit(admission.LimitOperator)
	l.r.Paused = true
	paused := l.d
	if d := l.run(4 * time.Second); d.To != paused.To || d.Rate != 0 {
		t.Fatalf("%+v after %+v", d, paused)
	}
	l.limit(admission.LimitOperator)
}

func TestStockBoundsHowManyAreCalled(t *testing.T) {
	l := newLoop(t)
	l.r.Available = 120
	if d := l.run(time.Minute); d.To != 120 || d.Limit != admission.LimitStock {
		t.Fatalf("%+v", d)
	}
	l.r.Held, l.r.Sold = 20, 100
	if d := l.run(time.Second); d.To != 120 || d.Reach <= 120 {
		t.Fatalf("while something may come back: %+v", d)
	}
	l.r.Held, l.r.Sold = 0, 120
	if d := l.run(time.Second); d.Reach != 120 {
		t.Fatalf("when all is sold: %+v", d)
	}
	l.r.Available = 7 // more is put up
	if d := l.run(time.Second); d.To < 127 || d.To > 128 || d.Reach <= 127 {
		t.Fatalf("%+v", d)
	}
}

func TestNothingBindsWhenEverybodyIsCalled(t *testing.T) {
	l := newLoop(t)
	l.r.Joined = 30
	if d := l.run(5 * time.Second); d.To != 30 {
		t.Fatalf("%+v", d)
	}
	l.limit(admission.LimitNone)
}

// A rate that stock does not need says nothing of what can be borne.
func TestThePaceDoesNotGrowUnused(t *testing.T) {
	l := newLoop(t)
	l.r.Available = 1
	if d := l.run(time.Minute); d.Rate > 200 {
		t.Fatalf("%+v", d)
	}
}

// If nobody can claim, the queue must not run out: leases set the pace.
func TestAFailureToClaimDoesNotEmptyTheQueue(t *testing.T) {
	l := newLoop(t)
	l.r.Available = 1000
	for range 4 * 60 {
		l.r.Now = l.r.Now.Add(quarter)
		l.d = l.p.Next(l.r)
		l.r.Called += l.d.To - l.r.Front
		l.r.Front = l.d.To
	}
	if l.r.Front > 4001 {
		t.Fatalf("%d were called for 1000 units, and nobody came", l.r.Front)
	}
}
