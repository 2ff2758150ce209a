package record_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// moved lists what the money ledger says of an attempt, in order.
func moved(t *testing.T, url string, id engine.AttemptID) string {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	rows, err := c.Query(t.Context(), `SELECT format('%s %s %s by %s: %s', kind, amount, currency, actor, reason) FROM money_ledger WHERE attempt = $1 AND cause = $2 ORDER BY id`, id[:], id.String())
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(list, "\n")
}

func TestEveryMovementOfMoneyIsInItsLedger(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 2)
	a, l, audit := record.NewAttempts(db), ledger(t, db), record.NewAudit(db)
	sold, refunded, refused, declined := event(s, 1, 0), event(s, 1, 0), event(s, 1, 0), event(s, 1, 0)
	unsent := event(s, 1, 0)
	for _, ev := range []record.Event{sold, refunded, refused, declined, unsent} {
		begin(t, a, ev, long)
	}
	note := func(ev record.Event, to engine.PaymentState, reason string) {
		t.Helper()
		for range 2 { // a note that is repeated moves nothing
			if err := a.Note(t.Context(), engine.Attempt{ID: ev.Attempt}, engine.Payment{State: to}, reason); err != nil {
				t.Fatal(err)
			}
		}
	}
	note(declined, engine.PaymentDeclined, "insufficient_funds")
	note(unsent, engine.PaymentVoided, "never_sent")
	commit(t, l, batch(0, sold, refunded, refused))
	commit(t, l, batch(3, sold, refused)) // published twice
	note(sold, engine.PaymentCaptured, "order_confirmed")
	note(refunded, engine.PaymentCaptured, "order_confirmed")
	if err := a.Owe(t.Context(), refunded.Attempt, "operator: broken"); err != nil {
		t.Fatal(err)
	}
	note(refunded, engine.PaymentRefunded, "operator: broken")
	note(refused, engine.PaymentVoided, "order_refused")
	for what, c := range map[string]struct {
		ev   record.Event
		want []string
	}{
		"sold":     {sold, []string{"authorised 1000 USD by order-writer: order", "captured 1000 USD by payments: order_confirmed"}},
		"refunded": {refunded, []string{"authorised 1000 USD by order-writer: order", "captured 1000 USD by payments: order_confirmed", "refunded 1000 USD by payments: operator: broken"}},
		"refused":  {refused, []string{"authorised 1000 USD by order-writer: order", "voided 1000 USD by payments: order_refused"}},
		"declined": {declined, nil},
		"unsent":   {unsent, nil},
	} {
		if got := moved(t, url, c.ev.Attempt); got != strings.Join(c.want, "\n") {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, strings.Join(c.want, "\n"))
		}
	}
	if got, err := audit.Money(t.Context(), s.No); err != nil || len(got) != 0 {
		t.Errorf("the sums of a sound record: %+v, %v", got, err)
	}

	// By hand: the database notes that too, under the name of who did it.
	if err := psql(t, url, `UPDATE payments SET state = 'captured' WHERE id = $1`, declined.Attempt[:]); err != nil {
		t.Fatal(err)
	}
	if got := moved(t, url, declined.Attempt); !strings.HasPrefix(got, "captured 1000 USD by sql: ") {
		t.Errorf("by hand: %s", got)
	}
	for _, sql := range []string{
		`UPDATE payments SET amount = amount + 1 WHERE id = $1`,
		`DELETE FROM payments WHERE id = $1`,
	} {
		if err := psql(t, url, sql, sold.Attempt[:]); err != nil {
			t.Fatal(err)
		}
		got, err := audit.Money(t.Context(), s.No)
		named := false
		for _, u := range got {
			named = named || u.Attempt == sold.Attempt && u.ID == sold.ID && u.Cause == engine.CauseMoneyLedger
		}
		if err != nil || !named || len(got) != 2 { // and the one captured by hand, never authorised
			t.Errorf("%s: %+v, %v", sql, got, err)
		}
	}
	if err := psql(t, url, `DELETE FROM money_ledger`); err == nil {
		t.Error("the money ledger let itself be deleted")
	}
}

// A batch of thousands must not cost the square of its size, whatever the first
// batch of the connection was.
func TestTheMoneyLedgerIsWrittenInSets(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 1_000_000)
	l := ledger(t, db)
	next := uint64(0)
	for _, n := range []int{1, 1, 1, 1, 1, 1, 1, 3000} { // Postgres keeps a function's plan from its first calls
		b := record.Batch{Topic: topic, From: map[int32]int64{0: int64(next)}}
		for range n {
			b.Entries = append(b.Entries, record.Entry{Offset: int64(next), Event: numbered(s, next)})
			next++
		}
		if err := psql(t, url, `INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, lease_until)
			SELECT a, r, 1, 'ada', 1000, 'USD', 'pm', '', 'authorising', now() FROM unnest($1::bytea[], $2::bytea[]) AS x (a, r)`, keys(b)...); err != nil {
			t.Fatal(err)
		}
		commit(t, l, b)
	}
	if n := ask(t, url, `SELECT count(*) FROM money_ledger`); n != int64(next) {
		t.Errorf("%d movements of %d payments", n, next)
	}
	// How the function's join is planned is what keeps it linear: ask for the plan that it is made under.
	if n := ask(t, url, `SELECT count(*) FROM pg_proc WHERE proname = 'note_money' AND proconfig @> ARRAY['enable_hashjoin=on', 'enable_nestloop=off']`); n != 1 {
		t.Error("the function that notes money may be planned as a nested loop")
	}
}

func TestAnOrderIsRestoredFromLedgerAndPaymentOrNotAtAll(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 9, 9)
	a, l, audit := record.NewAttempts(db), ledger(t, db), record.NewAudit(db)
	act := engine.Act{Actor: "eva", Name: "repair: restore_order"}
	ev := event(s, 2, 0, 1)
	begin(t, a, ev, long)
	commit(t, l, batch(0, ev))
	was, err := record.NewOrders(db).Order(t.Context(), ev.ID)
	if err != nil {
		t.Fatal(err)
	}
	h := engine.Hold{ID: ev.ID, State: engine.Accepted, Seq: ev.Seq, Fence: ev.Attempt.Fence()}
	restore := func(h engine.Hold) error { return audit.Restore(t.Context(), ev.ID, h, act) }
	if err := restore(h); err != nil { // it is there
		t.Fatal(err)
	}
	for _, spoil := range []string{`UPDATE payments SET amount = amount - 1`, `UPDATE payments SET state = 'voided', amount = amount + 1`} {
		if err := psql(t, url, `DELETE FROM orders`); err != nil {
			t.Fatal(err)
		}
		if err := psql(t, url, spoil); err != nil {
			t.Fatal(err)
		}
		wantCode(t, restore(h), engine.CodeInvalidRequest)
	}
	if err := psql(t, url, `UPDATE payments SET state = 'authorised'`); err != nil {
		t.Fatal(err)
	}
	wantCode(t, restore(engine.Hold{Fence: engine.Fence{9}}), engine.CodeInvalidRequest) // another attempt was claimed
	wantCode(t, audit.Restore(t.Context(), event(s, 1, 0).ID, h, act), engine.CodeInvalidRequest)
	for range 2 {
		if err := restore(h); err != nil {
			t.Fatal(err)
		}
	}
	now, err := record.NewOrders(db).Order(t.Context(), ev.ID)
	if err != nil {
		t.Fatal(err)
	}
	was.Payment, was.PlacedAt, was.Epoch = now.Payment, now.PlacedAt, now.Epoch // the sale of this test was never armed
	if fmt.Sprintf("%+v", was) != fmt.Sprintf("%+v", now) {
		t.Errorf("was %+v\nnow %+v", was, now)
	}
	totals, err := audit.Totals(t.Context(), s.No)
	if err != nil || totals[0].Sold != 2 || totals[0].LedgerSold != 2 || totals[0].Orders != 2 {
		t.Errorf("restoring has sold again: %+v, %v", totals, err)
	}
	if n := ask(t, url, `SELECT count(*) FROM audit_log WHERE actor = 'eva'`); n != 1 {
		t.Errorf("%d audit lines", n)
	}
}
