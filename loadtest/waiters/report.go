package waiters

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Report is what a run saw, and its verdict.
type Report struct {
	Pass    bool     `json:"pass"`
	Reasons []string `json:"reasons"` // why not

	Waiters int               `json:"waiters"`
	Units   int               `json:"units"`
	Seed    uint64            `json:"seed"`
	Hurry   float64           `json:"hurry"`
	Parts   map[string]string `json:"parts"`

	JoinSeconds   float64            `json:"join_s"`
	JoinRate      float64            `json:"joins_per_s"`
	BytesPer      float64            `json:"redis_bytes_per_waiter"`
	SoldSeconds   float64            `json:"all_sold_s"`   // after the opening; 0: never
	Sold95Seconds float64            `json:"sold_95_s"`    // 95 % of the units
	ServedSeconds float64            `json:"all_served_s"` // until everybody was bought, gone or told
	CPUJoining    map[string]float64 `json:"cpu_joining_s"`
	CPUSelling    map[string]float64 `json:"cpu_selling_s"`
	Front         int64              `json:"front"`
	Joined        int64              `json:"joined"`
	Claimed       int64              `json:"claimed"`
	Sold          int64              `json:"sold"`
	Ends          map[string]int64   `json:"ends"` // of those who were called, and of those who left before
	Repeats       int64              `json:"repeats"`
	Polls         int64              `json:"polls"`
	EventDelay    float64            `json:"event_delay_p99_s"`
	Events        int                `json:"events"`
	Estimates     Estimates          `json:"estimates"`

	Fairness struct {
		Checked     int    `json:"places_checked"`
		All         bool   `json:"all_places"`
		Checker     string `json:"checker"`
		Admissions  int    `json:"admissions"`
		TurnedAway  int    `json:"turned_away"`          // who asked before their turn
		Forged      int64  `json:"reservations_refused"` // without an admission, or with another's
		LateJoiners int    `json:"late_joiners"`
	} `json:"fairness"`
	Honesty struct {
		Reached   int64   `json:"reached"`
		Bands     []Told  `json:"bands"`
		Seen      float64 `json:"seen_max_s"`
		Wronged   int64   `json:"wronged"`
		AtTheDoor int     `json:"told_at_the_door"`
	} `json:"honesty"`
	Verify engine.Verdict `json:"verify"`

	Bound    map[string]float64 `json:"bound_by_s"` // seconds that each limit held the front
	Timeline []Moment           `json:"timeline"`
}

// Estimates is how the waiting times that waiters were told first turned out.
type Estimates struct {
	Told   int     `json:"told"`      // to waiters who were then reached
	Median float64 `json:"ratio"`     // of real to told, the median
	Off    float64 `json:"off_p90_s"` // how far off nine of ten were at most
}

// Moment is one look at the room, in seconds since the opening.
type Moment struct {
	At      float64 `json:"at"`
	Joined  int64   `json:"joined"`
	Front   int64   `json:"front"`
	Reach   *int64  `json:"reach,omitempty"`
	Claimed int64   `json:"claimed"`
	Held    int64   `json:"held"`
	Sold    int64   `json:"sold"`
	Limit   string  `json:"limit"`
}

func (r *run) report() Report {
	m, end := r.marks, r.timeline[len(r.timeline)-1]
	out := Report{Reasons: []string{}, Waiters: r.cfg.Waiters, Units: r.cfg.Units, Seed: r.cfg.Seed, Hurry: r.cfg.Hurry, Parts: r.e.parts,
		JoinSeconds: m.joined.Sub(m.joining).Seconds(), BytesPer: float64(m.memory[1]-m.memory[0]) / float64(r.cfg.Waiters),
		ServedSeconds: m.ended.Sub(m.opened).Seconds(), CPUJoining: since(m.cpu[0], m.cpu[1]), CPUSelling: since(m.cpu[1], m.cpu[2]),
		Front: end.Front, Joined: end.Joined, Claimed: end.Claimed, Sold: end.Sold, Ends: map[string]int64{}, Repeats: r.repeats.Load(), Polls: r.polls.Load(),
		Events: len(r.told), EventDelay: quantile(r.told, 0.99), Estimates: r.judgeEstimates(), Bound: map[string]float64{}}
	out.JoinRate = float64(r.cfg.Waiters) / out.JoinSeconds
	if !m.sold.IsZero() {
		out.SoldSeconds = m.sold.Sub(m.opened).Seconds()
	}
	for i, n := range r.ends {
		if n > 0 {
			out.Ends[endNames[i]] = n
		}
	}
	out.Fairness.Forged = r.turnedAway.Load()
	for i, t := range r.timeline {
		at := t.at.Sub(m.opened).Seconds()
		if out.Sold95Seconds == 0 && float64(t.Sold) >= 0.95*float64(r.cfg.Units) {
			out.Sold95Seconds = at
		}
		if i > 0 {
			out.Bound[named(r.timeline[i-1].Limit)] += at - out.Timeline[i-1].At
		}
		out.Timeline = append(out.Timeline, Moment{at, t.Joined, t.Front, t.Reach, t.Claimed, t.Held + t.Paying, t.Sold, t.Limit})
	}
	return out
}

func since(a, b map[string]time.Duration) map[string]float64 {
	out := map[string]float64{}
	for name, d := range b {
		out[name] = (d - a[name]).Seconds()
	}
	return out
}

// judgeEstimates compares what waiters were told with what happened.
func (r *run) judgeEstimates() (out Estimates) {
	var ratios, off []float64
	for _, e := range r.estimates {
		_, by, ok := r.timeline.reached(e.place)
		if !ok {
			continue
		}
		waited := by.Sub(e.at)
		ratios = append(ratios, waited.Seconds()/max(e.wait.Seconds(), 0.1))
		off = append(off, (waited - e.wait).Abs().Seconds())
	}
	return Estimates{len(ratios), quantile(ratios, 0.5), quantile(off, 0.9)}
}

// String tells the report to people.
func (r Report) String() string {
	var s strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&s, format+"\n", args...) }
	p("%d waiters, %d units, seed %d, times divided by %g", r.Waiters, r.Units, r.Seed, r.Hurry)
	p("parts      %s", listed(r.Parts, "%s %s"))
	p("joined     %d in %.1f s: %.0f per second; %.1f bytes of Redis per waiter", r.Waiters, r.JoinSeconds, r.JoinRate, r.BytesPer)
	p("processor  joining %s", listed(r.CPUJoining, "%s %.1f s"))
	p("           selling %s", listed(r.CPUSelling, "%s %.1f s"))
	p("sold       %d of %d; 95%% after %.0f s, all after %.0f s; everybody at an end or told after %.0f s", r.Sold, r.Units, r.Sold95Seconds, r.SoldSeconds, r.ServedSeconds)
	p("called     %d of %d: %s", r.Front, r.Joined, listed(r.Ends, "%s %d"))
	p("bound by   %s", listed(r.Bound, "%s %.0f s"))
	all := ""
	if r.Fairness.All {
		all = ", which are all"
	}
	p("fairness   %d places checked%s (%s); %d admissions, %d early askers and %d reservations without or with another's admission turned away, %d late joiners in order",
		r.Fairness.Checked, all, r.Fairness.Checker, r.Fairness.Admissions, r.Fairness.TurnedAway, r.Fairness.Forged, r.Fairness.LateJoiners)
	p("honesty    %d told too much; %d told with the ticket; everybody had read it after %.0f s at most", r.Honesty.Wronged, r.Honesty.AtTheDoor, r.Honesty.Seen)
	for _, b := range r.Honesty.Bands {
		p("           %s", b)
	}
	p("estimates  of %d who were reached, the median wait was %.2f of what was told first; nine of ten within %.0f s", r.Estimates.Told, r.Estimates.Median, r.Estimates.Off)
	p("watchers   %d polls; %d events, 99%% at most %.2f s old; %d requests repeated", r.Polls, r.Events, r.EventDelay, r.Repeats)
	v := r.Verify
	p("verify     OVERSOLD %d · LOST %d · DRIFT %d · UNPAID %d", v.Oversold, v.Lost, v.Drift, v.Unpaid)
	if r.Pass {
		p("PASS")
	} else {
		p("FAIL")
		for _, why := range r.Reasons {
			p("  - %s", why)
		}
	}
	return s.String()
}

func listed[V any](of map[string]V, format string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(of)) {
		out = append(out, fmt.Sprintf(format, k, of[k]))
	}
	return strings.Join(out, ", ")
}
