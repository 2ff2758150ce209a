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

// Owed gives captured attempts whose money is to go back, under a lease.
func (a *Attempts) Owed(ctx context.Context, lease time.Duration, limit int) ([]engine.Attempt, error) {
	return a.list(ctx, `
		WITH due AS (
			SELECT p.id FROM payments p
			WHERE p.state = 'captured' AND p.refund_reason <> '' AND p.lease_until <= clock_timestamp()
			LIMIT $1 FOR UPDATE OF p SKIP LOCKED)
		UPDATE payments p SET lease_until = clock_timestamp() + $2::interval, updated_at = clock_timestamp()
		FROM due WHERE p.id = due.id RETURNING `+attemptColumns, limit, lease)
}

// openSQL says of a payment p that somebody has to bring it to an end, and that
// it is not on its way to be captured: its own order is not there, or, for an
// authorised one, no order at all, because Uncaptured and Unvoided have the others.
const openSQL = `p.state IN ` + unfinished + `
	AND NOT EXISTS (SELECT FROM orders o WHERE o.id = p.reservation AND o.reserved_at = reserved_at(p.reservation) AND (o.attempt = p.id OR p.state = 'authorised'))`

// Unfinished lists attempts that nobody works on since olderThan and that no
// order has: they may have taken money. Queued ones are listed at once. It takes
// no lease (Engine.ResolveAttempt does, by Resume); it only does not repeat an
// attempt to anybody for as long, so nodes share the work and one that cannot be
// resolved yet does not hide the others. One that waits for its buyer is
// repeated less often: the provider's event, or the buyer, is mostly faster.
func (a *Attempts) Unfinished(ctx context.Context, olderThan time.Duration, limit int) ([]engine.Attempt, error) {
	return a.list(ctx, `
		WITH due AS (
			SELECT p.id FROM payments p
			WHERE p.lease_until <= clock_timestamp() - CASE WHEN p.parked = 'queued' THEN interval '0' ELSE $2::interval END
				AND p.listed_at <= clock_timestamp() - $3::interval * CASE WHEN p.state = 'action_required' THEN 3 ELSE 1 END
				AND `+openSQL+`
			ORDER BY p.listed_at LIMIT $1 FOR UPDATE OF p SKIP LOCKED)
		UPDATE payments p SET listed_at = clock_timestamp()
		FROM due WHERE p.id = due.id RETURNING `+attemptColumns, limit, olderThan, max(olderThan, time.Second))
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
