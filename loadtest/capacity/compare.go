package capacity

import (
	"fmt"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/flashsale-engine/flashsale/loadtest"
	"github.com/flashsale-engine/flashsale/loadtest/bench"
)

// Compared is a figure of a simulation beside that of the real run.
type Compared struct {
	What      string  `json:"what"`
	Simulated float64 `json:"simulated"`
	Real      float64 `json:"real"`
	Error     float64 `json:"error"` // |simulated-real| / real
}

// Compare puts a simulated sale beside a real one.
func Compare(p Played, r bench.Sold) []Compared {
	var out []Compared
	add := func(what string, simulated, measured float64) {
		out = append(out, Compared{what, simulated, measured, math.Abs(simulated-measured) / math.Max(measured, 1e-12)})
	}
	add("holds", float64(p.Holds), float64(r.Holds))
	add("refusals", float64(p.Refused), float64(r.SoldOut))
	add("orders", float64(p.Orders), float64(r.Confirmed))
	add("sold out after, s", p.SellOut, r.SellOut)
	add("all told after, s", p.Seconds, r.ElapsedMS/1000)
	reserve, checkout := r.Of(loadtest.StepHold), r.Of(loadtest.StepCheckout)
	add("reservation p50, ms", p.Reserve.P50/1000, reserve.P50)
	add("reservation p99, ms", p.Reserve.P99/1000, reserve.P99)
	add("checkout p50, ms", p.Checkout.P50/1000, checkout.P50)
	add("checkout p99, ms", p.Checkout.P99/1000, checkout.P99)
	return out
}

// Both is a comparison for people.
func Both(all []Compared) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "what\tsimulated\treal\terror\n")
	for _, c := range all {
		fmt.Fprintf(w, "%s\t%.4g\t%.4g\t%.1f%%\n", c.What, c.Simulated, c.Real, 100*c.Error)
	}
	_ = w.Flush()
	return b.String()
}
