package chaos

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Report is what a run saw.
type Report struct {
	Seed         uint64           `json:"seed"`
	Pass         bool             `json:"pass"`
	Wrong        []string         `json:"wrong"` // what must not be; empty if it passed
	Plan         Plan             `json:"plan"`
	Rate         float64          `json:"rate"`
	StartedAt    time.Time        `json:"started_at"`
	ElapsedMS    int64            `json:"elapsed_ms"`
	Crowd        crowd            `json:"crowd"`
	Acknowledged int              `json:"acknowledged"` // orders that buyers were told are confirmed
	Probes       int64            `json:"probes"`
	Seen         map[string]int64 `json:"probes_told"`       // of the probes that were not well, what came at the first try
	OrdersLost   int              `json:"acknowledged_lost"` // of the acknowledged, those that the record does not have as confirmed
	Failover     *Failover        `json:"failover,omitempty"`
	Normal       Normal           `json:"normal_after_s"`  // after the last fault was healed
	Verify       json.RawMessage  `json:"verify"`          // the engine's own verdict
	Notes        []string         `json:"notes"`           // what the faults have to tell
	Skipped      []string         `json:"skipped"`         // faults of the plan that could not happen here, and why
	Replay       string           `json:"replay"`          // the command
	Error        string           `json:"error,omitempty"` // the run itself failed
}

// Normal is how long after a moment things were as usual again, in seconds.
type Normal struct {
	Selling  float64 `json:"selling"`
	Ordering float64 `json:"ordering"`
}

func (r *Report) wrong(format string, args ...any) {
	const most = 60
	if len(r.Wrong) < most {
		r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
	}
}

// deaths takes over what nodes and faults have to tell.
func (r *Report) deaths(w *world) {
	for _, n := range append([]*node{w.box}, w.nodes...) {
		for _, d := range n.died() {
			r.wrong("%s", d)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r.Notes, r.Skipped = append(r.Notes, w.notes...), append(r.Skipped, w.skips...)
}

// Empty says that no fault of the plan could happen here: nothing was shown,
// whether the run passed or not.
func (r Report) Empty() bool { return len(r.Skipped) > 0 && len(r.Skipped) == len(r.Plan.Events) }

// loses says whether the plan makes the gate forget: then buyers may lose holds,
// and what the gate promised twice may be refused. Orders may not.
func (p Plan) loses() bool {
	for _, e := range p.Events {
		if faults[e.Fault].loses {
			return true
		}
	}
	return false
}

// crowdWrongs judges what buyers were told.
func (r *Report) crowdWrongs() {
	c := r.Crowd
	if n := c.Pending + c.Unfinished; n > 0 {
		r.wrong("%d buyers never got a final answer", n)
	}
	if c.Dropped > 0 {
		r.wrong("%d buyers could not be sent: the load was not what was asked for", c.Dropped)
	}
	if r.Plan.loses() {
		return
	}
	if c.Refused > 0 {
		r.wrong("%d orders were refused by the record: the gate accepted what the stock could not cover", c.Refused)
	}
	strange := maps.Clone(c.Failures)
	maps.DeleteFunc(strange, func(answer string, _ int64) bool {
		return strings.HasSuffix(answer, " "+string(engine.CodeReservationReleased))
	})
	if len(strange) > 0 { // a payment that came to nothing after the hold's time gives the hold back, and says so
		r.wrong("buyers were given an answer that is none: %s", most(strange))
	}
}

// Zeros gives the four counts as text.
func (r Report) Zeros() string {
	var v struct{ Oversold, Lost, Drift, Unpaid *int }
	if err := json.Unmarshal(r.Verify, &v); err != nil || v.Oversold == nil || v.Lost == nil || v.Drift == nil || v.Unpaid == nil {
		return "not known"
	}
	return fmt.Sprintf("%d %d %d %d", *v.Oversold, *v.Lost, *v.Drift, *v.Unpaid)
}

// String gives the report for people.
func (r Report) String() string {
	var b strings.Builder
	c := r.Crowd
	fmt.Fprintf(&b, "%s", r.Plan)
	if r.Empty() {
		fmt.Fprintf(&b, "SKIPPED %s\n", strings.Join(r.Skipped, "\nSKIPPED "))
		return b.String()
	}
	fmt.Fprintf(&b, "\n%d buyers: confirmed %d, sold out %d, at their limit %d, declined %d, abandoned %d, expired %d, refused %d, failed %d, without an end %d; %d repeats\n",
		c.Arrivals, c.Confirmed, c.SoldOut, c.BuyerLimit, c.Declined, c.Abandoned, c.Expired, c.Refused, c.Failed, c.Pending+c.Unfinished, c.Retries)
	fmt.Fprintf(&b, "they were told besides: %s\n", most(c.Errors))
	fmt.Fprintf(&b, "%d probes were well at the first try but for: %s\n", r.Probes, most(r.Seen))
	fmt.Fprintf(&b, "after the last fault was healed: selling again after %.1f s, ordering after %.1f s\n", r.Normal.Selling, r.Normal.Ordering)
	if f := r.Failover; f != nil {
		fmt.Fprintf(&b, "%s\n", f)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	fmt.Fprintf(&b, "%d orders were acknowledged; OVERSOLD LOST DRIFT UNPAID: %s\n", r.Acknowledged, r.Zeros())
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "SKIPPED %s\n", s)
	}
	if r.Error != "" {
		fmt.Fprintf(&b, "the run failed: %s\n", r.Error)
	}
	for _, w := range r.Wrong {
		fmt.Fprintf(&b, "  WRONG %s\n", w)
	}
	verdict := "PASS"
	if !r.Pass {
		verdict = "FAIL"
	}
	fmt.Fprintf(&b, "%s in %.1f s; again: %s\n", verdict, float64(r.ElapsedMS)/1000, r.Replay)
	return b.String()
}

// logsOnly hides what is not a log of ours.
type logsOnly struct{ fs.FS }

// ReadDir gives the logs of a directory.
func (l logsOnly) ReadDir(name string) (out []fs.DirEntry, err error) {
	all, err := fs.ReadDir(l.FS, name)
	for _, e := range all {
		if !e.IsDir() && strings.HasSuffix(e.Name(), ".log") {
			out = append(out, e)
		}
	}
	return out, err
}
