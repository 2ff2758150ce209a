package record

import (
	"context"
	"encoding/binary"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Audit is engine.RecordAudit on Postgres. Each method reads one snapshot.
type Audit struct{ db *DB }

var _ engine.RecordAudit = (*Audit)(nil)

// NewAudit gives the reader for Verify.
func NewAudit(db *DB) *Audit { return &Audit{db: db} }

// saleRange gives the order ids of a sale as a range of the primary key.
func saleRange(no uint32) (from, to []byte) {
	from = binary.BigEndian.AppendUint32(nil, no)
	to = append(binary.BigEndian.AppendUint32(nil, no), make([]byte, engine.IDSize)...)
	for i := 4; i < len(to); i++ {
		to[i] = 0xff
	}
	return from, to
}

// Totals gives every SKU of a sale as four places of the record tell it.
func (a *Audit) Totals(ctx context.Context, saleNo uint32) ([]engine.RecordTotals, error) {
	from, to := saleRange(saleNo)
	return collect(ctx, a.db, pgx.RowToStructByPos[engine.RecordTotals], `
		WITH ledger AS (
			SELECT sku_no, sum(units) FILTER (WHERE kind = 'stock') AS stock, sum(units) FILTER (WHERE kind = 'sold') AS sold
			FROM stock_ledger WHERE sale_no = $1 GROUP BY sku_no
		), ordered AS (
			SELECT (l->>'no')::int AS no,
				sum((l->>'quantity')::bigint) FILTER (WHERE o.state = 'confirmed') AS confirmed,
				sum((l->>'quantity')::bigint) FILTER (WHERE o.state = 'refused') AS refused
			FROM orders o, jsonb_array_elements(o.lines) l
			WHERE o.id BETWEEN $2 AND $3 GROUP BY 1
		), running AS (`+runningSQL+`)
		SELECT k.no, k.stock, k.sold, coalesce(g.stock, 0)::bigint, coalesce(g.sold, 0)::bigint,
			coalesce(o.confirmed, 0)::bigint, coalesce(o.refused, 0)::bigint, coalesce(r.stock, 0)::bigint, coalesce(r.sold, 0)::bigint
		FROM skus k LEFT JOIN ledger g ON g.sku_no = k.no LEFT JOIN ordered o ON o.no = k.no
			LEFT JOIN running r ON r.sale_no = k.sale_no AND r.sku_no = k.no
		WHERE k.sale_no = $1 ORDER BY k.no`, int64(saleNo), from, to)
}

// Missing gives those of ids that have no order, confirmed or refused.
func (a *Audit) Missing(ctx context.Context, ids []engine.ReservationID) ([]engine.ReservationID, error) {
	in := make([][]byte, len(ids))
	for i, id := range ids {
		in[i] = id.Bytes()
	}
	return collect(ctx, a.db, scanReservationID, `
		SELECT x.id FROM unnest($1::bytea[]) AS x (id)
		WHERE NOT EXISTS (SELECT FROM orders o WHERE o.id = x.id)`, in)
}

// Orphans gives orders that the ledger names and the orders table lacks.
func (a *Audit) Orphans(ctx context.Context, saleNo uint32) ([]engine.ReservationID, error) {
	from, to := saleRange(saleNo)
	causes, err := collect(ctx, a.db, pgx.RowTo[string], `
		SELECT DISTINCT g.cause FROM stock_ledger g
		WHERE g.sale_no = $1 AND g.kind = 'sold'
			AND NOT EXISTS (SELECT FROM orders o WHERE o.order_id = g.cause AND o.state = 'confirmed' AND o.id BETWEEN $2 AND $3)
		ORDER BY g.cause`, int64(saleNo), from, to)
	out := make([]engine.ReservationID, 0, len(causes))
	for _, c := range causes {
		if id, ok := engine.ParseOrderID(c); ok {
			out = append(out, id)
		}
	}
	return out, err
}

// Unpaid gives confirmed orders whose lines do not come to their total, or
// without an authorised or captured payment of it, unless an operator had it
// refunded; and captured payments without a confirmed order. With what Totals
// compares, units sold, orders and money of a sale are one sum.
func (a *Audit) Unpaid(ctx context.Context, saleNo uint32) ([]engine.UnpaidOrder, error) {
	from, to := saleRange(saleNo)
	return collect(ctx, a.db, scanUnpaid, `
		SELECT o.id, o.attempt, '`+string(engine.CauseOrderMoney)+`', CASE
			WHEN p.id IS NULL THEN 'the payment attempt is not on record'
			WHEN p.state NOT IN ('authorised', 'captured') AND NOT (p.state = 'refunded' AND p.refund_reason <> '') THEN 'the payment is ' || p.state
			ELSE format('the payment is of %s %s, the order of %s %s', p.amount, p.currency, o.total, o.currency) END
		FROM orders o LEFT JOIN payments p ON p.id = o.attempt
		WHERE o.id BETWEEN $2 AND $3 AND o.state = 'confirmed'
			AND (p.id IS NULL OR p.state NOT IN ('authorised', 'captured') AND NOT (p.state = 'refunded' AND p.refund_reason <> '') OR p.amount <> o.total OR p.currency <> o.currency)
		UNION ALL
		SELECT o.id, o.attempt, '`+string(engine.CauseOrderTotal)+`', format('its lines come to %s, its total is %s', l.sum, o.total)
		FROM orders o, LATERAL (
			SELECT sum((x->>'quantity')::bigint * k.unit_price) AS sum FROM jsonb_array_elements(o.lines) x
			LEFT JOIN skus k ON k.sale_no = $1 AND k.no = (x->>'no')::int) l
		WHERE o.id BETWEEN $2 AND $3 AND o.state = 'confirmed' AND l.sum IS DISTINCT FROM o.total
		UNION ALL
		SELECT p.reservation, p.id, '`+string(engine.CauseCaptured)+`', 'the payment is captured, and no confirmed order has it'
		FROM payments p
		WHERE p.sale_no = $1 AND p.state = 'captured'
			AND NOT EXISTS (SELECT FROM orders o WHERE o.id = p.reservation AND o.attempt = p.id AND o.state = 'confirmed')`,
		int64(saleNo), from, to)
}

// Standing says how the record sees attempts; those it does not know are left out.
func (a *Audit) Standing(ctx context.Context, ids []engine.AttemptID) ([]engine.Standing, error) {
	in := make([][]byte, len(ids))
	for i := range ids {
		in[i] = ids[i][:]
	}
	return collect(ctx, a.db, scanStanding, `
		SELECT p.id, p.state, p.amount, p.currency, p.refund_reason <> '',
			EXISTS (SELECT FROM orders o WHERE o.id = p.reservation AND o.attempt = p.id AND o.state = 'confirmed')
		FROM payments p JOIN unnest($1::bytea[]) AS x (id) ON x.id = p.id`, in)
}

// DeadLetters counts events that could not become orders and that nobody has
// settled, per reason.
func (a *Audit) DeadLetters(ctx context.Context) (map[string]int, error) {
	out := map[string]int{}
	err := a.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, `SELECT reason, count(*) FROM dead_letters WHERE state = 'open' GROUP BY reason`)
		if err != nil {
			return err
		}
		var reason string
		var n int
		_, err = pgx.ForEachRow(rows, []any{&reason, &n}, func() error { out[reason] = n; return nil })
		return err
	})
	return out, err
}

// DeadReservations gives accepted reservations of a sale that have no order and
// whose event is a dead letter, open or dropped. That they were accepted, their
// payment attempt says, which was on record before any money was.
func (a *Audit) DeadReservations(ctx context.Context, saleNo uint32) ([]engine.DeadReservation, error) {
	return collect(ctx, a.db, scanDeadReservation, `
		SELECT DISTINCT ON (d.reservation) d.reservation, d.id, d.reason, d.state = 'dropped'
		FROM dead_letters d
		WHERE d.sale_no = $1 AND d.state IN ('open', 'dropped')
			AND EXISTS (SELECT FROM payments p WHERE p.reservation = d.reservation)
			AND NOT EXISTS (SELECT FROM orders o WHERE o.id = d.reservation)
		ORDER BY d.reservation, d.state = 'dropped' DESC, d.id`, int64(saleNo))
}

func scanDeadReservation(row pgx.CollectableRow) (r engine.DeadReservation, err error) {
	var id []byte
	err = row.Scan(&id, &r.Letter, &r.Reason, &r.Dropped)
	r.ID, _ = engine.ReservationIDFromBytes(id)
	return r, err
}

// collect runs one look over whole tables. Right after a sale they have no
// statistics yet, and a planner that takes a hundred thousand orders for two
// would compare each with each: it is told to hash. What cannot be hashed then
// looks so dear that Postgres would compile it first, for seconds: it is told not to.
func collect[T any](ctx context.Context, db *DB, scan pgx.RowToFunc[T], sql string, args ...any) (out []T, err error) {
	err = db.with(ctx, reading, func(c *pgxpool.Conn) error {
		return pgx.BeginTxFunc(ctx, c, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `SELECT set_config('enable_nestloop', 'off', true), set_config('jit', 'off', true), set_config('work_mem', '64MB', true)`); err != nil {
				return err
			}
			rows, err := tx.Query(ctx, sql, args...)
			if err != nil {
				return err
			}
			out, err = pgx.CollectRows(rows, scan)
			return err
		})
	})
	return out, err
}

func scanReservationID(row pgx.CollectableRow) (engine.ReservationID, error) {
	var b []byte
	err := row.Scan(&b)
	id, _ := engine.ReservationIDFromBytes(b)
	return id, err
}

func scanStanding(row pgx.CollectableRow) (s engine.Standing, err error) {
	var id []byte
	err = row.Scan(&id, &s.State, &s.Amount.Amount, &s.Amount.Currency, &s.Owed, &s.Ordered)
	copy(s.ID[:], id)
	return s, err
}

func scanUnpaid(row pgx.CollectableRow) (u engine.UnpaidOrder, err error) {
	var id, attempt []byte
	err = row.Scan(&id, &attempt, &u.Cause, &u.Reason)
	u.ID, _ = engine.ReservationIDFromBytes(id)
	copy(u.Attempt[:], attempt)
	return u, err
}
