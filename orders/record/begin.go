package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// beginning is one caller of Begin.
type beginning struct {
	engine.Attempt
	lease time.Duration
}

// Begin writes an attempt in state authorising under a lease, or gives the one
// of that id that exists. Concurrent calls share one statement; of two callers
// with the same id exactly one is told Fresh.
func (a *Attempts) Begin(ctx context.Context, at engine.Attempt, lease time.Duration) (engine.Attempt, error) {
	return a.begin.call(ctx, beginning{at, lease})
}

// beginAll writes a batch of attempts in one statement, and reads those that
// existed in a second.
func (a *Attempts) beginAll(ctx context.Context, in []beginning) ([]engine.Attempt, error) {
	cols := columns(in)
	var wrote, existed map[engine.AttemptID]engine.Attempt
	err := a.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, `
			INSERT INTO payments AS p (id, reservation, sale_no, buyer, amount, currency, method, email, provider, state, lease_until)
			SELECT b.id, b.reservation, b.sale_no, b.buyer, b.amount, b.currency, b.method, b.email, b.provider, 'authorising', clock_timestamp() + b.lease
			FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::interval[])
				AS b (id, reservation, sale_no, buyer, amount, currency, method, email, provider, lease)
			ON CONFLICT (id) DO NOTHING
			RETURNING `+attemptColumns,
			cols.id, cols.reservation, cols.sale, cols.buyer, cols.amount, cols.currency, cols.method, cols.email, cols.provider, cols.lease)
		if err != nil {
			return err
		}
		wrote, err = byID(rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	if missing := cols.except(wrote); len(missing) > 0 {
		err = a.db.with(ctx, reading, func(c *pgxpool.Conn) error {
			rows, err := c.Query(ctx, `SELECT `+attemptColumns+` FROM payments p WHERE p.id = ANY ($1)`, missing)
			if err != nil {
				return err
			}
			existed, err = byID(rows)
			return err
		})
		if err != nil {
			return nil, lost(err, writing) // some of the batch are written
		}
	}
	return deal(in, wrote, existed), nil
}

// deal gives each caller its attempt; the first of an id that was written is
// told Fresh, and no other.
func deal(in []beginning, wrote, existed map[engine.AttemptID]engine.Attempt) []engine.Attempt {
	out := make([]engine.Attempt, len(in))
	for i, b := range in {
		if at, ok := wrote[b.ID]; ok {
			out[i] = at
			out[i].Fresh = !at.Fresh
			at.Fresh = true // from now on it means: dealt
			wrote[b.ID] = at
			continue
		}
		out[i] = existed[b.ID]
	}
	return out
}

func byID(rows pgx.Rows) (map[engine.AttemptID]engine.Attempt, error) {
	list, err := pgx.CollectRows(rows, scanAttempt)
	out := make(map[engine.AttemptID]engine.Attempt, len(list))
	for _, a := range list {
		out[a.ID] = a
	}
	return out, err
}

// beginColumns are a batch, column by column, as unnest takes it.
type beginColumns struct {
	id, reservation                          [][]byte
	sale, amount                             []int64
	buyer, currency, method, email, provider []string
	lease                                    []time.Duration
}

func columns(in []beginning) beginColumns {
	var c beginColumns
	for _, b := range in {
		c.id, c.reservation = append(c.id, append([]byte(nil), b.ID[:]...)), append(c.reservation, b.Reservation.Bytes())
		c.sale, c.amount = append(c.sale, int64(b.Reservation.Sale)), append(c.amount, b.Amount.Amount)
		c.buyer, c.currency = append(c.buyer, b.Buyer), append(c.currency, b.Amount.Currency)
		c.method, c.email = append(c.method, b.Method), append(c.email, b.Email)
		c.provider, c.lease = append(c.provider, b.Provider), append(c.lease, b.lease)
	}
	return c
}

func (c beginColumns) except(wrote map[engine.AttemptID]engine.Attempt) (ids [][]byte) {
	for _, id := range c.id {
		if _, ok := wrote[engine.AttemptID(id)]; !ok {
			ids = append(ids, id)
		}
	}
	return ids
}
