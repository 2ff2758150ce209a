package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Uncaptured gives authorised attempts of confirmed orders, under a lease: their
// money is to be captured. Several nodes may call it and share the work; what is
// not noted as captured before the lease ends is given again.
func (a *Attempts) Uncaptured(ctx context.Context, lease time.Duration, limit int) ([]engine.Attempt, error) {
	return a.take(ctx, lease, limit, `o.state = 'confirmed' AND o.attempt = p.id`)
}

// Unvoided gives authorised attempts that cannot become an order any more, under
// a lease: the order was refused, or another attempt has paid for it. Their
// authorisation is to be voided.
func (a *Attempts) Unvoided(ctx context.Context, lease time.Duration, limit int) ([]engine.Attempt, error) {
	return a.take(ctx, lease, limit, `(o.state = 'refused' OR o.attempt <> p.id)`)
}

func (a *Attempts) take(ctx context.Context, lease time.Duration, limit int, which string) ([]engine.Attempt, error) {
	return a.list(ctx, `
		WITH due AS (
			SELECT p.id FROM payments p JOIN orders o ON o.id = p.reservation
			WHERE p.state = 'authorised' AND p.lease_until <= clock_timestamp() AND `+which+`
			LIMIT $1 FOR UPDATE OF p SKIP LOCKED) -- in no order: a backlog is not sorted for each piece
		UPDATE payments p SET lease_until = clock_timestamp() + $2::interval, updated_at = clock_timestamp()
		FROM due WHERE p.id = due.id RETURNING `+attemptColumns, limit, lease)
}

// relist is how long Unfinished keeps quiet about an attempt that it has given.
const relist = 5 * time.Second

// Unfinished lists attempts whose lease ended at least olderThan ago, that may
// have taken money, and that no order has: authorising, unknown or authorised.
// It takes no lease (Engine.ResolveAttempt does, by Resume); it only does not
// repeat an attempt to anybody for a few seconds, so nodes share the work and
// one that cannot be resolved yet does not hide the others.
func (a *Attempts) Unfinished(ctx context.Context, olderThan time.Duration, limit int) ([]engine.Attempt, error) {
	return a.list(ctx, `
		WITH due AS (
			SELECT p.id FROM payments p
			WHERE p.state IN ('authorising', 'unknown', 'action_required', 'authorised')
				AND p.lease_until <= clock_timestamp() - $2::interval
				AND p.listed_at <= clock_timestamp() - $3::interval
				AND NOT EXISTS (SELECT FROM orders o WHERE o.id = p.reservation)
			ORDER BY p.listed_at LIMIT $1 FOR UPDATE OF p SKIP LOCKED)
		UPDATE payments p SET listed_at = clock_timestamp()
		FROM due WHERE p.id = due.id RETURNING `+attemptColumns, limit, olderThan, relist)
}

func (a *Attempts) list(ctx context.Context, sql string, args ...any) (out []engine.Attempt, err error) {
	err = a.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scanAttempt)
		return err
	})
	return out, err
}
