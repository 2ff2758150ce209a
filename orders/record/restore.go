package record

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// Note writes a line of the audit log.
func (a *Audit) Note(ctx context.Context, act engine.Act, target string, detail map[string]any) error {
	return a.db.tx(ctx, func(tx pgx.Tx) error { return writeAudit(ctx, tx, act, target, detail) })
}

// Restore writes the row of a confirmed order anew that the stock ledger has sold
// to and that is gone: engine.Repairer says the rest. What was sold is taken from
// the ledger, whose it was and what was paid from the payment, and the two must
// agree; nothing is sold and no money moves. The SKU rows are locked first, as the
// order writer does, so the two cannot both make the order.
func (a *Audit) Restore(ctx context.Context, id engine.ReservationID, h engine.Hold, act engine.Act) error {
	return a.db.tx(ctx, func(tx pgx.Tx) error {
		lines, total, at, err := soldTo(ctx, tx, id)
		if err != nil {
			return err
		}
		raw, err := json.Marshal(lines)
		if err != nil {
			return err
		}
		pays, err := payerOf(ctx, tx, id, h.Fence, total)
		if err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, `
			INSERT INTO orders (id, order_id, sale_no, sale_id, buyer, state, lines, total, currency, attempt, provider, epoch, seq, reserved_at, accepted_at, placed_at)
			SELECT $1, $2, s.no, s.id, p.buyer, 'confirmed', $3, p.amount, p.currency, p.id, p.provider, s.epoch, $4, $5, $6, $6
			FROM payments p JOIN sales s ON s.no = p.sale_no WHERE p.id = $7
			ON CONFLICT (id, reserved_at) DO NOTHING`, id.Bytes(), id.Order(), raw, int64(h.Seq), id.CreatedAt(), at, pays)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		return writeAudit(ctx, tx, act, id.Order(), map[string]any{"lines": lines, "total": total})
	})
}

// soldTo gives what the ledger has sold to an order, with the SKUs' rows locked.
func soldTo(ctx context.Context, tx pgx.Tx, id engine.ReservationID) (lines []engine.PricedLine, total int64, at time.Time, err error) {
	rows, err := tx.Query(ctx, `
		WITH moved AS MATERIALIZED (
			SELECT sku_no, sum(units) AS units, min(at) AS at FROM stock_ledger WHERE sale_no = $1 AND cause = $2 AND kind = 'sold' GROUP BY 1 HAVING sum(units) > 0)
		SELECT k.no, k.sku, m.units, k.unit_price, m.at FROM moved m JOIN skus k ON k.sale_no = $1 AND k.no = m.sku_no ORDER BY k.no FOR UPDATE OF k`,
		int64(id.Sale), id.Order())
	if err != nil {
		return nil, 0, at, err
	}
	var l engine.PricedLine
	_, err = pgx.ForEachRow(rows, []any{&l.No, &l.SKU, &l.Quantity, &l.UnitPrice, &at}, func() error {
		lines, total = append(lines, l), total+l.UnitPrice*int64(l.Quantity)
		return nil
	})
	if err == nil && len(lines) == 0 {
		err = engine.E(engine.CodeInvalidRequest, "the stock ledger has sold nothing to order %s", id.Order())
	}
	return lines, total, at, err
}

// payerOf finds the one attempt that can have paid for an order, and holds it fast.
func payerOf(ctx context.Context, tx pgx.Tx, id engine.ReservationID, f engine.Fence, total int64) ([]byte, error) {
	rows, err := tx.Query(ctx, `
		SELECT p.id FROM payments p WHERE p.reservation = $1 AND p.amount = $2
			AND (p.state IN ('authorised', 'captured') OR p.state = 'refunded' AND p.refund_reason <> '')
			AND ($3::bytea IS NULL OR substring(p.id FROM 1 FOR 8) = $3) FOR UPDATE`, id.Bytes(), total, fenceOrNull(f))
	if err != nil {
		return nil, err
	}
	pays, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]byte])
	if errors.Is(err, pgx.ErrNoRows) || errors.Is(err, pgx.ErrTooManyRows) {
		return nil, engine.E(engine.CodeInvalidRequest, "there is not exactly one authorised or captured payment of %d for order %s", total, id.Order())
	}
	return pays, err
}

func fenceOrNull(f engine.Fence) []byte {
	if f == (engine.Fence{}) {
		return nil
	}
	return f[:]
}
