package record_test

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// unreminded counts payments that are not at their end and that no reminder of
// their kind names: nobody would ever look at them again.
const unreminded = `SELECT count(*) FROM payments p
	WHERE CASE WHEN p.state IN ('authorising', 'unknown', 'action_required') THEN '{open}'::text[] WHEN p.state = 'authorised' THEN '{settle,lost}'
			WHEN p.state = 'captured' AND p.refund_reason <> '' THEN '{owed}' END IS NOT NULL
		AND NOT EXISTS (SELECT FROM payment_work w WHERE p.id = ANY (w.attempts)
			AND w.kind = ANY (CASE p.state WHEN 'authorised' THEN '{settle,lost}'::text[] WHEN 'captured' THEN '{owed}' ELSE '{open}' END))`

func TestEveryPaymentThatIsNotAtItsEndHasAReminder(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 3)
	a, l := record.NewAttempts(db), ledger(t, db)
	step := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := ask(t, url, unreminded); n != 0 {
			t.Fatalf("%s: %d payments are forgotten", what, n)
		}
	}
	look := func() {
		t.Helper()
		for _, limit := range []int{1, 100} {
			_, err := a.Authorised(t.Context(), over, 0, limit)
			step("settle", err)
			_, err = a.Unfinished(t.Context(), 0, limit)
			step("stale", err)
			_, err = a.Owed(t.Context(), over, limit)
			step("owed", err)
		}
	}
	note := func(ev record.Event, to engine.PaymentState) {
		t.Helper()
		step(string(to), a.Note(t.Context(), engine.Attempt{ID: ev.Attempt}, engine.Payment{State: to}, "r"))
	}
	sold, refunded, unknown, queued, late := event(s, 1, 0), event(s, 1, 0), event(s, 1, 0), event(s, 1, 0), event(s, 1, 0)
	for _, ev := range []record.Event{sold, refunded, unknown, late} {
		begin(t, a, ev, over)
	}
	look()
	note(unknown, engine.PaymentUnknown)
	note(late, engine.PaymentAuthorised)
	look()
	at, err := a.Resume(t.Context(), unknown.Attempt, long)
	step("resume", err)
	look()
	_, err = a.Keep(t.Context(), at, over)
	step("keep", err)
	look()
	at = begin(t, a, queued, long)
	_, err = a.Park(t.Context(), at, engine.Queued, 10)
	step("park", err)
	look()
	commit(t, l, batch(0, sold, refunded, late))
	step("orders", nil)
	look()
	note(sold, engine.PaymentCaptured)
	step("owe", a.Owe(t.Context(), refunded.Attempt, "broken"))
	note(refunded, engine.PaymentCaptured)
	look()
	note(refunded, engine.PaymentRefunded)
	step("by hand", psql(t, url, `UPDATE payments SET state = 'unknown' WHERE id = $1`, sold.Attempt[:]))
	look()

	// All ended: the reminders go, too.
	step("ended", psql(t, url, `UPDATE payments SET state = 'voided', parked = ''`))
	step("now", psql(t, url, `UPDATE payment_work SET due = now()`))
	look()
	if n := ask(t, url, `SELECT count(*) FROM payment_work`); n != 0 {
		t.Errorf("%d reminders of nothing are left", n)
	}
}

// A look that cannot commit has taken nothing.
func TestALookThatFailsLeavesItsReminders(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 9)
	a := record.NewAttempts(db)
	ev, stuck := event(s, 1, 0), event(s, 1, 0)
	begin(t, a, ev, over)
	begin(t, a, stuck, over)
	commit(t, ledger(t, db), batch(0, ev))
	refuse := func(event string) {
		t.Helper()
		if err := psql(t, url, `CREATE OR REPLACE TRIGGER dies BEFORE `+event+` FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()`); err != nil {
			t.Fatal(err)
		}
	}
	refuse(`INSERT ON payment_work`)
	if got, err := a.Authorised(t.Context(), long, 0, 9); err == nil {
		t.Errorf("given without a reminder: %+v", got)
	}
	if err := psql(t, url, `DROP TRIGGER dies ON payment_work`); err != nil {
		t.Fatal(err)
	}
	refuse(`UPDATE ON payments`)
	if got, err := a.Unfinished(t.Context(), 0, 9); err == nil {
		t.Errorf("given though it was not listed: %+v", got)
	}
	if err := psql(t, url, `DROP TRIGGER dies ON payments`); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Authorised(t.Context(), long, 0, 9); err != nil || len(got.Capture) != 1 || got.Capture[0].ID != ev.Attempt {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := a.Unfinished(t.Context(), 0, 9); err != nil || len(got) != 1 || got[0].ID != stuck.Attempt {
		t.Errorf("%+v, %v", got, err)
	}
}

// Several nodes share a backlog: each attempt is given once per lease, whatever
// the sizes of looks and reminders, and again once the lease is over.
func TestNodesShareABacklogAndTakeItUpAgainAfterTheLease(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", engine.MaxStock)
	a := record.NewAttempts(db)
	const orders = 1000
	b := batch(0)
	for n := range uint64(orders) {
		b.Entries = append(b.Entries, record.Entry{Offset: int64(n), Event: numbered(s, n)})
	}
	if err := psql(t, url, `INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, lease_until)
		SELECT a, r, 1, 'ada', 1000, 'USD', 'pm', '', 'authorising', now() - interval '1 hour' FROM unnest($1::bytea[], $2::bytea[]) AS x (a, r)`, keys(b)...); err != nil {
		t.Fatal(err)
	}
	commit(t, ledger(t, db), b)
	take := func() map[engine.AttemptID]int {
		t.Helper()
		var mu sync.Mutex
		given := map[engine.AttemptID]int{}
		deadline := time.Now().Add(time.Minute)
		var nodes errgroup.Group
		for node := range 4 {
			nodes.Go(func() error {
				for time.Now().Before(deadline) {
					got, err := a.Authorised(t.Context(), long, 0, 30+node)
					if err != nil {
						return err
					}
					mu.Lock()
					for _, at := range got.Capture {
						given[at.ID]++
					}
					done := len(given) == orders
					mu.Unlock()
					if done {
						return nil
					}
				}
				return nil
			})
		}
		if err := nodes.Wait(); err != nil {
			t.Fatal(err)
		}
		return given
	}
	for range 2 {
		given := take()
		if len(given) != orders {
			t.Errorf("%d of %d were given", len(given), orders)
		}
		for id, n := range given {
			if n != 1 {
				t.Errorf("%s was given %d times under one lease", id, n)
			}
		}
		if got, err := a.Authorised(t.Context(), long, 0, 100); err != nil || len(got.Capture) != 0 {
			t.Errorf("given under somebody's lease: %d, %v", len(got.Capture), err)
		}
		if err := psql(t, url, `UPDATE payment_work SET due = now()`); err != nil { // the lease is over
			t.Fatal(err)
		}
	}
}
