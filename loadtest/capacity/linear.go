package capacity

import (
	"errors"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

var errNoFit = errors.New("capacity: the measurements do not determine the model: too few rungs, or all alike")

// nonNegative finds the coefficients, none below zero, whose relative errors have the
// least sum of squares: y ≈ rows·c. A cost below zero is noise, so its column is left
// out. With at most four columns all subsets can be tried, which is exact.
func nonNegative(rows [][]float64, y []float64) ([]float64, error) {
	if len(rows) == 0 || len(rows) != len(y) {
		return nil, errNoFit
	}
	cols := len(rows[0])
	var best []float64
	least := math.Inf(1)
	for subset := 1; subset < 1<<cols; subset++ {
		c, ok := leastSquares(rows, y, subset)
		if !ok || slices.Min(c) < 0 {
			continue
		}
		if sum := relativeErrors(rows, y, c); sum < least*(1-1e-12) {
			best, least = c, sum
		}
	}
	if best == nil {
		return nil, errNoFit
	}
	return best, nil
}

// leastSquares solves for the columns of a subset; the others stay zero.
func leastSquares(rows [][]float64, y []float64, subset int) ([]float64, bool) {
	var cols []int
	for j := range rows[0] {
		if subset&(1<<j) != 0 {
			cols = append(cols, j)
		}
	}
	if len(rows) < len(cols) {
		return nil, false
	}
	a, one := mat.NewDense(len(rows), len(cols), nil), mat.NewDense(len(rows), 1, nil)
	for i, r := range rows {
		for k, j := range cols {
			a.Set(i, k, r[j]/y[i])
		}
		one.Set(i, 0, 1)
	}
	// Columns of one size: a coefficient per second and one per reservation differ by 10⁵.
	scale := make([]float64, len(cols))
	for k := range cols {
		if scale[k] = mat.Norm(a.ColView(k), 2); scale[k] == 0 || math.IsNaN(scale[k]) || math.IsInf(scale[k], 0) {
			return nil, false
		}
		for i := range rows {
			a.Set(i, k, a.At(i, k)/scale[k])
		}
	}
	var qr mat.QR
	var x mat.Dense
	qr.Factorize(a)
	if err := qr.SolveTo(&x, false, one); err != nil {
		return nil, false // nearly the same columns
	}
	c := make([]float64, len(rows[0]))
	for k, j := range cols {
		c[j] = x.At(k, 0) / scale[k]
	}
	return c, true
}

func relativeErrors(rows [][]float64, y, c []float64) (sum float64) {
	for i, r := range rows {
		e := dot(r, c)/y[i] - 1
		sum += e * e
	}
	return sum
}

func dot(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}
