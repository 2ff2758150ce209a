package record

import (
	"context"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Authorised is money that was set aside, by what is to become of it.
type Authorised struct {
	Capture []engine.Attempt // its order is confirmed
	Void    []engine.Attempt // the order was refused, or another attempt has paid for it
	Lost    []engine.Attempt // nobody works on it and there is no order: it is to be resolved
}

// namedOnes are the payments p with the ids $1, each looked up by itself: of a
// small table the planner would rather read all.
const namedOnes = `unnest($1::bytea[]) AS w (id) CROSS JOIN LATERAL (SELECT * FROM payments q WHERE q.id = w.id LIMIT 1) AS p`

// Authorised gives authorised attempts, at most limit in all. Those whose order
// is decided are given to nobody else for a lease: several nodes may call it and
// share the work, and what is not noted as ended by then is given again. Those
// that have been without an order for olderThan are repeated no sooner than that.
//
// A capture's lease is its reminder alone: an attempt whose own order is decided is
// nobody else's business, and its row is not written once more for that.
func (a *Attempts) Authorised(ctx context.Context, lease, olderThan time.Duration, limit int) (d Authorised, err error) {
	again := max(olderThan, time.Second)
	list, err := a.work(ctx, look{
		kinds: []string{workSettle, workLost}, limit: limit, sql: authorisedSQL, args: []any{olderThan, again},
		fates: map[string]fate{
			"capture": {workSettle, lease, reminded}, "void": {workSettle, lease, leased}, "lost": {workLost, again, listed},
		},
	})
	for _, f := range list {
		to := map[string]*[]engine.Attempt{"capture": &d.Capture, "void": &d.Void, "lost": &d.Lost}[f.fate]
		*to = append(*to, f.Attempt)
	}
	return d, err
}

const authorisedSQL = `
	SELECT ` + attemptColumns + `, CASE WHEN o.id IS NULL THEN 'lost' WHEN o.state = 'confirmed' AND o.attempt = p.id THEN 'capture' ELSE 'void' END,
		CASE WHEN o.id IS NULL THEN greatest(p.lease_until + $2::interval, p.listed_at + $3::interval) ELSE p.lease_until END AS due
	FROM ` + namedOnes + ` LEFT JOIN orders o ON o.id = p.reservation AND o.reserved_at = reserved_at(p.reservation)
	WHERE p.state = 'authorised'`

// leaseIsOver says so of a payment p, at the time at which the transaction began:
// clock_timestamp() is another one for each row.
const leaseIsOver = `p.lease_until <= now()`

// Owed gives captured attempts whose money is to go back, under a lease.
func (a *Attempts) Owed(ctx context.Context, lease time.Duration, limit int) ([]engine.Attempt, error) {
	return a.attempts(ctx, look{
		kinds: []string{workOwed}, limit: limit, fates: map[string]fate{"refund": {workOwed, lease, leased}},
		sql: `SELECT ` + attemptColumns + `, 'refund', p.lease_until AS due FROM ` + namedOnes + `
			WHERE p.state = 'captured' AND p.refund_reason <> ''`,
	})
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
	again := max(olderThan, time.Second)
	return a.attempts(ctx, look{
		kinds: []string{workOpen}, limit: limit, args: []any{olderThan, again},
		fates: map[string]fate{"resolve": {workOpen, again, listed}},
		sql: `SELECT ` + attemptColumns + `, 'resolve', greatest(
				p.lease_until + CASE WHEN p.parked = 'queued' THEN interval '0' ELSE $2::interval END,
				p.listed_at + $3::interval * CASE WHEN p.state = 'action_required' THEN 3 ELSE 1 END,
				CASE WHEN EXISTS (SELECT FROM orders o WHERE o.id = p.reservation AND o.reserved_at = reserved_at(p.reservation) AND o.attempt = p.id)
					THEN now() + interval '1 minute' END) AS due
			FROM ` + namedOnes + ` WHERE p.state IN ` + open,
	})
}

func (a *Attempts) attempts(ctx context.Context, l look) ([]engine.Attempt, error) {
	list, err := a.work(ctx, l)
	out := make([]engine.Attempt, len(list))
	for i := range list {
		out[i] = list[i].Attempt
	}
	return out, err
}
