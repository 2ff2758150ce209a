package live

import (
	"maps"
	"slices"
	"time"
)

// faults notes what goes wrong, and when it is over, as far as a snapshot shows it. It
// knows what has happened while somebody looked; the audit log has the rest. What comes
// and goes within moments is not noted, but for what must never be.
type faults struct {
	under map[string]trouble // what goes on now, by what it is about
	seen  []Event            // newest last
}

// trouble is one thing that goes wrong.
type trouble struct {
	what        string
	since, last time.Time // when it was seen first and last
	grave       bool      // noted at once
	noted       bool
}

// look compares a snapshot with what was known.
func (f *faults) look(l *Live) {
	now := map[string]string{}
	grave := map[string]bool{}
	for _, s := range l.Sales {
		if s.Gate != "live" && s.Gate != "absent" && s.State != "closed" {
			now["gate of "+s.Sale] = "gate " + s.Gate
		}
		if s.Units != nil && !s.Units.Conserved {
			now["units of "+s.Sale], grave["units of "+s.Sale] = "units do not add up", true
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
			now[name], grave[name] = name+" is not zero", true
		}
	}
	if f.under == nil {
		f.under = map[string]trouble{}
	}
	for _, about := range slices.Sorted(maps.Keys(now)) {
		t, known := f.under[about]
		if !known || t.what != now[about] {
			t = trouble{what: now[about], since: l.At, grave: grave[about]}
		}
		if t.last = l.At; !t.noted && (t.grave || l.At.Sub(t.since) >= steady) {
			t.noted = true
			f.note(Event{At: t.since, Kind: "fault", What: t.what, Target: about})
		}
		f.under[about] = t
	}
	for _, about := range slices.Sorted(maps.Keys(f.under)) {
		t := f.under[about]
		if _, still := now[about]; still || l.At.Sub(t.last) < steady && t.noted {
			continue
		}
		delete(f.under, about)
		if t.noted {
			f.note(Event{At: t.last, Kind: "over", What: t.what, Target: about})
		}
	}
}

// steady is how long something must go wrong, or be well again, to be noted.
const steady = 2 * time.Second

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
