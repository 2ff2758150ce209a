package bench

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/orders/record"
)

// batch is our order writer's transaction.
func (b *writerBook) batch(ctx context.Context, events []record.Event) error {
	batch := record.Batch{Topic: writerTopic, From: map[int32]int64{0: int64(b.written)}, Entries: make([]record.Entry, len(events))}
	for i := range events {
		batch.Entries[i] = record.Entry{Offset: int64(b.written) + int64(i), Event: events[i]}
	}
	_, err := b.ledger.Commit(ctx, batch)
	return err
}

// The statements of one order, as a careful service would send them.
const (
	oneLock    = `SELECT stock, sold, unit_price FROM skus WHERE sale_no = $1 AND no = $2 FOR UPDATE`
	oneStock   = `UPDATE skus SET sold = sold + $3 WHERE sale_no = $1 AND no = $2`
	oneLedger  = `INSERT INTO stock_ledger (sale_no, sku_no, kind, units, reason, cause, actor) VALUES ($1, $2, 'sold', $3, 'order', $4, 'bench')`
	onePayment = `UPDATE payments SET state = 'authorised', provider = $2, provider_ref = $3, lease_until = now(), updated_at = now() WHERE id = $1`
	onePlace   = `UPDATE stream_offsets SET next_offset = $2, updated_at = now() WHERE topic = $1 AND partition = 0`
	oneOrder   = `INSERT INTO orders (id, order_id, sale_no, sale_id, buyer, state, lines, total, currency, attempt, provider, epoch, seq, reserved_at, accepted_at, placed_at)
		VALUES ($1, $2, $3, $4, $5, 'confirmed', $6, $7, $8, $9, $10, $11, $12, $13, $14, now()) ON CONFLICT DO NOTHING`
)

type statement struct {
	sql  string
	args []any
}

// statements gives what one order writes: the same rows that the batch writes.
func (b *writerBook) statements(ev *record.Event) []statement {
	lines, _ := json.Marshal(ev.Lines)
	sale, no, units := int64(ev.ID.Sale), int64(ev.Lines[0].No), int64(ev.Lines[0].Quantity)
	return []statement{
		{oneLock, []any{sale, no}},
		{oneOrder, []any{ev.ID.Bytes(), ev.ID.Order(), sale, ev.SaleID, ev.Buyer, lines, ev.Total.Amount, ev.Total.Currency, ev.Attempt[:],
			ev.Provider, ev.Epoch, int64(ev.Seq), ev.ID.CreatedAt(), ev.AcceptedAt}},
		{oneLedger, []any{sale, no, units, ev.ID.Order()}},
		{oneStock, []any{sale, no, units}},
		{onePayment, []any{ev.Attempt[:], ev.Provider, ev.ProviderRef}},
		{onePlace, []any{writerTopic, int64(ev.Seq) + 1}},
	}
}

// single writes each order in a transaction of its own, prepared statements one
// after the other: what everyone writes.
func (b *writerBook) single(ctx context.Context, events []record.Event) error {
	for i := range events {
		err := pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
			for _, s := range b.statements(&events[i]) {
				if _, err := tx.Exec(ctx, s.sql, s.args...); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pipelined is the same with all statements of an order, BEGIN and COMMIT
// included, in one round trip: the most that one transaction per order can be.
func (b *writerBook) pipelined(ctx context.Context, events []record.Event) error {
	for i := range events {
		q := &pgx.Batch{}
		q.Queue("BEGIN")
		for _, s := range b.statements(&events[i]) {
			q.Queue(s.sql, s.args...)
		}
		q.Queue("COMMIT")
		if err := b.conn.SendBatch(ctx, q).Close(); err != nil {
			return err
		}
	}
	return nil
}

// copy puts the rows that a batch leaves, of orders, ledger and payments, into
// the same tables by COPY in one transaction. It locks, asks and decides nothing.
func (b *writerBook) copy(ctx context.Context, events []record.Event) error {
	return pgx.BeginFunc(ctx, b.conn, func(tx pgx.Tx) error {
		// No triggers: the rows that they would write are copied, too, but for the
		// reminders, of which there is one to 64 orders.
		if _, err := tx.Exec(ctx, `SET LOCAL session_replication_role = replica`); err != nil {
			return err
		}
		for _, c := range []struct {
			table   string
			columns []string
			row     func(*record.Event) []any
		}{
			{"orders", []string{"id", "order_id", "sale_no", "sale_id", "buyer", "state", "lines", "total", "currency", "attempt", "provider", "epoch", "seq", "reserved_at", "accepted_at", "placed_at"},
				func(ev *record.Event) []any {
					lines, _ := json.Marshal(ev.Lines)
					return []any{ev.ID.Bytes(), ev.ID.Order(), int64(ev.ID.Sale), ev.SaleID, ev.Buyer, "confirmed", lines, ev.Total.Amount, ev.Total.Currency, ev.Attempt[:],
						ev.Provider, ev.Epoch, int64(ev.Seq), ev.ID.CreatedAt(), ev.AcceptedAt, ev.AcceptedAt}
				}},
			{"stock_ledger", []string{"sale_no", "sku_no", "kind", "units", "reason", "cause", "actor"},
				func(ev *record.Event) []any {
					return []any{int64(ev.ID.Sale), int64(ev.Lines[0].No), "sold", int64(ev.Lines[0].Quantity), "order", ev.ID.Order(), "bench"}
				}},
			{"payments", []string{"id", "reservation", "sale_no", "buyer", "amount", "currency", "method", "state", "provider", "provider_ref", "lease_until"},
				func(ev *record.Event) []any {
					return []any{ev.Attempt[:], ev.ID.Bytes(), int64(ev.ID.Sale), ev.Buyer, ev.Total.Amount, ev.Total.Currency, "pm_card_visa", "authorised", ev.Provider, ev.ProviderRef, ev.AcceptedAt}
				}},
			{"money_ledger", []string{"sale_no", "reservation", "attempt", "kind", "amount", "currency", "provider", "provider_ref", "reason", "cause", "actor"},
				func(ev *record.Event) []any {
					return []any{int64(ev.ID.Sale), ev.ID.Bytes(), ev.Attempt[:], "authorised", ev.Total.Amount, ev.Total.Currency, ev.Provider, ev.ProviderRef, "order", ev.Attempt.String(), "bench"}
				}},
		} {
			source := pgx.CopyFromSlice(len(events), func(i int) ([]any, error) { return c.row(&events[i]), nil })
			if _, err := tx.CopyFrom(ctx, pgx.Identifier{c.table}, c.columns, source); err != nil {
				return err
			}
		}
		return nil
	})
}
