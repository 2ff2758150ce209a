package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// Event is one fault of a plan: what, when, for how long, and how.
type Event struct {
	Fault  string        `json:"fault"`
	At     time.Duration `json:"at"`     // after the load began
	For    time.Duration `json:"for"`    // until it is healed
	Node   int           `json:"node"`   // which node, where it is one of the nodes'
	Amount int           `json:"amount"` // what the fault's unit says: milliseconds, percent, bytes …
}

// End is when the fault is healed.
func (e Event) End() time.Duration { return e.At + e.For }

func (e Event) String() string {
	f := faults[e.Fault]
	s := fmt.Sprintf("%5.1fs–%5.1fs  %-19s", e.At.Seconds(), e.End().Seconds(), e.Fault)
	if f.part == partNode {
		s += fmt.Sprintf(" node %d", e.Node)
	}
	if f.unit != "" {
		s += fmt.Sprintf(" %d %s", e.Amount, f.unit)
	}
	return strings.TrimRight(s, " ")
}

// Plan is what happens in a run. The same seed and duration draw the same plan.
type Plan struct {
	Seed     uint64        `json:"seed"`
	Duration time.Duration `json:"duration"` // of the load
	Events   []Event       `json:"events"`   // in the order of their beginnings
}

func (p Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan of seed %d, %s of load, %d faults, up to %d at once:\n", p.Seed, p.Duration, len(p.Events), p.Overlap())
	for _, e := range p.Events {
		fmt.Fprintf(&b, "  %s\n", e)
	}
	return b.String()
}

// Overlap is the greatest number of faults at one time.
func (p Plan) Overlap() (most int) {
	for _, e := range p.Events {
		n := 0
		for _, o := range p.Events {
			if o.At <= e.At && e.At < o.End() {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// brokers is how many brokers of Kafka the plan needs.
func (p Plan) brokers() int {
	for _, e := range p.Events {
		if faults[e.Fault].cluster {
			return devstack.KafkaBrokers
		}
	}
	return 1
}

// The faults begin after the crowd has come, and are healed before it has gone,
// so that a run sees the engine before, amid and after them.
const (
	quietStart = 0.08
	quietEnd   = 0.85
	overlap    = 3 // faults at one moment, at least
)

// Draw draws the plan of a seed from the faults named.
func Draw(seed uint64, duration time.Duration, names []string) Plan {
	rng := rand.New(rand.NewPCG(seed, 0xc4a05)) //nolint:gosec // a plan must be repeatable by its seed; nothing here is secret
	p := Plan{Seed: seed, Duration: duration}
	names = slices.Sorted(slices.Values(names))
	want := max(overlap+1, int(duration/(3*time.Second)))
	// One moment at which the first faults drawn all hold.
	storm := part(duration, 0.3+0.3*rng.Float64())
	for try := 0; len(p.Events) < want && try < 50*want; try++ {
		e := drawEvent(rng, duration, names[rng.IntN(len(names))])
		if len(p.Events) < overlap {
			at := storm - time.Duration(rng.Int64N(int64(e.For)))
			e.At = min(max(at, part(duration, quietStart)), part(duration, quietEnd)-e.For).Truncate(100 * time.Millisecond)
			if e.End() <= storm {
				continue
			}
		}
		if p.fits(e) {
			p.Events = append(p.Events, e)
		}
	}
	slices.SortStableFunc(p.Events, func(a, b Event) int { return int(a.At - b.At) })
	return p
}

func drawEvent(rng *rand.Rand, duration time.Duration, name string) Event {
	f := faults[name]
	e := Event{Fault: name, Node: rng.IntN(Nodes)}
	e.For = (f.least + time.Duration(rng.Int64N(int64(f.most-f.least)+1))).Truncate(100 * time.Millisecond)
	e.For = min(e.For, part(duration, (quietEnd-quietStart)/2)).Truncate(100 * time.Millisecond)
	latest, earliest := part(duration, quietEnd)-e.For, part(duration, quietStart)
	e.At = (earliest + time.Duration(rng.Int64N(int64(latest-earliest)+1))).Truncate(100 * time.Millisecond)
	if f.high > 0 {
		e.Amount = f.low + rng.IntN(f.high-f.low+1)
	}
	return e
}

func part(d time.Duration, share float64) time.Duration { return time.Duration(share * float64(d)) }

// fits says whether the event may happen beside the others: two faults of the
// same part at the same time would heal each other, and a world with no node
// left shows nothing.
func (p Plan) fits(e Event) bool {
	down := 1
	for _, o := range p.Events {
		if o.At >= e.End()+settleGap || e.At >= o.End()+settleGap {
			continue
		}
		f, g := faults[e.Fault], faults[o.Fault]
		if f.part == g.part && (f.part != partNode || e.Node == o.Node) {
			return false
		}
		if f.part == partNode && g.part == partNode {
			down++
		}
	}
	return faults[e.Fault].part != partNode || down < Nodes
}

// settleGap lies between two faults of the same part.
const settleGap = 500 * time.Millisecond
