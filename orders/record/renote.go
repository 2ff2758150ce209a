package record

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Renote moves an attempt that no provider has taken from one provider to
// another, durably, before the other is called. CodePaymentInProgress if the
// attempt is not as it should be: it was decided, or moved, by somebody else.
func (a *Attempts) Renote(ctx context.Context, id engine.AttemptID, from, to string) error {
	return a.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		done, err := c.Exec(ctx, `
			UPDATE payments SET provider = $3, updated_at = clock_timestamp()
			WHERE id = $1 AND state = 'authorising' AND provider = $2 AND lease_until > clock_timestamp()`, id[:], from, to)
		if err == nil && done.RowsAffected() != 1 {
			return engine.E(engine.CodePaymentInProgress, "payment attempt %s is no longer this node's, or not at %s", id, from)
		}
		return err
	})
}
