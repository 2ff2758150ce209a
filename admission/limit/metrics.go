package limit

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

type metrics struct {
	beyond  [engine.LimitCount]prometheus.Counter
	settled prometheus.Counter
	alone   prometheus.Counter
	away    prometheus.Counter
	log     *slog.Logger
	said    atomic.Int64 // when the log last said that Redis is away
}

func newMetrics(reg prometheus.Registerer, t *table, log *slog.Logger) (*metrics, error) {
	beyond := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flashsale_limit_beyond_total", Help: "Requests that were beyond a limit, by limit.",
	}, []string{"limit"})
	decided := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flashsale_limit_settled_total", Help: "Requests beyond the free share of a limit, by who decided them: redis, or node if Redis was away or slow.",
	}, []string{"by"})
	m := &metrics{settled: decided.WithLabelValues("redis"), alone: decided.WithLabelValues("node"), log: log}
	m.away = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "flashsale_limit_shared_failures_total", Help: "Calls to Redis that failed or took too long; after each, this node counts alone for a while.",
	})
	pushed := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "flashsale_limit_pushed_out_total", Help: "Keys that this node forgot, for want of room, before their limit was whole again. If it grows fast, raise --limit-keys.",
	}, func() float64 { return float64(t.pushed.Load()) })
	for l := range m.beyond {
		m.beyond[l] = beyond.WithLabelValues(engine.Limit(l).String())
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{beyond, decided, m.away, pushed} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("limit: metrics: %w", err)
		}
	}
	return m, nil
}

// failed says once in a while why limits are each node's own.
func (m *metrics) failed(err error) {
	m.away.Inc()
	if now := time.Now().Unix(); now-m.said.Swap(now) > 30 {
		m.log.Warn("limits are counted by this node alone: Redis does not answer", "err", err)
	}
}
