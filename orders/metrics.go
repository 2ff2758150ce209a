package orders

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// register registers a collector, or gives the one that is registered under its
// name already, so that two relays in one process share a metric. A nil
// registerer registers nothing.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	var there prometheus.AlreadyRegisteredError
	err := reg.Register(c)
	if errors.As(err, &there) {
		if same, ok := there.ExistingCollector.(C); ok {
			return same
		}
	}
	return c
}

type writerMetrics struct {
	batch  prometheus.Histogram
	commit prometheus.Histogram
	orders *prometheus.CounterVec
	dead   *prometheus.CounterVec
	limit  prometheus.Gauge
	gaps   prometheus.Counter

	saleOrders *prometheus.CounterVec
	saleUnits  *prometheus.CounterVec
	revenue    *prometheus.CounterVec
}

func newWriterMetrics(reg prometheus.Registerer) writerMetrics {
	return writerMetrics{
		batch: register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "flashsale_writer_batch_size", Help: "Events per transaction of the order writer.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		})),
		commit: register(reg, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "flashsale_writer_commit_seconds", Help: "Time of one transaction of the order writer, COMMIT included.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		})),
		orders: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_writer_orders_total", Help: "Orders written, by state (confirmed, refused), and events whose order was there before (repeated).",
		}, []string{"state"})),
		dead: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_dead_letters_total", Help: "Events that could not become orders, by reason.",
		}, []string{"reason"})),
		limit: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flashsale_writer_batch_limit", Help: "Most events that the order writer puts into a transaction now: it halves while the record is slow.",
		})),
		saleOrders: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_sale_orders_total", Help: "Confirmed orders that this node wrote, by sale.",
		}, []string{"sale"})),
		saleUnits: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_sale_ordered_units_total", Help: "Units in the confirmed orders that this node wrote, by sale.",
		}, []string{"sale"})),
		revenue: register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_sale_revenue_minor_units_total", Help: "Totals of the confirmed orders that this node wrote, in minor units of the currency, by sale. Refunds are not taken off.",
		}, []string{"sale", "currency"})),
		gaps: register(reg, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flashsale_stream_gap_events_total", Help: "Events that the stream no longer had when the writer came for them. Not zero: look for lost orders with verify.",
		})),
	}
}

// sold counts a confirmed order. Its sale and currency are the record's: it has
// compared them with its own.
func (m *writerMetrics) sold(e *engine.AcceptedEvent) {
	units := 0
	for _, l := range e.Lines {
		units += l.Quantity
	}
	m.saleOrders.WithLabelValues(e.SaleID).Inc()
	m.saleUnits.WithLabelValues(e.SaleID).Add(float64(units))
	m.revenue.WithLabelValues(e.SaleID, e.Total.Currency).Add(float64(e.Total.Amount))
}
