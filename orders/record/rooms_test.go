package record_test

import (
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestAWaitingRoomIsKeptWithItsSale(t *testing.T) {
	db, url := openRecord(t)
	st := record.NewSaleStore(db)
	plain := create(t, db, "plain", 10)
	s := terms("drop", 10)
	s.Admission = &engine.Admission{Lease: 3 * time.Second, Use: time.Minute, StartRate: 12.5, MaxRate: 100, Answer: time.Second}
	made, created, err := st.Create(t.Context(), s, "test")
	if err != nil || !created {
		t.Fatalf("%+v, %v", made, err)
	}
	read := func() *engine.Sale {
		t.Helper()
		got, err := st.Get(t.Context(), "drop")
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := read(); got.Admission == nil || *got.Admission != *s.Admission {
		t.Fatalf("read %+v, wrote %+v", got.Admission, s.Admission)
	}
	armed := *s.Admission
	armed.Epoch, armed.Seed, armed.OpensAt, armed.RateCap, armed.Paused = 1, [32]byte{0xde, 0xad, 0xbe, 0xef}, time.UnixMilli(engine.TimeZero).UTC(), 5, true
	now, err := st.Change(t.Context(), "drop", engine.Act{Actor: "test", Name: "armed"}, func(s *engine.Sale) error { s.Admission = &armed; return nil })
	if err != nil || now.Version != made.Version+1 {
		t.Fatalf("%+v, %v", now, err)
	}
	if got := read(); *got.Admission != armed {
		t.Fatalf("read %+v, wrote %+v", got.Admission, armed)
	}
	if again, err := st.Change(t.Context(), "drop", engine.Act{Actor: "test", Name: "armed"}, func(s *engine.Sale) error { same := armed; s.Admission = &same; return nil }); err != nil || again.Version != now.Version {
		t.Errorf("a change that changes nothing: %+v, %v", again, err)
	}
	if n := ask(t, url, `SELECT count(*) FROM audit_log WHERE target = 'drop' AND detail ? 'admission' AND detail::text NOT ILIKE '%seed%' AND detail::text NOT LIKE '%222%' AND detail::text NOT LIKE '%3q2+7w%'`); n != 1 {
		t.Errorf("%d fitting entries in the audit log", n)
	}
	cache := record.NewSales(db, record.SalesOptions{})
	if got, err := cache.Sale(t.Context(), "drop"); err != nil || *got.Admission != armed {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := st.Change(t.Context(), "drop", engine.Act{Actor: "test", Name: "put"}, func(s *engine.Sale) error { s.Admission = nil; return nil }); err != nil || read().Admission != nil {
		t.Errorf("%v", err)
	}
	if got, err := st.Get(t.Context(), "plain"); err != nil || got.Admission != nil || got.Version != plain.Version {
		t.Errorf("a sale without one: %+v, %v", got, err)
	}
	if err := psql(t, url, `INSERT INTO waiting_rooms (sale_no, lease_ms, use_ms, start_rate, max_rate, answer_ms, epoch) SELECT no, 1, 1, 0, 0, 0, 1 FROM sales WHERE id = 'plain'`); err == nil {
		t.Error("an armed room without a seed is taken")
	}
}
