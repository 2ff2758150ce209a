package ops

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// SaleMetrics shows where the units of the sales are, as the gate counts them.
// Register it, and Run it: a scrape never waits for the gate. No SKU is named:
// there may be thousands.
type SaleMetrics struct {
	sales  func() []*engine.Sale
	reader engine.GateReader

	mu   sync.Mutex
	seen map[string]saleUnits
}

type saleUnits struct {
	state      engine.SaleState
	stock      int64
	by         map[string]int64
	unbalanced int64
	known      bool
	refusing   time.Time // since when the gate has been frozen or lost; zero: it is not
}

// NewSaleMetrics gives the metrics of some sales, as this node knows them.
func NewSaleMetrics(sales func() []*engine.Sale, reader engine.GateReader) *SaleMetrics {
	return &SaleMetrics{sales: sales, reader: reader, seen: map[string]saleUnits{}}
}

// saleEvery is the time between two looks.
const saleEvery = 2 * time.Second

// Run looks again and again until ctx ends.
func (m *SaleMetrics) Run(ctx context.Context) error {
	tick := time.NewTicker(saleEvery)
	defer tick.Stop()
	for {
		m.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look counts once. A gate that does not answer, or is frozen, has no numbers.
func (m *SaleMetrics) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	seen, now := map[string]saleUnits{}, time.Now()
	for _, s := range m.sales() {
		u := saleUnits{state: s.State}
		counters, err := m.reader.Counters(ctx, s)
		switch {
		case err == nil:
			u = unitsOf(s.State, counters)
		case engine.CodeOf(err) == engine.CodeGateFrozen:
			if u.refusing = m.seen[s.ID].refusing; u.refusing.IsZero() { // only look writes it
				u.refusing = now
			}
		}
		seen[s.ID] = u
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen = seen
}

func unitsOf(state engine.SaleState, counters []engine.Counters) saleUnits {
	u := saleUnits{state: state, known: true, by: map[string]int64{}}
	for _, c := range counters {
		u.stock += c.Stock
		u.by["available"] += c.Available
		u.by["held"] += c.Held
		u.by["paying"] += c.Paying
		u.by["sold"] += c.Sold
		u.by["in_flight"] += c.InFlight
		off := c.Stock - c.Available - c.Held - c.Paying - c.Sold - c.InFlight
		u.unbalanced += max(off, -off)
	}
	return u
}

var (
	saleStateDesc = prometheus.NewDesc("flashsale_sale_info", "A sale that is at the gate; 1.", []string{"sale", "state"}, nil)
	saleUnitsDesc = prometheus.NewDesc("flashsale_sale_units", "Units of a sale at the gate: available, held, paying, sold, and in flight between shards.", []string{"sale", "state"}, nil)
	saleStockDesc = prometheus.NewDesc("flashsale_sale_stock_units", "Units that were put up for sale, at the gate.", []string{"sale"}, nil)
	saleRatioDesc = prometheus.NewDesc("flashsale_sale_sell_through_ratio", "Sold units by stock.", []string{"sale"}, nil)
	saleGateDesc  = prometheus.NewDesc("flashsale_gate_refusing_seconds", "How long a sale's gate has been frozen or lost, whether or not somebody rebuilds it, as this node has seen it; 0: it decides.", []string{"sale"}, nil)
	saleDriftDesc = prometheus.NewDesc("flashsale_gate_unbalanced_units", "Units by which the gate's counters of a sale do not add up to its stock, over all SKUs. Not zero: the gate does not conserve.", []string{"sale"}, nil)
)

// Describe implements prometheus.Collector.
func (m *SaleMetrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{saleStateDesc, saleUnitsDesc, saleStockDesc, saleRatioDesc, saleDriftDesc, saleGateDesc} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (m *SaleMetrics) Collect(c chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for id, u := range m.seen {
		gauge(saleStateDesc, 1, id, string(u.state))
		if u.refusing.IsZero() {
			gauge(saleGateDesc, 0, id)
		} else {
			gauge(saleGateDesc, time.Since(u.refusing).Seconds(), id)
		}
		if !u.known {
			continue
		}
		for state, n := range u.by {
			gauge(saleUnitsDesc, float64(n), id, state)
		}
		gauge(saleStockDesc, float64(u.stock), id)
		gauge(saleDriftDesc, float64(u.unbalanced), id)
		if u.stock > 0 {
			gauge(saleRatioDesc, float64(u.by["sold"])/float64(u.stock), id)
		}
	}
}
