package record

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// MakePartitions sees to it that orders of this month and the next ahead months
// have partitions of their own, and gives how many it had to make. Orders of a
// month that has none are caught by the default partition and move when it is
// made. Any number of nodes may call it at once.
func (db *DB) MakePartitions(ctx context.Context, ahead int) (made int64, err error) {
	err = db.tx(ctx, func(tx pgx.Tx) error {
		// Who waits for the net's lock makes everybody behind wait, too: not for long.
		if _, err := tx.Exec(ctx, `SELECT set_config('lock_timeout', '2s', true)`); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT make_orders_partitions($1)`, ahead).Scan(&made)
	})
	return made, err
}
