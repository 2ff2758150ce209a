package record_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
	"github.com/flashsale-engine/flashsale/vault"
)

// sealedBy opens a database of a node with a keyset.
func sealedBy(t testing.TB, url, keyset string) *record.DB {
	t.Helper()
	v, err := vault.Open(keyset)
	if err != nil {
		t.Fatal(err)
	}
	db, err := record.Open(t.Context(), url, record.Options{MaxConns: 8, AcquireTimeout: patience, ConnectTimeout: patience, Sealer: v})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

func newKeyset(t testing.TB) string {
	t.Helper()
	text, err := vault.New()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var marked = engine.Contact{Email: "marker@example.org", Address: engine.Address{Name: "marker", Line1: "1 marker road", City: "Cork", Country: "IE"}}

// markedIn names the tables of a database that show a text anywhere, in clear.
func markedIn(t testing.TB, url, text string) (tables []string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	rows, err := c.Query(t.Context(), `SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = 'public'`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(all) < 10 {
		t.Fatalf("%d tables, %v", len(all), err)
	}
	for _, table := range all {
		rows, err := c.Query(t.Context(), `SELECT * FROM `+table)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for rows.Next() {
			for _, raw := range rows.RawValues() {
				found = found || bytes.Contains(raw, []byte(text))
			}
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		if found {
			tables = append(tables, table)
		}
	}
	return tables
}

// ordered begins an attempt with a contact and makes its order.
func ordered(t testing.TB, db *record.DB, s *engine.Sale, buyer string, c engine.Contact, from *int64) engine.Attempt {
	t.Helper()
	ev := event(s, 1, 0)
	ev.Buyer = buyer
	at := attemptOf(ev)
	at.Contact = c
	if got, err := record.NewAttempts(db).Begin(t.Context(), at, time.Minute); err != nil || !got.Fresh {
		t.Fatal(got.Fresh, err)
	}
	commit(t, ledger(t, db), batch(*from, ev))
	*from++
	return at
}

// contactOf reads an order's contact through a node.
func contactOf(t testing.TB, db *record.DB, at engine.Attempt) engine.Contact {
	t.Helper()
	orders := record.NewOrders(db)
	o, err := orders.Order(t.Context(), at.Reservation)
	if err != nil {
		t.Fatal(err)
	}
	c, err := orders.Contact(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAContactIsSealedAndReadByNodesThatHaveTheKey(t *testing.T) {
	plain, url := openRecord(t)
	keys := newKeyset(t)
	db := sealedBy(t, url, keys)
	s := create(t, db, "drop", 10)
	var from int64
	at := ordered(t, db, s, "ada", marked, &from)
	if in := markedIn(t, url, "marker"); len(in) > 0 {
		t.Fatalf("in clear in %v", in)
	}
	if got := contactOf(t, sealedBy(t, url, keys), at); got != marked {
		t.Fatal("another node reads something else")
	}
	// The same request again, on another node: the attempt with its contact.
	a := record.NewAttempts(sealedBy(t, url, keys))
	again, err := a.Begin(t.Context(), at, time.Minute)
	if err != nil || again.Fresh || again.Contact != marked {
		t.Fatal(again.Fresh, again.Contact == marked, err)
	}
	if found, err := a.Find(t.Context(), at.ID); err != nil || found.Contact != marked {
		t.Fatal(found.Contact == marked, err)
	}
	// Nodes that cannot read it work on, and say so.
	for name, other := range map[string]*record.DB{"without a keyset": plain, "with another keyset": sealedBy(t, url, newKeyset(t))} {
		if got := contactOf(t, other, at); got.Lost != engine.ContactUnreadable || got.Email != "" {
			t.Errorf("a node %s: lost %q", name, got.Lost)
		}
		if found, err := record.NewAttempts(other).Find(t.Context(), at.ID); err != nil || found.Buyer != "ada" {
			t.Errorf("a node %s: %v", name, err)
		}
	}
}

func TestAContactThatWasMovedToAnotherAttemptDoesNotOpen(t *testing.T) {
	_, url := openRecord(t)
	db := sealedBy(t, url, newKeyset(t))
	s := create(t, db, "drop", 10)
	var from int64
	ada, eve := ordered(t, db, s, "ada", marked, &from), ordered(t, db, s, "eve", engine.Contact{Email: "eve@example.org"}, &from)
	if err := psql(t, url, `UPDATE contacts e SET key = a.key, sealed = a.sealed FROM contacts a WHERE a.attempt = $1 AND e.attempt = $2`, ada.ID[:], eve.ID[:]); err != nil {
		t.Fatal(err)
	}
	if got := contactOf(t, db, eve); got.Lost != engine.ContactUnreadable {
		t.Fatalf("eve reads ada's: lost %q", got.Lost)
	}
	if got := contactOf(t, db, ada); got != marked {
		t.Fatal("ada's own is gone")
	}
}

func TestWithoutAKeysetContactsAreInClearUntilTheyAreRewrapped(t *testing.T) {
	plain, url := openRecord(t)
	s := create(t, plain, "drop", 10)
	var from int64
	at := ordered(t, plain, s, "ada", marked, &from)
	if got := contactOf(t, plain, at); got != marked {
		t.Fatal("it is not read")
	}
	keys := newKeyset(t)
	db := sealedBy(t, url, keys)
	rewrapAll(t, db, 1)
	if in := markedIn(t, url, "marker"); len(in) > 0 {
		t.Fatalf("in clear in %v", in)
	}
	if got := contactOf(t, db, at); got != marked {
		t.Fatal("it cannot be read any more")
	}
}

func rewrapAll(t testing.TB, db *record.DB, limit int) (done, left int64) {
	t.Helper()
	for at := (record.Rewrapped{}); at.More(); {
		var err error
		if at, err = record.NewContacts(db).Rewrap(t.Context(), at, limit); err != nil {
			t.Fatal(err)
		}
		done, left = done+at.Done, left+at.Left
	}
	return done, left
}

func TestRewrappingGoesOnWhereItWasInterruptedAndTouchesNothingTwice(t *testing.T) {
	_, url := openRecord(t)
	old := newKeyset(t)
	before := sealedBy(t, url, old)
	s := create(t, before, "drop", 100)
	var from int64
	var attempts []engine.Attempt
	for range 25 {
		attempts = append(attempts, ordered(t, before, s, "ada", marked, &from))
	}
	added, id, err := vault.Add(old)
	if err != nil {
		t.Fatal(err)
	}
	promoted, err := vault.Promote(added, id)
	if err != nil {
		t.Fatal(err)
	}
	db := sealedBy(t, url, promoted)
	contacts := record.NewContacts(db)
	if _, err := contacts.Rewrap(t.Context(), record.Rewrapped{}, 10); err != nil { // and then it dies
		t.Fatal(err)
	}
	if n, err := contacts.Count(t.Context()); err != nil || n.ByKey[id] != 10 || len(n.ByKey) != 2 {
		t.Fatalf("%+v, %v", n, err)
	}
	if done, left := rewrapAll(t, db, 4); done != 15 || left != 0 {
		t.Fatalf("%d done, %d left", done, left)
	}
	if done, _ := rewrapAll(t, db, 4); done != 0 {
		t.Fatalf("%d were done again", done)
	}
	dropped, err := vault.Drop(promoted, firstKey(t, old))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range attempts {
		if contactOf(t, sealedBy(t, url, dropped), at) != marked {
			t.Fatal("a contact needs the key that was dropped")
		}
	}
	// A keyset that lacks a key changes nothing of what is wrapped by it, and says so.
	if _, err := record.NewContacts(sealedBy(t, url, newKeyset(t))).Rewrap(t.Context(), record.Rewrapped{}, 10); !errors.Is(err, vault.ErrNoKey) {
		t.Fatal(err)
	}
}

func firstKey(t testing.TB, text string) uint32 {
	t.Helper()
	keys, err := vault.Keys(text)
	if err != nil {
		t.Fatal(err)
	}
	return keys[0].ID
}

func TestErasedIsErasedForGoodAndTheOrderStays(t *testing.T) {
	_, url := openRecord(t)
	keys := newKeyset(t)
	db := sealedBy(t, url, keys)
	s := create(t, db, "drop", 100)
	var from int64
	one, two, bob := ordered(t, db, s, "ada", marked, &from), ordered(t, db, s, "ada", marked, &from), ordered(t, db, s, "bob", marked, &from)
	chain := record.NewChain(db)
	sealAll(t, chain)
	contacts := record.NewContacts(db)
	for i, want := range []int64{2, 0} { // again is no error
		if n, err := contacts.Erase(t.Context(), "ada", engine.Act{Actor: "olga", Reason: "she asked"}); err != nil || n != want {
			t.Fatalf("time %d: %d, %v", i, n, err)
		}
	}
	for _, at := range []engine.Attempt{one, two} {
		if got := contactOf(t, db, at); got != (engine.Contact{Lost: engine.ContactErased}) {
			t.Fatal("it is still there")
		}
		o, err := record.NewOrders(db).Order(t.Context(), at.Reservation)
		if err != nil || o.State != engine.Confirmed || o.Buyer != "ada" {
			t.Fatalf("%+v, %v", o, err)
		}
		// The key that began the attempt is answered as ever: nobody can tell contacts apart any more.
		if found, err := record.NewAttempts(db).Find(t.Context(), at.ID); err != nil || found.Contact.Lost != engine.ContactErased {
			t.Fatal(err)
		}
	}
	if contactOf(t, db, bob) != marked {
		t.Fatal("bob's is gone too")
	}
	if done, _ := rewrapAll(t, db, 10); done != 0 {
		t.Fatalf("%d came back", done)
	}
	if n := ask(t, url, `SELECT count(*) FROM audit_log WHERE act = 'erase contacts' AND actor = 'olga' AND target = 'buyer/ada' AND detail->>'reason' = 'she asked'`); n != 2 {
		t.Fatalf("%d lines in the audit log", n)
	}
	three := ordered(t, db, s, "ada", marked, &from) // she comes back
	if contactOf(t, db, three) != marked {
		t.Fatal("what she gave afterwards is gone")
	}
	sealAll(t, chain)
	if r := check(t, chain, 0, ""); !r.Intact() {
		t.Fatalf("%+v", r)
	}
}

func TestWhatEarlierVersionsWroteInClearIsReadSealedAndErased(t *testing.T) {
	plain, url := openRecord(t)
	s := create(t, plain, "drop", 100)
	var from int64
	var of []engine.Attempt
	for _, buyer := range []string{"ada", "bob"} {
		at := ordered(t, plain, s, buyer, engine.Contact{}, &from)
		for _, sql := range []string{`UPDATE payments SET email = 'marker@example.org' WHERE id = $1`, `UPDATE orders SET email = 'marker@example.org' WHERE attempt = $1`} {
			if err := psql(t, url, sql, at.ID[:]); err != nil {
				t.Fatal(err)
			}
		}
		if err := psql(t, url, `INSERT INTO dead_letters (topic, partition, "offset", key, headers, value, reason, detail, reservation)
			VALUES ('t', 0, (SELECT count(*) FROM dead_letters), '', '{}', $1, 'malformed', '', $2)`,
			[]byte("\xff{\"buyer\":\"x\",\"email\" : \"a\\\"marker@example.org\",\"lines\":[]"), at.Reservation.Bytes()); err != nil {
			t.Fatal(err)
		}
		of = append(of, at)
	}
	want := engine.Contact{Email: "marker@example.org"}
	keys := newKeyset(t)
	db := sealedBy(t, url, keys)
	contacts := record.NewContacts(db)
	if n, err := contacts.Count(t.Context()); err != nil || n.Clear != 6 {
		t.Fatalf("%+v, %v", n, err)
	}
	if contactOf(t, db, of[0]) != want {
		t.Fatal("it is not read")
	}
	if n, err := contacts.Erase(t.Context(), "ada", engine.Act{Actor: "olga"}); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if contactOf(t, db, of[0]).Lost != engine.ContactErased || contactOf(t, db, of[1]) != want {
		t.Fatal("the wrong one is erased")
	}
	if in := strings.Join(markedIn(t, url, "marker"), " "); !strings.Contains(in, "payments") || !strings.Contains(in, "dead_letters") {
		t.Fatalf("bob's should still be in clear: %s", in)
	}
	if _, left := rewrapAll(t, db, 1); left != 0 {
		t.Fatal(left)
	}
	if in := markedIn(t, url, "marker"); len(in) > 0 {
		t.Fatalf("in clear in %v", in)
	}
	if contactOf(t, db, of[0]).Lost != engine.ContactErased || contactOf(t, db, of[1]) != want {
		t.Fatal("rewrapping has brought one back, or lost one")
	}
	if n, err := contacts.Count(t.Context()); err != nil || n.Clear != 0 || n.Erased != 1 || n.ByKey[firstKey(t, keys)] != 1 {
		t.Fatalf("%+v, %v", n, err)
	}
	if n := ask(t, url, `SELECT count(*) FROM dead_letters WHERE position('"buyer":"x","was":"","lines":[]'::bytea IN value) > 0`); n != 2 {
		t.Fatal("a dead letter has lost more than its e-mail")
	}
}
