package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/loadtest"
	"github.com/flashsale-engine/flashsale/loadtest/rest"
)

// books are the record's and the provider's, read when all is quiet.
type books struct {
	orders  map[string]bookedOrder // by id
	units   map[[2]string]int64    // sale and SKU → units of confirmed orders
	stock   map[[2]string][2]int64 // sale and SKU → stock, sold
	buyers  [][]string             // sale, buyer, units: those above the limit
	intents []intent
}

type bookedOrder struct {
	state, buyer string
	total        int64
}

// intent is a payment in the provider's books.
type intent struct {
	ID       string            `json:"id"`
	Status   string            `json:"status"`
	Received int64             `json:"amount_received"`
	Refunded int64             `json:"amount_refunded"`
	Metadata map[string]string `json:"metadata"`
}

func (w *world) readBooks(ctx context.Context) (b books, err error) {
	url := w.stack.Postgres.URL
	b = books{orders: map[string]bookedOrder{}, units: map[[2]string]int64{}, stock: map[[2]string][2]int64{}}
	rows, err := devstack.PostgresRows(ctx, url, `SELECT order_id, state, buyer, total FROM orders`)
	if err != nil {
		return b, err
	}
	for _, r := range rows {
		b.orders[r[0]] = bookedOrder{r[1], r[2], number(r[3])}
	}
	if rows, err = devstack.PostgresRows(ctx, url, `SELECT sale_id, l->>'sku', sum((l->>'quantity')::bigint)::bigint
		FROM orders, jsonb_array_elements(lines) l WHERE state = 'confirmed' GROUP BY 1, 2`); err != nil {
		return b, err
	}
	for _, r := range rows {
		b.units[[2]string{r[0], r[1]}] = number(r[2])
	}
	if rows, err = devstack.PostgresRows(ctx, url, `SELECT s.id, k.sku, k.stock, k.sold FROM skus k JOIN sales s ON s.no = k.sale_no`); err != nil {
		return b, err
	}
	for _, r := range rows {
		b.stock[[2]string{r[0], r[1]}] = [2]int64{number(r[2]), number(r[3])}
	}
	if b.buyers, err = devstack.PostgresRows(ctx, url, `SELECT sale_id, buyer, sum((l->>'quantity')::bigint)::bigint
		FROM orders, jsonb_array_elements(lines) l WHERE state = 'confirmed' GROUP BY 1, 2 HAVING sum((l->>'quantity')::bigint) > $1`, perBuyer); err != nil {
		return b, err
	}
	var all struct{ Intents []intent }
	err = rest.JSON(ctx, http.MethodGet, w.boxURL+"/books", "", nil, &all)
	b.intents = all.Intents
	return b, err
}

func number(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // a bigint's text
	return n
}

// lost counts the orders that buyers were told of and that the record has not as confirmed.
func (b books) lost(told []loadtest.Told) (n int) {
	for _, t := range told {
		if o, there := b.orders[t.Order]; !there || o.state != string(engine.Confirmed) {
			n++
		}
	}
	return n
}

// wrongs compares the books with each other and with what buyers were told.
func (b books) wrongs(told []loadtest.Told) (out []string) {
	wrong := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, t := range told {
		switch o, there := b.orders[t.Order]; {
		case !there:
			wrong("LOST: order %s was confirmed to buyer %s and is not in the record", t.Order, t.Buyer)
		case o.state != string(engine.Confirmed):
			wrong("LOST: order %s was confirmed to buyer %s and is %s in the record", t.Order, t.Buyer, o.state)
		case o.buyer != t.Buyer:
			wrong("order %s was confirmed to buyer %s and belongs to %s in the record", t.Order, t.Buyer, o.buyer)
		}
	}
	for k, n := range b.stock {
		if n[1] > n[0] || b.units[k] > n[0] {
			wrong("OVERSOLD: %s of sale %s: stock %d, sold %d, in confirmed orders %d", k[1], k[0], n[0], n[1], b.units[k])
		}
		if n[1] != b.units[k] {
			wrong("DRIFT: %s of sale %s: the record says %d sold, its confirmed orders have %d", k[1], k[0], n[1], b.units[k])
		}
	}
	for _, r := range b.buyers {
		wrong("buyer %s has %s units of sale %s; the limit is %d", r[1], r[2], r[0], perBuyer)
	}
	paid := map[string]int64{}
	for _, in := range b.intents {
		kept := in.Received - in.Refunded
		if in.Status == "requires_capture" {
			wrong("UNPAID: payment %s of order %s is still authorised", in.ID, in.Metadata["order"])
		}
		if in.Status != "succeeded" || kept == 0 {
			continue
		}
		order := in.Metadata["order"]
		paid[order] += kept
		if o, there := b.orders[order]; !there || o.state != string(engine.Confirmed) {
			wrong("UNPAID: payment %s took %d and its order %s is not there", in.ID, kept, order)
		}
	}
	for id, o := range b.orders {
		if o.state == string(engine.Confirmed) && paid[id] != o.total {
			wrong("UNPAID: order %s costs %d and %d was taken", id, o.total, paid[id])
		}
	}
	slices.Sort(out)
	return out
}

// settled says that nothing is under way any more at the record or the provider.
func (w *world) settled(ctx context.Context) error {
	rows, err := devstack.PostgresRows(ctx, w.stack.Postgres.URL, `SELECT state, count(*) FROM payments WHERE state NOT IN ('captured', 'declined', 'voided', 'refunded') GROUP BY 1`)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		return fmt.Errorf("payments under way: %v", rows)
	}
	var all struct{ States map[string]int }
	if err := rest.JSON(ctx, http.MethodGet, w.boxURL+"/books?intents=false", "", nil, &all); err != nil {
		return err
	}
	if n := all.States["requires_capture"] + all.States["processing"]; n > 0 {
		return fmt.Errorf("%d payments are open at the provider", n)
	}
	return nil
}

// verify asks the engine for its four zeros.
func (w *world) verify(ctx context.Context) (v engine.Verdict, raw json.RawMessage, err error) {
	if err = w.admin(ctx, http.MethodGet, "/verify?settle=15s", nil, &raw); err != nil {
		return v, nil, err
	}
	return v, raw, json.Unmarshal(raw, &v)
}
