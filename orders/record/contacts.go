package record

import (
	"context"
	"encoding/binary"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Contacts is what operators do about all contacts: count, wrap anew, erase.
type Contacts struct{ db *DB }

// NewContacts gives the desk.
func NewContacts(db *DB) *Contacts { return &Contacts{db: db} }

// ContactCounts says how contacts are kept.
type ContactCounts struct {
	ByKey  map[uint32]int64 `json:"by_key"` // sealed, by the key that wraps their data keys
	Erased int64            `json:"erased"`
	Clear  int64            `json:"clear"` // not sealed: written without a keyset, or by versions before there were any
}

// Count reads every contact's row, and looks through payments, orders and dead
// letters for e-mails that earlier versions wrote.
func (c *Contacts) Count(ctx context.Context) (ContactCounts, error) {
	out := ContactCounts{ByKey: map[uint32]int64{}}
	err := c.db.with(ctx, reading, func(conn *pgxpool.Conn) error {
		rows, err := conn.Query(ctx, `SELECT substring(key FROM 2 FOR 4), count(*) FROM contacts GROUP BY 1
			UNION ALL SELECT ''::bytea, (SELECT count(*) FROM payments WHERE email <> '') + (SELECT count(*) FROM orders WHERE email <> '')
				+ (SELECT count(*) FROM dead_letters WHERE position('"email"'::bytea IN value) > 0 AND value <> '')`)
		if err != nil {
			return err
		}
		var id []byte
		var n int64
		_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
			switch {
			case id == nil:
				out.Erased += n
			case len(id) < 4:
				out.Clear += n
			default:
				out.ByKey[binary.BigEndian.Uint32(id)] += n
			}
			return nil
		})
		return err
	})
	return out, err
}

// Rewrapped is what one step of Rewrap did, and where the next begins.
type Rewrapped struct {
	Stage int    // of rewrapStages; past the last, all is done
	After []byte // within the stage
	Done  int64  // rows changed
	Left  int64  // rows that belong to no payment on record: they stay as they are
}

// Rewrap does one step of at most limit rows: it puts the primary key around what
// is wrapped by another, and seals what is in clear. Begin with the zero value, and
// go on with what was given until More says no. Each step is a transaction; one that
// is interrupted is begun again from wherever, since what is done needs nothing more.
// An error that wraps the sealer's names a key that the keyset lacks.
func (c *Contacts) Rewrap(ctx context.Context, from Rewrapped, limit int) (to Rewrapped, err error) {
	err = c.db.tx(ctx, func(tx pgx.Tx) error {
		to = Rewrapped{Stage: from.Stage}
		to.After, err = rewrapStages[from.Stage](&rewrap{c.db, tx, &to}, ctx, append([]byte{}, from.After...), limit)
		if to.After == nil {
			to.Stage++
		}
		return err
	})
	return to, err
}

// More says whether there is another step.
func (r Rewrapped) More() bool { return r.Stage < len(rewrapStages) }

type rewrap struct {
	db *DB
	tx pgx.Tx
	to *Rewrapped
}

// rewrapStages go through one table each, along its key. They give where the next
// step begins; nil: at the next stage.
var rewrapStages = []func(r *rewrap, ctx context.Context, after []byte, limit int) ([]byte, error){
	(*rewrap).contacts, (*rewrap).payments, (*rewrap).orders, (*rewrap).deadLetters,
}

// each reads a step's rows, whole, before any of them is changed.
func each[T any](ctx context.Context, tx pgx.Tx, limit int, sql string, args ...any) (rows []T, full bool, err error) {
	got, err := tx.Query(ctx, sql, append(args, limit)...)
	if err != nil {
		return nil, false, err
	}
	rows, err = pgx.CollectRows(got, pgx.RowToStructByPos[T])
	return rows, len(rows) == limit, err
}

func (r *rewrap) contacts(ctx context.Context, after []byte, limit int) ([]byte, error) {
	type row struct{ Attempt, Reservation, Key, Sealed []byte }
	var primary [4]byte
	binary.BigEndian.PutUint32(primary[:], r.db.opt.Sealer.Primary())
	rows, full, err := each[row](ctx, r.tx, limit, `SELECT c.attempt, p.reservation, c.key, c.sealed FROM contacts c LEFT JOIN payments p ON p.id = c.attempt
		WHERE c.attempt > $1 AND substring(c.key FROM 2 FOR 4) <> $2 ORDER BY c.attempt LIMIT $3 FOR UPDATE OF c`, after, primary[:])
	for _, w := range rows {
		after = w.Attempt
		id := engine.AttemptID(w.Attempt)
		of, ok := engine.ReservationIDFromBytes(w.Reservation)
		if !ok {
			r.to.Left++
			continue
		}
		if len(w.Key) > 0 {
			w.Key, err = r.db.opt.Sealer.Rewrap(w.Key, bound(id, of))
		} else {
			w.Key, w.Sealed, err = r.db.opt.Sealer.Seal(w.Sealed, bound(id, of))
		}
		if err != nil {
			return nil, engine.Wrap(err, engine.CodeInternal, "attempt %s", id)
		}
		if _, err := r.tx.Exec(ctx, `UPDATE contacts SET key = $2, sealed = $3 WHERE attempt = $1`, w.Attempt, w.Key, w.Sealed); err != nil {
			return nil, err
		}
		r.to.Done++
	}
	return onward(after, full), err
}

func onward(after []byte, full bool) []byte {
	if !full {
		return nil
	}
	return after
}

func (r *rewrap) payments(ctx context.Context, after []byte, limit int) ([]byte, error) {
	type row struct {
		ID, Reservation []byte
		Email           string
	}
	rows, full, err := each[row](ctx, r.tx, limit, `SELECT id, reservation, email FROM payments WHERE id > $1 AND email <> '' ORDER BY id LIMIT $2 FOR UPDATE`, after)
	for _, w := range rows {
		after = w.ID
		of, _ := engine.ReservationIDFromBytes(w.Reservation) // its length is CHECKed
		if err := r.take(ctx, w.ID, of, w.Email); err != nil {
			return nil, err
		}
		if _, err := r.tx.Exec(ctx, `UPDATE payments SET email = '' WHERE id = $1`, w.ID); err != nil {
			return nil, err
		}
	}
	return onward(after, full), err
}

func (r *rewrap) orders(ctx context.Context, after []byte, limit int) ([]byte, error) {
	type row struct {
		ID, Attempt []byte
		Email       string
		Paid        bool
	}
	rows, full, err := each[row](ctx, r.tx, limit, `SELECT o.id, o.attempt, o.email, EXISTS (SELECT FROM payments p WHERE p.id = o.attempt) FROM orders o
		WHERE o.id > $1 AND o.email <> '' ORDER BY o.id LIMIT $2 FOR UPDATE`, after)
	for _, w := range rows {
		after = w.ID
		if !w.Paid { // nobody could find it to erase it
			r.to.Left++
			continue
		}
		of, _ := engine.ReservationIDFromBytes(w.ID) // its length is CHECKed
		if err := r.take(ctx, w.Attempt, of, w.Email); err != nil {
			return nil, err
		}
		if _, err := r.tx.Exec(ctx, `UPDATE orders SET email = '' WHERE id = $1 AND reserved_at = $2`, w.ID, of.CreatedAt()); err != nil {
			return nil, err
		}
	}
	return onward(after, full), err
}

// take seals an e-mail that was in clear. A contact that is there says more, or is
// erased.
func (r *rewrap) take(ctx context.Context, attempt []byte, of engine.ReservationID, email string) error {
	key, sealed, err := r.db.seal(engine.Contact{Email: email}, engine.AttemptID(attempt), of)
	if err != nil {
		return err
	}
	r.to.Done++
	_, err = r.tx.Exec(ctx, `INSERT INTO contacts (attempt, key, sealed) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, attempt, key, sealed)
	return err
}

func (r *rewrap) deadLetters(ctx context.Context, after []byte, limit int) ([]byte, error) {
	n, last, err := stripLetters(ctx, r.tx, `d.id > $1 ORDER BY d.id LIMIT $2`, beginAt(after), limit)
	r.to.Done += n
	if err != nil || last == 0 {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(nil, uint64(last)), nil
}

func beginAt(after []byte) int64 {
	if len(after) < 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(after))
}
