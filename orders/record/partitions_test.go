package record_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// at gives an event another time of reservation, and so another id.
func at(ev record.Event, when time.Time) record.Event {
	ev.ID.Created = when.UnixMilli()
	ev.Attempt = engine.NewAttemptID(ev.ID, "key")
	return ev
}

func month(offset int) time.Time {
	now := time.Now().UTC()
	return time.Date(now.Year(), now.Month()+time.Month(offset), 1, 0, 0, 0, 0, time.UTC)
}

func TestOrdersOfEachMonthLieInTheirPartitionAndTheNetCatchesTheRest(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 100)
	l := ledger(t, db)
	edge := month(1)
	events := []record.Event{
		at(event(s, 1, 0), edge.Add(-time.Millisecond)), at(event(s, 1, 0), edge), at(event(s, 1, 0), month(4)),
		at(event(s, 1, 0), time.UnixMilli(engine.TimeZero)), at(event(s, 1, 0), time.UnixMilli(engine.TimeZero+1<<40-1)),
	}
	commit(t, l, batch(0, events...))
	in := func(partition string) int64 { return ask(t, url, `SELECT count(*) FROM `+partition) }
	name := func(m time.Time) string { return m.Format("orders_2006_01") }
	if in(name(month(0))) != 1 || in(name(edge)) != 1 || in("orders_default") != 3 {
		t.Errorf("%d this month, %d the next, %d in the net", in(name(month(0))), in(name(edge)), in("orders_default"))
	}
	for _, ev := range events {
		if o, err := record.NewOrders(db).Order(t.Context(), ev.ID); err != nil || o.ID != ev.ID {
			t.Errorf("%s: %v", ev.ID, err)
		}
	}
	if made, err := db.MakePartitions(t.Context(), 4); err != nil || made != 2 {
		t.Fatalf("made %d, %v", made, err)
	}
	if in(name(month(4))) != 1 || in("orders_default") != 2 {
		t.Error("what the net had caught has not moved to its month")
	}
	if made, err := db.MakePartitions(t.Context(), 4); err != nil || made != 0 {
		t.Errorf("made %d again, %v", made, err)
	}
	if o, err := record.NewOrders(db).Order(t.Context(), events[2].ID); err != nil || o.ID != events[2].ID {
		t.Errorf("after its move: %v", err)
	}
}

// A month is made while orders are written, into that month too: nobody
// deadlocks, and nothing stays in the net that has a month.
func TestPartitionsAreMadeWhileOrdersAreWritten(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 100_000)
	l := ledger(t, db)
	enough, done := make(chan struct{}), make(chan int64)
	go func() {
		n := int64(0)
		defer func() { done <- n }()
		for {
			select {
			case <-enough:
				return
			default:
			}
			b := batch(n, at(event(s, 1, 0), time.Now()))
			for m := 1; m <= 8; m++ { // another id each time: its time says so
				ev := at(event(s, 1, 0), month(m).Add(time.Duration(n)*time.Millisecond))
				b.Entries = append(b.Entries, record.Entry{Offset: n + int64(m), Event: ev})
			}
			if _, err := l.Commit(t.Context(), b); err != nil {
				t.Error(err)
				return
			}
			n += int64(len(b.Entries))
		}
	}()
	for ahead := 3; ahead <= 8; ahead++ {
		until(t, "the month is made", func() bool { _, err := db.MakePartitions(t.Context(), ahead); return err == nil })
	}
	close(enough)
	n := <-done
	if _, err := db.MakePartitions(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	if all, caught := ask(t, url, `SELECT count(*) FROM orders`), ask(t, url, `SELECT count(*) FROM orders_default`); all != n || n == 0 || caught != 0 {
		t.Errorf("%d orders of %d, %d in the net", all, n, caught)
	}
	agree(t, db, s, n)
}

func TestAnOrderHasOneTimeSoThatItsKeyStaysOneKey(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 100)
	commit(t, ledger(t, db), batch(0, event(s, 1, 0)))
	const again = `INSERT INTO orders SELECT id, order_id, sale_no, sale_id, buyer, state, lines, total, currency, email, attempt, provider, epoch, seq, reason, `
	for what, sql := range map[string]string{
		"the same order":                    again + `reserved_at, accepted_at, placed_at FROM orders`,
		"at another time, in another month": again + `reserved_at + interval '1 month', accepted_at, placed_at FROM orders`,
	} {
		err := psql(t, url, sql)
		if err == nil || !strings.Contains(err.Error(), "23505") && !strings.Contains(err.Error(), "orders_time_is_the_ids") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestTheTimeInAnIdIsTheSameInSQL(t *testing.T) {
	_, url := openRecord(t)
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	for _, ms := range []int64{0, 1, 255, 256, 65_537, 1<<24 + 1, 1<<32 - 1, 1 << 32, 59_999_999_999, 1<<40 - 1} {
		id := engine.ReservationID{Sale: 1<<32 - 1, Created: engine.TimeZero + ms}
		var got time.Time
		if err := c.QueryRow(t.Context(), `SELECT reserved_at($1)`, id.Bytes()).Scan(&got); err != nil || !got.Equal(id.CreatedAt()) {
			t.Errorf("%d ms: %s, not %s, %v", ms, got.UTC(), id.CreatedAt(), err)
		}
	}
}

// A look-up that names an order must not open every month's index.
func TestALookUpOfAnOrderReadsOnePartition(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 100)
	ev := event(s, 1, 0)
	commit(t, ledger(t, db), batch(0, ev))
	if _, err := db.MakePartitions(t.Context(), 12); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if _, err := record.NewOrders(db).Order(t.Context(), ev.ID); err != nil {
			t.Fatal(err)
		}
	}
	db.Close() // a session's counts are complete once it has ended
	others := `SELECT coalesce(sum(idx_scan + seq_scan), 0)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'orders\_%' AND relname <> '` + time.Now().UTC().Format("orders_2006_01") + `'`
	mine := `SELECT idx_scan + seq_scan FROM pg_stat_user_tables WHERE relname = '` + time.Now().UTC().Format("orders_2006_01") + `'`
	until(t, "the counts are in", func() bool { return ask(t, url, mine) >= 500 })
	if n := ask(t, url, others); n >= 500 {
		t.Errorf("500 look-ups scanned other months %d times", n)
	}
}
