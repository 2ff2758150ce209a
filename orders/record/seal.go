package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// sealRows is how many rows one seal has at most.
const sealRows = 4096

// sealLock is the advisory lock under which one node seals and the others pass by.
const sealLock = 0x666c6173685e // "flash^"

// Sealed is what one call of Seal did.
type Sealed struct {
	Seals int
	Rows  int64
	More  bool          // there is certainly more to seal
	Busy  bool          // another node is sealing
	Head  engine.Seal   // the newest seal
	Lag   time.Duration // how long the oldest row waits that could not be sealed
	Cut   *engine.Seal  // a seal that this process has seen, and that is not there any more
}

// Seal seals what is committed for good and not sealed yet: one seal per ledger,
// at most. Any number of nodes may call it; one works at a time.
func (c *Chain) Seal(ctx context.Context) (out Sealed, err error) {
	err = c.db.tx(ctx, func(tx pgx.Tx) error {
		out = Sealed{}
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, int64(sealLock)).Scan(&mine); err != nil || !mine {
			out.Busy = err == nil
			return err
		}
		if err := liftBase(ctx, tx); err != nil {
			return err
		}
		last, err := lastSeal(ctx, tx, "")
		if err != nil {
			return err
		}
		if out.Cut, err = c.cut(ctx, tx); err != nil {
			return err
		}
		for _, l := range ledgerTables {
			s, err := l.next(ctx, tx, last)
			if err != nil {
				return fmt.Errorf("seal %s: %w", l.name, err)
			}
			if s.rows == 0 {
				continue
			}
			out.Seals, out.Rows, out.More, last = out.Seals+1, out.Rows+s.rows, out.More || s.rows == sealRows, s
		}
		if last.no > 0 {
			out.Head = last.public()
		}
		return c.lag(ctx, tx, &out)
	})
	if err == nil && !out.Busy {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen = out.Head
	}
	return out, err
}

// cut looks for the newest seal that this process has seen: while it runs, it is
// an anchor of its own.
func (c *Chain) cut(ctx context.Context, tx pgx.Tx) (*engine.Seal, error) {
	c.mu.Lock()
	seen := c.seen
	c.mu.Unlock()
	if seen.No == 0 {
		return nil, nil
	}
	var there bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM ledger_seals WHERE no = $1 AND hash = decode($2, 'hex'))`, seen.No, seen.Hash).Scan(&there)
	if err != nil || there {
		return nil, err
	}
	return &seen, nil
}

// Head gives the newest seal; its No is 0 if there is none.
func (c *Chain) Head(ctx context.Context) (head engine.Seal, err error) {
	err = c.db.tx(ctx, func(tx pgx.Tx) error {
		last, err := lastSeal(ctx, tx, "")
		if err == nil && last.no > 0 {
			head = last.public()
		}
		return err
	})
	return head, err
}

// lastSeal gives the newest seal, of one ledger if that is named; none: its zero.
func lastSeal(ctx context.Context, tx pgx.Tx, ledger string) (seal, error) {
	rows, err := tx.Query(ctx, `SELECT no, ledger, form, from_place, from_id, to_place, to_id, rows, ''::bytea, prev, hash, at
		FROM ledger_seals WHERE $1 = '' OR ledger = $1 ORDER BY no DESC LIMIT 1`, ledger)
	if err != nil {
		return seal{}, err
	}
	s, err := pgx.CollectExactlyOneRow(rows, scanSeal)
	if errors.Is(err, pgx.ErrNoRows) {
		return seal{hash: firstPrev}, nil
	}
	return s, err
}

// next makes and writes the ledger's next seal. Below pg_snapshot_xmin every
// transaction is over, and this statement's snapshot sees what it has committed:
// no row can come to stand there any more.
func (l ledgerTable) next(ctx context.Context, tx pgx.Tx, prev seal) (seal, error) {
	mine, err := lastSeal(ctx, tx, l.name)
	if err != nil {
		return seal{}, err
	}
	s := seal{no: prev.no + 1, ledger: l.name, form: sealForm, from: mine.to, to: mine.to, prev: prev.hash}
	err = l.each(ctx, tx, `(place, id) > ($1, $2) AND place < ledger_base() + pg_snapshot_xmin(pg_current_snapshot())::text::bigint
		ORDER BY place, id LIMIT $3`, []any{mine.to.place, mine.to.id, sealRows}, func(row leaf) { s.add(row) })
	if err != nil || s.rows == 0 {
		return s, err
	}
	if err := tx.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&s.at); err != nil {
		return s, err
	}
	s.hash = s.sum()
	if _, err = tx.Exec(ctx, `INSERT INTO ledger_seals (`+sealColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		s.no, s.ledger, s.form, s.from.place, s.from.id, s.to.place, s.to.id, s.rows, s.leaves, s.prev, s.hash, s.at); err != nil {
		return s, err
	}
	return s, l.addUp(ctx, tx, s)
}

// sumOf is how a ledger is added up; the audit log is not.
var sumOf = map[string]string{"stock": "sku_no, kind, sum(units)", "money": "-1, kind, sum(amount)"}

// addUp adds a seal's rows to the running sums.
func (l ledgerTable) addUp(ctx context.Context, tx pgx.Tx, s seal) error {
	what, ok := sumOf[l.name]
	if !ok {
		return nil
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO ledger_sums AS s (ledger, sale_no, sku_no, kind, amount)
		SELECT $1::text, sale_no, `+what+` FROM `+l.table+` WHERE (place, id) > ($2, $3) AND (place, id) <= ($4, $5)
		GROUP BY 2, 3, 4 ORDER BY 2, 3, 4
		ON CONFLICT (ledger, sale_no, sku_no, kind) DO UPDATE SET amount = s.amount + excluded.amount`,
		l.name, s.from.place, s.from.id, s.to.place, s.to.id)
	return err
}

// lag finds how long the oldest row waits that is not sealed. A long transaction
// of anybody's in the server holds all of them back.
func (c *Chain) lag(ctx context.Context, tx pgx.Tx, out *Sealed) error {
	for _, l := range ledgerTables {
		var waits *time.Duration
		err := tx.QueryRow(ctx, `SELECT clock_timestamp() - min(at) FROM (
			SELECT at FROM `+l.table+` WHERE (place, id) > (`+sealedUpTo(l.name)+`) ORDER BY place, id LIMIT 1) t`).Scan(&waits)
		if err != nil {
			return err
		}
		if waits != nil {
			out.Lag = max(out.Lag, *waits)
		}
	}
	return nil
}

// sealedUpTo gives the columns of a ledger's last sealed spot, for a row comparison.
func sealedUpTo(ledger string) string {
	const col = `coalesce((SELECT %s FROM ledger_seals WHERE ledger = '%s' ORDER BY no DESC LIMIT 1), -1)`
	return fmt.Sprintf(col+", "+col, "to_place", ledger, "to_id", ledger)
}

// liftBase is for a database that was restored from a dump into a server whose
// transactions have lower numbers: what it writes from now on is to stand above
// what it has brought along. It waits for writers, once in the database's life.
func liftBase(ctx context.Context, tx pgx.Tx) error {
	lift, err := needsLift(ctx, tx)
	if err != nil || lift == 0 {
		return err
	}
	if _, err := tx.Exec(ctx, `LOCK TABLE stock_ledger, money_ledger, audit_log IN EXCLUSIVE MODE`); err != nil {
		return err
	}
	if lift, err = needsLift(ctx, tx); err != nil || lift == 0 {
		return err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf(`CREATE OR REPLACE FUNCTION ledger_base() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT %d::bigint'`, lift))
	return err
}

// needsLift gives the base that is needed, or 0 if the present one will do: no
// row and no seal stands where no transaction has been yet.
func needsLift(ctx context.Context, tx pgx.Tx) (lift int64, err error) {
	err = tx.QueryRow(ctx, `
		WITH top AS (SELECT greatest(
			(SELECT place FROM stock_ledger ORDER BY place DESC LIMIT 1), (SELECT place FROM money_ledger ORDER BY place DESC LIMIT 1),
			(SELECT place FROM audit_log ORDER BY place DESC LIMIT 1), (SELECT to_place FROM ledger_seals ORDER BY no DESC LIMIT 1), 0) AS place)
		SELECT CASE WHEN place >= ledger_base() + pg_snapshot_xmax(pg_current_snapshot())::text::bigint THEN place + 1 ELSE 0 END FROM top`).Scan(&lift)
	return lift, err
}
