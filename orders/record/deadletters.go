package record

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// DeadLetters is what operators do about events that could not become orders.
type DeadLetters struct {
	db     *DB
	ledger *Ledger
}

// NewDeadLetters gives the desk.
func NewDeadLetters(db *DB) *DeadLetters { return &DeadLetters{db: db, ledger: NewLedger(db)} }

const selectDead = `
	SELECT d.id, d.at, d.partition, d."offset", d.reason, d.detail, coalesce(s.id, ''), d.reservation, d.state,
		EXISTS (SELECT FROM payments p WHERE p.reservation = d.reservation),
		EXISTS (SELECT FROM orders o WHERE o.id = d.reservation AND o.reserved_at = reserved_at(d.reservation)),
		d.tries, d.settled_at, d.settled_by, d.settled_why
	FROM dead_letters d LEFT JOIN sales s ON s.no = d.sale_no `

func scanDead(row pgx.CollectableRow) (l engine.DeadLetter, err error) {
	var reservation []byte
	err = row.Scan(&l.ID, &l.At, &l.Partition, &l.Offset, &l.Reason, &l.Detail, &l.Sale, &reservation, &l.State,
		&l.Accepted, &l.Ordered, &l.Tries, &l.SettledAt, &l.SettledBy, &l.SettledWhy)
	if id, ok := engine.ReservationIDFromBytes(reservation); ok {
		l.Reservation = id.String()
	}
	l.At = l.At.UTC()
	return l, err
}

// List gives dead letters, oldest first.
func (d *DeadLetters) List(ctx context.Context, f engine.DeadLetterFilter) (out []engine.DeadLetter, err error) {
	err = d.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, selectDead+`
			WHERE ($1 = '' OR s.id = $1) AND ($2 = '' OR d.reason = $2) AND ($3 = '' OR d.state = $3) AND ($4 = 0 OR d.id = $4)
			ORDER BY d.id LIMIT $5`, f.Sale, f.Reason, f.State, f.ID, f.Limit)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, scanDead)
		return err
	})
	return out, err
}

// Entry gives a dead letter as it came from the stream: CodeNotFound.
func (d *DeadLetters) Entry(ctx context.Context, id int64) (e Entry, err error) {
	var headers []byte
	err = d.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		err := c.QueryRow(ctx, `SELECT partition, "offset", key, headers, value FROM dead_letters WHERE id = $1`, id).
			Scan(&e.Partition, &e.Offset, &e.Key, &headers, &e.Value)
		return notFound(err, "no dead letter %d", id)
	})
	if err == nil {
		err = json.Unmarshal(headers, &e.Headers)
	}
	return e, err
}

// errOnlyLooked ends a transaction that was to show what it would do.
var errOnlyLooked = errors.New("record: only looked")

// Retry takes a dead letter, decoded anew, the way of every other event, in one
// transaction with the letter's new state and the audit log. Repeatable: one that
// is settled stays as it is. With dry it says what would become of it. It may
// return CodeNotFound, CodeUnavailable, or an error that wraps ErrUnknown.
func (d *DeadLetters) Retry(ctx context.Context, id int64, e Entry, act engine.Act, dry bool) (engine.Retried, error) {
	act.Name = "retry dead letter"
	for n := 1; ; n++ {
		out, err := d.retry(ctx, id, e, act, dry)
		var data *DataError
		switch {
		case errors.As(err, &data) && e.Reason == "":
			// As when it first came: Postgres refuses it for a reason nobody foresaw.
			e.Reason, e.Detail = "rejected_by_record", data.Error()
		case errors.Is(err, engine.ErrUnknown) && n < attempts:
			// The letter itself says what became of the COMMIT.
		default:
			return out, err
		}
	}
}

func (d *DeadLetters) retry(ctx context.Context, id int64, e Entry, act engine.Act, dry bool) (out engine.Retried, err error) {
	err = d.db.tx(ctx, func(tx pgx.Tx) error {
		var state string
		err := tx.QueryRow(ctx, `SELECT state FROM dead_letters WHERE id = $1 FOR UPDATE`, id).Scan(&state)
		if err != nil {
			return notFound(err, "no dead letter %d", id)
		}
		out = engine.Retried{Did: engine.RetrySettled}
		if state == engine.DeadLetterOpen {
			done, err := d.ledger.write(ctx, tx, Batch{Entries: []Entry{e}}, true)
			if err != nil {
				return err
			}
			out = done.retried()
			if err := settleDead(ctx, tx, id, out, act); err != nil {
				return err
			}
		}
		if out.Letter, err = oneDead(ctx, tx, id); err != nil {
			return err
		}
		if dry {
			return errOnlyLooked
		}
		return nil
	})
	if errors.Is(err, errOnlyLooked) {
		err = nil
	}
	return out, err
}

// retried puts into words what a batch of one entry did.
func (d *decision) retried() engine.Retried {
	if len(d.dead) > 0 {
		return engine.Retried{Did: engine.RetryDead, Detail: d.dead[0].reason + ": " + storable(d.dead[0].detail)}
	}
	o := d.decided[0]
	r := engine.Retried{Did: engine.RetryConfirmed, Order: o.ID.Order(), Detail: o.Reason}
	switch {
	case o.Repeated:
		r.Did, r.Detail = engine.RetryRepeated, string(o.State)
	case o.State == engine.Refused:
		r.Did = engine.RetryRefused
	}
	return r
}

func settleDead(ctx context.Context, tx pgx.Tx, id int64, r engine.Retried, act engine.Act) error {
	var err error
	if r.Did == engine.RetryDead {
		_, err = tx.Exec(ctx, `UPDATE dead_letters SET tries = tries + 1 WHERE id = $1`, id)
	} else {
		_, err = tx.Exec(ctx, `UPDATE dead_letters SET tries = tries + 1, state = 'retried', settled_at = clock_timestamp(), settled_by = $2, settled_why = $3
			WHERE id = $1`, id, act.Actor, r.Did+" "+r.Order)
	}
	if err != nil {
		return err
	}
	return writeAudit(ctx, tx, act, deadTarget(id), map[string]any{"did": r.Did, "detail": r.Detail, "order": r.Order})
}

func deadTarget(id int64) string { return fmt.Sprintf("dead_letter/%d", id) }

func oneDead(ctx context.Context, tx pgx.Tx, id int64) (engine.DeadLetter, error) {
	rows, err := tx.Query(ctx, selectDead+`WHERE d.id = $1`, id)
	if err != nil {
		return engine.DeadLetter{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanDead)
}

// Drop says why a dead letter will never be an order. Repeatable: one that is
// settled stays as it is. CodeNotFound.
func (d *DeadLetters) Drop(ctx context.Context, id int64, act engine.Act) (out engine.DeadLetter, err error) {
	act.Name = "drop dead letter"
	err = d.db.tx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE dead_letters SET state = 'dropped', settled_at = clock_timestamp(), settled_by = $2, settled_why = $3
			WHERE id = $1 AND state = 'open'`, id, act.Actor, act.Reason)
		if err != nil {
			return err
		}
		if out, err = oneDead(ctx, tx, id); err != nil {
			return notFound(err, "no dead letter %d", id)
		}
		if tag.RowsAffected() == 0 {
			return nil
		}
		return writeAudit(ctx, tx, act, deadTarget(id), map[string]any{"was": out.Reason, "reservation": out.Reservation})
	})
	return out, err
}

// OpenDeadLetters counts those that nobody has settled, and gives the oldest's age.
func (l *Ledger) OpenDeadLetters(ctx context.Context) (n int64, oldest time.Duration, err error) {
	err = l.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		return c.QueryRow(ctx, `SELECT count(*), coalesce(clock_timestamp() - min(at), interval '0') FROM dead_letters WHERE state = 'open'`).Scan(&n, &oldest)
	})
	return n, oldest, err
}
