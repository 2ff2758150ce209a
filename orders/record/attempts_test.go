package record_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

const (
	long = time.Hour
	over = -time.Second // a lease that has ended already
)

func TestConcurrentBeginsOfOneAttemptGiveOneFresh(t *testing.T) {
	db, url := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	ev := event(s, 1, 0)
	var fresh atomic.Int32
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			got, err := a.Begin(t.Context(), attemptOf(ev), long)
			if err != nil {
				t.Error(err)
			}
			if got.ID != ev.Attempt || got.Reservation != ev.ID || got.State != engine.PaymentAuthorising || got.Amount != ev.Total {
				t.Errorf("begun %+v", got)
			}
			if got.Fresh {
				fresh.Add(1)
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 1 {
		t.Errorf("%d callers were told Fresh", fresh.Load())
	}
	if n := ask(t, url, `SELECT count(*) FROM payments`); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestConcurrentBeginsOfManyAttemptsEachGetTheirOwn(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	var wg sync.WaitGroup
	for range 100 {
		ev := event(s, 1, 0)
		wg.Go(func() {
			got, err := a.Begin(t.Context(), attemptOf(ev), long)
			if err != nil || !got.Fresh || got.ID != ev.Attempt || time.Until(got.LeaseUntil) < long/2 {
				t.Errorf("begun %+v, %v", got, err)
			}
		})
	}
	wg.Wait()
}

func TestABeginThatPostgresRefusesDoesNotHarmItsNeighbours(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	var wg sync.WaitGroup
	var refused atomic.Int32
	for i := range 40 {
		at := attemptOf(event(s, 1, 0))
		if i%8 == 0 {
			at.Method = "bad\x00method"
		}
		wg.Go(func() {
			got, err := a.Begin(t.Context(), at, long)
			if strings.Contains(at.Method, "\x00") {
				if err != nil {
					refused.Add(1)
				}
			} else if err != nil || !got.Fresh {
				t.Errorf("a neighbour: %+v, %v", got, err)
			}
		})
	}
	wg.Wait()
	if refused.Load() != 5 {
		t.Errorf("%d refused, want 5", refused.Load())
	}
}

func TestALeaseIsTakenOnceItIsOverAndByOneOnly(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	alive, dead := event(s, 1, 0), event(s, 1, 0)
	begin(t, a, alive, long)
	begin(t, a, dead, over)

	_, err := a.Resume(t.Context(), alive.Attempt, long)
	wantCode(t, err, engine.CodeAttemptInProgress)
	_, err = a.Resume(t.Context(), engine.AttemptID{9}, long)
	wantCode(t, err, engine.CodeNotFound)

	var took atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if got, err := a.Resume(t.Context(), dead.Attempt, long); err == nil && got.ID == dead.Attempt {
				took.Add(1)
			} else if engine.CodeOf(err) != engine.CodeAttemptInProgress {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took.Load() != 1 {
		t.Errorf("%d took the lease", took.Load())
	}
}

func TestAFenceFindsItsAttempt(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	ev := event(s, 1, 0)
	begin(t, a, ev, long)
	got, err := a.ByFence(t.Context(), ev.ID, ev.Attempt.Fence())
	if err != nil || got.ID != ev.Attempt || got.Fresh {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err = a.ByFence(t.Context(), ev.ID, engine.Fence{1})
	wantCode(t, err, engine.CodeNotFound)
}

func TestANoteMovesOnlyAsTheTableAllows(t *testing.T) {
	db, url := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	for _, from := range engine.States(engine.PaymentMoves) {
		for _, to := range engine.States(engine.PaymentMoves) {
			ev := event(s, 1, 0)
			begin(t, a, ev, long)
			if err := psql(t, url, `UPDATE payments SET state = $2, provider = 'p', provider_ref = 'r', reason = 'was' WHERE id = $1`, ev.Attempt[:], string(from)); err != nil {
				t.Fatal(err)
			}
			if err := a.Note(t.Context(), engine.Attempt{ID: ev.Attempt}, engine.Payment{State: to, Ref: "new"}, "because"); err != nil {
				t.Fatal(err)
			}
			got, err := a.ByFence(t.Context(), ev.ID, ev.Attempt.Fence())
			if err != nil {
				t.Fatal(err)
			}
			want := engine.Attempt{State: from, Provider: "p", ProviderRef: "r", Reason: "was"}
			if engine.CanMove(engine.PaymentMoves, from, to) {
				want = engine.Attempt{State: to, Provider: "p", ProviderRef: "new", Reason: "because"}
			}
			if got.State != want.State || got.Provider != want.Provider || got.ProviderRef != want.ProviderRef || got.Reason != want.Reason {
				t.Errorf("%s noted as %s: %+v", from, to, got)
			}
			if time.Until(got.LeaseUntil) > time.Second {
				t.Errorf("%s noted as %s: the lease lives on", from, to)
			}
		}
	}
	wantCode(t, a.Note(t.Context(), engine.Attempt{ID: engine.AttemptID{9}}, engine.Payment{State: engine.PaymentVoided}, ""), engine.CodeNotFound)
}

func TestThePaymentsRoleIsGivenEachPieceOfWorkOnce(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 2)
	confirmed, refused, flying, unclaimed := event(s, 2, 0), event(s, 1, 0), event(s, 1, 0), event(s, 1, 0)
	for _, ev := range []record.Event{confirmed, refused} {
		begin(t, a, ev, long) // the commit ends the lease
	}
	begin(t, a, flying, long)
	begin(t, a, unclaimed, over)
	if err := a.Note(t.Context(), engine.Attempt{ID: unclaimed.Attempt}, engine.Payment{State: engine.PaymentAuthorised}, "void unanswered"); err != nil {
		t.Fatal(err)
	}
	commit(t, ledger(t, db), batch(0, confirmed, refused))

	for range 2 { // the second time everything is leased
		due, err := a.Authorised(t.Context(), long, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		got := [...][]engine.Attempt{due.Capture, due.Void, due.Lost}
		for i, want := range []record.Event{confirmed, refused, unclaimed} {
			if want.SaleID == "" { // second round
				if len(got[i]) != 0 {
					t.Errorf("work %d was given twice: %v", i, got[i])
				}
			} else if len(got[i]) != 1 || got[i][0].ID != want.Attempt || got[i][0].State != engine.PaymentAuthorised {
				t.Errorf("work %d: %+v", i, got[i])
			}
		}
		confirmed, refused, unclaimed = record.Event{}, record.Event{}, record.Event{}
	}
}

func TestNotesThatShareAStatementAreEachWritten(t *testing.T) {
	db, _ := openRecord(t)
	attempts := record.NewAttempts(db)
	var ids []engine.AttemptID
	for i := range 40 {
		id := engine.ReservationID{Sale: 1, Created: engine.TimeZero + int64(i)}
		at, err := attempts.Begin(t.Context(), engine.Attempt{ID: engine.NewAttemptID(id, "k"), Reservation: id, Buyer: "b", Amount: engine.Money{Amount: 1, Currency: "USD"}, Method: "pm", State: engine.PaymentAuthorising}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, at.ID)
	}
	var g errgroup.Group
	for _, id := range ids { // unknown and declined race; declined is final from either
		g.Go(func() error {
			return attempts.Note(t.Context(), engine.Attempt{ID: id}, engine.Payment{State: engine.PaymentUnknown}, "silent")
		})
		g.Go(func() error {
			return attempts.Note(t.Context(), engine.Attempt{ID: id}, engine.Payment{State: engine.PaymentDeclined}, "no")
		})
	}
	g.Go(func() error {
		err := attempts.Note(t.Context(), engine.Attempt{ID: engine.AttemptID{1}}, engine.Payment{State: engine.PaymentDeclined}, "")
		if engine.CodeOf(err) != engine.CodeNotFound {
			return fmt.Errorf("an attempt that is not there: %w", err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		at, err := attempts.ByFence(t.Context(), engine.ReservationID{Sale: 1, Created: engine.TimeZero + int64(i)}, id.Fence())
		if err != nil || at.State != engine.PaymentDeclined || at.Reason != "no" {
			t.Errorf("attempt %d: %+v, %v", i, at, err)
		}
	}
}
