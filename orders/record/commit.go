package record

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/flashsale-engine/flashsale/engine"
)

// write does a batch in one transaction:
//
//  1. lock the stream's position and see that it is where the writer believes,
//  2. lock the SKU rows, sorted,
//  3. decide in Go,
//  4. write orders, ledger, stock, payments, dead letters and the new position.
//
// Nearly always no reservation of a batch has an order yet, and no payment has
// ended, so step 4 just writes them. If one has, the primary key or a look at the
// payments says so, and the batch is done again with look, which reads what exists
// in step 2; so is a batch with dead letters. Whoever inserts an order holds the locks of its SKUs first, so that
// look cannot miss one that another writer is about to commit.
func (l *Ledger) write(ctx context.Context, tx pgx.Tx, b Batch, look bool) (*decision, error) {
	d := newDecision(len(b.Entries))
	if err := d.read(ctx, tx, b, look); err != nil {
		return nil, err
	}
	for i := range b.Entries {
		d.decide(&b.Entries[i])
	}
	if !look && len(d.dead) > 0 {
		return nil, errLook // an event that has its order is no dead letter, whatever is wrong with it
	}
	if err := d.insert(ctx, tx); err != nil {
		return nil, err
	}
	return d, d.update(ctx, tx, b)
}

// lookFor is how many batches look for orders that exist after one that met
// some: what publishes twice, a relay after a crash, does so many times.
const lookFor = 16

// errLook ends a try that cannot go on without a look at existing orders.
var errLook = errors.New("record: look at existing orders first")

// wantsLook says that a row was there already, or that it would matter.
func wantsLook(err error) bool {
	var pg *pgconn.PgError
	return errors.Is(err, errLook) || errors.As(err, &pg) && pg.Code == "23505"
}

// Hardly ever is there one, so the payment is looked up per order found.
const existingSQL = `SELECT o.id, o.state, o.provider,
		coalesce((SELECT p.state FROM payments p WHERE p.id = o.attempt), 'none'), o.reason, o.placed_at
	FROM orders o WHERE o.id = ANY ($1) AND o.reserved_at BETWEEN $2 AND $3`

// endedSQL finds payments that have ended without an order, or are about to. A claim
// of a gate that was lost may come after its payment was cancelled: there is no money
// for it. Every batch asks once it has locked its payments, since one may have been
// barred a moment before; if there is one, the batch is done again with look.
const endedSQL = `SELECT p.id FROM payments p WHERE p.id = ANY ($1) AND (p.barred OR p.state IN ('declined', 'voided', 'refunded'))`

// byIndexSQL makes every statement of the transaction go by its primary keys. A
// batch touches rows that it names; without statistics, which a table that fills
// within a minute has not got yet, the planner would rather read all of it. It
// also says who moves the money, for the money ledger, and that its payments have
// orders, for the reminders: see migration 12.
const byIndexSQL = `SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true),
	set_config('flashsale.actor', '` + writerActor + `', true), set_config('flashsale.reason', 'order', true)`

// read locks and reads all that the batch touches, in one round trip.
func (d *decision) read(ctx context.Context, tx pgx.Tx, b Batch, look bool) error {
	sales, nos := b.skus()
	q := &pgx.Batch{}
	q.Queue(byIndexSQL)
	if len(b.From) > 0 { // else it is no part of the stream, but a dead letter that is tried again
		q.Queue(lockPositionsSQL, b.Topic, b.partitions()).Query(func(rows pgx.Rows) error {
			at, err := readPositions(rows)
			if err == nil && !same(at, b.From) {
				err = ErrFenced
			}
			return err
		})
	}
	q.Queue(`SELECT clock_timestamp()`).QueryRow(func(row pgx.Row) error { return row.Scan(&d.now) })
	q.Queue(`SELECT no, id, currency FROM sales WHERE no = ANY ($1)`, sales).Query(d.readSales)
	q.Queue(`
		SELECT k.sale_no, k.no, k.sku, k.unit_price, k.stock, k.sold
		FROM skus k JOIN unnest($1::bigint[], $2::smallint[]) AS w (sale_no, no) ON w.sale_no = k.sale_no AND w.no = k.no
		ORDER BY k.sale_no, k.no FOR UPDATE OF k`, sales, nos).Query(d.readSKUs)
	if look {
		q.Queue(endedSQL, b.attempts()).Query(d.readEnded)
		q.Queue(existingSQL, b.ids()...).Query(d.readExisting)
	}
	err := tx.SendBatch(ctx, q).Close()
	d.now = d.now.UTC()
	return err
}

func (d *decision) readEnded(rows pgx.Rows) error {
	var id []byte
	_, err := pgx.ForEachRow(rows, []any{&id}, func() error { d.ended[engine.AttemptID(id)] = true; return nil })
	return err
}

func (d *decision) readSales(rows pgx.Rows) error {
	var no uint32
	var s saleRow
	_, err := pgx.ForEachRow(rows, []any{&no, &s.id, &s.currency}, func() error { d.sales[no] = s; return nil })
	return err
}

func (d *decision) readSKUs(rows pgx.Rows) error {
	var k skuKey
	var r skuRow
	_, err := pgx.ForEachRow(rows, []any{&k.sale, &k.no, &r.name, &r.price, &r.stock, &r.sold}, func() error {
		row := r
		d.skus[k] = &row
		return nil
	})
	return err
}

func (d *decision) readExisting(rows pgx.Rows) error {
	var id []byte
	var o engine.Outcome
	_, err := pgx.ForEachRow(rows, []any{&id, &o.State, &o.Provider, &o.Payment, &o.Reason, &o.PlacedAt}, func() error {
		o.ID, _ = engine.ReservationIDFromBytes(id)
		o.PlacedAt = o.PlacedAt.UTC()
		d.existing[o.ID] = o
		return nil
	})
	return err
}

// skus lists the SKUs that the batch's events touch, each once, as two columns.
func (b Batch) skus() (sales []int64, nos []int16) {
	seen := map[skuKey]bool{}
	keys := []skuKey{}
	for i := range b.Entries {
		if b.Entries[i].Reason != "" {
			continue
		}
		for _, l := range b.Entries[i].Event.Lines {
			k := skuKey{b.Entries[i].Event.ID.Sale, l.No}
			if !seen[k] && l.No < engine.MaxItems {
				seen[k], keys = true, append(keys, k)
			}
		}
	}
	slices.SortFunc(keys, func(a, b skuKey) int {
		return cmp.Or(cmp.Compare(a.sale, b.sale), cmp.Compare(a.no, b.no))
	})
	for _, k := range keys {
		sales, nos = append(sales, int64(k.sale)), append(nos, int16(k.no))
	}
	return sales, nos
}

// ids gives the reservations of the batch, and the first and the last time at
// which one of them was made: the arguments of existingSQL.
func (b Batch) attempts() [][]byte {
	out := make([][]byte, 0, len(b.Entries))
	for i := range b.Entries {
		if b.Entries[i].Reason == "" {
			out = append(out, b.Entries[i].Event.Attempt[:])
		}
	}
	return out
}

func (b Batch) ids() []any {
	ids := make([][]byte, 0, len(b.Entries))
	var from, to time.Time
	for i := range b.Entries {
		if b.Entries[i].Reason != "" {
			continue
		}
		id := b.Entries[i].Event.ID
		ids = append(ids, id.Bytes())
		at := id.CreatedAt()
		if len(ids) == 1 || at.Before(from) {
			from = at
		}
		if at.After(to) {
			to = at
		}
	}
	return []any{ids, from, to}
}
