package record_test

import (
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestALeaseThatWasTakenOverNeitherKeepsNorParksNorReroutes(t *testing.T) {
	db, url := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	ev := event(s, 1, 0)
	mine := begin(t, a, ev, over)
	theirs, err := a.Resume(t.Context(), ev.Attempt, long)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(at engine.Attempt) {
		t.Helper()
		_, err := a.Keep(t.Context(), at, long)
		wantCode(t, err, engine.CodeAttemptInProgress)
		if ok, err := a.Park(t.Context(), at, engine.Unsent, 0); ok || err != nil {
			t.Errorf("parked %v, %v", ok, err)
		}
		wantCode(t, a.Reroute(t.Context(), at, "other"), engine.CodeAttemptInProgress)
	}
	refused(mine)
	// A late note of the old lease leaves the new one alive.
	if err := a.Note(t.Context(), mine, engine.Payment{State: engine.PaymentAuthorising}, ""); err != nil {
		t.Fatal(err)
	}
	if theirs, err = a.Keep(t.Context(), theirs, long); err != nil {
		t.Fatal(err)
	}
	if err := a.Reroute(t.Context(), theirs, "other"); err != nil {
		t.Fatal(err)
	}
	if ok, err := a.Park(t.Context(), theirs, engine.Unsent, 0); !ok || err != nil {
		t.Errorf("parked %v, %v", ok, err)
	}
	refused(theirs) // parking ended it
	got, err := a.Resume(t.Context(), ev.Attempt, long)
	if err != nil || got.Parked != engine.Unsent || got.Provider != "other" {
		t.Fatalf("%+v, %v", got, err)
	}
	if again, err := a.Find(t.Context(), ev.Attempt); err != nil || again.Parked != engine.NotParked {
		t.Errorf("once taken up it is not parked: %+v, %v", again, err)
	}
	if err := psql(t, url, `UPDATE payments SET state = 'voided'`); err != nil {
		t.Fatal(err)
	}
	refused(got)
}

// A node that decides to cancel says so first: the money may be gone from then
// on, so nobody keeps the attempt to take units for it, whoever has the lease.
func TestACancelledAttemptIsNotKept(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	ev := event(create(t, db, "drop", 10), 1, 0)
	at := begin(t, a, ev, long)
	other := at
	other.LeaseUntil = at.LeaseUntil.Add(time.Second)
	_, err := a.Cancel(t.Context(), other, "hold_gone", long)
	wantCode(t, err, engine.CodeAttemptInProgress)
	for range 2 {
		if at, err = a.Cancel(t.Context(), at, "hold_gone", over); err != nil || at.Cancelled != "hold_gone" {
			t.Fatalf("%+v, %v", at, err)
		}
	}
	_, err = a.Keep(t.Context(), at, long)
	wantCode(t, err, engine.CodeAttemptInProgress)
	if at, err = a.Resume(t.Context(), at.ID, long); err != nil || at.Cancelled != "hold_gone" {
		t.Fatalf("whoever goes on does not learn of it: %+v, %v", at, err)
	}
	for _, f := range []engine.Fence{at.ID.Fence(), at.ID.Fence().Barred()} {
		if by, err := a.ByFence(t.Context(), at.Reservation, f); err != nil || by.ID != at.ID {
			t.Errorf("fence %x: %+v, %v", f, by, err)
		}
	}
}

// That no provider has seen an attempt is certain under its lease only.
func TestOnlyTheLeaseDropsAnAttempt(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	ev := event(create(t, db, "drop", 10), 1, 0)
	mine := begin(t, a, ev, over)
	theirs, err := a.Resume(t.Context(), mine.ID, long)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := a.Drop(t.Context(), mine, "never_sent"); ok || err != nil {
		t.Errorf("dropped %v, %v", ok, err)
	}
	if ok, err := a.Drop(t.Context(), theirs, "never_sent"); !ok || err != nil {
		t.Errorf("dropped %v, %v", ok, err)
	}
	if got, err := a.Find(t.Context(), mine.ID); err != nil || got.State != engine.PaymentVoided || got.Reason != "never_sent" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTheQueueOfPaymentsIsBoundedAndListedAtOnce(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	queued := 0
	for range 3 {
		at := begin(t, a, event(s, 1, 0), long)
		ok, err := a.Park(t.Context(), at, engine.Queued, 2)
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			queued++
		}
	}
	if queued != 2 {
		t.Errorf("%d queued in a queue of two", queued)
	}
	got, err := a.Unfinished(t.Context(), long, 10)
	if err != nil || len(got) != 2 || got[0].Parked != engine.Queued {
		t.Fatalf("%+v, %v", got, err)
	}
	counts, err := a.Unresolved(t.Context())
	if err != nil || len(counts) != 2 {
		t.Fatalf("%+v, %v", counts, err)
	}
}

func TestAnActionIsKeptWithItsAttempt(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	at := begin(t, a, event(s, 1, 0), long)
	act := engine.NextAction{Type: "redirect_to_url", URL: "https://pay.example/1"}
	if err := a.Note(t.Context(), at, engine.Payment{State: engine.PaymentNeedsAction, Provider: "p", Ref: "r", Action: act}, "buyer"); err != nil {
		t.Fatal(err)
	}
	// Looked up again: the same state, without the action.
	if err := a.Note(t.Context(), at, engine.Payment{State: engine.PaymentNeedsAction}, "processing"); err != nil {
		t.Fatal(err)
	}
	got, err := a.Find(t.Context(), at.ID)
	if err != nil || got.Action != act || got.State != engine.PaymentNeedsAction || got.ProviderRef != "r" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAnOrdersMoneyIsRefundedOnceAndAudited(t *testing.T) {
	db, url := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	ev, other := event(s, 1, 0), event(s, 1, 0)
	begin(t, a, ev, long)
	begin(t, a, other, long)
	commit(t, ledger(t, db), batch(0, ev))
	_, err := a.Refund(t.Context(), other.ID, engine.Act{Actor: "ops", Reason: "no order"})
	wantCode(t, err, engine.CodeNotFound)
	for range 2 {
		at, err := a.Refund(t.Context(), ev.ID, engine.Act{Actor: "ops", Reason: "damaged"})
		if err != nil || at.Refund != "operator: damaged" {
			t.Fatalf("%+v, %v", at, err)
		}
	}
	if n := ask(t, url, `SELECT count(*) FROM audit_log WHERE act = 'refund' AND target = $1 AND actor = 'ops'`, ev.ID.Order()); n != 1 {
		t.Errorf("%d audit entries", n)
	}
	if got, err := a.Owed(t.Context(), long, 10); err != nil || len(got) != 0 {
		t.Errorf("owed before it is captured: %v, %v", got, err)
	}
	if err := a.Note(t.Context(), engine.Attempt{ID: ev.Attempt}, engine.Payment{State: engine.PaymentCaptured}, ""); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} { // the second time it is leased
		if got, err := a.Owed(t.Context(), long, 10); err != nil || len(got) != want {
			t.Errorf("owed: %v, %v", got, err)
		}
	}
	if err := a.Note(t.Context(), engine.Attempt{ID: ev.Attempt}, engine.Payment{State: engine.PaymentRefunded}, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := record.NewAudit(db).Unpaid(t.Context(), s.No); err != nil || len(got) != 0 {
		t.Errorf("a refunded order is found unpaid: %v, %v", got, err)
	}
}

// An attempt that never ended is not hidden by another one's order.
func TestAnUnknownAttemptIsListedThoughAnotherPaid(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	ev := event(s, 1, 0)
	begin(t, a, ev, long)
	lost := attemptOf(ev)
	lost.ID = engine.NewAttemptID(ev.ID, "another key")
	if _, err := a.Begin(t.Context(), lost, over); err != nil {
		t.Fatal(err)
	}
	commit(t, ledger(t, db), batch(0, ev))
	got, err := a.Unfinished(t.Context(), 0, 10)
	if err != nil || len(got) != 1 || got[0].ID != lost.ID {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := a.List(t.Context(), true, "", 10); err != nil || len(got) != 0 {
		t.Errorf("stuck already: %v, %v", got, err)
	}
	if got, err := a.OfReservation(t.Context(), ev.ID); err != nil || len(got) != 2 {
		t.Errorf("%v, %v", got, err)
	}
}

// Whoever bars an attempt may void its money, so no event makes an order of it from
// then on; whoever finds an order leaves the money alone.
func TestABarredAttemptMakesNoOrderAndAnOrderBarsTheBar(t *testing.T) {
	db, _ := openRecord(t)
	l, a, orders := ledger(t, db), record.NewAttempts(db), record.NewOrders(db)
	s := create(t, db, "drop", 1000)
	next, barred, ordered := int64(0), 0, 0
	for i := range 100 {
		ev := event(s, 1, 0)
		ev.ID.Created += int64(i) // nonces run out
		ev.Attempt = engine.NewAttemptID(ev.ID, "key")
		at := begin(t, a, ev, long)
		var r record.Result
		var err, barErr error
		both := []func(){
			func() { barErr = a.Bar(t.Context(), at) },
			func() { r, err = l.Commit(t.Context(), batch(next, ev)) },
		}
		var other sync.WaitGroup
		began := make(chan struct{})
		other.Go(func() { close(began); both[i%2]() })
		if i%4 > 1 {
			other.Wait() // one after the other; else side by side
		}
		<-began
		both[1-i%2]()
		other.Wait()
		if err != nil {
			t.Fatal(err)
		}
		next = r.Next[0]
		_, err = orders.Order(t.Context(), ev.ID)
		switch {
		case barErr == nil && engine.CodeOf(err) == engine.CodeNotFound && r.Decided[0].Reason == record.PaymentEnded:
			barred++
		case err == nil && (engine.CodeOf(barErr) == engine.CodeAlreadyPaid || engine.CodeOf(barErr) == engine.CodeAttemptInProgress) && r.Decided[0].State == engine.Confirmed:
			ordered++
		default:
			t.Fatalf("barred: %v; order: %v; decided: %+v", barErr, err, r.Decided)
		}
	}
	if barred < 20 || ordered < 20 {
		t.Errorf("%d barred, %d ordered: one of the two was hardly tried", barred, ordered)
	}

	ev := event(s, 1, 0)
	at := begin(t, a, ev, long)
	for range 2 {
		if err := a.Bar(t.Context(), at); err != nil {
			t.Fatal(err)
		}
	}
	if r := commit(t, l, batch(next, ev)); r.Decided[0].Reason != record.PaymentEnded || r.Decided[0].ReplyTo != "" {
		t.Errorf("%+v", r.Decided)
	}
	late := begin(t, a, event(s, 1, 0), over)
	wantCode(t, a.Bar(t.Context(), late), engine.CodeAttemptInProgress)
	wantCode(t, a.Bar(t.Context(), engine.Attempt{ID: at.ID, Reservation: at.Reservation}), engine.CodeAttemptInProgress)
}
