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

// insert writes the new orders and their ledger rows by COPY. A second order of a
// reservation violates the primary key: see write.
func (d *decision) insert(ctx context.Context, tx pgx.Tx) error {
	if len(d.orders) == 0 {
		return nil
	}
	if err := copyIn(ctx, tx, copyOrders, len(d.orders), d.orderRow); err != nil {
		return err
	}
	type move struct{ order, line int }
	var moves []move
	for i := range d.orders {
		if d.orders[i].state == engine.Confirmed {
			for line := range d.orders[i].Lines {
				moves = append(moves, move{i, line})
			}
		}
	}
	if len(moves) == 0 {
		return nil
	}
	return copyIn(ctx, tx, copyLedger, len(moves), func(r *copyRow, i int) error {
		o := &d.orders[moves[i].order]
		l := &o.Lines[moves[i].line]
		r.begin(7)
		r.int8(int64(o.ID.Sale))
		r.int2(l.No)
		r.text("sold")
		r.int8(int64(l.Quantity))
		r.text("order")
		r.text(o.publicID)
		r.text(writerActor)
		return nil
	})
}

const (
	copyOrders = `COPY orders (id, order_id, sale_no, sale_id, buyer, state, lines, total, currency,
		attempt, provider, epoch, seq, reason, reserved_at, accepted_at, placed_at)`
	copyLedger = `COPY stock_ledger (sale_no, sku_no, kind, units, reason, cause, actor)`
)

func (d *decision) orderRow(r *copyRow, i int) error {
	o := &d.orders[i]
	o.publicID = o.ID.Order()
	r.begin(17)
	r.bytes(o.ID.Bytes())
	r.text(o.publicID)
	r.int8(int64(o.ID.Sale))
	r.text(o.SaleID)
	r.text(o.Buyer)
	r.text(string(o.state))
	if err := r.json(o.Lines); err != nil {
		return err
	}
	r.int8(o.Total.Amount)
	r.text(o.Total.Currency)
	r.bytes(o.Attempt[:])
	r.text(o.Provider)
	r.int8(o.Epoch)
	r.int8(int64(o.Seq)) // 63 bits: see open in orders/envelope.go
	r.text(o.reason)
	r.time(o.ID.CreatedAt())
	r.time(o.AcceptedAt)
	r.time(d.now)
	return nil
}

// update writes the rest in one round trip.
func (d *decision) update(ctx context.Context, tx pgx.Tx, b Batch) error {
	q := &pgx.Batch{}
	d.queueStock(q)
	d.queuePayments(q, b)
	d.queueEnded(q)
	d.queueNotices(q)
	if len(b.From) == 0 {
		return tx.SendBatch(ctx, q).Close()
	}
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

// queueEnded asks whether one of the new orders has no money. It comes after the
// update that locks the payments: whoever bars one from now on waits, and finds
// its lease over.
func (d *decision) queueEnded(q *pgx.Batch) {
	if len(d.orders) == 0 {
		return
	}
	ids := make([][]byte, len(d.orders))
	for i := range d.orders {
		ids[i] = d.orders[i].Attempt[:]
	}
	q.Queue(endedSQL, ids).Query(func(rows pgx.Rows) error {
		had := len(d.ended)
		if err := d.readEnded(rows); err != nil {
			return err
		}
		if len(d.ended) > had {
			return errLook
		}
		return nil
	})
}

// queueNotices notes, if somebody wants to know, that the storefront is to be
// told of the new orders. In this transaction: no order is without its notice.
func (d *decision) queueNotices(q *pgx.Batch) {
	if len(d.orders) == 0 {
		return
	}
	ids := make([][]byte, len(d.orders))
	for i := range d.orders {
		ids[i] = d.orders[i].ID.Bytes()
	}
	q.Queue(`INSERT INTO notices (reservation) SELECT w.id FROM unnest($1::bytea[]) AS w (id)
		WHERE EXISTS (SELECT FROM notices_wanted) ON CONFLICT DO NOTHING`, ids)
}

// beyond lists the payment states that an authorisation no longer changes.
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
		var reservation []byte
		var saleNo *int64
		if id, ok := x.named(); ok {
			no := int64(id.Sale)
			reservation, saleNo = id.Bytes(), &no
		}
		q.Queue(`
			INSERT INTO dead_letters (topic, partition, "offset", key, headers, value, reason, detail, reservation, sale_no)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING`,
			topic, x.Partition, x.Offset, orEmpty(x.Key), headers, orEmpty(x.Value), x.reason, storable(x.detail), reservation, saleNo)
	}
	return nil
}

// named gives the reservation that an entry is about, as far as it can be read:
// from the event, or from the key, which is the order's id.
func (e *Entry) named() (engine.ReservationID, bool) {
	if e.Event.ID != (engine.ReservationID{}) {
		return e.Event.ID, true
	}
	return engine.ParseOrderID(string(e.Key))
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
