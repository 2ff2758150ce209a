package record_test

import (
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestTheAuditIsSilentOverASoundRecord(t *testing.T) {
	db, _ := openRecord(t)
	s, other := create(t, db, "drop", 3), create(t, db, "other", 3)
	attempts, audit := record.NewAttempts(db), record.NewAudit(db)
	sold, refused, elsewhere := event(s, 3, 0), event(s, 1, 0), event(other, 1, 0)
	for _, ev := range []record.Event{sold, refused, elsewhere} {
		begin(t, attempts, ev, long)
	}
	commit(t, ledger(t, db), batch(0, sold, refused, elsewhere))
	if err := attempts.Note(t.Context(), engine.Attempt{ID: sold.Attempt}, engine.Payment{State: engine.PaymentCaptured}, ""); err != nil {
		t.Fatal(err)
	}
	totals, err := audit.Totals(t.Context(), s.No)
	if want := (engine.RecordTotals{Stock: 3, Sold: 3, LedgerStock: 3, LedgerSold: 3, Orders: 3, Refused: 1, RunningStock: 3, RunningSold: 3}); err != nil || len(totals) != 1 || totals[0] != want {
		t.Errorf("totals %+v, %v", totals, err)
	}
	if got, err := audit.Missing(t.Context(), []engine.ReservationID{sold.ID, refused.ID}); err != nil || len(got) != 0 {
		t.Errorf("missing %v, %v", got, err)
	}
	if got, err := audit.Orphans(t.Context(), s.No); err != nil || len(got) != 0 {
		t.Errorf("orphans %v, %v", got, err)
	}
	if got, err := audit.Unpaid(t.Context(), s.No); err != nil || len(got) != 0 {
		t.Errorf("unpaid %v, %v", got, err)
	}
	got, err := audit.Standing(t.Context(), []engine.AttemptID{sold.Attempt, elsewhere.Attempt, refused.Attempt, {9}})
	if err != nil || len(got) != 3 {
		t.Errorf("standing %v, %v", got, err)
	}
	for _, s := range got {
		if s.Ordered != (s.ID != refused.Attempt) || s.Owed || (s.State == engine.PaymentCaptured) != (s.ID == sold.Attempt) {
			t.Errorf("standing %+v", s)
		}
	}
}

func TestTheAuditNamesAnOrderThatWasDeletedByHand(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 3)
	attempts, audit := record.NewAttempts(db), record.NewAudit(db)
	ev := event(s, 2, 0)
	begin(t, attempts, ev, long)
	commit(t, ledger(t, db), batch(0, ev))
	if err := attempts.Note(t.Context(), engine.Attempt{ID: ev.Attempt}, engine.Payment{State: engine.PaymentCaptured}, ""); err != nil {
		t.Fatal(err)
	}
	if err := psql(t, url, `DELETE FROM orders WHERE order_id = $1`, ev.ID.Order()); err != nil {
		t.Fatal(err)
	}
	if got, err := audit.Orphans(t.Context(), s.No); err != nil || len(got) != 1 || got[0] != ev.ID {
		t.Errorf("orphans %v, %v", got, err)
	}
	if got, err := audit.Missing(t.Context(), []engine.ReservationID{ev.ID}); err != nil || len(got) != 1 || got[0] != ev.ID {
		t.Errorf("missing %v, %v", got, err)
	}
	if got, err := audit.Unpaid(t.Context(), s.No); err != nil || len(got) != 1 || got[0].ID != ev.ID || got[0].Attempt != ev.Attempt {
		t.Errorf("unpaid %v, %v", got, err)
	}
	if got, err := audit.Standing(t.Context(), []engine.AttemptID{ev.Attempt}); err != nil || len(got) != 1 || got[0].Ordered {
		t.Errorf("standing %v, %v", got, err)
	}
	totals, err := audit.Totals(t.Context(), s.No)
	if err != nil || totals[0].Orders != 0 || totals[0].LedgerSold != 2 {
		t.Errorf("totals %+v, %v", totals, err)
	}
}

func TestTheAuditNamesAnOrderWithoutItsMoney(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 9)
	attempts, audit := record.NewAttempts(db), record.NewAudit(db)
	voided, short, none := event(s, 1, 0), event(s, 1, 0), event(s, 1, 0)
	begin(t, attempts, voided, long)
	begin(t, attempts, short, long)
	commit(t, ledger(t, db), batch(0, voided, short, none))
	if err := attempts.Note(t.Context(), engine.Attempt{ID: voided.Attempt}, engine.Payment{State: engine.PaymentVoided}, ""); err != nil {
		t.Fatal(err)
	}
	if err := psql(t, url, `UPDATE payments SET amount = 1 WHERE id = $1`, short.Attempt[:]); err != nil {
		t.Fatal(err)
	}
	got, err := audit.Unpaid(t.Context(), s.No)
	if err != nil || len(got) != 3 {
		t.Errorf("unpaid %+v, %v", got, err)
	}
}

func TestTheAuditNamesAnOrderThatItsLinesDoNotComeTo(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 9)
	attempts := record.NewAttempts(db)
	ev := event(s, 2, 0)
	begin(t, attempts, ev, long)
	commit(t, ledger(t, db), batch(0, ev))
	if err := psql(t, url, `UPDATE orders SET total = total + 1`); err != nil {
		t.Fatal(err)
	}
	if err := psql(t, url, `UPDATE payments SET amount = amount + 1`); err != nil {
		t.Fatal(err)
	}
	if got, err := record.NewAudit(db).Unpaid(t.Context(), s.No); err != nil || len(got) != 1 || got[0].ID != ev.ID {
		t.Errorf("unpaid %+v, %v", got, err)
	}
}
