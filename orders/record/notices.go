package record

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Notices is the list of orders that the storefront is still to be told of. The
// writer adds them in the transaction that commits the orders, so a crash can
// repeat a notice and never lose one.
type Notices struct{ db *DB }

// NewNotices gives the list.
func NewNotices(db *DB) *Notices { return &Notices{db: db} }

// Notice is one to be delivered.
type Notice struct {
	Tries int // this one included
	Order engine.Order
}

// Want switches notices on, for orders from now on. Repeatable.
func (n *Notices) Want(ctx context.Context) error {
	return n.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		_, err := c.Exec(ctx, `INSERT INTO notices_wanted DEFAULT VALUES ON CONFLICT DO NOTHING`)
		return err
	})
}

// Due takes at most limit due notices, longest due first. They are this node's
// for lease; undone by then, any node may take them.
func (n *Notices) Due(ctx context.Context, limit int, lease time.Duration) (out []Notice, err error) {
	err = n.db.tx(ctx, func(tx pgx.Tx) error {
		out = nil
		rows, err := tx.Query(ctx, `
			UPDATE notices n SET due_at = clock_timestamp() + $2::interval, tries = n.tries + 1
			FROM (SELECT reservation FROM notices WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) d
			WHERE n.reservation = d.reservation RETURNING n.reservation, n.tries`, limit, lease)
		if err != nil {
			return err
		}
		tries := map[string]int{}
		var ids [][]byte
		var id []byte
		var count int
		if _, err := pgx.ForEachRow(rows, []any{&id, &count}, func() error {
			tries[string(id)], ids = count, append(ids, slices.Clone(id))
			return nil
		}); err != nil || len(ids) == 0 {
			return err
		}
		orders, err := tx.Query(ctx, selectOrders+`WHERE o.id = ANY ($1)
			AND o.reserved_at BETWEEN (SELECT min(reserved_at(id)) FROM unnest($1::bytea[]) AS w (id)) AND (SELECT max(reserved_at(id)) FROM unnest($1::bytea[]) AS w (id))
			ORDER BY o.placed_at, o.id`, ids)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(orders, func(row pgx.CollectableRow) (engine.Order, error) { return scanOrder(row) })
		if err != nil {
			return err
		}
		contacts, err := n.db.contactsOf(ctx, tx, list)
		for _, o := range list {
			o.Contact = contacts[o.Attempt]
			out = append(out, Notice{Tries: tries[string(o.ID.Bytes())], Order: o})
		}
		return err
	})
	return out, err
}

// Delivered forgets notices that have arrived. Repeatable.
func (n *Notices) Delivered(ctx context.Context, ids []engine.ReservationID) error {
	raw := make([][]byte, len(ids))
	for i, id := range ids {
		raw[i] = id.Bytes()
	}
	return n.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		_, err := c.Exec(ctx, `DELETE FROM notices WHERE reservation = ANY ($1)`, raw)
		return err
	})
}

// Later puts a notice off. last says what happened, for operators.
func (n *Notices) Later(ctx context.Context, id engine.ReservationID, in time.Duration, last string) error {
	return n.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		_, err := c.Exec(ctx, `UPDATE notices SET due_at = clock_timestamp() + $2::interval, last_error = left($3, 500) WHERE reservation = $1`, id.Bytes(), in, storable(last))
		return err
	})
}

// Pending counts what is not delivered, and says since when the oldest waits.
func (n *Notices) Pending(ctx context.Context) (count int64, oldest time.Time, err error) {
	err = n.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		return c.QueryRow(ctx, `SELECT count(*), coalesce(min(created_at), now()) FROM notices`).Scan(&count, &oldest)
	})
	return count, oldest.UTC(), err
}
