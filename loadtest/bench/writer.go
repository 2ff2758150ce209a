package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// writerBatch is how many orders a transaction of the order writer carries, and
// of COPY beside it: the writer's own default.
const writerBatch = 2000

const writerTopic = "bench.writer"

// writerSpec asks for orders by one connection.
type writerSpec struct {
	Postgres string        `json:"postgres"`
	Way      string        `json:"way"`    // batch, single, pipeline or copy
	Batch    int           `json:"batch"`  // orders per transaction
	Window   time.Duration `json:"window"` // of transactions; what is laid out between them is not counted
}

type writerResult struct {
	Orders  uint64  `json:"orders"`
	Seconds float64 `json:"seconds"`
	Backend float64 `json:"backend"` // seconds of a processor that Postgres' side of the connection used
}

// ServeWriter writes orders for the benchmark, one JSON line per measurement.
func ServeWriter(ctx context.Context, in io.Reader, out io.Writer) error {
	return answer(in, out, func(s writerSpec) (writerResult, error) { return driveWriter(ctx, s) })
}

// driveWriter makes payments as checkouts do, not counted, and turns them into
// orders, counted, until the window is full.
func driveWriter(ctx context.Context, spec writerSpec) (out writerResult, err error) {
	b, err := newWriterBook(ctx, spec.Postgres)
	if err != nil {
		return out, err
	}
	defer b.close()
	write, ok := map[string]func(context.Context, []record.Event) error{"batch": b.batch, "single": b.single, "pipeline": b.pipelined, "copy": b.copy}[spec.Way]
	if !ok {
		return out, fmt.Errorf("bench: no way %q to write orders", spec.Way)
	}
	pid, err := b.backend(ctx, spec.Way)
	if err != nil {
		return out, err
	}
	var took, cpu time.Duration
	for warm := true; took < spec.Window; {
		events := b.events(spec.Batch)
		if err := b.begin(ctx, events, spec.Way != "copy"); err != nil {
			return out, err
		}
		used, began := ranFor(pid), time.Now()
		if err := write(ctx, events); err != nil {
			return out, fmt.Errorf("bench: %s: %w", spec.Way, err)
		}
		if b.written += uint64(len(events)); warm { // plans and pages
			warm = b.written < uint64(2*spec.Batch)
			continue
		}
		took, cpu = took+time.Since(began), cpu+ranFor(pid)-used
		out.Orders += uint64(len(events))
	}
	out.Seconds, out.Backend = took.Seconds(), cpu.Seconds()
	return out, b.check(ctx, spec.Way)
}

// writerBook is a record of its own with one sale.
type writerBook struct {
	conn    *pgx.Conn // for what is not the writer's own code
	db      *record.DB
	ledger  *record.Ledger
	sale    *engine.Sale
	next    uint64
	written uint64
}

func newWriterBook(ctx context.Context, url string) (b *writerBook, err error) {
	if err := record.Migrate(ctx, url); err != nil {
		return nil, err
	}
	b = &writerBook{}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.conn, err = pgx.Connect(ctx, url); err != nil {
		return nil, err
	}
	if b.db, err = record.Open(ctx, url, record.Options{MaxConns: 1}); err != nil {
		return nil, err
	}
	b.ledger = record.NewLedger(b.db)
	if _, err := b.ledger.Positions(ctx, writerTopic, "", []int32{0}); err != nil {
		return nil, err
	}
	s := &engine.Sale{ID: "bench", Name: "bench", Currency: "USD", HoldTTL: time.Hour, HoldCap: 2 * time.Hour, PerBuyerLimit: 1, Shards: 1}
	for i := range skuCount {
		s.Items = append(s.Items, engine.Item{No: uint16(i), SKU: sku(i), UnitPrice: 1000, Stock: engine.MaxStock})
	}
	b.sale, _, err = record.NewSaleStore(b.db).Create(ctx, s, "bench")
	return b, err
}

func (b *writerBook) close() {
	if b.db != nil {
		b.db.Close()
	}
	if b.conn != nil {
		_ = b.conn.Close(context.Background())
	}
}

// events makes accepted reservations of one unit each, over all SKUs.
func (b *writerBook) events(n int) []record.Event {
	out := make([]record.Event, n)
	now := time.Now().UTC()
	for i := range out {
		id := engine.ReservationID{Sale: b.sale.No, Created: now.UnixMilli()}
		binary.BigEndian.PutUint64(id.Buyer[:], (b.next+1)*0x9e3779b97f4a7c15)
		binary.BigEndian.PutUint64(id.Nonce[:], (b.next+1)*0xd1342543de82ef95)
		lines, total := b.sale.Price([]engine.Line{{No: uint16(b.next % skuCount), Quantity: 1}})
		out[i] = record.Event{Epoch: 1, Seq: b.next, AcceptedAt: now, AcceptedEvent: engine.AcceptedEvent{
			ID: id, SaleID: b.sale.ID, Buyer: "customer-4711", Lines: lines, Total: total,
			Attempt: engine.NewAttemptID(id, "k"), Provider: "sandbox", ProviderRef: "pi_3PqTest", ReplyTo: "node-1",
		}}
		b.next++
	}
	return out
}

// begin notes the payments' attempts, as checkouts do before the writer comes.
func (b *writerBook) begin(ctx context.Context, events []record.Event, wanted bool) error {
	if !wanted {
		return nil
	}
	ids, reservations := make([][]byte, len(events)), make([][]byte, len(events))
	for i := range events {
		ids[i], reservations[i] = events[i].Attempt[:], events[i].ID.Bytes()
	}
	_, err := b.conn.Exec(ctx, `INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, state, lease_until)
		SELECT a, r, $3, 'customer-4711', 1000, 'USD', 'pm_card_visa', 'authorising', now() + interval '1 minute'
		FROM unnest($1::bytea[], $2::bytea[]) AS x (a, r)`, ids, reservations, int64(b.sale.No))
	return err
}

// backend gives the process id of Postgres' side of the connection that writes.
func (b *writerBook) backend(ctx context.Context, way string) (pid int, err error) {
	sql := "SELECT pg_backend_pid()"
	if way == "batch" {
		sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'flashsale'"
	}
	return pid, b.conn.QueryRow(ctx, sql).Scan(&pid)
}

// check counts the rows: what was not written was not measured.
func (b *writerBook) check(ctx context.Context, way string) error {
	for _, what := range []string{"orders WHERE state = 'confirmed'", "stock_ledger WHERE kind = 'sold'", "payments WHERE state = 'authorised'"} {
		var n uint64
		if err := b.conn.QueryRow(ctx, "SELECT count(*) FROM "+what).Scan(&n); err != nil {
			return err
		}
		if n != b.written {
			return fmt.Errorf("bench: %s wrote %d orders, and there are %d rows of %s", way, b.written, n, what)
		}
	}
	if way == "copy" {
		return nil // nothing but the rows
	}
	var sold uint64
	if err := b.conn.QueryRow(ctx, "SELECT sum(sold) FROM skus").Scan(&sold); err != nil || sold != b.written {
		return fmt.Errorf("bench: %s wrote %d orders and sold %d units, %w", way, b.written, sold, err)
	}
	return nil
}

// orderRate measures one way to write orders, in a process of its own on the
// server's processor, into a database of its own.
func orderRate(name, way string, batch int) func(context.Context, *world, values) (values, error) {
	return func(ctx context.Context, w *world, _ values) (_ values, err error) {
		base := "writer_" + strings.ReplaceAll(w.name(), "-", "_")
		pg, err := w.database(ctx, base)
		if err != nil {
			return nil, err
		}
		defer func() {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			_ = pgExec(end, w.stack.Postgres.URL, "DROP DATABASE IF EXISTS "+pgx.Identifier{base}.Sanitize()+" WITH (FORCE)")
		}()
		p, err := start(ctx, "the order writer", w.server, false, append(w.cfg.Self, "bench-writer")...)
		if err != nil {
			return nil, err
		}
		defer p.stop()
		spec := writerSpec{Postgres: pg, Way: way, Batch: batch, Window: w.cfg.Window}
		var r writerResult
		if err := p.ask(ctx, spec, &r); err != nil {
			return nil, err
		}
		return values{name: float64(r.Orders) / r.Seconds, name + "_pg_us": r.Backend * 1e6 / float64(r.Orders)}, nil
	}
}
