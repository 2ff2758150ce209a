package bench

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest"
)

// Sale is a whole sale to run here: who comes, for what, and how long the provider takes.
type Sale struct {
	Buyers, Stock int
	Window        time.Duration
	Hesitate      time.Duration
	Provider      time.Duration
	Abandon       float64
	Seed          uint64
}

// Sold is what became of it.
type Sold struct {
	loadtest.Report
	SellOut   float64 // seconds from the first arrival to the last hold
	Generator float64 // processor seconds of the load generator per buyer
}

// Sell runs sales, one after the other, on a node of role api with a processor of its
// own; all else shares the other processor.
func Sell(ctx context.Context, cfg Config, sales ...Sale) (out []Sold, err error) {
	w, err := newWorld(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer w.close()
	s, err := w.get(ctx, "product-split")
	if err != nil {
		return nil, err
	}
	c := climber{world: w}
	if _, err := c.buy(ctx, s, warmRate, 3*time.Second); err != nil { // warms up
		return nil, err
	}
	for _, sale := range sales {
		w.say("%d buyers in %s for %d units", sale.Buyers, sale.Window, sale.Stock)
		r, err := w.sell(ctx, s, sale)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func (w *world) sell(ctx context.Context, s *server, sale Sale) (out Sold, err error) {
	if err := s.slowProvider(ctx, sale.Provider); err != nil {
		return out, err
	}
	name := w.name()
	body := map[string]any{"name": "Benchmark", "currency": "USD", "hold_ttl": "30m", "hold_cap": "2h", "per_buyer_limit": 1, "shards": 1,
		"items": []adminItem{{SKU: sku(0), Title: "A thing", UnitPrice: 1000, Stock: int64(sale.Stock)}}}
	if err := s.call(ctx, "PUT", "/admin/v1/sales/"+name, body, nil); err != nil {
		return out, err
	}
	for _, step := range []string{"/arm", "/open"} {
		if err := s.call(ctx, "POST", "/admin/v1/sales/"+name+step, nil, nil); err != nil {
			return out, err
		}
	}
	var last atomic.Int64
	used := ranFor(os.Getpid())
	out.Report, err = loadtest.Run(ctx, loadtest.Config{API: "http://" + s.addr, Sale: name, SKUs: []string{sku(0)}, BuyerKey: []byte(buyerKey),
		Rate: float64(sale.Buyers) / sale.Window.Seconds(), Duration: sale.Window, Hesitate: sale.Hesitate, Abandon: sale.Abandon, Seed: sale.Seed, ReadBack: -1,
		Answered: func(o loadtest.Outcome) {
			if o.Step == loadtest.StepReserve && o.Status == http.StatusCreated {
				last.Store(time.Now().UnixNano())
			}
		}})
	if err != nil {
		return out, err
	}
	out.Generator = (ranFor(os.Getpid()) - used).Seconds() / float64(max(1, out.Arrivals))
	out.SellOut = time.Unix(0, last.Load()).Sub(out.StartedAt).Seconds()
	if out.Dropped > 0 || out.Failed > 0 || out.Holds > int64(sale.Stock) {
		return out, fmt.Errorf("bench: %d arrivals were dropped, %d failed, %d units of %d were held: %v", out.Dropped, out.Failed, out.Holds, sale.Stock, out.Failures)
	}
	return out, s.allCaptured(ctx, 250*time.Millisecond)
}
