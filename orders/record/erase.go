package record

import (
	"bytes"
	"context"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// Erase destroys the data keys of all contacts that a buyer has given, and what
// is in clear of them; the orders stay. It gives how many there were. Repeatable,
// and audited each time: who asks again is told of none. What the buyer gives
// afterwards is another contact.
func (c *Contacts) Erase(ctx context.Context, buyer string, act engine.Act) (n int64, err error) {
	act.Name = "erase contacts"
	err = c.db.tx(ctx, func(tx pgx.Tx) error {
		// All payments are looked through: an index by buyer would cost every checkout
		// a tenth of its attempt, for what is hardly ever asked.
		var reservations [][]byte
		err := tx.QueryRow(ctx, `WITH theirs AS MATERIALIZED (SELECT id, reservation, email FROM payments WHERE buyer = $1),
			sealed AS (
				UPDATE contacts c SET key = NULL, sealed = NULL, erased_at = now() FROM theirs t WHERE c.attempt = t.id AND c.key IS NOT NULL RETURNING 1),
			before AS (
				INSERT INTO contacts (attempt, erased_at) SELECT t.id, now() FROM theirs t WHERE t.email <> '' ON CONFLICT DO NOTHING RETURNING 1),
			paid AS (UPDATE payments p SET email = '' FROM theirs t WHERE p.id = t.id AND p.email <> ''),
			ordered AS (UPDATE orders o SET email = '' FROM theirs t WHERE o.id = t.reservation AND o.reserved_at = reserved_at(t.reservation) AND o.email <> '')
			SELECT (SELECT count(*) FROM sealed) + (SELECT count(*) FROM before), (SELECT array_agg(reservation) FROM theirs)`, buyer).Scan(&n, &reservations)
		if err != nil {
			return err
		}
		if _, _, err := stripLetters(ctx, tx, `d.reservation = ANY ($1)`, reservations); err != nil {
			return err
		}
		return writeAudit(ctx, tx, act, "buyer/"+buyer, map[string]any{"contacts": n})
	})
	return n, err
}

// anEmail is that field of an event, as earlier versions wrote it.
var anEmail = regexp.MustCompile(`"email"\s*:\s*"(?:[^"\\]|\\.)*"?`)

// stripLetters takes e-mails out of dead letters' values, which stay readable as
// far as they were, and gives the last letter that it changed.
func stripLetters(ctx context.Context, tx pgx.Tx, which string, args ...any) (n, last int64, err error) {
	type row struct {
		ID    int64
		Value []byte
	}
	got, err := tx.Query(ctx, `SELECT d.id, d.value FROM dead_letters d WHERE value <> '' AND position('"email"'::bytea IN value) > 0 AND `+which, args...)
	if err != nil {
		return 0, 0, err
	}
	rows, err := pgx.CollectRows(got, pgx.RowToStructByPos[row])
	for _, w := range rows {
		// Neither the field's name stays: what has it is looked for.
		if _, err := tx.Exec(ctx, `UPDATE dead_letters SET value = $2 WHERE id = $1`, w.ID, strip(w.Value)); err != nil {
			return n, last, err
		}
		n, last = n+1, w.ID
	}
	return n, last, err
}

// strip leaves "was":"" in the place of an e-mail. What is not even a text is cut
// off there: it is no event that anybody could read.
func strip(value []byte) []byte {
	out := anEmail.ReplaceAll(value, []byte(`"was":""`))
	if at := bytes.Index(out, []byte(`"email"`)); at >= 0 {
		out = out[:at]
	}
	return out
}
