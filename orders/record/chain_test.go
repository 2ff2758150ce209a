package record_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// sealAll seals until nothing is left.
func sealAll(t testing.TB, c *record.Chain) engine.Seal {
	t.Helper()
	for {
		s, err := c.Seal(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Rows == 0 && !s.Busy && s.Lag == 0 {
			return s.Head
		}
	}
}

func check(t testing.TB, c *record.Chain, since int64, expect string) engine.ChainReport {
	t.Helper()
	r, err := c.Check(t.Context(), since, expect)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found gives what a report says, shortly: what ledger/row, in a stable order.
func found(r engine.ChainReport) string {
	var out []string
	for _, x := range r.Tampered {
		out = append(out, fmt.Sprintf("%s %s/%d", x.What, x.Ledger, x.Row))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// tamper is a superuser who has switched the triggers off for the session.
func tamper(t testing.TB, url string, sqls ...string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	for _, sql := range append([]string{`SET session_replication_role = replica`}, sqls...) {
		tag, err := c.Exec(t.Context(), sql)
		if err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if !strings.HasPrefix(sql, "SET") && tag.RowsAffected() == 0 {
			t.Fatalf("%s touched nothing", sql)
		}
	}
}

// sellSome writes n orders of one unit, each in its own transaction, captured.
func sellSome(t testing.TB, db *record.DB, s *engine.Sale, from, n int) {
	t.Helper()
	l, a := ledger(t, db), record.NewAttempts(db)
	for i := from; i < from+n; i++ {
		ev := numbered(s, uint64(i))
		begin(t, a, ev, time.Minute)
		commit(t, l, batch(int64(i), ev))
		if err := a.Note(t.Context(), engine.Attempt{ID: ev.Attempt}, engine.Payment{State: engine.PaymentCaptured}, "order_confirmed"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoeverTampersWithTheLedgersIsFoundAndNamed(t *testing.T) {
	for name, c := range map[string]struct {
		sql  []string
		want string
	}{
		"nothing":                       {nil, ""},
		"a changed amount of money":     {[]string{`UPDATE money_ledger SET amount = amount + 1 WHERE id = 3`}, "row_changed money/3"},
		"a changed reason":              {[]string{`UPDATE stock_ledger SET reason = 'gift' WHERE id = 2`}, "row_changed stock/2"},
		"a changed actor in the audit":  {[]string{`UPDATE audit_log SET actor = 'nobody' WHERE id = 1`}, "row_changed audit/1"},
		"a changed detail in the audit": {[]string{`UPDATE audit_log SET detail = detail || '{"x":1}' WHERE id = 1`}, "row_changed audit/1"},
		"a changed time":                {[]string{`UPDATE stock_ledger SET at = at + interval '1 microsecond' WHERE id = 4`}, "row_changed stock/4"},
		"a deleted row in the middle":   {[]string{`DELETE FROM stock_ledger WHERE id = 3`}, "row_deleted stock/3"},
		"an inserted row": {[]string{`INSERT INTO stock_ledger (id, sale_no, sku_no, kind, units, reason, cause, actor, place) OVERRIDING SYSTEM VALUE
			SELECT 999, sale_no, sku_no, kind, units, reason, cause, actor, place FROM stock_ledger WHERE id = 3`}, "row_inserted stock/999"},
		"two rows that changed places": {[]string{`UPDATE stock_ledger a SET place = b.place FROM stock_ledger b WHERE (a.id = 3 AND b.id = 5) OR (a.id = 5 AND b.id = 3)`},
			"row_changed stock/3, row_changed stock/5"},
		"two rows that changed numbers": {[]string{`ALTER TABLE stock_ledger ALTER COLUMN id DROP IDENTITY`, `UPDATE stock_ledger SET id = 8 - id WHERE id IN (3, 5)`},
			"row_changed stock/3, row_changed stock/5"},
		"a truncated end": {[]string{`DELETE FROM money_ledger WHERE id > 10`}, "row_deleted money/11, row_deleted money/12"},
		"everything gone": {[]string{`DELETE FROM audit_log`}, "row_deleted audit/1"},
		// Which ledger the first seal is of depends on what else the server runs: whose transactions hold which rows back.
		"a seal made to fit the lie": {[]string{`UPDATE ledger_seals SET rows = rows - 1 WHERE no = (SELECT min(no) FROM ledger_seals WHERE ledger = 'stock')`}, "seal_changed stock/0"},
		"a seal that is gone":        {[]string{`DELETE FROM ledger_seals WHERE no = 2`}, "seal_missing /0"},
		"the guard asleep":           {[]string{`ALTER TABLE money_ledger DISABLE TRIGGER money_ledger_append_only`}, "guard_missing money_ledger/0"},
		"one change, one deletion, one insertion": {[]string{`UPDATE money_ledger SET actor = 'x' WHERE id = 1`, `DELETE FROM money_ledger WHERE id = 2`,
			`INSERT INTO audit_log (id, actor, act, target, place) OVERRIDING SYSTEM VALUE VALUES (77, 'me', 'stock', 'drop', 5)`},
			"row_changed money/1, row_deleted money/2, row_inserted audit/77"},
	} {
		t.Run(name, func(t *testing.T) {
			db, url := openRecord(t)
			s := create(t, db, "drop", 100)
			chain := record.NewChain(db)
			sellSome(t, db, s, 0, 3)
			sealAll(t, chain)
			sellSome(t, db, s, 3, 3) // stock 7 rows, money 12, audit 1
			head := sealAll(t, chain)
			if r := check(t, chain, 0, head.Hash); !r.Intact() || r.Rows != 20 || r.Unsealed != 0 || r.Head != head {
				t.Fatalf("before: %+v", r)
			}
			var ddl, dml []string
			for _, sql := range c.sql {
				if strings.HasPrefix(sql, "ALTER") {
					ddl = append(ddl, sql)
				} else {
					dml = append(dml, sql)
				}
			}
			for _, sql := range ddl {
				if err := psql(t, url, sql); err != nil {
					t.Fatal(err)
				}
			}
			if len(dml) > 0 {
				tamper(t, url, dml...)
			}
			r := check(t, chain, 0, "")
			if found(r) != c.want || r.Found != len(r.Tampered) {
				t.Errorf("found %q, want %q", found(r), c.want)
			}
		})
	}
}

func TestAKeptHashShowsAChainThatWasCutOrMadeAnew(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 100)
	chain, other := record.NewChain(db), record.NewChain(db)
	sellSome(t, db, s, 0, 2)
	first := sealAll(t, chain)
	sellSome(t, db, s, 2, 2)
	kept := sealAll(t, chain)
	if r := check(t, chain, first.No, first.Hash); !r.Intact() || r.Rows != 6 {
		t.Fatalf("from the kept seal on: %+v", r)
	}
	// The last two orders disappear, with the seals that knew them and the triggers' blessing.
	tamper(t, url, `DELETE FROM ledger_seals WHERE no > `+fmt.Sprint(first.No), `DELETE FROM stock_ledger WHERE id > 3`, `DELETE FROM money_ledger WHERE id > 4`)
	if r := check(t, chain, 0, ""); !r.Intact() {
		t.Fatalf("without the kept hash nothing can show: %s", found(r))
	}
	if r := check(t, chain, 0, kept.Hash); found(r) != "anchor_missing /0" {
		t.Errorf("found %q", found(r))
	}
	if r := check(t, chain, kept.No, kept.Hash); found(r) != "anchor_missing /0" {
		t.Errorf("found %q", found(r))
	}
	if r := check(t, chain, first.No, kept.Hash); found(r) != "anchor_missing /0" {
		t.Errorf("found %q", found(r))
	}
	// A process that has seen the seal notices by itself; one that has not, cannot.
	if got, err := chain.Seal(t.Context()); err != nil || got.Cut == nil || *got.Cut != kept {
		t.Errorf("the sealer: %+v, %v", got, err)
	}
	if got, err := other.Seal(t.Context()); err != nil || got.Cut != nil {
		t.Errorf("another sealer: %+v, %v", got, err)
	}
}

// Writers whose transactions take their numbers early and commit late are the
// ones that a sealer by sequence numbers or by time would skip.
func TestNoRowIsSkippedOrSealedTwiceWhateverTheWritersDo(t *testing.T) {
	db, url := openRecord(t)
	create(t, db, "drop", 1)
	stop := make(chan struct{})
	var writers, sealers sync.WaitGroup
	const each = 60
	for w := range 6 {
		writers.Go(func() {
			c, err := pgx.Connect(context.Background(), url)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close(context.Background())
			for i := range each {
				// Every third is a transaction that lingers, every seventh is rolled back, some write twice.
				tx, err := c.Begin(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				const row = `INSERT INTO stock_ledger (sale_no, sku_no, kind, units, reason, cause, actor) VALUES (9, $1, 'sold', 1, 'test', $2, 'test')`
				_, err = tx.Exec(context.Background(), row, w, fmt.Sprint(w, "/", i))
				if i%3 == w%3 {
					_, _ = tx.Exec(context.Background(), `SELECT pg_sleep(0.02)`)
					_, err = tx.Exec(context.Background(), row, w, fmt.Sprint(w, "/", i, "b"))
				}
				if err != nil {
					t.Error(err)
				}
				if i%7 == w {
					err = tx.Rollback(context.Background())
				} else {
					err = tx.Commit(context.Background())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 3 {
		sealers.Go(func() {
			chain := record.NewChain(db)
			for {
				if _, err := chain.Seal(context.Background()); err != nil {
					t.Error(err)
				}
				if r, err := chain.Check(context.Background(), 0, ""); err != nil || !r.Intact() {
					t.Errorf("a false alarm under load: %s, %v", found(r), err)
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	sealers.Wait()
	chain := record.NewChain(db)
	sealAll(t, chain)
	rows := ask(t, url, `SELECT (SELECT count(*) FROM stock_ledger) + (SELECT count(*) FROM audit_log)`)
	r := check(t, chain, 0, "")
	if !r.Intact() || r.Rows != rows || r.Unsealed != 0 || r.Seals < 3 {
		t.Errorf("%d rows, report %+v", rows, r)
	}
	if n := ask(t, url, `SELECT coalesce(sum(amount), 0) FROM ledger_sums WHERE sale_no = 9`); n != ask(t, url, `SELECT coalesce(sum(units), 0) FROM stock_ledger WHERE sale_no = 9`) {
		t.Errorf("the running sum is %d", n)
	}
}

func TestALongTransactionHoldsSealingBackAndNothingIsLost(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 9)
	chain := record.NewChain(db)
	sealAll(t, chain)
	long, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer long.Close(context.Background())
	tx, err := long.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO stock_ledger (sale_no, sku_no, kind, units, reason, cause, actor) VALUES (9, 0, 'stock', 1, 'slow', 'slow', 'test')`); err != nil {
		t.Fatal(err)
	}
	sellSome(t, db, s, 0, 2)
	got, err := chain.Seal(t.Context())
	if err != nil || got.Rows != 0 || got.Lag <= 0 {
		t.Fatalf("sealed past a transaction that may yet write: %+v, %v", got, err)
	}
	if r := check(t, chain, 0, ""); !r.Intact() || r.Unsealed != 6 {
		t.Fatalf("%+v", r)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	sealAll(t, chain)
	if r := check(t, chain, 0, ""); !r.Intact() || r.Unsealed != 0 || r.Rows != 9 {
		t.Fatalf("%+v", r)
	}
}

// A dump that is restored into another server brings places along that the
// server's own transactions have not reached by far.
func TestAfterARestoreTheChainGoesOn(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 9)
	chain := record.NewChain(db)
	sellSome(t, db, s, 0, 1)
	kept := sealAll(t, chain)
	sellSome(t, db, s, 1, 1)
	// The rows of the old server stood a billion transactions further on: lift both
	// sealed and unsealed ones, which makes the seals anew, as they would have been there.
	const far = `1000000000`
	tamper(t, url, `UPDATE stock_ledger SET place = place + `+far, `UPDATE money_ledger SET place = place + `+far, `UPDATE audit_log SET place = place + `+far, `DELETE FROM ledger_seals`, `DELETE FROM ledger_sums`)
	if err := record.Migrate(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	chain = record.NewChain(db)
	head := sealAll(t, chain)
	sellSome(t, db, s, 2, 3)
	last := sealAll(t, chain)
	if r := check(t, chain, head.No, head.Hash); !r.Intact() || r.Unsealed != 0 || r.Rows != 9 {
		t.Errorf("%+v", r)
	}
	if r := check(t, chain, 0, last.Hash); !r.Intact() || r.Rows != 17 {
		t.Errorf("%+v", r)
	}
	if r := check(t, chain, 0, kept.Hash); found(r) != "anchor_missing /0" {
		t.Errorf("the seals were made anew, and the check of the old hash says %q", found(r))
	}
	if n := ask(t, url, `SELECT ledger_base()`); n < 1_000_000_000 {
		t.Errorf("the base is %d", n)
	}
}

// A real dump, restored into a server of its own that has seen few transactions.
func TestADumpThatIsRestoredElsewhereKeepsItsChain(t *testing.T) {
	db, url := openRecord(t)
	// The old server has counted far.
	if err := psql(t, url, `DO $$ BEGIN FOR i IN 1..4000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$`); err != nil {
		t.Fatal(err)
	}
	s := create(t, db, "drop", 9)
	chain := record.NewChain(db)
	sellSome(t, db, s, 0, 2)
	kept := sealAll(t, chain)
	sellSome(t, db, s, 2, 1) // dumped before it is sealed
	there := testenv.NewDatabase(t, testenv.OwnPostgres(t).URL)
	tools, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
	if err != nil || len(tools) == 0 {
		t.Fatalf("no pg_dump beside the server's programs: %v", err)
	}
	dump, err := exec.CommandContext(t.Context(), tools[len(tools)-1], "--no-owner", "--inserts", url).Output()
	if err != nil {
		t.Fatal(err)
	}
	// What psql understands and the server does not stays behind.
	sql := regexp.MustCompile(`(?m)^\\.*$`).ReplaceAllString(string(dump), "")
	c, err := pgx.Connect(t.Context(), there)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatal(err)
	}
	if ask(t, there, `SELECT pg_current_xact_id()::text::bigint`) >= ask(t, there, `SELECT max(place) FROM money_ledger`) {
		t.Fatal("the new server has counted further than the old one: this test shows nothing")
	}
	if err := record.Migrate(t.Context(), there); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, there)
	chain = record.NewChain(db)
	sellSome(t, db, s, 3, 3)
	sealAll(t, chain)
	if r := check(t, chain, 0, kept.Hash); !r.Intact() || r.Unsealed != 0 || r.Rows != 1+1+6*3 {
		t.Errorf("after the restore: %+v", r)
	}
	if got, err := record.NewAudit(db).Money(t.Context(), s.No); err != nil || len(got) != 0 {
		t.Errorf("the money's sums: %+v, %v", got, err)
	}
}

// The canonical bytes are for ever: a seal of today must be checked in ten years.
func TestTheFormOfSealsIsFixed(t *testing.T) {
	db, url := openRecord(t)
	tamper(t, url, `INSERT INTO audit_log (id, at, actor, act, target, detail, key, place) OVERRIDING SYSTEM VALUE
		VALUES (7, '2026-01-02 03:04:05.678901Z', 'ada', 'stock', 'drop', '{"b": [1, 2.50], "a": "ü"}', 'k', 11)`)
	chain := record.NewChain(db)
	sealAll(t, chain)
	if n := ask(t, url, `SELECT count(*) FROM ledger_seals WHERE no = 1 AND ledger = 'audit' AND from_place = 0 AND to_place = 11 AND encode(leaves, 'hex') = $1`,
		"0000000000000007"+"a3070383f715ce53c0bcc895143838653f85c0418febf355bd3a0be5c4970fad"); n != 1 {
		t.Error("a row's digest is another than it used to be: give the new form a number of its own")
	}
}
