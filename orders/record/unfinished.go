package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Authorised is money that was set aside, by what is to become of it.
type Authorised struct {
	Capture []engine.Attempt // its order is confirmed
	Void    []engine.Attempt // the order was refused, or another attempt has paid for it
	Lost    []engine.Attempt // nobody works on it and there is no order: it is to be resolved
}

// Authorised gives authorised attempts, at most limit in all. Those whose order
// is decided are under a lease: several nodes may call it and share the work, and
// what is not noted as ended before the lease is over is given again. Those that
// have been without an order for olderThan are repeated no sooner than that.
//
// All are taken in one look, because a look for the few that are not to be
// captured would go through all that are, and find none.
func (a *Attempts) Authorised(ctx context.Context, lease, olderThan time.Duration, limit int) (d Authorised, err error) {
	err = a.db.inOrder(ctx, func(rows pgx.Rows) error {
		defer rows.Close()
		for rows.Next() {
			var fate string
			at, err := scanAttempt(withMore{rows, &fate})
			if err != nil {
				return err
			}
			list := map[string]*[]engine.Attempt{"capture": &d.Capture, "void": &d.Void, "lost": &d.Lost}[fate]
			*list = append(*list, at)
		}
		return rows.Err()
	}, authorisedSQL, limit, lease, olderThan, max(olderThan, time.Second))
	return d, err
}

// authorisedSQL goes along the index of leases, so the oldest come first and a
// backlog is not sorted for each piece.
const authorisedSQL = `
	WITH due AS (
		SELECT p.id, CASE WHEN o.id IS NULL THEN 'lost' WHEN o.state = 'confirmed' AND o.attempt = p.id THEN 'capture' ELSE 'void' END AS fate
		FROM payments p LEFT JOIN orders o ON o.id = p.reservation AND o.reserved_at = reserved_at(p.reservation)
		WHERE p.state = 'authorised' AND ` + leaseIsOver + `
			AND (o.id IS NOT NULL OR p.lease_until <= now() - $3::interval AND p.listed_at <= now() - $4::interval)
		LIMIT $1 FOR UPDATE OF p SKIP LOCKED)
	UPDATE payments p SET
		lease_until = CASE WHEN due.fate = 'lost' THEN p.lease_until ELSE clock_timestamp() + $2::interval END,
		listed_at   = CASE WHEN due.fate = 'lost' THEN clock_timestamp() ELSE p.listed_at END,
		updated_at  = clock_timestamp()
	FROM due WHERE p.id = due.id RETURNING ` + attemptColumns + `, due.fate`

// leaseIsOver says so of a payment p. It asks for the time at which the statement
// began, not clock_timestamp(), which is another one for each row: no index can
// answer that, and the look would read every attempt that is not at its end.
const leaseIsOver = `p.lease_until <= now()`

// withMore reads one more column, behind those that the scanner of a row knows.
type withMore struct {
	pgx.CollectableRow
	last any
}

func (r withMore) Scan(dest ...any) error { return r.CollectableRow.Scan(append(dest, r.last)...) }

// Owed gives captured attempts whose money is to go back, under a lease.
func (a *Attempts) Owed(ctx context.Context, lease time.Duration, limit int) ([]engine.Attempt, error) {
	return a.list(ctx, `
		WITH due AS (
			SELECT p.id FROM payments p
			WHERE p.state = 'captured' AND p.refund_reason <> '' AND `+leaseIsOver+`
			LIMIT $1 FOR UPDATE OF p SKIP LOCKED)
		UPDATE payments p SET lease_until = clock_timestamp() + $2::interval, updated_at = clock_timestamp()
		FROM due WHERE p.id = due.id RETURNING `+attemptColumns, limit, lease)
}

// openSQL says of a payment p that somebody has to bring it to an end, and that
// it is not on its way to be captured: its own order is not there, or, for an
// authorised one, no order at all, because Authorised has the others.
const openSQL = `p.state IN ` + unfinished + `
	AND NOT EXISTS (SELECT FROM orders o WHERE o.id = p.reservation AND o.reserved_at = reserved_at(p.reservation) AND (o.attempt = p.id OR p.state = 'authorised'))`

// Unfinished lists attempts that nobody works on since olderThan and that no
// order has: they may have taken money. Queued ones are listed at once, and
// authorised ones by Authorised. It takes no lease (Engine.ResolveAttempt does, by
// Resume); it only does not repeat an attempt to anybody for as long, so nodes
// share the work and one that cannot be resolved yet does not hide the others.
// One that waits for its buyer is repeated less often: the provider's event, or
// the buyer, is mostly faster.
func (a *Attempts) Unfinished(ctx context.Context, olderThan time.Duration, limit int) ([]engine.Attempt, error) {
	return a.list(ctx, `
		WITH due AS (
			SELECT p.id FROM payments p
			WHERE p.state IN `+open+` AND `+leaseIsOver+`
				AND p.lease_until <= now() - CASE WHEN p.parked = 'queued' THEN interval '0' ELSE $2::interval END
				AND p.listed_at <= now() - $3::interval * CASE WHEN p.state = 'action_required' THEN 3 ELSE 1 END
				AND NOT EXISTS (SELECT FROM orders o WHERE o.id = p.reservation AND o.reserved_at = reserved_at(p.reservation) AND o.attempt = p.id)
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
