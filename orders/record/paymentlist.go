package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// stuckAfter is how long an attempt may be in nobody's hands before operators
// are shown it as stuck.
const stuckAfter = 30 * time.Second

// remindedOf are the payments p that reminders k name, each looked up by itself, as
// in namedOnes; some have come to their end.
func remindedOf(which string) string {
	return `(SELECT DISTINCT unnest(k.attempts) AS id FROM payment_work k WHERE ` + which + `) AS w CROSS JOIN LATERAL (SELECT * FROM payments q WHERE q.id = w.id LIMIT 1) AS p`
}

// List gives attempts for operators: the newest, in one state if that is given;
// or, stuck, the oldest of those that nobody has brought to an end.
func (a *Attempts) List(ctx context.Context, stuck bool, state string, limit int) ([]engine.Attempt, error) {
	if stuck {
		return a.read(ctx, `SELECT `+attemptColumns+` FROM `+remindedOf("true")+`
			WHERE p.lease_until <= clock_timestamp() - $1::interval AND ($2 = '' OR p.state = $2)
				AND ((`+openSQL+`) OR p.state = 'captured' AND p.refund_reason <> '')
			ORDER BY p.created_at LIMIT $3`, stuckAfter, state, limit)
	}
	return a.read(ctx, `SELECT `+attemptColumns+` FROM payments p WHERE $1 = '' OR p.state = $1 ORDER BY p.created_at DESC LIMIT $2`, state, limit)
}

// OfReservation gives all attempts of one reservation, oldest first.
func (a *Attempts) OfReservation(ctx context.Context, id engine.ReservationID) ([]engine.Attempt, error) {
	return a.read(ctx, `SELECT `+attemptColumns+` FROM payments p WHERE p.reservation = $1 ORDER BY p.created_at`, id.Bytes())
}

// Unresolved counts, per state, what is not brought to an end yet. What only waits
// to be captured is not read for that.
func (a *Attempts) Unresolved(ctx context.Context) (out []engine.Unresolved, err error) {
	err = a.db.inOrder(ctx, func(rows pgx.Rows) error {
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[engine.Unresolved])
		return err
	}, `SELECT p.state, p.parked, count(*), coalesce(clock_timestamp() - min(p.created_at), interval '0')
		FROM `+remindedOf("k.kind IN ('"+workOpen+"', '"+workLost+"', '"+workOwed+"')")+`
		WHERE (`+openSQL+`) OR p.state = 'captured' AND p.refund_reason <> ''
		GROUP BY 1, 2`)
	return out, err
}

// Refund notes that an order's money goes back: once, audited, and done by the
// payments role. The order stays. Repeated, it changes nothing. CodeNotFound,
// CodePaymentInProgress if the money is not taken yet in a way that will be.
func (a *Attempts) Refund(ctx context.Context, id engine.ReservationID, act engine.Act) (out engine.Attempt, err error) {
	act.Name = "refund"
	err = a.db.tx(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+attemptColumns+` FROM payments p JOIN orders o ON o.attempt = p.id WHERE o.id = $1 AND o.reserved_at = $2 FOR UPDATE OF p`, id.Bytes(), id.CreatedAt())
		if err != nil {
			return err
		}
		if out, err = pgx.CollectExactlyOneRow(rows, scanAttempt); err != nil {
			return notFound(err, "no order %s with a payment", id.Order())
		}
		switch {
		case out.Refund != "" || out.State == engine.PaymentRefunded:
			return nil
		case out.State != engine.PaymentCaptured && out.State != engine.PaymentAuthorised:
			return engine.E(engine.CodePaymentInProgress, "the payment of order %s is %s; there is nothing to refund", id.Order(), out.State)
		}
		out.Refund = "operator: " + act.Reason
		if _, err := tx.Exec(ctx, `UPDATE payments SET refund_reason = $2, updated_at = clock_timestamp() WHERE id = $1`, out.ID[:], out.Refund); err != nil {
			return err
		}
		return writeAudit(ctx, tx, act, id.Order(), map[string]any{"attempt": out.ID.String(), "amount": out.Amount.Amount, "currency": out.Amount.Currency})
	})
	return out, err
}

// Audit notes what an operator did to an attempt.
func (a *Attempts) Audit(ctx context.Context, id engine.AttemptID, act engine.Act, detail map[string]any) error {
	return a.db.tx(ctx, func(tx pgx.Tx) error { return writeAudit(ctx, tx, act, id.String(), detail) })
}

// OfBuyer gives a buyer's newest attempts, at most limit, of one sale or, with 0,
// of all. Those of all look through every payment: there is no index for it.
func (a *Attempts) OfBuyer(ctx context.Context, buyer string, saleNo uint32, limit int) ([]engine.Attempt, error) {
	if saleNo == 0 {
		return a.read(ctx, `SELECT `+attemptColumns+` FROM payments p WHERE p.buyer = $1 ORDER BY p.created_at DESC LIMIT $2`, buyer, limit)
	}
	from, to := saleRange(saleNo)
	return a.read(ctx, `SELECT `+attemptColumns+` FROM payments p WHERE p.buyer = $1 AND p.reservation BETWEEN $3 AND $4 ORDER BY p.created_at DESC LIMIT $2`, buyer, limit, from, to)
}

func (a *Attempts) read(ctx context.Context, sql string, args ...any) (out []engine.Attempt, err error) {
	err = a.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scanAttempt)
		return err
	})
	return out, err
}
