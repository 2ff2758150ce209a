package ops

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// GateMetrics shows gates that are frozen, their epochs, and what rebuilds did.
// Register it, and hand Done to the Rebuilder.
type GateMetrics struct {
	sales    func() []*engine.Sale
	frozen   *prometheus.Desc
	epoch    *prometheus.Desc
	rebuilds *prometheus.CounterVec
	took     prometheus.Histogram
	holds    *prometheus.CounterVec
}

// NewGateMetrics gives the metrics of the gates of some sales, as this node knows them.
func NewGateMetrics(sales func() []*engine.Sale) *GateMetrics {
	shard := []string{"sale", "shard"}
	return &GateMetrics{
		sales:  sales,
		frozen: prometheus.NewDesc("flashsale_gate_frozen_seconds", "How long a shard's gate has been frozen; 0: it is open.", shard, nil),
		epoch:  prometheus.NewDesc("flashsale_gate_epoch", "The generation of a shard's gate: it rises with each rebuild.", shard, nil),
		rebuilds: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flashsale_gate_rebuilds_total",
			Help: "Rebuilds that this node completed, by what was lost: server, terms, keys, epoch; operator: nothing."}, []string{"cause"}),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "flashsale_gate_rebuild_seconds",
			Help: "How long a rebuilt shard was frozen.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 12)}),
		holds: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flashsale_gate_rebuilt_holds_total",
			Help: "Holds of rebuilt shards: accepted, paying, kept, or lost because they no longer fitted."}, []string{"what"}),
	}
}

// Done counts a rebuild.
func (m *GateMetrics) Done(r engine.Rebuilt) {
	m.rebuilds.WithLabelValues(r.Cause).Inc()
	m.took.Observe(r.Frozen.Seconds())
	for what, n := range map[string]int{"accepted": r.Accepted, "paying": r.Paying, "kept": r.Kept, "lost": r.Lost} {
		m.holds.WithLabelValues(what).Add(float64(n))
	}
}

// Describe implements prometheus.Collector.
func (m *GateMetrics) Describe(c chan<- *prometheus.Desc) {
	c <- m.frozen
	c <- m.epoch
	m.rebuilds.Describe(c)
	m.took.Describe(c)
	m.holds.Describe(c)
}

// Collect implements prometheus.Collector.
func (m *GateMetrics) Collect(c chan<- prometheus.Metric) {
	now := time.Now()
	for _, s := range m.sales() {
		for shard := range max(s.Shards, 1) {
			seconds := 0.0
			if since := s.Repair(shard).Frozen; !since.IsZero() {
				seconds = max(now.Sub(since).Seconds(), 0)
			}
			c <- prometheus.MustNewConstMetric(m.frozen, prometheus.GaugeValue, seconds, s.ID, strconv.Itoa(shard))
			c <- prometheus.MustNewConstMetric(m.epoch, prometheus.GaugeValue, float64(s.Lease(shard).Epoch), s.ID, strconv.Itoa(shard))
		}
	}
	m.rebuilds.Collect(c)
	m.took.Collect(c)
	m.holds.Collect(c)
}
