package record

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"

	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// schemaOf gives a database as a program left it whose last migration is this one.
func schemaOf(t *testing.T, version int64) (url string, c *pgx.Conn) {
	t.Helper()
	url = testenv.Postgres(t)
	err := withMigrations(t.Context(), url, func(p *goose.Provider) error {
		_, err := p.UpTo(t.Context(), version)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, err = pgx.Connect(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return url, c
}

// migrated brings it up to date.
func migrated(t *testing.T, url string) *DB {
	t.Helper()
	if err := Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func TestWhatWasThereBeforeTheChainIsSealedAndHasItsOpeningBalance(t *testing.T) {
	url, c := schemaOf(t, 5)
	for _, sql := range []string{
		`INSERT INTO stock_ledger (sale_no, sku_no, kind, units, reason, cause, actor) SELECT 1, 0, 'stock', 1, 'old', n::text, 'old' FROM generate_series(1, 10000) n`,
		`INSERT INTO audit_log (actor, act, target) VALUES ('old', 'create', 'drop')`,
		`INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, lease_until)
			SELECT decode(lpad(n::text, 32, '0'), 'hex'), decode(lpad('1', 8, '0') || lpad(n::text, 42, '0'), 'hex'), 1, 'ada', 500, 'USD', 'pm', '',
				(ARRAY['authorising', 'authorised', 'captured', 'refunded', 'voided', 'declined'])[n], now() FROM generate_series(1, 6) n`,
	} {
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	db := migrated(t, url)
	if got, err := NewAudit(db).Money(t.Context(), 1); err != nil || len(got) != 0 {
		t.Errorf("the opening balances: %+v, %v", got, err)
	}
	chain := NewChain(db)
	for more := true; more; {
		did, err := chain.Seal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		more = did.More || did.Lag > 0
	}
	r, err := chain.Check(t.Context(), 0, "")
	if want := int64(10_000 + 1 + 6); err != nil || !r.Intact() || r.Rows != want || r.Unsealed != 0 || r.Seals != 5 {
		t.Errorf("want %d rows: %+v, %v", want, r, err)
	}
}

// Payments that an older program left are found by reminders as they were by indexes.
func TestUnfinishedPaymentsFromBeforeRemindersAreFound(t *testing.T) {
	url, c := schemaOf(t, 11)
	const each = 100
	if _, err := c.Exec(t.Context(), `
		INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, refund_reason, lease_until)
		SELECT decode(md5(s || n), 'hex'), decode(lpad(to_hex(n), 50, '0'), 'hex'), 1, 'ada', 500, 'USD', 'pm', '', split_part(s, ' ', 1), split_part(s, ' ', 2), now() - interval '1 minute'
		FROM unnest(ARRAY['authorising', 'unknown', 'action_required', 'authorised', 'captured', 'captured owed', 'voided', 'declined', 'refunded owed']) s, generate_series(1, $1) n`, each); err != nil {
		t.Fatal(err)
	}
	db := migrated(t, url)
	a := NewAttempts(db)
	open, err := a.Unfinished(t.Context(), 0, 10_000)
	if err != nil || len(open) != 3*each {
		t.Errorf("open: %d, %v", len(open), err)
	}
	money, err := a.Authorised(t.Context(), time.Minute, 0, 10_000)
	if err != nil || len(money.Lost) != each || len(money.Capture)+len(money.Void) != 0 {
		t.Errorf("authorised: %d, %v", len(money.Lost), err)
	}
	owed, err := a.Owed(t.Context(), time.Minute, 10_000)
	if err != nil || len(owed) != each {
		t.Errorf("owed: %d, %v", len(owed), err)
	}
}
