package capacity

import (
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench"
)

// Ladder is what Fit needs: each list's largest loads are held out.
func Ladder(turns int, window time.Duration, quick bool) bench.Ladder {
	l := bench.Ladder{
		Turns: turns, Window: window, Provider: 20 * time.Millisecond, SKUs: 10_000,
		Connections: []int{1, 2, 4, 8, 16, 32, 64, 128, 256},
		Rates:       []float64{0.04, 0.08, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75},
		Purchases:   []float64{0.12, 0.24, 0.36, 0.48, 0.6},
		Callers:     []int{8, 64, 256},
	}
	if quick {
		l.Turns, l.Window, l.SKUs = 1, 200*time.Millisecond, 100
		l.Connections, l.Rates, l.Purchases, l.Callers = []int{1, 4, 8, 16, 32}, []float64{0.1, 0.2, 0.3, 0.4, 0.5}, []float64{0.1, 0.2, 0.3}, []int{1, 64}
	}
	return l
}
