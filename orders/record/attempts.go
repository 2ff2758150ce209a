package record

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Attempts is engine.Attempts on Postgres, and what the payments role asks for.
// Leases are judged by Postgres' clock alone.
type Attempts struct {
	db     *DB
	begin  coalescer[beginning, engine.Attempt]
	note   coalescer[noting, bool]
	settle coalescer[noting, bool] // notes that no buyer waits for
}

var _ engine.Attempts = (*Attempts)(nil)

// NewAttempts gives the durable list of payment attempts.
func NewAttempts(db *DB) *Attempts {
	a := &Attempts{db: db}
	a.begin = coalescer[beginning, engine.Attempt]{max: 256, timeout: 5 * time.Second, do: a.beginAll}
	a.note = coalescer[noting, bool]{max: 256, timeout: 5 * time.Second, do: a.noteAll}
	a.settle = coalescer[noting, bool]{max: 256, timeout: 5 * time.Second, linger: 25 * time.Millisecond, full: make(chan struct{}, 1), do: a.noteAll}
	return a
}

const attemptColumns = `p.id, p.reservation, p.buyer, p.amount, p.currency, p.method,
	p.state, p.provider, p.provider_ref, p.reason, p.action_type, p.action_url, p.cancelled, p.refund_reason, p.created_at, p.lease_until, p.parked, p.traceparent`

func scanAttempt(row pgx.CollectableRow) (engine.Attempt, error) {
	var a engine.Attempt
	var id, reservation []byte
	err := row.Scan(&id, &reservation, &a.Buyer, &a.Amount.Amount, &a.Amount.Currency, &a.Method,
		&a.State, &a.Provider, &a.ProviderRef, &a.Reason, &a.Action.Type, &a.Action.URL, &a.Cancelled, &a.Refund, &a.BegunAt, &a.LeaseUntil, &a.Parked, &a.Traceparent)
	if err != nil {
		return a, err
	}
	copy(a.ID[:], id) // lengths are CHECKed
	a.Reservation, _ = engine.ReservationIDFromBytes(reservation)
	a.LeaseUntil, a.BegunAt = a.LeaseUntil.UTC(), a.BegunAt.UTC()
	return a, nil
}

func (a *Attempts) one(ctx context.Context, k kind, scan pgx.RowToFunc[engine.Attempt], sql string, args ...any) (out engine.Attempt, err error) {
	err = a.db.with(ctx, k, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectExactlyOneRow(rows, scan)
		return notFound(err, "no such payment attempt")
	})
	return out, err
}

// Find gives an attempt, with its contact: CodeNotFound.
func (a *Attempts) Find(ctx context.Context, id engine.AttemptID) (engine.Attempt, error) {
	return a.one(ctx, reading, a.withContact(ctx), `SELECT `+attemptColumns+`, `+contactColumns+` FROM payments p LEFT JOIN contacts c ON c.attempt = p.id WHERE p.id = $1`, id[:])
}

// ByFence finds the attempt that a hold's fence names: CodeNotFound.
func (a *Attempts) ByFence(ctx context.Context, id engine.ReservationID, f engine.Fence) (engine.Attempt, error) {
	barred := f.Barred()
	return a.one(ctx, reading, scanAttempt, `SELECT `+attemptColumns+` FROM payments p
		WHERE p.reservation = $1 AND substring(p.id FROM 1 FOR 8) IN ($2, $3)`, id.Bytes(), f[:], barred[:])
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

// reachedFrom has movesTo of every state, as noteSQL takes it.
var reachedFrom = func() map[engine.PaymentState]string {
	out := map[engine.PaymentState]string{}
	for _, s := range engine.States(engine.PaymentMoves) {
		out[s] = strings.Join(movesTo(s), " ")
	}
	return out
}()
