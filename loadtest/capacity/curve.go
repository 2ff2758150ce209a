package capacity

import "math"

// Curve is what an operation costs a part when x of them come per second: Base for
// itself, and its part of Shared, which everybody pays together who comes within Gather
// of each other: batches, and processors that need not be woken up.
type Curve struct {
	Base   Estimate `json:"base"`   // seconds of a processor
	Shared Estimate `json:"shared"` // the same
	Gather Estimate `json:"gather"` // seconds
	Most   float64  `json:"most"`   // operations per second, the most that was measured
}

// at is the cost at a rate, as the fit has it.
func (c Curve) at(x float64) float64 {
	return c.Base.Value + c.Shared.Value/(1+x*c.Gather.Value)
}

// At is the cost that a plan counts with: what more company than was ever measured
// would save is not believed.
func (c Curve) At(x float64) float64 { return c.at(min(x, c.Most)) }

// fitCurve fits a curve to costs at rates. Gather is looked for on a grid, a twentieth
// apart; the other two follow from it.
func fitCurve(x, cost []float64) (c Curve, err error) {
	_, top := bounds(x)
	least := math.Inf(1)
	for company := 0.1; company < 100; company *= 1.2 {
		t := company / top
		var rows [][]float64
		for _, v := range x {
			rows = append(rows, []float64{1, 1 / (1 + v*t)})
		}
		k, err := nonNegative(rows, cost)
		if err != nil {
			continue
		}
		if sum := relativeErrors(rows, cost, k); sum < least*(1-1e-9) {
			least, c = sum, Curve{Base: value(k[0]), Shared: value(k[1]), Gather: value(t), Most: top}
		}
	}
	if math.IsInf(least, 1) {
		return c, errNoFit
	}
	return c, nil
}
