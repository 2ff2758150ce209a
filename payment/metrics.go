package payment

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

type guardMetrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newGuardMetrics(reg prometheus.Registerer, provider string, lanes ...*lane) (*guardMetrics, error) {
	labels := prometheus.Labels{"provider": provider} // constant, so that each provider's guard registers its own
	m := &guardMetrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_payment_calls_total", ConstLabels: labels,
			Help: "Calls of the payment provider by operation and result, repeated tries counted once each.",
		}, []string{"op", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "flashsale_payment_call_seconds", ConstLabels: labels,
			Help:    "How long the payment provider took for one try.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"op"}),
	}
	collectors := []prometheus.Collector{m.calls, m.seconds}
	for _, l := range lanes {
		collectors = append(collectors, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "flashsale_payment_breaker_state", ConstLabels: prometheus.Labels{"provider": provider, "breaker": l.name},
			Help: "0 closed, 1 half-open, 2 open.",
		}, func() float64 { return float64(l.breaker.State()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "flashsale_payment_calls_in_flight", ConstLabels: prometheus.Labels{"provider": provider, "breaker": l.name},
			Help: "Calls inside the bulkhead now.",
		}, func() float64 { return float64(len(l.slots)) }))
	}
	return m, register(reg, collectors...)
}

func register(reg prometheus.Registerer, cs ...prometheus.Collector) error {
	if reg == nil {
		return nil
	}
	for _, c := range cs {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// tried counts one try; took is zero if the provider was not called.
func (m *guardMetrics) tried(op string, took time.Duration, p engine.Payment, err error) {
	m.calls.WithLabelValues(op, resultOf(p, err)).Inc()
	if took > 0 {
		m.seconds.WithLabelValues(op).Observe(took.Seconds())
	}
}

// resultOf names a result from a closed set: a payment state, or why there is none.
func resultOf(p engine.Payment, err error) string {
	switch {
	case err == nil:
		return string(p.State)
	case errors.Is(err, ErrBreakerOpen):
		return "breaker_open"
	case errors.Is(err, errFull):
		return "bulkhead_full"
	case errors.Is(err, ErrRejected):
		return "rejected"
	case engine.CodeOf(err) == engine.CodeNotFound:
		return "not_found"
	case errors.Is(err, engine.ErrUnknown):
		return "no_answer"
	}
	return "unavailable"
}
