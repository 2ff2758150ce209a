package record

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// fixture is a sale with 10 units and one event that wants 2 of them.
func fixture(t *testing.T, url string) (*DB, *Ledger, Batch) {
	t.Helper()
	if err := Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), url, Options{AcquireTimeout: time.Minute, ConnectTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	s, _, err := NewSaleStore(db).Create(t.Context(), &engine.Sale{
		ID: "drop", Name: "Drop", Currency: "USD", HoldTTL: time.Minute, HoldCap: 5 * time.Minute, PerBuyerLimit: 2, Shards: 1,
		Items: []engine.Item{{SKU: "A", UnitPrice: 5, Stock: 10}},
	}, "test")
	if err != nil {
		t.Fatal(err)
	}
	l := NewLedger(db)
	if _, err := l.Positions(t.Context(), "t", "", []int32{0}); err != nil {
		t.Fatal(err)
	}
	ev := Event{AcceptedAt: time.Now(), AcceptedEvent: engine.AcceptedEvent{
		ID: engine.ReservationID{Sale: s.No, Created: time.Now().UnixMilli()}, SaleID: "drop", Buyer: "b", Provider: "p", ReplyTo: "n",
		Lines: []engine.PricedLine{{SKU: "A", Quantity: 2, UnitPrice: 5}}, Total: engine.Money{Amount: 10, Currency: "USD"},
	}}
	return db, l, Batch{Topic: "t", From: map[int32]int64{0: 0}, Entries: []Entry{{Event: ev}}}
}

var errCut = fmt.Errorf("read tcp: %w", io.ErrUnexpectedEOF)

func TestACommitWhoseAnswerIsLostIsFoundToHaveHappened(t *testing.T) {
	db, l, b := fixture(t, testenv.Postgres(t))
	calls := 0
	db.commit = func(ctx context.Context, tx pgx.Tx) error {
		calls++
		err := tx.Commit(ctx)
		if calls == 1 && err == nil {
			return errCut
		}
		return err
	}
	r, err := l.Commit(t.Context(), b)
	if err != nil || r.Next[0] != 1 || len(r.Decided) != 1 || r.Decided[0].State != engine.Confirmed || r.Decided[0].ReplyTo != "n" {
		t.Fatalf("%+v, %v", r, err)
	}
	totals, err := NewAudit(db).Totals(t.Context(), b.Entries[0].Event.ID.Sale)
	if err != nil || totals[0].Sold != 2 || totals[0].LedgerSold != 2 || totals[0].Orders != 2 {
		t.Errorf("%+v, %v", totals, err)
	}
}

func TestACommitThatNeverArrivedIsDoneAgain(t *testing.T) {
	db, l, b := fixture(t, testenv.Postgres(t))
	calls := 0
	db.commit = func(ctx context.Context, tx pgx.Tx) error {
		calls++
		if calls == 1 {
			_ = tx.Rollback(ctx)
			return errCut
		}
		return tx.Commit(ctx)
	}
	r, err := l.Commit(t.Context(), b)
	if err != nil || r.Next[0] != 1 || len(r.Decided) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	totals, err := NewAudit(db).Totals(t.Context(), b.Entries[0].Event.ID.Sale)
	if err != nil || totals[0].Sold != 2 || totals[0].Orders != 2 {
		t.Errorf("%+v, %v", totals, err)
	}
}

func TestADeadlockIsTriedAgain(t *testing.T) {
	db, l, b := fixture(t, testenv.Postgres(t))
	calls := 0
	db.commit = func(ctx context.Context, tx pgx.Tx) error {
		if calls++; calls < attempts {
			_ = tx.Rollback(ctx)
			return &pgconn.PgError{Code: "40P01"}
		}
		return tx.Commit(ctx)
	}
	if _, err := l.Commit(t.Context(), b); err != nil || calls != attempts {
		t.Fatalf("%d commits, %v", calls, err)
	}
}

func TestAChangeWhoseCommitHasNoAnswerIsUnknown(t *testing.T) {
	db, _, _ := fixture(t, testenv.Postgres(t))
	db.commit = func(ctx context.Context, tx pgx.Tx) error { _ = tx.Commit(ctx); return errCut }
	_, err := NewSaleStore(db).Change(t.Context(), "drop", engine.Act{Name: "x"}, func(s *engine.Sale) error { s.Name = "y"; return nil })
	if !errors.Is(err, engine.ErrUnknown) || engine.CodeOf(err) != engine.CodeUnavailable {
		t.Fatalf("%v", err)
	}
}

func TestEveryErrorIsClassifiedOnce(t *testing.T) {
	timeout := &net.OpError{Op: "read", Err: errors.New("i/o timeout")}
	for _, c := range []struct {
		name    string
		err     error
		kind    kind
		code    engine.Code
		unknown bool
		data    bool
	}{
		{"cut while reading", errCut, reading, engine.CodeUnavailable, false, false},
		{"cut while writing", errCut, writing, engine.CodeUnavailable, true, false},
		{"network while writing", timeout, writing, engine.CodeUnavailable, true, false},
		{"deadline while writing", context.DeadlineExceeded, writing, engine.CodeUnavailable, true, false},
		{"deadline while reading", context.DeadlineExceeded, reading, engine.CodeUnavailable, false, false},
		{"shut down while writing", &pgconn.PgError{Code: "57P01"}, writing, engine.CodeUnavailable, true, false},
		{"starting up", &pgconn.PgError{Code: "57P03"}, reading, engine.CodeUnavailable, false, false},
		{"too many connections", &pgconn.PgError{Code: "53300"}, writing, engine.CodeUnavailable, false, false},
		{"a connection cut while the schema is migrated", fmt.Errorf("migrate: %w", driver.ErrBadConn), reading, engine.CodeUnavailable, false, false},
		{"and one that is closed", sql.ErrConnDone, writing, engine.CodeUnavailable, true, false},
		{"no room for a table", &pgconn.PgError{Code: "53100", SeverityUnlocalized: "ERROR"}, writing, engine.CodeUnavailable, false, false},
		{"no room for the log", &pgconn.PgError{Code: "53100", SeverityUnlocalized: "PANIC"}, writing, engine.CodeUnavailable, true, false},
		{"no room for the log, while reading", &pgconn.PgError{Code: "53100", SeverityUnlocalized: "PANIC"}, reading, engine.CodeUnavailable, false, false},
		{"a replica", &pgconn.PgError{Code: "25006"}, writing, engine.CodeUnavailable, false, false},
		{"a check", &pgconn.PgError{Code: "23514", ConstraintName: "skus_never_oversold"}, writing, engine.CodeInternal, false, true},
		{"a partition's bounds", &pgconn.PgError{Code: "23514"}, writing, engine.CodeUnavailable, false, false},
		{"no such table", &pgconn.PgError{Code: "42P01"}, writing, engine.CodeInternal, false, false},
		{"engine's own", engine.E(engine.CodeSaleState, "x"), writing, engine.CodeSaleState, false, false},
	} {
		got := classify(c.err, c.kind)
		var data *DataError
		if engine.CodeOf(got) != c.code || errors.Is(got, engine.ErrUnknown) != c.unknown || errors.As(got, &data) != c.data {
			t.Errorf("%s: %v", c.name, got)
		}
		if again := classify(got, writing); again != got { //nolint:errorlint // the very same
			t.Errorf("%s is classified twice: %v", c.name, again)
		}
	}
}

func TestAnAbsentPostgresIsUnavailableAndNothingIsUnknown(t *testing.T) {
	db, err := Open(t.Context(), "postgres://nobody@127.0.0.1:1/nothing", Options{AcquireTimeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = NewAttempts(db).Begin(t.Context(), engine.Attempt{}, time.Minute)
	if engine.CodeOf(err) != engine.CodeUnavailable || errors.Is(err, engine.ErrUnknown) {
		t.Errorf("begin: %v", err)
	}
	var e *engine.Error
	if !errors.As(err, &e) || e.RetryAfter <= 0 {
		t.Errorf("no Retry-After: %v", err)
	}
	_, err = NewSales(db, SalesOptions{}).Sale(t.Context(), "drop")
	if engine.CodeOf(err) != engine.CodeUnavailable {
		t.Errorf("sale: %v", err)
	}
}
