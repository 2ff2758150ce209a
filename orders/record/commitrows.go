package record

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
)

// writerActor is who the ledger says sold the units.
const writerActor = "order-writer"

// insert writes the new orders and their ledger rows by COPY, which costs about
// a third of INSERT … unnest. Nothing can conflict: see write.
func (d *decision) insert(ctx context.Context, tx pgx.Tx) error {
	if len(d.orders) == 0 {
		return nil
	}
	var moves [][]any
	for i := range d.orders {
		o := &d.orders[i]
		if o.state != engine.Confirmed {
			continue
		}
		for _, l := range o.Lines {
			moves = append(moves, []any{int64(o.ID.Sale), int64(l.No), "sold", int64(l.Quantity), "order", o.ID.Order(), writerActor})
		}
	}
	_, err := tx.CopyFrom(ctx, pgx.Identifier{"orders"}, []string{
		"id", "order_id", "sale_no", "sale_id", "buyer", "state", "lines", "total", "currency", "email",
		"attempt", "provider", "epoch", "seq", "reason", "reserved_at", "accepted_at", "placed_at",
	}, pgx.CopyFromSlice(len(d.orders), d.orderRow))
	if err != nil || len(moves) == 0 {
		return err
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"stock_ledger"},
		[]string{"sale_no", "sku_no", "kind", "units", "reason", "cause", "actor"}, pgx.CopyFromRows(moves))
	return err
}

func (d *decision) orderRow(i int) ([]any, error) {
	o := &d.orders[i]
	lines, err := json.Marshal(o.Lines)
	return []any{
		o.ID.Bytes(), o.ID.Order(), int64(o.ID.Sale), o.SaleID, o.Buyer, string(o.state), lines, o.Total.Amount, o.Total.Currency, o.Email,
		o.Attempt[:], o.Provider, o.Epoch, int64(o.Seq), o.reason, o.ID.CreatedAt(), o.AcceptedAt, d.now,
	}, err
}

// update writes the rest in one round trip.
func (d *decision) update(ctx context.Context, tx pgx.Tx, b Batch) error {
	q := &pgx.Batch{}
	d.queueStock(q)
	d.queuePayments(q, b)
	if err := d.queueDead(q, b.Topic); err != nil {
		return err
	}
	next := b.next()
	partitions := b.partitions()
	offsets := make([]int64, len(partitions))
	for i, p := range partitions {
		offsets[i] = next[p]
	}
	q.Queue(`
		UPDATE stream_offsets s SET next_offset = w.next_offset, updated_at = now()
		FROM unnest($2::int[], $3::bigint[]) AS w (partition, next_offset)
		WHERE s.topic = $1 AND s.partition = w.partition`, b.Topic, partitions, offsets)
	return tx.SendBatch(ctx, q).Close()
}

func (d *decision) queueStock(q *pgx.Batch) {
	var sales, units []int64
	var nos []int16
	for k, row := range d.skus {
		if row.added != 0 {
			sales, nos, units = append(sales, int64(k.sale)), append(nos, int16(k.no)), append(units, row.added)
		}
	}
	if len(units) > 0 {
		q.Queue(`
			UPDATE skus k SET sold = k.sold + w.units
			FROM unnest($1::bigint[], $2::smallint[], $3::bigint[]) AS w (sale_no, no, units)
			WHERE k.sale_no = w.sale_no AND k.no = w.no`, sales, nos, units)
	}
}

// queuePayments notes that the money is authorised, refused orders' too: it is
// there to be voided. The attempt's lease ends, so that the next step may begin.
func (d *decision) queuePayments(q *pgx.Batch, b Batch) {
	type payment struct {
		id       []byte
		provider string
		ref      string
	}
	var list []payment
	for i := range b.Entries {
		ev := &b.Entries[i].Event
		if _, ok := d.existing[ev.ID]; ok && b.Entries[i].Reason == "" { // else: a dead letter
			list = append(list, payment{ev.Attempt[:], ev.Provider, ev.ProviderRef})
		}
	}
	if len(list) == 0 {
		return
	}
	slices.SortFunc(list, func(a, b payment) int { return cmp.Compare(string(a.id), string(b.id)) })
	list = slices.CompactFunc(list, func(a, b payment) bool { return string(a.id) == string(b.id) })
	ids, providers, refs := make([][]byte, len(list)), make([]string, len(list)), make([]string, len(list))
	for i, p := range list {
		ids[i], providers[i], refs[i] = p.id, p.provider, p.ref
	}
	q.Queue(`
		UPDATE payments p SET state = 'authorised', parked = '',
			provider = coalesce(nullif(w.provider, ''), p.provider), provider_ref = coalesce(nullif(w.ref, ''), p.provider_ref),
			lease_until = least(p.lease_until, clock_timestamp()), updated_at = clock_timestamp()
		FROM unnest($1::bytea[], $2::text[], $3::text[]) AS w (id, provider, ref)
		WHERE p.id = w.id AND p.state <> ALL ($4)`,
		ids, providers, refs, beyond)
}

// beyond lists the payment states that an authorisation no longer changes. The
// update asks for the others by what they are not: asked for by name, they would
// match payments_unfinished, and the planner would search all of that per row.
var beyond = func() (out []string) {
	for _, s := range engine.States(engine.PaymentMoves) {
		if s != engine.PaymentAuthorised && !engine.CanMove(engine.PaymentMoves, s, engine.PaymentAuthorised) {
			out = append(out, string(s))
		}
	}
	return out
}()

func (d *decision) queueDead(q *pgx.Batch, topic string) error {
	for _, x := range d.dead {
		clean := make(map[string]string, len(x.Headers))
		for k, v := range x.Headers {
			clean[storable(k)] = storable(v)
		}
		headers, err := json.Marshal(clean)
		if err != nil {
			return err
		}
		q.Queue(`
			INSERT INTO dead_letters (topic, partition, "offset", key, headers, value, reason, detail)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
			topic, x.Partition, x.Offset, orEmpty(x.Key), headers, orEmpty(x.Value), x.reason, storable(x.detail))
	}
	return nil
}

// storable makes a stranger's text fit for Postgres, which takes no NUL and no
// broken UTF-8: a dead letter that cannot be stored would block its partition.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
