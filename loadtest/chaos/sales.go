package chaos

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/rest"
)

// sale is one of those that the crowd comes to.
type sale struct {
	id     string
	skus   []string
	stock  int64 // of each SKU
	shards int
	ttl    time.Duration
}

const (
	perBuyer  = 2 // units
	unitPrice = 1500
)

// openSales opens a sale on one shard and one on three, which the crowd sells
// out, and one for those who look whether orders can be placed at all.
func (w *world) openSales(ctx context.Context) error {
	for _, s := range w.sales() {
		var items []map[string]any
		for _, sku := range s.skus {
			items = append(items, map[string]any{"sku": sku, "title": sku, "unit_price": unitPrice, "stock": s.stock})
		}
		err := w.admin(ctx, http.MethodPut, "/sales/"+s.id, map[string]any{"name": s.id, "currency": "USD", "hold_ttl": s.ttl.String(), "hold_cap": (s.ttl + 30*time.Second).String(),
			"per_buyer_limit": perBuyer, "shards": s.shards, "items": items}, nil)
		for _, move := range []string{"arm", "open"} {
			if err == nil {
				err = w.admin(ctx, http.MethodPost, "/sales/"+s.id+"/"+move, nil, nil)
			}
		}
		if err != nil {
			return err
		}
	}
	return w.awaitOpen(ctx)
}

// awaitOpen waits until every node knows that the sales are open: for half a
// second each goes by what it knew before.
func (w *world) awaitOpen(ctx context.Context) error {
	for _, s := range w.sales() {
		for _, n := range w.front.nodes {
			err := eventually(ctx, "sale "+s.id+" is open at "+n, func(ctx context.Context) error {
				var v struct{ State string }
				if err := rest.JSON(ctx, http.MethodGet, "http://"+n+"/v1/sales/"+s.id, "", nil, &v); err != nil {
					return err
				}
				if v.State != "open" {
					return fmt.Errorf("it is %s", v.State)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) sales() []sale {
	half := int64(w.cfg.Rate * w.cfg.Duration.Seconds() / 2) // arrivals at each sale
	stock := max(half/5, 4)
	if w.cfg.Pay > 0 { // nearly enough for all: they are to be held, and the end is to be tight
		stock = max(half*17/40, 4)
	}
	return []sale{
		{id: w.named("one"), skus: []string{"A", "B"}, stock: stock, shards: 1, ttl: 8 * time.Second},
		{id: w.named("three"), skus: []string{"A", "B"}, stock: stock, shards: 3, ttl: 8 * time.Second},
		{id: w.named(probeSale), skus: []string{"P"}, stock: 1_000_000, shards: 1, ttl: 5 * time.Second},
	}
}
