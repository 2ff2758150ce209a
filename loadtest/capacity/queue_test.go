package capacity

import (
	"math"
	"slices"
	"testing"
)

// queueOf simulates one queue with Poisson arrivals: mean and p99 of the time there.
func queueOf(seed uint64, servers int, rate, service, cv float64, n int) (mean, p99 float64) {
	const come, leave = kind(1), kind(2)
	c := newClock(seed)
	p := c.pool(servers, 0)
	arrived := make([]float64, 0, n)
	took := make([]float64, 0, n)
	c.after(c.expo(1/rate), come, 0)
	for {
		k, who, more := c.next()
		if !more {
			break
		}
		if k == leave {
			took = append(took, c.now-arrived[who])
			continue
		}
		arrived = append(arrived, c.now)
		s := service
		if cv == 1 {
			s = c.expo(service)
		}
		c.work(p, s, leave, int32(len(arrived)-1))
		if len(arrived) < n {
			c.after(c.expo(1/rate), come, 0)
		}
	}
	slices.Sort(took)
	for _, t := range took {
		mean += t / float64(len(took))
	}
	return mean, took[len(took)*99/100]
}

func TestTheSimulationMeetsTheClosedForms(t *testing.T) {
	const n = 300_000
	for _, rho := range []float64{0.5, 0.8} {
		mean, p99 := queueOf(1, 1, rho, 1, 1, n) // M/M/1: an exponential time of mean 1/(1-ρ)
		within(t, "M/M/1 mean", mean, 1/(1-rho), 0.05)
		within(t, "M/M/1 p99", p99, math.Log(100)/(1-rho), 0.08)
		mean, _ = queueOf(2, 1, rho, 1, 0, n) // M/D/1
		within(t, "M/D/1 mean", mean, 1+rho/(2*(1-rho)), 0.03)
	}
	mean, _ := queueOf(3, 3, 2.4, 1, 1, n) // M/M/3
	within(t, "M/M/3 mean", mean, 1+erlangC(3, 2.4)/(3-2.4), 0.05)
}

func TestTheApproximationsMeetTheSimulation(t *testing.T) {
	const n = 300_000
	for _, q := range []struct {
		servers   int
		load, cv  float64
		tolerance float64
	}{{1, 0.6, 1, 0.05}, {1, 0.6, 0, 0.10}, {1, 0.85, 0, 0.10}, {4, 2.4, 1, 0.10}, {4, 3.4, 1, 0.10}, {16, 9.6, 1, 0.10}} {
		mean, p99 := queueOf(4, q.servers, q.load, 1, q.cv, n)
		s := station(q.servers, q.load, 1, q.cv*q.cv)
		within(t, "mean", s.mean, mean, q.tolerance)
		within(t, "p99", s.quantile(0.99), p99, q.tolerance+0.05)
	}
}

func TestAQuantumSharesAProcessorOut(t *testing.T) {
	c := newClock(1)
	p := c.pool(1, 0.001)
	c.work(p, 1, 1, 1)
	c.work(p, 0.01, 1, 2)
	if _, who, _ := c.next(); who != 2 || c.now > 0.03 {
		t.Errorf("%d was through first, after %v s", who, c.now)
	}
	if _, who, _ := c.next(); who != 1 || math.Abs(c.now-1.01) > 1e-9 {
		t.Errorf("%d was through at last, after %v s", who, c.now)
	}
}

func within(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance*want {
		t.Errorf("%s: %.4g, not %.4g within %.0f%%", what, got, want, 100*tolerance)
	}
}
