package ops

import (
	"net/http"
	"strings"

	"github.com/flashsale-engine/flashsale/engine"
)

// shardView is one shard as operators see it.
type shardView struct {
	Shard int             `json:"shard"`
	Items []shardItemView `json:"items"`
}

type shardItemView struct {
	SKU       string `json:"sku"`
	Stock     int64  `json:"stock"` // what is there now
	Available int64  `json:"available"`
	Held      int64  `json:"held"`
	Paying    int64  `json:"paying"`
	Sold      int64  `json:"sold"`
}

// transferView is units on their way between two shards.
type transferView struct {
	From   int    `json:"from"`
	To     int    `json:"to"`
	Number int64  `json:"number"`
	SKU    string `json:"sku"`
	Units  int64  `json:"units"`
}

// getShards shows a sale shard by shard, with the transfers that are open.
func (s *Server) getShards(w http.ResponseWriter, r *http.Request) error {
	sale, err := s.Lifecycle.Store.Get(r.Context(), r.PathValue("sale"))
	if err != nil {
		return err
	}
	if sale.Epoch == 0 {
		return engine.E(engine.CodeSaleState, "sale %q is a draft; it is not at the gate", sale.ID).With("state", string(sale.State))
	}
	v, err := s.Lifecycle.Shards.Shards(r.Context(), sale)
	if err != nil {
		return err
	}
	shards, open := make([]shardView, 0, len(v.Shards)), make([]transferView, 0, len(v.Open))
	for _, c := range v.Shards {
		view := shardView{Shard: c.Shard}
		for _, it := range c.Items {
			view.Items = append(view.Items, shardItemView{it.SKU, it.Stock, it.Available, it.Held, it.Paying, it.Sold})
		}
		shards = append(shards, view)
	}
	for _, t := range v.Open {
		it, _ := sale.ItemByNo(t.No)
		open = append(open, transferView{t.From, t.To, t.Number, it.SKU, t.Units})
	}
	reply(w, http.StatusOK, map[string]any{"sale": sale.ID, "shards": shards, "transfers": open})
	return nil
}

func (s *Server) moveStock(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		SKU    string `json:"sku"`
		From   *int   `json:"from"`
		To     *int   `json:"to"`
		Units  int64  `json:"units"`
		Reason string `json:"reason"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if b.From == nil || b.To == nil {
		return engine.E(engine.CodeInvalidRequest, "from, to: name two shards of the sale, from 0").With("field", "from")
	}
	if err := reasoned(b.Reason, 200, "why the stock moves"); err != nil {
		return err
	}
	act := engine.Act{Actor: actor(r), Reason: b.Reason, Key: strings.Trim(r.Header.Get("Idempotency-Key"), `"`)}
	if _, err := s.Lifecycle.MoveStock(r.Context(), r.PathValue("sale"), b.SKU, *b.From, *b.To, b.Units, act); err != nil {
		return err
	}
	return s.getShards(w, r)
}
