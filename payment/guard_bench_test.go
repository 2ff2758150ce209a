package payment

import (
	"context"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// What the router adds to it.
func BenchmarkRouterChooseAndAuthorise(b *testing.B) {
	r, _, _, _ := two(b, "a currency=USD fixed=30 bps=290", "b method=pm_card_* bps=140")
	ctx, a := context.Background(), engine.Attempt{Method: "pm_card_visa", Amount: engine.Money{Amount: 4999, Currency: "USD"}}
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if a.Provider, err = r.Choose(b.Context(), a); err == nil {
			_, err = r.Authorise(ctx, a)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// What the guard itself costs around a provider that answers at once.
func BenchmarkGuardAuthorise(b *testing.B) {
	g, _ := guard(b, GuardConfig{Board: board(b, prometheus.NewRegistry())}, func(context.Context, int) (engine.Payment, error) { return good, nil })
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Authorise(ctx, engine.Attempt{}); err != nil {
			b.Fatal(err)
		}
	}
}
