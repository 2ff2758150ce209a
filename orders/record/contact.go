package record

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Sealer encrypts contacts: the vault. bind is what a contact belongs to.
type Sealer interface {
	// Seal gives plain under a data key of its own, and that key wrapped.
	Seal(plain, bind []byte) (key, sealed []byte, err error)
	Open(key, sealed, bind []byte) ([]byte, error)
	// Rewrap puts the primary key around a data key.
	Rewrap(key, bind []byte) ([]byte, error)
	// Primary names the key that Seal and Rewrap wrap by.
	Primary() uint32
}

// bound is what a contact opens with and nothing else: its place. A ciphertext
// that was moved to another attempt or reservation does not open there.
func bound(id engine.AttemptID, r engine.ReservationID) []byte {
	return append(append([]byte("flashsale contact 1 "), id[:]...), r.Bytes()...)
}

// seal gives a contact as it is written: an empty key where there is no keyset,
// nothing where there is no contact.
func (db *DB) seal(c engine.Contact, id engine.AttemptID, r engine.ReservationID) (key, sealed []byte, err error) {
	plain := c.Encode()
	switch {
	case plain == nil:
		return nil, nil, nil
	case db.opt.Sealer == nil:
		return []byte{}, plain, nil
	}
	if key, sealed, err = db.opt.Sealer.Seal(plain, bound(id, r)); err != nil {
		err = engine.Wrap(err, engine.CodeInternal, "the contact could not be sealed")
	}
	return key, sealed, err
}

// contactRow is a contact as it is read, beside an e-mail from before there were any.
type contactRow struct {
	key, sealed []byte
	erased      bool
	email       string
}

// contactColumns go with LEFT JOIN contacts c and a payment p.
const contactColumns = `c.key, c.sealed, c.erased_at IS NOT NULL, p.email`

func (r *contactRow) into() []any { return []any{&r.key, &r.sealed, &r.erased, &r.email} }

// open gives the contact. One that this node cannot read is no reason to fail: who
// only compares does without, and whoever shows it says so.
func (db *DB) open(ctx context.Context, r contactRow, id engine.AttemptID, of engine.ReservationID) engine.Contact {
	switch {
	case r.erased:
		return engine.Contact{Lost: engine.ContactErased}
	case r.key == nil:
		return engine.Contact{Email: r.email}
	}
	plain, err := r.sealed, error(nil)
	switch {
	case len(r.key) > 0 && db.opt.Sealer == nil:
		err = engine.E(engine.CodeInternal, "this node has no keyset: --data-keys")
	case len(r.key) > 0:
		plain, err = db.opt.Sealer.Open(r.key, r.sealed, bound(id, of))
	}
	c := engine.Contact{Lost: engine.ContactUnreadable}
	if err == nil {
		c, err = engine.DecodeContact(plain)
	}
	if err != nil {
		db.opt.Log.ErrorContext(ctx, "a contact on record cannot be read", "attempt", id.String(), "err", err)
		return engine.Contact{Lost: engine.ContactUnreadable}
	}
	return c
}

// contactsOf gives the contacts of orders, by their attempts.
func (db *DB) contactsOf(ctx context.Context, tx pgx.Tx, orders []engine.Order) (map[engine.AttemptID]engine.Contact, error) {
	ids, of := make([][]byte, len(orders)), make(map[engine.AttemptID]engine.ReservationID, len(orders))
	for i := range orders {
		ids[i], of[orders[i].Attempt] = orders[i].Attempt[:], orders[i].ID
	}
	rows, err := tx.Query(ctx, `SELECT p.id, `+contactColumns+` FROM payments p LEFT JOIN contacts c ON c.attempt = p.id WHERE p.id = ANY ($1)`, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[engine.AttemptID]engine.Contact, len(orders))
	var id []byte
	var c contactRow
	_, err = pgx.ForEachRow(rows, append([]any{&id}, c.into()...), func() error {
		at := engine.AttemptID(id)
		out[at] = db.open(ctx, c, at, of[at])
		return nil
	})
	return out, err
}

// withContact reads an attempt and its contact.
func (a *Attempts) withContact(ctx context.Context) pgx.RowToFunc[engine.Attempt] {
	return func(row pgx.CollectableRow) (engine.Attempt, error) {
		var c contactRow
		at, err := scanAttempt(withMore{row, c.into()})
		if err == nil {
			at.Contact = a.db.open(ctx, c, at.ID, at.Reservation)
		}
		return at, err
	}
}

// Contact gives what an order's buyer gave at its checkout.
func (r *Orders) Contact(ctx context.Context, o engine.Order) (engine.Contact, error) {
	var c contactRow
	err := r.db.with(ctx, reading, func(conn *pgxpool.Conn) error {
		return conn.QueryRow(ctx, `SELECT c.key, c.sealed, c.erased_at IS NOT NULL, coalesce(nullif(o.email, ''), p.email, '')
			FROM orders o LEFT JOIN payments p ON p.id = o.attempt LEFT JOIN contacts c ON c.attempt = o.attempt
			WHERE o.id = $1 AND o.reserved_at = $2`, o.ID.Bytes(), o.ID.CreatedAt()).Scan(c.into()...)
	})
	if err != nil {
		return engine.Contact{}, notFound(err, "no order %s", o.ID.Order())
	}
	return r.db.open(ctx, c, o.Attempt, o.ID), nil
}
