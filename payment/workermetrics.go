package payment

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

type workerMetrics struct {
	done       *prometheus.CounterVec
	dropped    prometheus.Counter
	unresolved *prometheus.GaugeVec
	oldest     prometheus.Gauge
	ages       *prometheus.GaugeVec
}

func newWorkerMetrics(reg prometheus.Registerer) (*workerMetrics, error) {
	m := &workerMetrics{
		done: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_payment_worker_tasks_total", Help: "What the payments role did, by task and result: done or later.",
		}, []string{"task", "result"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flashsale_payment_worker_offers_dropped_total", Help: "Overdue holds that met a full queue; they are listed again.",
		}),
		unresolved: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "flashsale_payments_unresolved", Help: "Payment attempts not brought to an end yet, by state, parked ones as unsent or queued.",
		}, []string{"state"}),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flashsale_payments_oldest_unresolved_seconds", Help: "Age of the oldest payment attempt not brought to an end yet that waits neither for its buyer nor parked for its provider.",
		}),
	}
	m.ages = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "flashsale_payments_unresolved_oldest_seconds", Help: "Age of the oldest payment attempt not brought to an end yet, by state as above.",
	}, []string{"state"})
	return m, register(reg, m.done, m.dropped, m.unresolved, m.oldest, m.ages)
}

// backlog shows what is unresolved. What waits for its buyer, or for a provider
// that is away, has the hold's whole life, and says nothing about the engine's speed.
func (m *workerMetrics) backlog(all []engine.Unresolved) {
	m.unresolved.Reset()
	m.ages.Reset()
	for _, name := range backlogStates { // so that none is said as such
		m.unresolved.WithLabelValues(name).Set(0)
		m.ages.WithLabelValues(name).Set(0)
	}
	oldest := 0.0
	for _, u := range all {
		name := string(u.State)
		if u.Parked != engine.NotParked {
			name = string(u.Parked)
		}
		m.unresolved.WithLabelValues(name).Set(float64(u.Count))
		m.ages.WithLabelValues(name).Set(u.Oldest.Seconds())
		if u.State != engine.PaymentNeedsAction && u.Parked == engine.NotParked {
			oldest = max(oldest, u.Oldest.Seconds())
		}
	}
	m.oldest.Set(oldest)
}

// backlogStates are those that there is always a number of.
var backlogStates = []string{string(engine.PaymentAuthorising), string(engine.PaymentUnknown), string(engine.PaymentNeedsAction), string(engine.PaymentAuthorised), string(engine.Unsent), string(engine.Queued)}
