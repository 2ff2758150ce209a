package live

import (
	"fmt"
	"maps"
	"slices"
)

// faults notes what goes wrong, and when it is over, as far as a snapshot shows it. It
// knows what has happened while somebody looked; the audit log has the rest.
type faults struct {
	under map[string]string // what goes on now → in words
	seen  []Event           // newest last
}

// look compares a snapshot with what was known.
func (f *faults) look(l *Live) {
	now := map[string]string{}
	for _, s := range l.Sales {
		if s.Gate != "live" && s.Gate != "absent" && s.State != "closed" {
			now["gate of "+s.Sale] = "gate " + s.Gate
		}
		if s.Units != nil && !s.Units.Conserved {
			now["units of "+s.Sale] = "units do not add up"
		}
	}
	for _, b := range l.Needs.Breakers {
		if b.State != "closed" {
			now[b.Name] = "breaker " + b.State
		}
	}
	for _, n := range slices.Concat(l.Needs.Redis, l.Needs.Kafka, l.Needs.Postgres, l.Needs.Payment) {
		if n.Bad > 0 && n.Value != nil && *n.Value >= n.Bad {
			now[n.Name] = n.Name + " is high"
		}
	}
	for _, s := range l.Silent {
		now[s.Who] = "does not answer"
	}
	for name, n := range map[string]int{"OVERSOLD": l.Proof.Oversold, "LOST": l.Proof.Lost, "DRIFT": l.Proof.Drift, "UNPAID": l.Proof.Unpaid} {
		if n > 0 {
			now[name] = fmt.Sprintf("%s is not zero", name)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(now)) {
		if f.under[what] != now[what] {
			f.note(Event{At: l.At, Kind: "fault", What: now[what], Target: what})
		}
	}
	for _, what := range slices.Sorted(maps.Keys(f.under)) {
		if _, still := now[what]; !still {
			f.note(Event{At: l.At, Kind: "over", What: f.under[what], Target: what})
		}
	}
	f.under = now
}

func (f *faults) note(e Event) {
	if f.seen = append(f.seen, e); len(f.seen) > mostEvents {
		f.seen = slices.Delete(f.seen, 0, len(f.seen)-mostEvents)
	}
}

// with puts acts and faults in one line, the newest first.
func (f *faults) with(acts []Event) []Event {
	out := slices.Concat(acts, f.seen)
	slices.SortStableFunc(out, func(a, b Event) int { return b.At.Compare(a.At) })
	if out == nil {
		out = []Event{}
	}
	return out[:min(len(out), mostEvents)]
}
