package reservation

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// metrics are what the gate counts of itself.
type metrics struct {
	batches   prometheus.Histogram
	calls     *prometheus.HistogramVec
	decisions *prometheus.CounterVec
	expired   prometheus.Counter
	transfers prometheus.Counter
	moved     prometheus.Counter
	granted   *prometheus.CounterVec

	// Found once, because a crowd would look them up for every hold.
	ok, replayed map[kind]prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "flashsale_gate_batch_size", Help: "Operations per call of the gate's script.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256},
		}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "flashsale_gate_call_seconds", Help: "Duration of calls to Redis, by script.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"script"}),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_gate_decisions_total", Help: "Operations at the gate, by what was asked and what came of it: ok, replayed, unknown or a refusal's code.",
		}, []string{"op", "result"}),
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flashsale_gate_reaped_total", Help: "Holds that the reaper expired. Those that a decision expired on its way are not counted.",
		}),
		transfers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flashsale_gate_transfers_total", Help: "Transfers of stock between the shards of a sale that this node made.",
		}),
		moved: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flashsale_gate_transferred_units_total", Help: "Units that this node's transfers moved.",
		}),
	}
	m.granted = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flashsale_sale_reservations_total", Help: "Reservations that the gate made for this node, by sale.",
	}, []string{"sale"})
	m.ok, m.replayed = map[kind]prometheus.Counter{}, map[kind]prometheus.Counter{}
	for k, name := range kinds {
		m.ok[k], m.replayed[k] = m.decisions.WithLabelValues(name, "ok"), m.decisions.WithLabelValues(name, "replayed")
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.batches, m.calls, m.decisions, m.expired, m.transfers, m.moved, m.granted} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("reservation: metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) batch(n int) { m.batches.Observe(float64(n)) }
func (m *metrics) transferred(units int64) {
	m.transfers.Inc()
	m.moved.Add(float64(units))
}

func (m *metrics) call(script string, d time.Duration) {
	m.calls.WithLabelValues(script).Observe(d.Seconds())
}

func (m *metrics) decided(k kind, replayed bool, err error) {
	if err == nil {
		if replayed {
			m.replayed[k].Inc()
		} else {
			m.ok[k].Inc()
		}
		return
	}
	result := string(engine.CodeOf(err))
	if errors.Is(err, engine.ErrUnknown) {
		result = "unknown"
	}
	m.decisions.WithLabelValues(kinds[k], result).Inc()
}
