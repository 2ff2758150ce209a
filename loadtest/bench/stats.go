package bench

import (
	"math"
	"slices"
)

// Spread sums up the rounds of a figure.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spread of at least one value; of an even number the median is the middle of the two.
func spread(values []float64) Spread {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return Spread{Median: round((v[(n-1)/2] + v[n/2]) / 2), Min: round(v[0]), Max: round(v[n-1])}
}

// round keeps four significant digits: no figure here has more.
func round(v float64) float64 {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return v
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}
