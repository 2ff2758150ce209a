package record

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// runningSQL adds up the stock ledger of all sales from its running sums and from
// the rows that are not sealed yet: both in one snapshot, so a row is in exactly one.
var runningSQL = `
	SELECT sale_no, sku_no, sum(amount) FILTER (WHERE kind = 'stock') AS stock, sum(amount) FILTER (WHERE kind = 'sold') AS sold
	FROM (
		SELECT sale_no, sku_no, kind, amount FROM ledger_sums WHERE ledger = 'stock'
		UNION ALL
		SELECT sale_no, sku_no, kind, units FROM stock_ledger WHERE (place, id) > (` + sealedUpTo("stock") + `)
	) x GROUP BY 1, 2`

// Brief gives every SKU of all sales that are at the gate and not closed, without
// counting an order. It is meant to be asked each second, so it goes by indexes:
// how few rows are not sealed yet is nothing that a planner can know.
func (a *Audit) Brief(ctx context.Context) (out []engine.RecordBrief, err error) {
	err = a.db.tx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT set_config('jit', 'off', true), set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			WITH running AS MATERIALIZED (`+runningSQL+`), refused AS MATERIALIZED (
				SELECT o.sale_no, (l->>'no')::int AS no, sum((l->>'quantity')::bigint) AS units
				FROM orders o, jsonb_array_elements(o.lines) l WHERE o.state = 'refused' GROUP BY 1, 2)
			SELECT k.sale_no, k.no, k.stock, k.sold, coalesce(r.stock, 0)::bigint, coalesce(r.sold, 0)::bigint, coalesce(f.units, 0)::bigint
			FROM sales s JOIN skus k ON k.sale_no = s.no
				LEFT JOIN running r ON r.sale_no = k.sale_no AND r.sku_no = k.no
				LEFT JOIN refused f ON f.sale_no = k.sale_no AND f.no = k.no
			WHERE s.epoch > 0 AND s.state <> 'closed' ORDER BY k.sale_no, k.no`)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[engine.RecordBrief])
		return err
	})
	return out, err
}

// Money gives attempts whose movements in the money ledger do not come to the
// payment's state and amount, and movements of attempts that are not there.
func (a *Audit) Money(ctx context.Context, saleNo uint32) ([]engine.UnpaidOrder, error) {
	from, to := saleRange(saleNo)
	return collect(ctx, a.db, scanUnpaid, `
		WITH moved AS (
			SELECT attempt, reservation, coalesce(sum(amount) FILTER (WHERE kind = 'authorised'), 0) AS authorised, coalesce(sum(amount) FILTER (WHERE kind = 'captured'), 0) AS captured,
				coalesce(sum(amount) FILTER (WHERE kind = 'voided'), 0) AS voided, coalesce(sum(amount) FILTER (WHERE kind = 'refunded'), 0) AS refunded
			FROM money_ledger WHERE reservation BETWEEN $2 AND $3 GROUP BY 1, 2
		), paid AS (
			SELECT id, reservation, state, amount,
				CASE WHEN state IN ('authorised', 'captured', 'refunded') THEN amount ELSE 0 END AS authorised,
				CASE WHEN state IN ('captured', 'refunded') THEN amount ELSE 0 END AS captured,
				CASE WHEN state = 'refunded' THEN amount ELSE 0 END AS refunded
			FROM payments WHERE sale_no = $1
		)
		SELECT coalesce(p.reservation, m.reservation), coalesce(p.id, m.attempt), '`+string(engine.CauseMoneyLedger)+`',
			format('the payment is %s of %s; the money ledger has authorised %s, captured %s, voided %s, refunded %s',
				coalesce(p.state, 'not there'), coalesce(p.amount, 0), coalesce(m.authorised, 0), coalesce(m.captured, 0), coalesce(m.voided, 0), coalesce(m.refunded, 0))
		FROM paid p FULL JOIN moved m ON m.attempt = p.id
		WHERE p.id IS NULL
			OR coalesce(m.captured, 0) <> p.captured OR coalesce(m.refunded, 0) <> p.refunded
			-- A voided one was held before, or never.
			OR coalesce(m.authorised, 0) - coalesce(m.voided, 0) <> p.authorised
			OR coalesce(m.voided, 0) <> 0 AND (p.state <> 'voided' OR m.voided <> p.amount)`, int64(saleNo), from, to)
}
