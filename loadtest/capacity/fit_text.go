package capacity

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// String is the model for people: what was fitted, how sure it is, how well it predicts
// what it has not seen, and what binds.
func (m Model) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s, %d processors; %d turns of %.2g s per rung, %.0f s in all; Redis %s, Postgres %s, Kafka: %s.\n",
		m.Measured, m.Machine.CPU, m.Machine.Processors, m.Settings.Turns, m.Settings.Window, m.Settings.Took, m.Versions["redis"], m.Versions["postgres"], m.Versions["kafka"])
	scaled := "not scaled by it: that would have spread"
	if m.Settings.Scaled {
		scaled = "scaled by it: else they would spread"
	}
	worse := max(m.Settings.Spread, m.Settings.SpreadBy)
	fmt.Fprintf(&b, "The reference took %.1f µs per plaintext request, at its slowest %.1f times its fastest. Times are %s by %.0f%% over the turns, instead of %.0f%%.\nIn brackets: 95%% intervals by %d resamples of turns. Held-out rungs are predicted first, and then fitted, too.\n\n",
		m.Settings.Speed, m.Settings.Swing, scaled, 100*worse, 100*min(m.Settings.Spread, m.Settings.SpreadBy), m.Settings.Resample)
	u := m.Law()
	n, rate := u.Knee()
	fmt.Fprintf(&b, "Throughput against concurrency, one node on one processor: λn / (1 + σ(n-1) + κn(n-1))\n  λ %s   σ %s   κ %s\n  knee at %.0f at once: %.0f reservations/s; ",
		m.Lambda.text(1, "%.0f"), m.Sigma.text(1, "%.4f"), m.Kappa.text(1, "%.2g"), n, rate)
	if n, rate = u.Peak(); math.IsInf(n, 1) {
		fmt.Fprintf(&b, "more bring it towards %.0f/s\n\n", rate)
	} else {
		fmt.Fprintf(&b, "most at %.0f: %.0f/s\n\n", n, rate)
	}
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, r := range []struct {
		what string
		e    Estimate
		unit string
		by   float64
	}{
		{"node, per sold_out from memory", m.Refuse, "µs", 1e6},
		{"Redis, per hold", m.RedisOp, "µs", 1e6}, {"Redis, per call", m.RedisCall, "µs", 1e6}, {"Redis, a call longer with AOF always", m.RedisSync, "µs", 1e6},
		{"Redis, per live hold", m.HoldBytes, "bytes", 1}, {"Redis, per SKU", m.SKUBytes, "bytes", 1}, {"Postgres, per SKU", m.SKURows, "bytes", 1}, {"Postgres, per order", m.OrderRows, "bytes", 1},
		{"Postgres, a connection per order", m.PGHeld, "ms", 1e3}, {"order writer, per transaction", m.WriteCall, "ms", 1e3}, {"order writer, more per order", m.WriteOrder, "ms", 1e3},
	} {
		fmt.Fprintf(w, "%s\t%s %s\n", r.what, r.e.text(r.by, "%.3g"), r.unit)
	}
	_ = w.Flush()
	fmt.Fprintf(&b, "\nProcessor time, of a reservation at the node and of a purchase with its reservation at each part: each + shared / (1 + rate·within)\n")
	w = tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, name := range m.parts() {
		c := m.curves()[name]
		fmt.Fprintf(w, "%s\teach %s µs\tshared %s µs\twithin %s ms\t%.0f µs at %.0f/s\n", name, c.Base.text(1e6, "%.0f"), c.Shared.text(1e6, "%.0f"), c.Gather.text(1e3, "%.2g"), c.At(c.Most)*1e6, c.Most)
	}
	_ = w.Flush()
	fmt.Fprintf(&b, "\nHeld out of the fit, and predicted by it:\n")
	w = tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "what\tload\tfitted up to\tpredicted\tmeasured\terror\n")
	for _, t := range m.Tested {
		fmt.Fprintf(w, "%s\t%.4g\t%.4g\t%.4g\t%.4g\t%.1f%% [%.1f, %.1f]\n", t.What, t.Load, t.Fitted, t.Predicted, t.Measured, 100*t.Error, 100*t.Low, 100*t.High)
	}
	_ = w.Flush()
	fmt.Fprintf(&b, "\nWhat binds, as shares of one processor:\n")
	w = tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, s := range m.Binds {
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%s\n", s.Load, s.Part, s.Share, s.On)
	}
	_ = w.Flush()
	fmt.Fprintf(&b, "With a processor for each: %s\n", m.firstToBind())
	return b.String()
}

func (e Estimate) text(by float64, format string) string {
	f := func(v float64) string { return fmt.Sprintf(format, v*by) }
	return f(e.Value) + " [" + f(e.Low) + ", " + f(e.High) + "]"
}

// parts names what a purchase costs, always in the same order.
func (m *Model) parts() (out []string) {
	for name := range m.curves() {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// firstToBind says which part is full first if each has one processor.
func (m Model) firstToBind() string {
	node, redis := m.NodeMost(), m.shardMost(false)
	who, rate := "the node", node
	if redis < node {
		who, rate = "Redis", redis
	}
	dearest, cost := "", 0.0
	for _, name := range m.parts() {
		if c := m.curves()[name]; name != reserving && c.At(c.Most) > cost {
			dearest, cost = name, c.At(c.Most)
		}
	}
	return fmt.Sprintf("%s binds reservations, at %.0f/s; %s binds purchases, at %.0f/s, as far as that was measured.", who, rate, dearest, 1/cost)
}
