package record

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// querier is a connection or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

const saleColumns = `s.no, s.id, s.name, s.currency, s.state, s.epoch, s.opens_at, s.closes_at,
	s.hold_ttl_ms, s.hold_cap_ms, s.per_buyer_limit, s.shards, s.secret, s.version`

// readSale reads one sale by name; suffix may lock its row.
func readSale(ctx context.Context, q querier, id, suffix string) (*engine.Sale, error) {
	found, err := readSales(ctx, q, "s.id = $1 "+suffix, id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, engine.E(engine.CodeNotFound, "no sale %q", id)
	}
	return found[0], nil
}

// readSales reads the sales that a condition names, with their SKUs.
func readSales(ctx context.Context, q querier, where string, args ...any) ([]*engine.Sale, error) {
	rows, err := q.Query(ctx, "SELECT "+saleColumns+" FROM sales s WHERE "+where, args...)
	if err != nil {
		return nil, err
	}
	sales, err := pgx.CollectRows(rows, scanSale)
	if err != nil || len(sales) == 0 {
		return nil, err
	}
	byNo := make(map[uint32]*engine.Sale, len(sales))
	nos := make([]int64, len(sales))
	for i, s := range sales {
		byNo[s.No], nos[i] = s, int64(s.No)
	}
	rows, err = q.Query(ctx, `SELECT sale_no, no, sku, title, unit_price, stock FROM skus
		WHERE sale_no = ANY ($1) ORDER BY sale_no, no`, nos)
	if err != nil {
		return nil, err
	}
	var sale uint32
	var it engine.Item
	_, err = pgx.ForEachRow(rows, []any{&sale, &it.No, &it.SKU, &it.Title, &it.UnitPrice, &it.Stock}, func() error {
		byNo[sale].Items = append(byNo[sale].Items, it)
		return nil
	})
	if err == nil {
		err = readLeases(ctx, q, byNo, nos)
	}
	if err == nil {
		err = readRooms(ctx, q, byNo, nos)
	}
	for _, s := range sales {
		s.Index()
	}
	return sales, err
}

func scanSale(row pgx.CollectableRow) (*engine.Sale, error) {
	var s engine.Sale
	var opens, closes *time.Time
	var ttl, hold int64
	var secret []byte
	err := row.Scan(&s.No, &s.ID, &s.Name, &s.Currency, &s.State, &s.Epoch, &opens, &closes,
		&ttl, &hold, &s.PerBuyerLimit, &s.Shards, &secret, &s.Version)
	if err != nil {
		return nil, err
	}
	if opens != nil {
		s.OpensAt = opens.UTC()
	}
	if closes != nil {
		s.ClosesAt = closes.UTC()
	}
	s.HoldTTL, s.HoldCap = time.Duration(ttl)*time.Millisecond, time.Duration(hold)*time.Millisecond
	if copy(s.Secret[:], secret) != len(s.Secret) {
		return nil, errors.New("record: a sale's secret has the wrong length")
	}
	return &s, nil
}

// writeItems brings the SKU rows from was to now, and books every difference of
// stock in the ledger.
func writeItems(ctx context.Context, tx pgx.Tx, was, now *engine.Sale, act engine.Act) error {
	d := diffItems(was, now)
	if d.empty() {
		return nil
	}
	if err := d.refuseBelowSold(ctx, tx, now); err != nil {
		return err
	}
	if len(d.gone) > 0 {
		if _, err := tx.Exec(ctx, `DELETE FROM skus WHERE sale_no = $1 AND no = ANY ($2)`, now.No, d.gone); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO skus (sale_no, no, sku, title, unit_price, stock)
		SELECT $1, * FROM unnest($2::smallint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
		ON CONFLICT (sale_no, no) DO UPDATE
		SET sku = excluded.sku, title = excluded.title, unit_price = excluded.unit_price, stock = excluded.stock`,
		now.No, d.no, d.sku, d.title, d.price, d.stock)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO stock_ledger (sale_no, sku_no, kind, units, reason, cause, actor)
		SELECT $1, no, 'stock', units, $4, $5, $6 FROM unnest($2::smallint[], $3::bigint[]) AS d (no, units)`,
		now.No, d.moved, d.units, orElse(act.Reason, act.Name), act.Key, act.Actor)
	return err
}

func writeAudit(ctx context.Context, tx pgx.Tx, act engine.Act, target string, detail map[string]any) error {
	if act.Reason != "" {
		detail["reason"] = act.Reason
	}
	text, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO audit_log (actor, act, target, detail, key) VALUES ($1, $2, $3, $4, $5)`,
		act.Actor, act.Name, target, text, act.Key)
	return err
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
