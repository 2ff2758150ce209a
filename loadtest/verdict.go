package loadtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Verdict says whether a run may be believed and the sale kept its promises.
type Verdict struct {
	Pass    bool     `json:"pass"`
	Reasons []string `json:"reasons"` // why not; empty if it passed
}

// lateDriver is how late the driver itself may start one visit in a hundred
// before its figures say more about the driver than about the engine.
const lateDriver = 50.0 // ms

// judge lists everything that went wrong. The caller holds the tally's lock.
func (r *run) judge(out Report, verifyErr, cut error) Verdict {
	reasons := []string{}
	fail := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	t := r.tally

	if cut != nil {
		fail("the run was cut short (%v): %d visits unfinished", cut, out.Unfinished)
	}
	if out.Dropped > 0 {
		fail("%d of %d arrivals dropped, beyond %d in flight or by a process that died: the load was not what was asked for", out.Dropped, out.Arrivals, r.cfg.MaxInFlight)
	}
	if sum := out.Dropped + r.ended(); sum != out.Arrivals {
		fail("the driver's books don't balance: %d arrivals, %d ends", out.Arrivals, sum)
	}
	if out.Failed > 0 {
		fail("%d buyers failed: %s", out.Failed, list(t.failures))
	}
	if out.Pending > 0 {
		fail("%d checkouts still pending after %v", out.Pending, r.cfg.PollFor)
	}
	if out.Refused > 0 {
		fail("%d orders refused by the record: the gate accepted what the stock could not cover", out.Refused)
	}
	for _, s := range out.SKUs {
		if s.Offered != nil && s.Confirmed > *s.Offered {
			fail("OVERSOLD: %d units of %s confirmed, %d offered", s.Confirmed, s.SKU, *s.Offered)
		}
	}
	for _, s := range out.SLOs {
		if !s.Kept {
			fail("SLO %s is not kept: %.1f ms of %d", s.SLO, s.Got, out.Of(s.Step).Count)
		}
	}
	for _, m := range out.Marks {
		if m.Error != "" {
			fail("what was to happen did not, %s: %s", m.Name, m.Error)
		}
	}
	for _, over := range r.overLimit() {
		fail("%s", over)
	}
	for _, w := range t.wrongs {
		fail("%s", w)
	}
	if more := t.wrongCount - int64(len(t.wrongs)); more > 0 {
		fail("and %d more contradictions", more)
	}
	if verifyErr != nil {
		fail("verify: %v", verifyErr)
	} else if why := verified(out.Verify); why != "" {
		fail("verify: %s", why)
	}
	return Verdict{Pass: len(reasons) == 0, Reasons: reasons}
}

func (r *run) ended() (n int64) {
	for _, kind := range r.tally.ends {
		for _, c := range kind {
			n += c
		}
	}
	return n
}

// overLimit names buyers with more confirmed units than the sale allows.
func (r *run) overLimit() (out []string) {
	if r.cfg.Limit <= 0 {
		return nil
	}
	units := map[int]int{}
	for _, p := range r.tally.purchases {
		units[p.buyer] += p.units
	}
	for _, b := range slices.Sorted(maps.Keys(units)) {
		if units[b] <= r.cfg.Limit {
			continue
		}
		if len(out) == maxWrongs {
			return append(out, "and more buyers over the limit")
		}
		out = append(out, fmt.Sprintf("buyer %s has %d confirmed units; the limit is %d", r.cfg.buyer(b), units[b], r.cfg.Limit))
	}
	return out
}

// verified reads the engine's own verdict: four counts that must be zero.
func verified(raw json.RawMessage) string {
	if raw == nil {
		return ""
	}
	var v struct{ Oversold, Lost, Drift, Unpaid *int64 }
	if err := json.Unmarshal(raw, &v); err != nil {
		return "not a verdict: " + err.Error()
	}
	if v.Oversold == nil || v.Lost == nil || v.Drift == nil || v.Unpaid == nil {
		return "not a verdict: oversold, lost, drift and unpaid must all be there"
	}
	if *v.Oversold|*v.Lost|*v.Drift|*v.Unpaid == 0 {
		return ""
	}
	return fmt.Sprintf("OVERSOLD %d · LOST %d · DRIFT %d · UNPAID %d", *v.Oversold, *v.Lost, *v.Drift, *v.Unpaid)
}

// notes says what a reader should know that is no failure.
func (r *run) notes(out Report) []string {
	notes := []string{}
	if l := out.Of(StepDriver); l.P99 > lateDriver {
		notes = append(notes, fmt.Sprintf("the driver itself started visits late (p99 %.0f ms); latencies include that: give it more CPU, or lower the rate", l.P99))
	}
	for _, s := range out.SKUs {
		// Exact only if nobody else buys, and if no hold's answer was lost.
		if s.Offered != nil && s.SoldOut > 0 && s.Held+int64(r.cfg.Quantity) <= *s.Offered {
			notes = append(notes, fmt.Sprintf("%d buyers were told that %s is sold out, and this run held %d of %d units; others held the rest, or the answer was wrong", s.SoldOut, s.SKU, s.Held, *s.Offered))
		}
	}
	if out.ReadBack.Read < out.ReadBack.Orders {
		notes = append(notes, fmt.Sprintf("%d of %d confirmed orders were read back", out.ReadBack.Read, out.ReadBack.Orders))
	}
	return notes
}

// list tells counts by outcome, most frequent first.
func list(counts map[Outcome]int64) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b Outcome) int {
		if counts[a] != counts[b] {
			return int(counts[b] - counts[a])
		}
		return strings.Compare(a.String(), b.String())
	})
	parts := make([]string, 0, len(keys))
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s × %d", k, counts[k]))
	}
	return strings.Join(parts, ", ")
}
