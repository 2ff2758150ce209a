package ops

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/flashsale-engine/flashsale/engine"
)

// saleGate is a gate of which only the counters are asked.
type saleGate struct {
	engine.GateReader
	counters []engine.Counters
	err      error
}

func (g *saleGate) Counters(context.Context, *engine.Sale) ([]engine.Counters, error) {
	return g.counters, g.err
}

func TestUnitsOfASaleAreShownAndAGateThatDoesNotAddUp(t *testing.T) {
	g := &saleGate{counters: []engine.Counters{{Stock: 10, Available: 5, Held: 1, Paying: 1, Sold: 3}, {Stock: 10, Available: 4, Sold: 4, InFlight: 1}, {Stock: 0, Available: 2}}}
	m := NewSaleMetrics(func() []*engine.Sale { return []*engine.Sale{{ID: "drop", State: engine.SaleOpen}} }, g)
	m.look(t.Context())
	want := `
		# HELP flashsale_gate_unbalanced_units Units by which the gate's counters of a sale do not add up to its stock, over all SKUs. Not zero: the gate does not conserve.
		# TYPE flashsale_gate_unbalanced_units gauge
		flashsale_gate_unbalanced_units{sale="drop"} 3
		# HELP flashsale_sale_sell_through_ratio Sold units by stock.
		# TYPE flashsale_sale_sell_through_ratio gauge
		flashsale_sale_sell_through_ratio{sale="drop"} 0.35
	`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "flashsale_gate_unbalanced_units", "flashsale_sale_sell_through_ratio"); err != nil {
		t.Error(err) // one unit is missing of one SKU, and two are too many of another
	}
	// Without an answer there are no numbers; a gate that refuses is said to, and since when.
	g.counters, g.err = nil, engine.E(engine.CodeUnavailable, "away")
	m.look(t.Context())
	if !m.seen["drop"].refusing.IsZero() || testutil.CollectAndCount(m, "flashsale_sale_units") != 0 {
		t.Errorf("%+v", m.seen["drop"])
	}
	g.err = engine.E(engine.CodeGateFrozen, "lost")
	m.look(t.Context())
	since := m.seen["drop"].refusing
	m.look(t.Context())
	if since.IsZero() || !m.seen["drop"].refusing.Equal(since) {
		t.Errorf("refusing since %s, then since %s", since, m.seen["drop"].refusing)
	}
}
