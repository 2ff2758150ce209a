package record_test

import (
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestAForcedBreakerIsKeptAndAudited(t *testing.T) {
	db, url := openRecord(t)
	b := record.NewBreakers(db)
	set := func(mode, key string) {
		t.Helper()
		if err := b.Set(t.Context(), "fraud", mode, engine.Act{Actor: "ops", Reason: "it lies", Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	forced := func() record.ForcedBreaker {
		t.Helper()
		list, err := b.Forced(t.Context())
		if err != nil || len(list) > 1 {
			t.Fatal(list, err)
		}
		if len(list) == 0 {
			return record.ForcedBreaker{}
		}
		return list[0]
	}
	set("open", "k1")
	set("open", "k1") // lost its answer, sent again
	if f := forced(); f.Name != "fraud" || f.Mode != "open" || f.Reason != "it lies" || f.Actor != "ops" || time.Since(f.At) > time.Minute {
		t.Fatalf("%+v", f)
	}
	set("closed", "k2")
	set("open", "k1") // late
	if f := forced(); f.Mode != "closed" {
		t.Fatalf("%+v", f)
	}
	set("auto", "")
	if f := forced(); f.Name != "" {
		t.Fatalf("%+v", f)
	}
	if n := ask(t, url, `SELECT count(*) FROM audit_log WHERE target = 'fraud' AND detail->>'reason' = 'it lies'`); n != 3 {
		t.Fatalf("%d acts are on record", n)
	}
}

func TestEveryOrderFromNowOnIsNoticedUntilItIsDelivered(t *testing.T) {
	db, _ := openRecord(t)
	n, l := record.NewNotices(db), ledger(t, db)
	s := create(t, db, "drop", 10)
	commit(t, l, batch(0, event(s, 1, 0))) // nobody wants to know yet
	for range 2 {
		if err := n.Want(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	first, second, refused := event(s, 1, 0), event(s, 2, 0), event(s, 100, 0)
	commit(t, l, batch(1, first, second, refused))

	due := func(lease time.Duration) []record.Notice {
		t.Helper()
		list, err := n.Due(t.Context(), 10, lease)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	got := due(0)
	if len(got) != 3 || got[0].Tries != 1 {
		t.Fatalf("%+v", got)
	}
	states := map[engine.ReservationID]engine.ReservationState{}
	for _, one := range got {
		states[one.Order.ID] = one.Order.State
	}
	if states[first.ID] != engine.Confirmed || states[second.ID] != engine.Confirmed || states[refused.ID] != engine.Refused {
		t.Fatal(states)
	}
	if again := due(time.Hour); len(again) != 3 || again[0].Tries != 2 {
		t.Fatalf("a lease that is over: %+v", again)
	}
	if taken := due(time.Hour); len(taken) != 0 {
		t.Fatalf("another node's: %+v", taken)
	}
	if err := n.Delivered(t.Context(), []engine.ReservationID{got[0].Order.ID, got[1].Order.ID}); err != nil {
		t.Fatal(err)
	}
	if err := n.Later(t.Context(), got[2].Order.ID, 0, "answer\x00 500"); err != nil {
		t.Fatal(err)
	}
	if left := due(0); len(left) != 1 || left[0].Order.ID != got[2].Order.ID || left[0].Tries != 3 {
		t.Fatalf("%+v", left)
	}
	if count, oldest, err := n.Pending(t.Context()); err != nil || count != 1 || time.Since(oldest) > time.Minute {
		t.Fatal(count, oldest, err)
	}
}
