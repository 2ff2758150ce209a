package record

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/flashsale-engine/flashsale/engine"
)

// differences names what an edit changed, each as [before, after], for the audit log.
func differences(was, now *engine.Sale) map[string]any {
	out := map[string]any{}
	note := func(name string, before, after any) {
		if before != after {
			out[name] = []any{before, after}
		}
	}
	note("name", was.Name, now.Name)
	note("currency", was.Currency, now.Currency)
	note("state", was.State, now.State)
	note("epoch", was.Epoch, now.Epoch)
	note("hold_ttl", was.HoldTTL.String(), now.HoldTTL.String())
	note("hold_cap", was.HoldCap.String(), now.HoldCap.String())
	note("per_buyer_limit", was.PerBuyerLimit, now.PerBuyerLimit)
	note("shards", was.Shards, now.Shards)
	if !slices.Equal(was.Leases, now.Leases) {
		out["leases"] = []any{was.Leases, now.Leases}
	}
	if !roomsEqual(was.Admission, now.Admission) {
		out["admission"] = []any{shownRoom(was.Admission), shownRoom(now.Admission)}
	}
	if !was.OpensAt.Equal(now.OpensAt) {
		out["opens_at"] = []any{timeOrNull(was.OpensAt), timeOrNull(now.OpensAt)}
	}
	if !was.ClosesAt.Equal(now.ClosesAt) {
		out["closes_at"] = []any{timeOrNull(was.ClosesAt), timeOrNull(now.ClosesAt)}
	}
	d := diffItems(was, now)
	stock := map[string]int64{}
	for i, no := range d.moved {
		stock[nameOf(was, now, no)] += d.units[i]
	}
	if len(stock) > 0 {
		out["stock"] = stock
	}
	if !d.empty() {
		out["skus"] = len(d.no) + len(d.gone)
	}
	return out
}

func nameOf(was, now *engine.Sale, no int16) string {
	for _, s := range []*engine.Sale{now, was} {
		if int(no) < len(s.Items) {
			return s.Items[no].SKU
		}
	}
	return ""
}

// itemDiff is the SKU rows to write, as columns, and the stock that moves.
type itemDiff struct {
	no           []int16
	sku, title   []string
	price, stock []int64

	gone  []int16 // rows to delete
	moved []int16 // whose stock differs …
	units []int64 // … by so many units
}

func (d *itemDiff) empty() bool { return len(d.no) == 0 && len(d.gone) == 0 }

func (d *itemDiff) move(no int16, units int64) {
	if units != 0 {
		d.moved, d.units = append(d.moved, no), append(d.units, units)
	}
}

func diffItems(was, now *engine.Sale) *itemDiff {
	d := &itemDiff{}
	before := make(map[uint16]engine.Item, len(was.Items))
	for _, it := range was.Items {
		before[it.No] = it
	}
	for _, it := range now.Items {
		old, known := before[it.No]
		delete(before, it.No)
		if known && old == it {
			continue
		}
		no := int16(it.No)
		d.no, d.sku, d.title = append(d.no, no), append(d.sku, it.SKU), append(d.title, it.Title)
		d.price, d.stock = append(d.price, it.UnitPrice), append(d.stock, it.Stock)
		d.move(no, it.Stock-old.Stock)
	}
	for _, it := range was.Items { // in order, so that the ledger reads well
		if _, gone := before[it.No]; gone {
			no := int16(it.No)
			d.gone = append(d.gone, no)
			d.move(no, -it.Stock)
		}
	}
	return d
}

// refuseBelowSold locks the SKU rows in their order and says in numbers what the
// CHECK would say in general.
func (d *itemDiff) refuseBelowSold(ctx context.Context, tx pgx.Tx, now *engine.Sale) error {
	if len(d.moved) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, `SELECT no, sku, sold FROM skus WHERE sale_no = $1 AND no = ANY ($2) ORDER BY no FOR UPDATE`, now.No, d.moved)
	if err != nil {
		return err
	}
	var no uint16
	var sku string
	var sold int64
	_, err = pgx.ForEachRow(rows, []any{&no, &sku, &sold}, func() error {
		if it, ok := now.ItemByNo(no); ok && it.Stock < sold {
			return engine.E(engine.CodeSaleState, "SKU %q has sold %d units; its stock cannot become %d", sku, sold, it.Stock).With("sold", sold)
		}
		return nil
	})
	return err
}

func constraint(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.ConstraintName
	}
	return ""
}
