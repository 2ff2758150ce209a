package record_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// numbered makes the event of reservation number n: one unit of SKU 0.
func numbered(s *engine.Sale, n uint64) record.Event {
	id := engine.ReservationID{Sale: s.No, Created: engine.TimeZero + int64(n)}
	binary.BigEndian.PutUint64(id.Nonce[:], n)
	lines, total := s.Price([]engine.Line{{No: 0, Quantity: 1}})
	return record.Event{Epoch: 1, Seq: n, AcceptedAt: time.Now(), AcceptedEvent: engine.AcceptedEvent{
		ID: id, SaleID: s.ID, Buyer: "ada", Lines: lines, Total: total, Attempt: engine.NewAttemptID(id, "k"), Provider: "sandbox", ProviderRef: "ref",
	}}
}

// BenchmarkCommit measures the writer's transaction, payments on record included.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 100, 500, 2000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			db, url := openRecord(b)
			s := create(b, db, "drop", engine.MaxStock)
			l := ledger(b, db)
			n := uint64(0)
			for b.Loop() {
				b.StopTimer()
				batch := record.Batch{Topic: topic, From: map[int32]int64{0: int64(n)}}
				for range size {
					batch.Entries = append(batch.Entries, record.Entry{Offset: int64(n), Event: numbered(s, n)})
					n++
				}
				if err := psql(b, url, `INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, lease_until)
					SELECT a, r, 1, 'ada', 1000, 'USD', 'pm', '', 'authorising', now() FROM unnest($1::bytea[], $2::bytea[]) AS x (a, r)`, keys(batch)...); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				commit(b, l, batch)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "orders/s")
		})
	}
}

func keys(b record.Batch) []any {
	var attempts, reservations [][]byte
	for i := range b.Entries {
		attempts = append(attempts, b.Entries[i].Event.Attempt[:])
		reservations = append(reservations, b.Entries[i].Event.ID.Bytes())
	}
	return []any{attempts, reservations}
}

// BenchmarkBegin measures noting payment attempts, each with a contact that is
// sealed, from many checkouts at once.
func BenchmarkBegin(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			_, url := openRecord(b)
			db := sealedBy(b, url, newKeyset(b))
			s := create(b, db, "drop", 1)
			s, err := record.NewSaleStore(db).Change(b.Context(), s.ID, engine.Act{Actor: "b", Name: "armed"}, func(s *engine.Sale) error {
				s.State, s.Epoch, s.Leases = engine.SaleArmed, 1, []engine.GateLease{{Epoch: 1, Server: "a"}}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			a := record.NewAttempts(db)
			var n atomic.Uint64
			b.SetParallelism(callers / 2) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := a.Begin(b.Context(), attemptUnder(s, numbered(s, n.Add(1))), time.Minute); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "attempts/s")
		})
	}
}

// BenchmarkChain measures sealing and checking a million rows, and a look at the
// counters beside them.
func BenchmarkChain(b *testing.B) {
	const rows, piece = 1_000_000, 2000
	db, url := openRecord(b)
	s := create(b, db, "drop", engine.MaxStock)
	if err := psql(b, url, `UPDATE sales SET epoch = 1, state = 'open'`); err != nil {
		b.Fatal(err)
	}
	c, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close(context.Background())
	for i := range rows / piece {
		if _, err := c.Exec(b.Context(), `INSERT INTO stock_ledger (sale_no, sku_no, kind, units, reason, cause, actor)
			SELECT $1, 0, 'sold', 1, 'order', 'ord_00000004000000000000000000000000' || lpad(n::text, 8, '0'), 'order-writer' FROM generate_series($2::int, $3) n`, s.No, i*piece, (i+1)*piece-1); err != nil {
			b.Fatal(err)
		}
	}
	if err := psql(b, url, `UPDATE skus SET sold = $1`, rows); err != nil {
		b.Fatal(err)
	}
	chain := record.NewChain(db)
	began := time.Now()
	sealAll(b, chain)
	sealing := time.Since(began)
	began = time.Now()
	if r := check(b, chain, 0, ""); !r.Intact() || r.Rows != rows+2 {
		b.Fatalf("%+v", r)
	}
	checking := time.Since(began)
	for b.Loop() {
		if got, err := record.NewAudit(db).Brief(b.Context()); err != nil || got[0].RunningSold != rows {
			b.Fatalf("%+v, %v", got, err)
		}
	}
	b.ReportMetric(rows/sealing.Seconds(), "sealed/s")
	b.ReportMetric(rows/checking.Seconds(), "checked/s")
}
