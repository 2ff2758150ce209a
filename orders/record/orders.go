package record

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Orders is engine.Orders on Postgres.
type Orders struct{ db *DB }

var _ engine.Orders = (*Orders)(nil)

// NewOrders gives the reader of orders.
func NewOrders(db *DB) *Orders { return &Orders{db: db} }

// selectOrders reads orders with the present state of the payment that made each.
// Who names an order names its month, too: the time in its id, see migration 7.
const selectOrders = `
	SELECT o.id, o.sale_id, o.buyer, o.state, o.lines, o.total, o.currency, o.attempt, o.provider,
		coalesce(p.state, 'none'), o.reason, o.placed_at, o.seq, o.epoch, coalesce(p.traceparent, '')
	FROM orders o LEFT JOIN payments p ON p.id = o.attempt `

// Order gives a committed order, confirmed or refused: CodeNotFound.
func (r *Orders) Order(ctx context.Context, id engine.ReservationID) (o engine.Order, err error) {
	err = r.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		o, err = scanOrder(c.QueryRow(ctx, selectOrders+`WHERE o.id = $1 AND o.reserved_at = $2`, id.Bytes(), id.CreatedAt()))
		return notFound(err, "no order %s", id.Order())
	})
	return o, err
}

// Recent lists a sale's newest reservations that became orders, at most limit.
func (r *Orders) Recent(ctx context.Context, saleNo uint32, limit int) (out []engine.Order, err error) {
	// Ids begin with the sale's number and the time, so the primary key is the order.
	first, last := engine.ReservationID{Sale: saleNo, Created: engine.TimeZero}, engine.ReservationID{Sale: saleNo + 1, Created: engine.TimeZero}
	err = r.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, selectOrders+`WHERE o.id >= $1 AND o.id < $2 ORDER BY o.id DESC LIMIT $3`, first.Bytes(), last.Bytes(), limit)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (engine.Order, error) { return scanOrder(row) })
		return err
	})
	return out, err
}

func scanOrder(row pgx.Row) (o engine.Order, err error) {
	var id, lines, attempt []byte
	err = row.Scan(&id, &o.SaleID, &o.Buyer, &o.State, &lines, &o.Total.Amount, &o.Total.Currency, &attempt, &o.Provider,
		&o.Payment, &o.Reason, &o.PlacedAt, &o.Seq, &o.Epoch, &o.Traceparent)
	if err != nil {
		return engine.Order{}, err
	}
	o.ID, _ = engine.ReservationIDFromBytes(id) // the table's CHECK has seen its length
	copy(o.Attempt[:], attempt)
	o.PlacedAt = o.PlacedAt.UTC()
	if err := json.Unmarshal(lines, &o.Lines); err != nil {
		return engine.Order{}, engine.Wrap(err, engine.CodeInternal, "order %s has unreadable lines", o.ID.Order())
	}
	return o, nil
}
