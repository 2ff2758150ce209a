package chaos

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Summary is many runs in few lines. Those of several invocations can be merged.
type Summary struct {
	Seeds             int            `json:"seeds"`
	Passed            int            `json:"passed"`
	Faults            map[string]int `json:"faults"` // how often each happened
	LeastAtOnce       int            `json:"least_at_once"`
	MostAtOnce        int            `json:"most_at_once"`
	Buyers            int64          `json:"buyers"`
	Orders            int            `json:"acknowledged_orders"`
	OrdersLost        int            `json:"acknowledged_orders_lost"`
	Zeros             [4]int         `json:"oversold_lost_drift_unpaid"`
	HoldsLost         int64          `json:"buyers_told_that_their_hold_was_lost"`
	SlowestRecovery   float64        `json:"slowest_recovery_s"` // ordering, after the last fault was healed
	SlowestSeed       uint64         `json:"slowest_recovery_seed"`
	FrozenMedian      float64        `json:"frozen_median_s,omitempty"` // of failovers alone
	FrozenMost        float64        `json:"frozen_most_s,omitempty"`
	HoldsPerSecond    float64        `json:"reservations_per_s,omitempty"` // on average, before a failover
	CheckoutPerSecond float64        `json:"checkouts_per_s,omitempty"`
	Runs              []Line         `json:"runs"` // by seed; one that was played again counts once, as it went last
}

// Line is one run of a summary.
type Line struct {
	Seed       uint64           `json:"seed"`
	Pass       bool             `json:"pass"`
	Faults     []string         `json:"faults"`
	AtOnce     int              `json:"at_once"`
	Buyers     int64            `json:"buyers"`
	Orders     int              `json:"acknowledged_orders"`
	OrdersLost int              `json:"acknowledged_orders_lost"`
	Zeros      *[4]int          `json:"oversold_lost_drift_unpaid"` // null: not known
	HoldsLost  int64            `json:"holds_lost"`
	Recovery   float64          `json:"recovery_s"`
	Failover   *Failover        `json:"failover,omitempty"`
	Answers    map[string]int64 `json:"answers,omitempty"` // of a failover
	Elapsed    float64          `json:"elapsed_s"`
	Wrong      []string         `json:"wrong,omitempty"`
	Replay     string           `json:"replay"`
}

// line makes one of a report.
func (r Report) line() Line {
	l := Line{Seed: r.Seed, Pass: r.Pass, AtOnce: r.Plan.Overlap(), Buyers: r.Crowd.Arrivals, Orders: r.Acknowledged, OrdersLost: r.OrdersLost,
		HoldsLost: r.lostHolds(), Recovery: r.Normal.Ordering, Failover: r.Failover, Elapsed: float64(r.ElapsedMS) / 1000, Wrong: r.Wrong, Replay: r.Replay}
	if r.Failover != nil {
		l.Answers = r.Crowd.Answers
	}
	for _, e := range r.Plan.Events {
		if !slices.ContainsFunc(r.Skipped, func(s string) bool { return strings.HasPrefix(s, e.Fault+":") }) {
			l.Faults = append(l.Faults, e.Fault)
		}
	}
	if r.Error != "" {
		l.Wrong = append(slices.Clone(l.Wrong), r.Error)
	}
	var z [4]int
	if n, _ := fmt.Sscan(r.Zeros(), &z[0], &z[1], &z[2], &z[3]); n == len(z) {
		l.Zeros = &z
	}
	return l
}

// Merge adds runs to a summary that was kept as JSON; empty: to none.
func Merge(kept []byte, reports []Report) (Summary, error) {
	var s Summary
	if len(kept) > 0 {
		if err := json.Unmarshal(kept, &s); err != nil {
			return s, fmt.Errorf("the file is no summary: %w", err)
		}
	}
	byReplay := map[string]Line{}
	for _, l := range s.Runs {
		byReplay[l.Replay] = l
	}
	for _, r := range reports {
		byReplay[r.Replay] = r.line()
	}
	lines := slices.SortedFunc(maps.Values(byReplay), func(a, b Line) int { return cmp.Or(cmp.Compare(a.Seed, b.Seed), cmp.Compare(a.Replay, b.Replay)) })
	return total(lines), nil
}

func total(lines []Line) Summary {
	s := Summary{Seeds: len(lines), Faults: map[string]int{}, Runs: lines}
	var frozen []float64
	for i, l := range lines {
		if l.Pass {
			s.Passed++
		}
		for _, f := range l.Faults {
			s.Faults[f]++
		}
		if i == 0 {
			s.LeastAtOnce = l.AtOnce
		}
		s.LeastAtOnce, s.MostAtOnce = min(s.LeastAtOnce, l.AtOnce), max(s.MostAtOnce, l.AtOnce)
		s.Buyers, s.Orders, s.OrdersLost, s.HoldsLost = s.Buyers+l.Buyers, s.Orders+l.Orders, s.OrdersLost+l.OrdersLost, s.HoldsLost+l.HoldsLost
		if l.Zeros != nil {
			for i, n := range l.Zeros {
				s.Zeros[i] += n
			}
		}
		if l.Recovery > s.SlowestRecovery {
			s.SlowestRecovery, s.SlowestSeed = l.Recovery, l.Seed
		}
		if f := l.Failover; f != nil {
			frozen = append(frozen, f.FrozenSeconds)
			s.HoldsPerSecond, s.CheckoutPerSecond = s.HoldsPerSecond+f.HoldsPerSecond, s.CheckoutPerSecond+f.CheckoutsPerSecond
		}
	}
	if n := len(frozen); n > 0 {
		slices.Sort(frozen)
		s.FrozenMedian, s.FrozenMost = (frozen[(n-1)/2]+frozen[n/2])/2, frozen[n-1]
		s.HoldsPerSecond, s.CheckoutPerSecond = s.HoldsPerSecond/float64(n), s.CheckoutPerSecond/float64(n)
	}
	return s
}

func (s Summary) String() string {
	var b strings.Builder
	faults := map[string]int64{}
	happened := 0
	for f, n := range s.Faults {
		faults[f] = int64(n)
		happened += n
	}
	fmt.Fprintf(&b, "%d seeds, %d passed; %d faults, at least %d and up to %d at once: %s\n", s.Seeds, s.Passed, happened, s.LeastAtOnce, s.MostAtOnce, most(faults))
	fmt.Fprintf(&b, "%d buyers, %d acknowledged orders, of which lost %d; OVERSOLD %d, LOST %d, DRIFT %d, UNPAID %d; buyers told that their hold was lost %d\n",
		s.Buyers, s.Orders, s.OrdersLost, s.Zeros[0], s.Zeros[1], s.Zeros[2], s.Zeros[3], s.HoldsLost)
	fmt.Fprintf(&b, "ordering was normal again after %.1f s at most, in seed %d\n", s.SlowestRecovery, s.SlowestSeed)
	answers := map[string]int64{}
	for _, l := range s.Runs {
		for a, n := range l.Answers {
			answers[a] += n
		}
		if f := l.Failover; f != nil {
			zeros := "not known"
			if l.Zeros != nil {
				zeros = strings.Trim(fmt.Sprint(*l.Zeros), "[]")
			}
			fmt.Fprintf(&b, "| %d | %.0f | %.0f | %.2f s, %d | %d | %.2f s | %d | %d | %s | %s |\n", l.Seed, f.HoldsPerSecond, f.CheckoutsPerSecond, f.LagSeconds, f.HoldsInLag,
				l.HoldsLost, f.FrozenSeconds, l.Orders, l.OrdersLost, zeros, map[bool]string{true: "pass", false: "fail"}[l.Pass])
		}
	}
	if len(answers) > 0 {
		fmt.Fprintf(&b, "%.0f reservations/s and %.0f checkouts/s before the failover; frozen %.2f s (median), %.2f s at most; answers: %s\n",
			s.HoldsPerSecond, s.CheckoutPerSecond, s.FrozenMedian, s.FrozenMost, most(answers))
	}
	for _, l := range s.Runs {
		if !l.Pass {
			fmt.Fprintf(&b, "FAILED seed %d: %s; again: %s\n", l.Seed, strings.Join(l.Wrong[:min(len(l.Wrong), 2)], "; "), l.Replay)
		}
	}
	return b.String()
}
