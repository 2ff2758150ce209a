package capacity

import (
	"fmt"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// Prices are per hour, in whatever currency; zero: not given.
type Prices struct {
	Node, Redis, Processor float64 // an API node, a Redis, a processor of anything else
	Hours                  float64
}

// Cost is what a plan costs for the hours that it stands; ok is false without prices.
func (p Plan) Cost(of Prices) (cost float64, ok bool) {
	cost = of.Hours * (float64(p.Nodes)*of.Node + float64(p.Shards)*of.Redis + float64(p.Postgres+p.Kafka+p.Aside)*of.Processor)
	return cost, of.Node > 0 && of.Redis > 0 && of.Processor > 0
}

// Text is a plan for people.
func (p Plan) Text(m Model, of Prices) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Model of %s: %s, %d processors, %d turns.\n\n", m.Measured, m.Machine.CPU, m.Machine.Processors, m.Settings.Turns)
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	row := func(what, format string, a ...any) { fmt.Fprintf(w, "%s\t%s\n", what, fmt.Sprintf(format, a...)) }
	row("at the peak", "%.0f requests/s, %.0f decided at the gate, %.0f orders/s", p.Arrivals, p.Decisions, p.Orders)
	row("API nodes", "%d of %d processors (%d if every cost is at the upper end of its interval)", p.Nodes, p.Need.Processors, p.Worst.Nodes)
	row("Redis", "%d shards of the sale, each on a Redis of its own (%d); %d sales for %.0f SKUs", p.Shards, p.Worst.Shards, p.Sales, p.Need.SKUs)
	row("processors", "Postgres %d (%d), Kafka %d (%d), relay, writer, reaper and payments %d (%d)", p.Postgres, p.Worst.Postgres, p.Kafka, p.Worst.Kafka, p.Aside, p.Worst.Aside)
	row("partitions", "%d, read by %d order writers", p.Partitions, p.Writers)
	row("connections", "HTTP %.0f busy at once; Postgres %d open at most, %.0f busy; each Redis %d; payment provider %.0f calls at once", math.Ceil(p.HTTP), p.ToPostgres, math.Ceil(p.BusyPG), p.ToRedis, math.Ceil(p.ToProvider))
	row("memory", "Redis %.0f MB in all, Postgres %.0f MB of tables, a node %.0f MB", math.Ceil(p.RedisMB), math.Ceil(p.PostgresMB), p.NodeMB)
	row("admission rate", "%.0f/s: what the gate decides within the load asked for", p.Admission)
	row("sold out", "after %s, if all of the crowd's first requests come at the peak's rate", seconds(p.SellOut))
	row("a reservation takes", "p50 %s, p99 %s; %.1f holds per call", seconds(p.P50), seconds(p.P99), p.Batch)
	if cost, ok := p.Cost(of); ok {
		row("cost", "%.2f for %.4g hours", cost, of.Hours)
	} else {
		row("cost", "%.4g node-hours, %.4g Redis-hours, %.4g processor-hours (prices were not given)", float64(p.Nodes)*of.Hours, float64(p.Shards)*of.Hours, float64(p.Postgres+p.Kafka+p.Aside)*of.Hours)
	}
	_ = w.Flush()
	fmt.Fprintf(&b, "\nBinds first: %s, at %.0f%% of what it serves.\n", p.First().What, 100*p.First().Share)
	for _, why := range p.Impossible {
		fmt.Fprintf(&b, "IMPOSSIBLE: %s\n", why)
	}
	fmt.Fprintf(&b, "\nBeyond what was measured:\n")
	w = tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, x := range p.Beyond {
		switch t := x.Times(); {
		case t <= 1:
			fmt.Fprintf(w, "%s\t%.4g\twithin (%.4g)\n", x.What, x.Planned, x.Measured)
		default:
			fmt.Fprintf(w, "%s\t%.4g\t%.3g times the %.4g that were measured\n", x.What, x.Planned, t, x.Measured)
		}
	}
	_ = w.Flush()
	return b.String()
}

// Variant is a plan for something that may come differently.
type Variant struct {
	What string `json:"what"`
	Plan Plan   `json:"plan"`
}

// WhatIf plans for what may come differently.
func WhatIf(m Model, n Need, p Plan) (out []Variant, err error) {
	for _, v := range []struct {
		what   string
		change func(*Need)
	}{
		{"as asked", func(*Need) {}},
		{"half the buyers", func(n *Need) { n.Buyers = max(1, n.Buyers/2) }},
		{"twice the buyers", func(n *Need) { n.Buyers *= 2 }},
		{"five times the buyers", func(n *Need) { n.Buyers *= 5 }},
		{"half the shards", func(n *Need) { n.Shards = max(1, p.Shards/2) }},
		{"AOF the other way", func(n *Need) { n.Always = !n.Always }},
		{"half the p99", func(n *Need) { n.P99 = max(time.Microsecond, n.P99/2) }},
	} {
		n := n
		v.change(&n)
		p, err := Make(m, n)
		if err != nil {
			return nil, err
		}
		out = append(out, Variant{v.what, p})
	}
	return out, nil
}

// Table is what-if for people.
func Table(vs []Variant) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "what if\trequests/s\tnodes\tshards\tPostgres\tadmission/s\tsold out\tp99\tbinds first\n")
	for _, v := range vs {
		p := v.Plan
		binds := fmt.Sprintf("%s, %.0f%%", p.First().What, 100*p.First().Share)
		if len(p.Impossible) > 0 {
			binds = "IMPOSSIBLE: " + p.First().What
		}
		fmt.Fprintf(w, "%s\t%.0f\t%d\t%d\t%d\t%.0f\t%s\t%s\t%s\n", v.What, p.Arrivals, p.Nodes, p.Shards, p.Postgres, p.Admission, seconds(p.SellOut), seconds(p.P99), binds)
	}
	_ = w.Flush()
	return b.String()
}
