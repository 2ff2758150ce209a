package ops

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// TruthMetrics show what the last verifications found, whoever asked for them.
type TruthMetrics struct {
	findings *prometheus.GaugeVec
	at       *prometheus.GaugeVec
	took     *prometheus.GaugeVec
	failed   *prometheus.CounterVec
}

// NewTruthMetrics makes them and registers them.
func NewTruthMetrics(reg prometheus.Registerer) (*TruthMetrics, error) {
	depth := []string{"depth"}
	m := &TruthMetrics{
		findings: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "flashsale_verify_findings",
			Help: "What the last verification found: oversold, lost, drift, unpaid. The fast one compares counters, and knows nothing of lost and unpaid."}, []string{"kind", "depth"}),
		at: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "flashsale_verify_last_timestamp_seconds",
			Help: "When the last verification ended that came to a verdict, as Unix time."}, depth),
		took: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "flashsale_verify_last_duration_seconds",
			Help: "How long it took."}, depth),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flashsale_verify_failures_total",
			Help: "Verifications that came to no verdict, because something could not be read."}, depth),
	}
	for _, c := range []prometheus.Collector{m.findings, m.at, m.took, m.failed} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{"fast", "full"} {
		m.failed.WithLabelValues(d)
	}
	return m, nil
}

// Note shows a verdict, or that there is none.
func (m *TruthMetrics) Note(depth string, v engine.Verdict, err error) {
	if err != nil {
		m.failed.WithLabelValues(depth).Inc()
		return
	}
	found := map[string]int{"oversold": v.Oversold, "drift": v.Drift}
	if depth == "full" {
		found["lost"], found["unpaid"] = v.Lost, v.Unpaid
	}
	for kind, n := range found {
		m.findings.WithLabelValues(kind, depth).Set(float64(n))
	}
	m.at.WithLabelValues(depth).Set(float64(time.Now().Unix()))
	m.took.WithLabelValues(depth).Set(float64(v.Checked.TookMS) / 1000)
}
