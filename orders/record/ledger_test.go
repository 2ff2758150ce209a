package record_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestTheStockCoversWhoCameFirstAndTheRestIsRefused(t *testing.T) {
	db, url := openRecord(t)
	a, l := record.NewAttempts(db), (*record.Ledger)(nil)
	s := create(t, db, "drop", 3, 10)
	l = ledger(t, db)
	first, tooMany, last := event(s, 2, 0, 1), event(s, 2, 0, 1), event(s, 1, 0)
	for _, ev := range []record.Event{first, tooMany, last} {
		begin(t, a, ev, long)
	}
	r := commit(t, l, batch(0, first, tooMany, last))
	want := []engine.ReservationState{engine.Confirmed, engine.Refused, engine.Confirmed}
	for i, d := range r.Decided {
		if d.State != want[i] || d.ReplyTo != "node-1" || d.Payment != engine.PaymentAuthorised || d.PlacedAt.IsZero() {
			t.Errorf("event %d: %+v", i, d)
		}
	}
	o, err := record.NewOrders(db).Order(t.Context(), tooMany.ID)
	if err != nil || o.State != engine.Refused || o.Reason != record.StockExhausted || o.Payment != engine.PaymentAuthorised {
		t.Errorf("the refused order: %+v, %v", o, err)
	}
	// A cart takes all or nothing: the second line of the refused one left no trace.
	if n := ask(t, url, `SELECT sold FROM skus WHERE no = 1`); n != 2 {
		t.Errorf("SKU 1 has sold %d", n)
	}
	o, err = record.NewOrders(db).Order(t.Context(), first.ID)
	if err != nil || o.Total != first.Total || len(o.Lines) != 2 || o.Lines[1] != first.Lines[1] || o.Attempt != first.Attempt ||
		o.Seq != first.Seq || o.Epoch != 1 || o.SaleID != "drop" || o.PlacedAt.IsZero() {
		t.Errorf("the confirmed order: %+v, %v", o, err)
	}
	_, err = record.NewOrders(db).Order(t.Context(), engine.ReservationID{Sale: 9, Created: engine.TimeZero})
	wantCode(t, err, engine.CodeNotFound)
	balanced(t, db, s)
}

func TestACartThatIsRefusedGivesBackTheLinesThatWereThere(t *testing.T) {
	db, _ := openRecord(t)
	s := create(t, db, "drop", 10, 1)
	refused, all := event(s, 2, 0, 1), event(s, 10, 0)
	r := commit(t, ledger(t, db), batch(0, refused, all))
	if r.Decided[0].State != engine.Refused || r.Decided[1].State != engine.Confirmed {
		t.Errorf("%+v", r.Decided)
	}
	balanced(t, db, s)
}

// balanced fails unless the record agrees with itself.
func balanced(t testing.TB, db *record.DB, s *engine.Sale) {
	t.Helper()
	totals, err := record.NewAudit(db).Totals(t.Context(), s.No)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range totals {
		if x.Sold != x.LedgerSold || x.Sold != x.Orders || x.Stock != x.LedgerStock || x.Sold > x.Stock {
			t.Errorf("SKU %d does not balance: %+v", x.No, x)
		}
	}
}

func TestAnEventThatComesAgainIsAnsweredWithItsOrder(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 1)
	l := ledger(t, db)
	won, lost := event(s, 1, 0), event(s, 1, 0)
	commit(t, l, batch(0, won, won, lost)) // twice in one batch
	r := commit(t, l, batch(3, lost, won)) // and again in the next
	if len(r.Decided) != 2 || r.Decided[0].State != engine.Refused || r.Decided[1].State != engine.Confirmed || !r.Decided[0].Repeated || !r.Decided[1].Repeated {
		t.Errorf("%+v", r.Decided)
	}
	if n := ask(t, url, `SELECT count(*) FROM orders`); n != 2 {
		t.Errorf("%d orders", n)
	}
	balanced(t, db, s)
}

func TestARefusedOrdersMoneyIsThereToBeVoided(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 0)
	ev := event(s, 1, 0)
	begin(t, a, ev, long)
	commit(t, ledger(t, db), batch(0, ev))
	due, err := a.Authorised(t.Context(), long, 0, 10)
	work := due.Void
	if err != nil || len(due.Capture)+len(due.Lost) != 0 || len(work) != 1 || work[0].ID != ev.Attempt || work[0].ProviderRef != "ref-1" || work[0].Provider != "sandbox" {
		t.Fatalf("%+v, %v", due, err)
	}
}

func TestASecondPaymentOfAnOrderIsThereToBeVoided(t *testing.T) {
	db, _ := openRecord(t)
	a := record.NewAttempts(db)
	s := create(t, db, "drop", 5)
	l := ledger(t, db)
	ev := event(s, 1, 0)
	begin(t, a, ev, long)
	second := ev
	second.Attempt = engine.NewAttemptID(ev.ID, "another key")
	begin(t, a, second, long)
	commit(t, l, batch(0, ev, second))
	due, err := a.Authorised(t.Context(), long, 0, 10)
	if err != nil || len(due.Void) != 1 || due.Void[0].ID != second.Attempt {
		t.Fatalf("to void: %+v, %v", due.Void, err)
	}
	if len(due.Capture) != 1 || due.Capture[0].ID != ev.Attempt {
		t.Fatalf("to capture: %+v", due.Capture)
	}
}

func TestAnEventThatIsNotOfThisSaleBecomesADeadLetterAndTheRestGoesOn(t *testing.T) {
	db, _ := openRecord(t)
	s := create(t, db, "drop", 10)
	spoil := func(f func(*record.Event)) record.Event { ev := event(s, 1, 0); f(&ev); return ev }
	bad := map[string]record.Event{
		"another sale's number": spoil(func(e *record.Event) { e.ID.Sale = 4_000_000_000 }),
		"another sale's name":   spoil(func(e *record.Event) { e.SaleID = "other" }),
		"an unknown SKU":        spoil(func(e *record.Event) { e.Lines[0].SKU = "SKU-Z" }),
		"an unknown number":     spoil(func(e *record.Event) { e.Lines[0].No = 65535 }),
		"another price":         spoil(func(e *record.Event) { e.Lines[0].UnitPrice, e.Total.Amount = 1, 1 }),
		"another unit price":    spoil(func(e *record.Event) { e.Lines[0].UnitPrice++ }),
		"another total":         spoil(func(e *record.Event) { e.Total.Amount++ }),
		"another currency":      spoil(func(e *record.Event) { e.Total.Currency = "EUR" }),
	}
	b := batch(0)
	for _, ev := range bad {
		b.Entries = append(b.Entries, record.Entry{Offset: int64(len(b.Entries)), Event: ev, Value: []byte("{}")})
	}
	b.Entries = append(b.Entries, record.Entry{Offset: int64(len(b.Entries)), Reason: "malformed", Detail: "nul \x00, \xff", Headers: map[string]string{"h\x00": "v\x00\xff"}})
	b.Entries = append(b.Entries, record.Entry{Offset: int64(len(b.Entries)), Event: event(s, 1, 0)})
	r := commit(t, ledger(t, db), b)
	if len(r.Decided) != 1 || r.Decided[0].State != engine.Confirmed || r.Next[0] != 10 {
		t.Errorf("%+v", r)
	}
	dead, err := record.NewAudit(db).DeadLetters(t.Context())
	if err != nil || dead["unknown_sale"] != 2 || dead["unknown_sku"] != 2 || dead["price_mismatch"] != 4 || dead["malformed"] != 1 {
		t.Errorf("dead letters: %v, %v", dead, err)
	}
}

func TestAWriterThatIsLateIsFencedAndWritesNothing(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 10)
	l := ledger(t, db)
	commit(t, l, batch(0, event(s, 1, 0)))
	for name, b := range map[string]record.Batch{"behind": batch(0, event(s, 1, 0)), "ahead": batch(7, event(s, 1, 0))} {
		if _, err := l.Commit(t.Context(), b); !errors.Is(err, record.ErrFenced) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := ask(t, url, `SELECT count(*) FROM orders`); n != 1 {
		t.Errorf("%d orders", n)
	}
}

func TestOfWritersThatRaceForOneOffsetOneWins(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 100)
	l := ledger(t, db)
	var mu sync.Mutex
	won := 0
	var wg sync.WaitGroup
	for range 8 {
		b := batch(0, event(s, 1, 0), event(s, 1, 0))
		wg.Go(func() {
			_, err := l.Commit(t.Context(), b)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, record.ErrFenced) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := ask(t, url, `SELECT count(*) FROM orders`); won != 1 || n != 2 {
		t.Errorf("%d won, %d orders", won, n)
	}
}

func TestOrdersAndPositionAreOneTransaction(t *testing.T) {
	db, url := openRecord(t)
	s := create(t, db, "drop", 10)
	l := ledger(t, db)
	bad := event(s, 1, 0)
	bad.Buyer = "nul\x00" // Postgres refuses it
	_, err := l.Commit(t.Context(), batch(0, event(s, 1, 0), bad))
	var data *record.DataError
	if !errors.As(err, &data) {
		t.Fatalf("%v", err)
	}
	at, err := l.Offsets(t.Context(), topic)
	if n := ask(t, url, `SELECT count(*) FROM orders`); err != nil || at[0] != 0 || n != 0 {
		t.Errorf("position %v, %d orders, %v", at, n, err)
	}
}

func TestManySKUsInOppositeOrdersDoNotDeadlock(t *testing.T) {
	db, _ := openRecord(t)
	s := create(t, db, "drop", 1000, 1000, 1000, 1000)
	l := ledger(t, db)
	var all [8]record.Batch
	for i := range all {
		p := int32(i)
		if _, err := l.Positions(t.Context(), topic, "", []int32{p}); err != nil {
			t.Fatal(err)
		}
		all[i] = record.Batch{Topic: topic, From: map[int32]int64{p: 0}}
		for j := range 20 {
			no := uint16((i*3 + j) % 4)
			all[i].Entries = append(all[i].Entries, record.Entry{Partition: p, Offset: int64(j), Event: event(s, 1, no)})
		}
	}
	var wg sync.WaitGroup
	for _, b := range all {
		wg.Go(func() {
			if _, err := l.Commit(t.Context(), b); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	balanced(t, db, s)
}

func TestATopicMadeAnewIsReadFromItsBeginning(t *testing.T) {
	db, url := openRecord(t)
	l := record.NewLedger(db)
	for _, step := range []struct {
		id   string
		want int64
	}{{"", 0}, {"", 5}, {"one", 5}, {"", 5}, {"one", 5}, {"two", 0}} {
		at, err := l.Positions(t.Context(), topic, step.id, []int32{0})
		if err != nil || at[0] != step.want {
			t.Fatalf("topic id %q: at %v, want %d, %v", step.id, at, step.want, err)
		}
		if err := psql(t, url, `UPDATE stream_offsets SET next_offset = 5`); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASlowOperatorDoesNotHoldUpOrders(t *testing.T) {
	db, _ := openRecord(t)
	s := create(t, db, "drop", 10)
	l := ledger(t, db)
	_, err := record.NewSaleStore(db).Change(t.Context(), "drop", engine.Act{Name: "pause"}, func(*engine.Sale) error {
		done := make(chan error, 1)
		go func() {
			_, err := l.Commit(t.Context(), batch(0, event(s, 1, 0)))
			done <- err
		}()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("the writer waits for the operator")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A claim of a gate that was lost may come after its payment was given back: it
// makes no order, and leaves the reservation to a payment that has its money.
func TestAnEventWhosePaymentHasEndedMakesNoOrder(t *testing.T) {
	db, _ := openRecord(t)
	l, a := ledger(t, db), record.NewAttempts(db)
	s := create(t, db, "drop", 10)
	ended := event(s, 1, 0)
	paid := ended
	paid.Attempt[15]++
	begin(t, a, ended, long)
	begin(t, a, paid, long)
	if err := a.Note(t.Context(), engine.Attempt{ID: ended.Attempt}, engine.Payment{State: engine.PaymentVoided}, "hold_gone"); err != nil {
		t.Fatal(err)
	}
	r := commit(t, l, batch(0, ended, paid))
	if len(r.Decided) != 2 || r.Decided[0].State != engine.Refused || r.Decided[0].Reason != record.PaymentEnded || r.Decided[0].ReplyTo != "" || r.Decided[1].State != engine.Confirmed {
		t.Fatalf("%+v", r.Decided)
	}
	if o, err := record.NewOrders(db).Order(t.Context(), paid.ID); err != nil || o.Attempt != paid.Attempt || o.State != engine.Confirmed {
		t.Errorf("%+v, %v", o, err)
	}
}
