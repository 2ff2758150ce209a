package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// Breakers keeps which circuit breakers operators have forced, so that every
// node obeys and a restart forgets nothing.
type Breakers struct{ db *DB }

// NewBreakers gives the list of forced breakers.
func NewBreakers(db *DB) *Breakers { return &Breakers{db: db} }

// ForcedBreaker is one that an operator has forced.
type ForcedBreaker struct {
	Name, Mode, Reason, Actor string
	At                        time.Time
}

// Forced lists them.
func (b *Breakers) Forced(ctx context.Context) (out []ForcedBreaker, err error) {
	err = b.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, `SELECT name, mode, reason, actor, at FROM breaker_modes ORDER BY name`)
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ForcedBreaker])
		return err
	})
	return out, err
}

// Set forces a breaker open or closed, or with mode auto gives the decision back
// to it, and writes that into the audit log in the same transaction. An act
// repeated under its key changes nothing.
func (b *Breakers) Set(ctx context.Context, name, mode string, act engine.Act) error {
	act.Name = "breaker " + mode
	return b.db.tx(ctx, func(tx pgx.Tx) error {
		if done, err := actedBefore(ctx, tx, act, name); done || err != nil {
			return err
		}
		var err error
		if mode == "auto" {
			_, err = tx.Exec(ctx, `DELETE FROM breaker_modes WHERE name = $1`, name)
		} else {
			_, err = tx.Exec(ctx, `
				INSERT INTO breaker_modes (name, mode, reason, actor) VALUES ($1, $2, $3, $4)
				ON CONFLICT (name) DO UPDATE SET mode = excluded.mode, reason = excluded.reason, actor = excluded.actor, at = now()`,
				name, mode, act.Reason, act.Actor)
		}
		if err != nil {
			return err
		}
		return writeAudit(ctx, tx, act, name, map[string]any{"mode": mode})
	})
}
