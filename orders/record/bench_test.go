package record_test

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

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

// BenchmarkBegin measures noting payment attempts from many checkouts at once.
func BenchmarkBegin(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			db, _ := openRecord(b)
			s := create(b, db, "drop", 1)
			a := record.NewAttempts(db)
			var n atomic.Uint64
			b.SetParallelism(callers / 2) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := a.Begin(b.Context(), attemptOf(numbered(s, n.Add(1))), time.Minute); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "attempts/s")
		})
	}
}
