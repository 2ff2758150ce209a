package record_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The shared Postgres of a lone package run lives as long as the process.
		goleak.IgnoreAnyFunction("github.com/flashsale-engine/flashsale/internal/devstack.startChild.func1"),
		goleak.IgnoreAnyFunction("github.com/flashsale-engine/flashsale/internal/devstack.(*server).watch"))
}

// patience is how long a test waits for what must come: Postgres may get no
// processor for seconds on a busy machine.
const patience = time.Minute

// openRecord gives a migrated database of the test's own.
func openRecord(t testing.TB) (*record.DB, string) {
	t.Helper()
	url := testenv.Postgres(t)
	if err := record.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	return openAt(t, url), url
}

func openAt(t testing.TB, url string) *record.DB {
	t.Helper()
	db, err := record.Open(t.Context(), url, record.Options{MaxConns: 8, AcquireTimeout: patience, ConnectTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// psql runs a statement behind the adapter's back.
func psql(t testing.TB, url, sql string, args ...any) error {
	t.Helper()
	c, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	_, err = c.Exec(context.Background(), sql, args...)
	return err
}

// ask reads one number behind the adapter's back.
func ask(t testing.TB, url, sql string, args ...any) (n int64) {
	t.Helper()
	c, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if err := c.QueryRow(context.Background(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func terms(id string, stock ...int64) *engine.Sale {
	s := &engine.Sale{
		ID: id, Name: "Spring drop", Currency: "USD",
		OpensAt: time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC), HoldTTL: 2 * time.Minute, HoldCap: 10 * time.Minute,
		PerBuyerLimit: 4, Shards: 1,
	}
	for i, n := range stock {
		s.Items = append(s.Items, engine.Item{No: uint16(i), SKU: "SKU-" + string(rune('A'+i)), Title: "Thing", UnitPrice: 1000 + int64(i), Stock: n})
	}
	return s
}

func create(t testing.TB, db *record.DB, id string, stock ...int64) *engine.Sale {
	t.Helper()
	s, created, err := record.NewSaleStore(db).Create(t.Context(), terms(id, stock...), "test")
	if err != nil || !created {
		t.Fatalf("create %s: created %v, %v", id, created, err)
	}
	return s
}

var nonce byte

// event makes the event of a new reservation of quantity units of each SKU named.
func event(s *engine.Sale, quantity int, nos ...uint16) record.Event {
	nonce++
	id := engine.ReservationID{Sale: s.No, Created: time.Now().UnixMilli(), Buyer: engine.BuyerKey{1, nonce}, Nonce: engine.Nonce{nonce, byte(nos[0])}}
	lines := make([]engine.Line, len(nos))
	for i, no := range nos {
		lines[i] = engine.Line{No: no, Quantity: quantity}
	}
	priced, total := s.Price(lines)
	return record.Event{
		AcceptedEvent: engine.AcceptedEvent{
			ID: id, SaleID: s.ID, Buyer: "ada", Lines: priced, Total: total,
			Attempt: engine.NewAttemptID(id, "key"), Provider: "sandbox", ProviderRef: "ref-1", ReplyTo: "node-1",
		},
		Epoch: 1, Seq: uint64(nonce), AcceptedAt: time.Now().UTC(),
	}
}

// begin notes the payment attempt of an event.
func begin(t testing.TB, a *record.Attempts, ev record.Event, lease time.Duration) engine.Attempt {
	t.Helper()
	got, err := a.Begin(t.Context(), attemptOf(ev), lease)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func attemptOf(ev record.Event) engine.Attempt {
	return engine.Attempt{ID: ev.Attempt, Reservation: ev.ID, Buyer: ev.Buyer, Amount: ev.Total, Method: "pm_card_visa", Contact: engine.Contact{Email: "ada@example.org"}, State: engine.PaymentAuthorising}
}

const topic = "test.topic"

// batch puts events at the end of partition 0, which the record has read up to from.
func batch(from int64, events ...record.Event) record.Batch {
	b := record.Batch{Topic: topic, From: map[int32]int64{0: from}}
	for i, ev := range events {
		b.Entries = append(b.Entries, record.Entry{Partition: 0, Offset: from + int64(i), Event: ev})
	}
	return b
}

func ledger(t testing.TB, db *record.DB) *record.Ledger {
	t.Helper()
	l := record.NewLedger(db)
	if _, err := l.Positions(t.Context(), topic, "", []int32{0}); err != nil {
		t.Fatal(err)
	}
	return l
}

func commit(t testing.TB, l *record.Ledger, b record.Batch) record.Result {
	t.Helper()
	r, err := l.Commit(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantCode(t testing.TB, err error, code engine.Code) {
	t.Helper()
	if engine.CodeOf(err) != code {
		t.Fatalf("error %v, want code %q", err, code)
	}
}

// until polls a condition until it holds.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}
