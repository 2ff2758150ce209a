package record

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// unfinished are the states of attempts that somebody has to bring to an end:
// open, and authorised.
const (
	unfinished = `('authorising', 'unknown', 'action_required', 'authorised')`
	open       = `('authorising', 'unknown', 'action_required')`
)

// Resume takes the lease of an unfinished attempt whose lease is over. It gives
// Parked as it was; from then on the attempt counts as perhaps sent.
// CodeAttemptInProgress while the lease is alive, or if the attempt has ended in
// the meantime: whoever asks again sees its end. CodeNotFound.
func (a *Attempts) Resume(ctx context.Context, id engine.AttemptID, lease time.Duration) (engine.Attempt, error) {
	got, err := a.one(ctx, writing, scanAttempt, `
		WITH was AS (
			SELECT p.id, p.parked FROM payments p
			WHERE p.id = $1 AND p.state IN `+unfinished+` AND p.lease_until <= clock_timestamp() FOR UPDATE)
		UPDATE payments p SET lease_until = clock_timestamp() + $2::interval, parked = '', updated_at = clock_timestamp()
		FROM was WHERE p.id = was.id
		RETURNING `+strings.Replace(attemptColumns, "p.parked", "was.parked", 1), id[:], lease)
	if engine.CodeOf(err) != engine.CodeNotFound {
		return got, err
	}
	there, err := a.Find(ctx, id)
	if err != nil {
		return there, err
	}
	if engine.Final(engine.PaymentMoves, there.State) || there.State == engine.PaymentCaptured {
		return there, engine.E(engine.CodeAttemptInProgress, "payment attempt %s has just ended: %s", id, there.State).After(time.Second)
	}
	return there, engine.E(engine.CodeAttemptInProgress, "payment attempt %s is under way", id).After(time.Second)
}

// Keep renews a lease that is still the caller's, and says CodeAttemptInProgress
// if it is not, or if the attempt has ended or is being cancelled.
func (a *Attempts) Keep(ctx context.Context, at engine.Attempt, lease time.Duration) (engine.Attempt, error) {
	got, err := a.one(ctx, writing, scanAttempt, `
		UPDATE payments p SET lease_until = clock_timestamp() + $3::interval, updated_at = clock_timestamp()
		WHERE p.id = $1 AND p.lease_until = $2 AND p.cancelled = '' AND p.state IN `+unfinished+`
		RETURNING `+attemptColumns, at.ID[:], at.LeaseUntil, lease)
	return got, takenOver(at, err)
}

// Cancel does the same and notes that the attempt is to end at its provider.
func (a *Attempts) Cancel(ctx context.Context, at engine.Attempt, reason string, lease time.Duration) (engine.Attempt, error) {
	got, err := a.one(ctx, writing, scanAttempt, `
		UPDATE payments p SET cancelled = coalesce(nullif(p.cancelled, ''), $4), lease_until = clock_timestamp() + $3::interval, updated_at = clock_timestamp()
		WHERE p.id = $1 AND p.lease_until = $2 AND p.state IN `+unfinished+`
		RETURNING `+attemptColumns, at.ID[:], at.LeaseUntil, lease, reason)
	return got, takenOver(at, err)
}

// Bar notes that no event makes an order of an attempt any more. An order that is
// being written ends the attempt's lease, and this waits for it: so the lease is
// found over, if not the order. CodeAlreadyPaid if there is one.
func (a *Attempts) Bar(ctx context.Context, at engine.Attempt) error {
	n, err := a.change(ctx, `
		UPDATE payments p SET barred = true, updated_at = clock_timestamp()
		WHERE p.id = $1 AND p.lease_until = $2 AND p.lease_until > clock_timestamp() AND p.state IN `+unfinished+`
			AND NOT EXISTS (SELECT FROM orders o WHERE o.id = p.reservation AND o.reserved_at = reserved_at(p.reservation) AND o.attempt = p.id)`,
		at.ID[:], at.LeaseUntil)
	if err != nil || n == 1 {
		return err
	}
	switch o, err := (&Orders{a.db}).Order(ctx, at.Reservation); {
	case err == nil && o.Attempt == at.ID:
		return engine.E(engine.CodeAlreadyPaid, "payment attempt %s has become order %s", at.ID, o.ID.Order())
	case err != nil && engine.CodeOf(err) != engine.CodeNotFound:
		return err
	}
	return engine.E(engine.CodeAttemptInProgress, "payment attempt %s was taken over, or has ended", at.ID).After(time.Second)
}

func takenOver(at engine.Attempt, err error) error {
	if engine.CodeOf(err) != engine.CodeNotFound {
		return err
	}
	return engine.E(engine.CodeAttemptInProgress, "payment attempt %s was taken over, or has ended", at.ID).After(time.Second)
}

// Drop ends an attempt that no provider has seen. False: the lease is another's.
func (a *Attempts) Drop(ctx context.Context, at engine.Attempt, reason string) (bool, error) {
	n, err := a.change(ctx, `
		UPDATE payments p SET state = 'voided', reason = $3, parked = '', lease_until = least(p.lease_until, clock_timestamp()), updated_at = clock_timestamp()
		WHERE p.id = $1 AND p.state = 'authorising' AND p.lease_until = $2`, at.ID[:], at.LeaseUntil, reason)
	return n == 1, err
}

// Park notes that no provider has seen an attempt, and ends its lease. False: the
// lease is another's, or the queue has no room.
func (a *Attempts) Park(ctx context.Context, at engine.Attempt, how engine.Parking, room int) (bool, error) {
	n, err := a.change(ctx, `
		UPDATE payments p SET parked = $3, lease_until = least(p.lease_until, clock_timestamp()), updated_at = clock_timestamp()
		WHERE p.id = $1 AND p.state = 'authorising' AND p.lease_until = $2
			AND ($3 <> 'queued' OR (SELECT count(*) FROM (SELECT FROM payments q WHERE q.parked = 'queued' LIMIT $4) n) < $4)`,
		at.ID[:], at.LeaseUntil, string(how), room)
	return n == 1, err
}

// Reroute notes the provider that is called next instead of one that certainly
// saw nothing.
func (a *Attempts) Reroute(ctx context.Context, at engine.Attempt, provider string) error {
	n, err := a.change(ctx, `
		UPDATE payments p SET provider = $3, updated_at = clock_timestamp()
		WHERE p.id = $1 AND p.state = 'authorising' AND p.provider_ref = '' AND p.lease_until = $2 AND p.lease_until > clock_timestamp()`,
		at.ID[:], at.LeaseUntil, provider)
	if err == nil && n == 0 {
		return engine.E(engine.CodeAttemptInProgress, "payment attempt %s may not change its provider any more", at.ID).After(time.Second)
	}
	return err
}

// Owe notes that an attempt's money goes back once it is captured. The first
// reason stays. CodeNotFound.
func (a *Attempts) Owe(ctx context.Context, id engine.AttemptID, reason string) error {
	n, err := a.change(ctx, `
		UPDATE payments p SET refund_reason = coalesce(nullif(p.refund_reason, ''), $2), updated_at = clock_timestamp()
		WHERE p.id = $1`, id[:], reason)
	if err == nil && n == 0 {
		return engine.E(engine.CodeNotFound, "no payment attempt %s", id)
	}
	return err
}

// change runs one statement and gives how many rows it changed.
func (a *Attempts) change(ctx context.Context, sql string, args ...any) (n int64, err error) {
	err = a.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		tag, err := c.Exec(ctx, sql, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}
