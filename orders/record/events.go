package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Events is engine.Inbox on Postgres: what providers have told us, each event
// once, and what the payments role has not acted on yet.
type Events struct {
	db   *DB
	keep coalescer[engine.ProviderEvent, bool]
}

var _ engine.Inbox = (*Events)(nil)

// NewEvents gives the store of providers' events.
func NewEvents(db *DB) *Events {
	e := &Events{db: db}
	e.keep = coalescer[engine.ProviderEvent, bool]{max: 256, timeout: 5 * time.Second, do: e.keepAll}
	return e
}

// Keep stores an event; again is true if it was there. Concurrent calls share a
// statement: a sale's webhooks come as fast as its payments.
func (e *Events) Keep(ctx context.Context, ev engine.ProviderEvent) (again bool, err error) {
	return e.keep.call(ctx, ev)
}

type eventKey struct{ provider, id string }

func (e *Events) keepAll(ctx context.Context, in []engine.ProviderEvent) ([]bool, error) {
	var provider, id, typ []string
	var attempt [][]byte
	var at []time.Time
	for _, ev := range in {
		provider, id, typ, at = append(provider, ev.Provider), append(id, ev.ID), append(typ, ev.Type), append(at, ev.At)
		if ev.Attempt == (engine.AttemptID{}) {
			attempt = append(attempt, nil)
		} else {
			attempt = append(attempt, ev.Attempt[:])
		}
	}
	fresh := make(map[eventKey]bool, len(in))
	err := e.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		// One about none of our attempts is kept too, and there is nothing to do.
		rows, err := c.Query(ctx, `
			INSERT INTO provider_events (provider, id, type, attempt, at, done_at)
			SELECT w.provider, w.id, w.type, w.attempt, w.at, CASE WHEN w.attempt IS NULL THEN now() END
			FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::timestamptz[]) AS w (provider, id, type, attempt, at)
			ON CONFLICT (provider, id) DO NOTHING RETURNING provider, id`, provider, id, typ, attempt, at)
		if err != nil {
			return err
		}
		var k eventKey
		_, err = pgx.ForEachRow(rows, []any{&k.provider, &k.id}, func() error { fresh[k] = true; return nil })
		return err
	})
	again := make([]bool, len(in))
	for i, ev := range in {
		k := eventKey{ev.Provider, ev.ID}
		again[i] = !fresh[k]
		delete(fresh, k) // its double in the same batch is a repetition
	}
	return again, err
}

// eventPatience is how long an event that was given to a node is left to it.
const eventPatience = 5 * time.Second

// Unheeded gives events that nobody has acted on, and to nobody else for some seconds.
func (e *Events) Unheeded(ctx context.Context, limit int) (out []engine.ProviderEvent, err error) {
	err = e.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, `
			WITH due AS (
				SELECT v.provider, v.id FROM provider_events v
				WHERE v.done_at IS NULL AND v.listed_at <= clock_timestamp() - $2::interval
				ORDER BY v.listed_at LIMIT $1 FOR UPDATE SKIP LOCKED)
			UPDATE provider_events v SET listed_at = clock_timestamp()
			FROM due WHERE v.provider = due.provider AND v.id = due.id
			RETURNING v.provider, v.id, v.type, v.attempt, v.at`, limit, eventPatience)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (ev engine.ProviderEvent, err error) {
			var attempt []byte
			err = row.Scan(&ev.Provider, &ev.ID, &ev.Type, &attempt, &ev.At)
			copy(ev.Attempt[:], attempt)
			ev.At = ev.At.UTC()
			return ev, err
		})
		return err
	})
	return out, err
}

// Heeded notes that an event was acted on.
func (e *Events) Heeded(ctx context.Context, ev engine.ProviderEvent) error {
	return e.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		_, err := c.Exec(ctx, `UPDATE provider_events SET done_at = clock_timestamp() WHERE provider = $1 AND id = $2 AND done_at IS NULL`, ev.Provider, ev.ID)
		return err
	})
}

// Forget deletes events acted on at least olderThan ago, at most limit, and gives
// how many. A delivery that comes later still is refused by its signature's age.
func (e *Events) Forget(ctx context.Context, olderThan time.Duration, limit int) (n int64, err error) {
	err = e.db.with(ctx, writing, func(c *pgxpool.Conn) error {
		tag, err := c.Exec(ctx, `
			DELETE FROM provider_events v USING (
				SELECT provider, id FROM provider_events WHERE done_at <= clock_timestamp() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED) old
			WHERE v.provider = old.provider AND v.id = old.id`, olderThan, limit)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}
