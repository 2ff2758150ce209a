package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Attempts is engine.Attempts on Postgres, and what the payments role asks for.
// Leases are judged by Postgres' clock alone.
type Attempts struct {
	db    *DB
	begin coalescer[beginning, engine.Attempt]
	note  coalescer[noting, bool]
}

var _ engine.Attempts = (*Attempts)(nil)

// NewAttempts gives the durable list of payment attempts.
func NewAttempts(db *DB) *Attempts {
	a := &Attempts{db: db}
	a.begin = coalescer[beginning, engine.Attempt]{max: 256, timeout: 5 * time.Second, do: a.beginAll}
	a.note = coalescer[noting, bool]{max: 256, timeout: 5 * time.Second, do: a.noteAll}
	return a
}

const attemptColumns = `p.id, p.reservation, p.buyer, p.amount, p.currency, p.method, p.email,
	p.state, p.provider, p.provider_ref, p.reason, p.lease_until`

func scanAttempt(row pgx.CollectableRow) (engine.Attempt, error) {
	var a engine.Attempt
	var id, reservation []byte
	err := row.Scan(&id, &reservation, &a.Buyer, &a.Amount.Amount, &a.Amount.Currency, &a.Method, &a.Email,
		&a.State, &a.Provider, &a.ProviderRef, &a.Reason, &a.LeaseUntil)
	if err != nil {
		return a, err
	}
	copy(a.ID[:], id) // lengths are CHECKed
	a.Reservation, _ = engine.ReservationIDFromBytes(reservation)
	a.LeaseUntil = a.LeaseUntil.UTC()
	return a, nil
}

func (a *Attempts) one(ctx context.Context, k kind, sql string, args ...any) (out engine.Attempt, err error) {
	err = a.db.with(ctx, k, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectExactlyOneRow(rows, scanAttempt)
		return notFound(err, "no such payment attempt")
	})
	return out, err
}

// Resume takes the lease of an unfinished attempt whose lease is over.
// CodeAttemptInProgress while the lease is alive, or if the attempt has ended in
// the meantime: whoever asks again sees its end. CodeNotFound.
func (a *Attempts) Resume(ctx context.Context, id engine.AttemptID, lease time.Duration) (engine.Attempt, error) {
	got, err := a.one(ctx, writing, `
		UPDATE payments p SET lease_until = clock_timestamp() + $2::interval, updated_at = clock_timestamp()
		WHERE p.id = $1 AND p.state IN ('authorising', 'unknown', 'action_required', 'authorised') AND p.lease_until <= clock_timestamp()
		RETURNING `+attemptColumns, id[:], lease)
	if engine.CodeOf(err) != engine.CodeNotFound {
		return got, err
	}
	there, err := a.one(ctx, reading, `SELECT `+attemptColumns+` FROM payments p WHERE p.id = $1`, id[:])
	if err != nil {
		return there, err
	}
	if engine.Final(engine.PaymentMoves, there.State) || there.State == engine.PaymentCaptured {
		return there, engine.E(engine.CodeAttemptInProgress, "payment attempt %s has just ended: %s", id, there.State).After(time.Second)
	}
	return there, engine.E(engine.CodeAttemptInProgress, "payment attempt %s is under way", id).After(time.Second)
}

// ByFence finds the attempt that a hold's fence names: CodeNotFound.
func (a *Attempts) ByFence(ctx context.Context, id engine.ReservationID, f engine.Fence) (engine.Attempt, error) {
	return a.one(ctx, reading, `SELECT `+attemptColumns+` FROM payments p
		WHERE p.reservation = $1 AND substring(p.id FROM 1 FOR 8) = $2`, id.Bytes(), f[:])
}

// movesTo lists the payment states from which one may be reached in one step.
func movesTo(to engine.PaymentState) []string {
	from := []string{}
	for _, s := range engine.States(engine.PaymentMoves) {
		if engine.CanMove(engine.PaymentMoves, s, to) {
			from = append(from, string(s))
		}
	}
	return from
}
