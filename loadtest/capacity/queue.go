package capacity

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// erlangC is the probability that all of c servers are busy at a load of a = λS.
func erlangC(c int, a float64) float64 {
	if a >= float64(c) {
		return 1
	}
	b := 1.0 // Erlang B, by its recursion
	for k := 1; k <= c; k++ {
		b = a * b / (float64(k) + a*b)
	}
	rho := a / float64(c)
	return b / (1 - rho + rho*b)
}

// stay is the time at a station: its mean and its variance.
type stay struct{ mean, variance float64 }

// station is c servers with one queue, an arrival rate, and a service time with a mean
// and a squared coefficient of variation. The wait is Allen's and Cunneen's: M/M/c times
// half of what arrivals and services vary; exact for M/M/c and, with one server, for
// M/G/1. Who waits does so for an exponential time (Kingman's heavy-traffic law).
func station(c int, rate, service, cs2 float64) stay {
	a := rate * service
	busy := erlangC(c, a)
	if a >= float64(c) {
		return stay{math.Inf(1), math.Inf(1)}
	}
	wait := service / (float64(c) - a) * (1 + cs2) / 2 // of those who wait
	return stay{busy*wait + service, busy*(2-busy)*wait*wait + cs2*service*service}
}

func (s stay) then(more stay) stay { return stay{s.mean + more.mean, s.variance + more.variance} }

// quantile is that of a gamma distribution with the same mean and variance: right for
// one exponential stay and for the sum of equal ones, near for sums of others.
func (s stay) quantile(q float64) float64 {
	if math.IsInf(s.mean, 1) || s.variance <= 0 {
		return s.mean
	}
	return distuv.Gamma{Alpha: s.mean * s.mean / s.variance, Beta: s.mean / s.variance}.Quantile(q)
}
