package outside

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Board knows every dependency of a node, for metrics and for operators. A nil
// Board is one that nobody looks at.
type Board struct {
	mu   sync.RWMutex
	deps map[string]*Dependency

	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// NewBoard makes a board; its metrics go to reg, or nowhere if that is nil.
func NewBoard(reg prometheus.Registerer) (*Board, error) {
	b := &Board{
		deps: map[string]*Dependency{},
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_dependency_calls_total",
			Help: "Tries by dependency, operation and result, refused ones included; result degraded counts whole calls that got the stated answer, retry_budget_spent those that were not repeated for want of budget.",
		}, []string{"dependency", "op", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "flashsale_dependency_call_duration_seconds",
			Help:    "How long a dependency took for one try.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"dependency", "op"}),
	}
	if reg == nil {
		return b, nil
	}
	for _, c := range []prometheus.Collector{b.calls, b.seconds, gauges{b}} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *Board) add(d *Dependency) error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deps[d.Name()] != nil {
		return fmt.Errorf("outside: two dependencies are called %s", d.Name())
	}
	b.deps[d.Name()] = d
	return nil
}

// All lists the dependencies by name.
func (b *Board) All() []*Dependency {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]*Dependency, 0, len(b.deps))
	for _, name := range slices.Sorted(maps.Keys(b.deps)) {
		out = append(out, b.deps[name])
	}
	return out
}

// Find gives the dependency of a name, or nil.
func (b *Board) Find(name string) *Dependency {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.deps[name]
}

// Force puts every dependency that modes names into its mode and all others to Auto.
func (b *Board) Force(modes map[string]Mode) {
	for _, d := range b.All() {
		d.Force(modes[d.Name()])
	}
}

// meters gives an operation's own.
func (b *Board) meters(dependency, op string) (prometheus.Observer, *counters) {
	if b == nil {
		b, _ = NewBoard(nil) // cannot fail: nothing is registered
	}
	c := &counters{vec: b.calls.MustCurryWith(prometheus.Labels{"dependency": dependency, "op": op})}
	c.known.Store(&map[string]prometheus.Counter{})
	return b.seconds.WithLabelValues(dependency, op), c
}

// counters are an operation's counters by result. Looking one up in the vector
// would cost a call more than its breaker does.
type counters struct {
	vec   *prometheus.CounterVec
	mu    sync.Mutex
	known atomic.Pointer[map[string]prometheus.Counter]
}

func (c *counters) inc(result string) {
	n, ok := (*c.known.Load())[result]
	if !ok {
		n = c.learn(result)
	}
	n.Inc()
}

func (c *counters) learn(result string) prometheus.Counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := maps.Clone(*c.known.Load())
	n := c.vec.WithLabelValues(result)
	next[result] = n
	c.known.Store(&next)
	return n
}

// gauges reads every dependency's state when it is asked for.
type gauges struct{ b *Board }

var (
	stateDesc = prometheus.NewDesc("flashsale_dependency_breaker_state", "What callers meet: 0 closed, 1 half-open, 2 open.", []string{"dependency"}, nil)
	modeDesc  = prometheus.NewDesc("flashsale_dependency_breaker_forced", "Who decides: 0 the breaker, 1 an operator forced it open, 2 closed.", []string{"dependency"}, nil)
	usedDesc  = prometheus.NewDesc("flashsale_dependency_calls_in_flight", "Calls inside the bulkhead now.", []string{"dependency"}, nil)
	mostDesc  = prometheus.NewDesc("flashsale_dependency_calls_limit", "Calls that the bulkhead holds.", []string{"dependency"}, nil)
)

var stateNumbers = map[string]float64{"closed": 0, "half-open": 1, "open": 2}

// Describe is a prometheus.Collector's.
func (g gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{stateDesc, modeDesc, usedDesc, mostDesc} {
		ch <- d
	}
}

// Collect is a prometheus.Collector's.
func (g gauges) Collect(ch chan<- prometheus.Metric) {
	for _, d := range g.b.All() {
		for _, m := range []struct {
			desc  *prometheus.Desc
			value float64
		}{
			{stateDesc, stateNumbers[d.State()]}, {modeDesc, float64(d.Mode())},
			{usedDesc, float64(d.InFlight())}, {mostDesc, float64(cap(d.slots))},
		} {
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, m.value, d.Name())
		}
	}
}
