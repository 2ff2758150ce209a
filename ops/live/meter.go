package live

import (
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// meter reads the process's own metrics, by name, and remembers a few seconds of them,
// so that what only grows becomes a rate. A family that nobody has registered is
// simply not known.
type meter struct {
	from prometheus.Gatherer
	past []reading // oldest first
}

// reading is what the metrics said at a time.
type reading struct {
	at       time.Time
	families map[string]*dto.MetricFamily
}

// window is over how long rates and latencies are taken.
const window = 10 * time.Second

// read takes a reading. Some collectors' errors leave the others' figures whole.
func (m *meter) read(now time.Time) error {
	list, err := m.from.Gather()
	r := reading{at: now, families: make(map[string]*dto.MetricFamily, len(list))}
	for _, f := range list {
		r.families[f.GetName()] = f
	}
	// One that is older than the window stays, so that a rate is over the whole of it.
	old := 0
	for old+1 < len(m.past) && now.Sub(m.past[old+1].at) >= window {
		old++
	}
	m.past = append(slices.Delete(m.past, 0, old), r)
	return err
}

// labels picks series: those that have all of these.
type labels map[string]string

func (l labels) match(x *dto.Metric) bool {
	found := 0
	for _, p := range x.GetLabel() {
		if want, asked := l[p.GetName()]; asked {
			if want != p.GetValue() {
				return false
			}
			found++
		}
	}
	return found == len(l)
}

func (r reading) series(name string, l labels) (out []*dto.Metric) {
	for _, x := range r.families[name].GetMetric() {
		if l.match(x) {
			out = append(out, x)
		}
	}
	return out
}

// number is a series' value, whatever its type; of a histogram, how many it has seen.
func number(x *dto.Metric) float64 {
	switch {
	case x.Gauge != nil:
		return x.Gauge.GetValue()
	case x.Counter != nil:
		return x.Counter.GetValue()
	case x.Untyped != nil:
		return x.Untyped.GetValue()
	}
	return float64(x.GetHistogram().GetSampleCount())
}

func (r reading) sum(name string, l labels) (sum float64, known bool) {
	for _, x := range r.series(name, l) {
		sum, known = sum+number(x), true
	}
	return sum, known
}

func (m *meter) now() reading {
	if len(m.past) == 0 {
		return reading{}
	}
	return m.past[len(m.past)-1]
}

// value gives the present sum of the series; nil: there is none.
func (m *meter) value(name string, l labels) *float64 {
	if v, known := m.now().sum(name, l); known && !math.IsNaN(v) {
		return &v
	}
	return nil
}

// most gives the highest of the series; nil: there is none.
func (m *meter) most(name string, l labels) (most *float64) {
	for _, x := range m.now().series(name, l) {
		if v := number(x); !math.IsNaN(v) && (most == nil || v > *most) {
			most = &v
		}
	}
	return most
}

// rate gives how fast the sum of the series grows; nil: it is not known, or not yet.
func (m *meter) rate(name string, l labels) *float64 {
	if len(m.past) < 2 {
		return nil
	}
	first, last := m.past[0], m.now()
	now, known := last.sum(name, l)
	if !known {
		return nil
	}
	was, _ := first.sum(name, l) // a series that was not there yet was at zero
	v := max(now-was, 0) / last.at.Sub(first.at).Seconds()
	return &v
}

// values lists the values that a label has in a family, in order.
func (m *meter) values(name, label string, l labels) (out []string) {
	for _, x := range m.now().series(name, l) {
		for _, p := range x.GetLabel() {
			if p.GetName() == label && !slices.Contains(out, p.GetValue()) {
				out = append(out, p.GetValue())
			}
		}
	}
	slices.Sort(out)
	return out
}

// quantiles gives some of what a histogram has seen within the window, all its series
// together, each estimated within its bucket; nil: it has seen nothing.
func (m *meter) quantiles(name string, l labels, qs ...float64) (out []float64) {
	if len(m.past) < 2 {
		return nil
	}
	bounds, seen := m.now().buckets(name, l)
	_, before := m.past[0].buckets(name, l)
	for b := range bounds {
		seen[bounds[b]] -= before[bounds[b]]
	}
	total := uint64(0)
	if len(bounds) > 0 {
		total = seen[bounds[len(bounds)-1]]
	}
	if total == 0 {
		return nil
	}
	for _, q := range qs {
		out = append(out, within(bounds, seen, q*float64(total)))
	}
	return out
}

// buckets gives the upper bounds, +Inf the last, and how many lie below each.
func (r reading) buckets(name string, l labels) (bounds []float64, seen map[float64]uint64) {
	seen = map[float64]uint64{}
	for _, x := range r.series(name, l) {
		h := x.GetHistogram()
		for _, b := range h.GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) {
				seen[b.GetUpperBound()] += b.GetCumulativeCount()
			}
		}
		seen[math.Inf(1)] += h.GetSampleCount()
	}
	for b := range seen {
		bounds = append(bounds, b)
	}
	slices.Sort(bounds)
	return bounds, seen
}

// within finds where the rank falls, evenly spread within a bucket. Beyond the last
// bound nothing is known but that.
func within(bounds []float64, seen map[float64]uint64, rank float64) float64 {
	lower, below := 0.0, 0.0
	for _, b := range bounds {
		n := float64(seen[b])
		if n >= rank {
			if math.IsInf(b, 1) || n == below {
				return lower
			}
			return lower + (b-lower)*(rank-below)/(n-below)
		}
		lower, below = b, n
	}
	return lower
}
