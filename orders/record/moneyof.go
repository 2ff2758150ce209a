package record

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/flashsale-engine/flashsale/engine"
)

// MoneyMove is a movement of money, as the ledger has it.
type MoneyMove struct {
	At       time.Time
	Attempt  engine.AttemptID
	Kind     string // authorised, captured, voided or refunded
	Amount   engine.Money
	Provider string
	Ref      string
	Reason   string
	Actor    string
}

// MoneyOf gives the movements of a reservation's money, the oldest first.
func (a *Attempts) MoneyOf(ctx context.Context, id engine.ReservationID) (out []MoneyMove, err error) {
	err = a.db.with(ctx, reading, func(c *pgxpool.Conn) error {
		rows, err := c.Query(ctx, `SELECT at, attempt, kind, amount, currency, provider, provider_ref, reason, actor FROM money_ledger WHERE reservation = $1 ORDER BY place, id`, id.Bytes())
		if err != nil {
			return err
		}
		out, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (m MoneyMove, err error) {
			var attempt []byte
			err = row.Scan(&m.At, &attempt, &m.Kind, &m.Amount.Amount, &m.Amount.Currency, &m.Provider, &m.Ref, &m.Reason, &m.Actor)
			copy(m.Attempt[:], attempt)
			m.At = m.At.UTC()
			return m, err
		})
		return err
	})
	return out, err
}
