package capacity

import (
	"math"
	"slices"
)

// USL is the Universal Scalability Law: with n at once, throughput is
// λn / (1 + σ(n-1) + κn(n-1)). σ is what has to queue up for one thing, κ what each has
// to settle with each other.
type USL struct {
	Lambda float64 `json:"lambda"` // of one alone, per second
	Sigma  float64 `json:"sigma"`
	Kappa  float64 `json:"kappa"`
}

// At is the throughput with n at once.
func (u USL) At(n float64) float64 {
	return u.Lambda * n / (1 + u.Sigma*(n-1) + u.Kappa*n*(n-1))
}

// Peak is where throughput is greatest: beyond any bound if κ is zero, where it only
// comes closer and closer to the rate.
func (u USL) Peak() (n, rate float64) {
	if u.Kappa == 0 {
		if u.Sigma == 0 {
			return math.Inf(1), math.Inf(1)
		}
		return math.Inf(1), u.Lambda / u.Sigma
	}
	n = math.Sqrt(max(0, 1-u.Sigma) / u.Kappa)
	n = max(1, n)
	return n, u.At(n)
}

// Knee is where throughput per time in the system is greatest (Kleinrock's power):
// with fewer the system idles, with more they only wait longer.
func (u USL) Knee() (n, rate float64) {
	power := func(n float64) float64 { x := u.At(n); return x * x / n }
	n = 1
	for m := 1.0; m < 1e6; m *= 1.01 {
		if power(m) > power(n) {
			n = m
		}
	}
	return n, u.At(n)
}

// fitUSL fits the law to rates at loads. n/X is linear in 1/λ, σ/λ and κ/λ, and a
// relative error of it is one of X, so no search and no first guess is needed. κ grows with the
// square of n: what noise makes of it decides every prediction. So it is kept only if each
// rung is predicted better from the others with it than without.
func fitUSL(n, rate []float64) (USL, error) {
	var with, without [][]float64
	var out []float64
	for i := range n {
		if rate[i] <= 0 {
			return USL{}, errNoFit
		}
		with = append(with, []float64{1, n[i] - 1, n[i] * (n[i] - 1)})
		without = append(without, []float64{1, n[i] - 1, 0})
		out = append(out, n[i]/rate[i])
	}
	rows := without
	if leftOut(with, out) < leftOut(without, out) {
		rows = with
	}
	c, err := nonNegative(rows, out)
	if err != nil || c[0] <= 0 {
		return USL{}, errNoFit
	}
	return USL{Lambda: 1 / c[0], Sigma: c[1] / c[0], Kappa: c[2] / c[0]}, nil
}

// leftOut is the sum of squares of the errors of each row's prediction from the others.
func leftOut(rows [][]float64, y []float64) (sum float64) {
	for i := range rows {
		c, err := nonNegative(slices.Delete(slices.Clone(rows), i, i+1), slices.Delete(slices.Clone(y), i, i+1))
		if err != nil {
			return math.Inf(1)
		}
		e := dot(rows[i], c)/y[i] - 1
		sum += e * e
	}
	return sum
}
