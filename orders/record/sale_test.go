package record_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestSeveralNodesMayMigrateAtOnce(t *testing.T) {
	url := testenv.Postgres(t)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() { errs[i] = record.Migrate(t.Context(), url) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	steps, err := record.Status(t.Context(), url)
	if err != nil || len(steps) == 0 {
		t.Fatalf("status: %v, %v", steps, err)
	}
	for _, s := range steps {
		if !s.Applied {
			t.Errorf("%s is not applied", s.Name)
		}
	}
}

func TestASaleIsCreatedOnceAndReadBackAsItWas(t *testing.T) {
	db, url := openRecord(t)
	st := record.NewSaleStore(db)
	first := create(t, db, "drop", 10, 20)
	again, created, err := st.Create(t.Context(), terms("drop", 99), "test")
	if err != nil || created {
		t.Fatalf("second create: created %v, %v", created, err)
	}
	got, err := st.Get(t.Context(), "drop")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*engine.Sale{again, got} {
		if s.No != first.No || s.Secret != first.Secret || s.State != engine.SaleDraft || s.Version != 1 || len(s.Items) != 2 ||
			s.Items[1] != first.Items[1] || !s.OpensAt.Equal(first.OpensAt) || !s.ClosesAt.IsZero() || s.HoldCap != first.HoldCap {
			t.Errorf("read %+v, wrote %+v", s, first)
		}
	}
	if first.Secret == [16]byte{} {
		t.Error("a sale has no secret")
	}
	if n := ask(t, url, `SELECT sum(units) FROM stock_ledger WHERE kind = 'stock'`); n != 30 {
		t.Errorf("the ledger has %d units put up, want 30", n)
	}
	_, err = st.Get(t.Context(), "nothing")
	wantCode(t, err, engine.CodeNotFound)
	create(t, db, "later", 1)
	list, err := st.List(t.Context())
	if err != nil || len(list) != 2 || list[0].ID != "later" {
		t.Fatalf("list: %v, %v", list, err)
	}
}

func TestAChangeWritesOnlyWhatDiffersAndIsAudited(t *testing.T) {
	db, url := openRecord(t)
	st := record.NewSaleStore(db)
	create(t, db, "drop", 10, 20)
	var told *engine.Sale
	st.OnChange = func(s *engine.Sale) { told = s }
	got, err := st.Change(t.Context(), "drop", engine.Act{Actor: "ops", Name: "armed"}, func(s *engine.Sale) error {
		s.State, s.Epoch, s.Secret, s.Version = engine.SaleArmed, 1, [16]byte{1}, 77
		return nil
	})
	if err != nil || got.State != engine.SaleArmed || got.Epoch != 1 || got.Version != 2 || got.Secret == [16]byte{1} {
		t.Fatalf("change: %+v, %v", got, err)
	}
	if told == nil || told.Version != 2 {
		t.Errorf("OnChange was told %+v", told)
	}
	same, err := st.Change(t.Context(), "drop", engine.Act{Actor: "ops", Name: "armed"}, func(*engine.Sale) error { return nil })
	if err != nil || same.Version != 2 {
		t.Fatalf("a change of nothing: version %d, %v", same.Version, err)
	}
	if n := ask(t, url, `SELECT count(*) FROM audit_log WHERE target = 'drop'`); n != 2 {
		t.Errorf("%d acts audited, want 2: create and armed", n)
	}
}

func TestAnEditsErrorRollsBackAndComesBackAsItIs(t *testing.T) {
	db, _ := openRecord(t)
	st := record.NewSaleStore(db)
	create(t, db, "drop", 10)
	mine := errors.New("mine")
	_, err := st.Change(t.Context(), "drop", engine.Act{Name: "x"}, func(s *engine.Sale) error { s.Name = "other"; return mine })
	if err != mine { //nolint:errorlint // the very same
		t.Fatalf("got %v", err)
	}
	if s, _ := st.Get(t.Context(), "drop"); s.Name != "Spring drop" {
		t.Errorf("name became %q", s.Name)
	}
	_, err = st.Change(t.Context(), "nothing", engine.Act{Name: "x"}, func(*engine.Sale) error { return nil })
	wantCode(t, err, engine.CodeNotFound)
}

func TestAnActRepeatedUnderItsKeyChangesNothing(t *testing.T) {
	db, url := openRecord(t)
	st := record.NewSaleStore(db)
	create(t, db, "drop", 10)
	add := func(key string) *engine.Sale {
		t.Helper()
		s, err := st.Change(t.Context(), "drop", engine.Act{Actor: "ops", Name: "stock", Reason: "found a box", Key: key}, func(s *engine.Sale) error {
			s.Items[0].Stock += 5
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	add("k1")
	if s := add("k1"); s.Items[0].Stock != 15 || s.Version != 2 {
		t.Fatalf("repeated: stock %d, version %d", s.Items[0].Stock, s.Version)
	}
	if s := add("k2"); s.Items[0].Stock != 20 {
		t.Fatalf("another key: stock %d", s.Items[0].Stock)
	}
	if n := ask(t, url, `SELECT count(*) FROM stock_ledger WHERE reason = 'found a box' AND cause = 'k1' AND actor = 'ops' AND units = 5`); n != 1 {
		t.Errorf("%d ledger rows for the act, want 1", n)
	}
}

func TestConcurrentChangesComeOneAfterAnother(t *testing.T) {
	db, _ := openRecord(t)
	st := record.NewSaleStore(db)
	create(t, db, "drop", 0)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := st.Change(t.Context(), "drop", engine.Act{Name: "stock"}, func(s *engine.Sale) error { s.Items[0].Stock++; return nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s, _ := st.Get(t.Context(), "drop"); s.Items[0].Stock != 20 || s.Version != 21 {
		t.Errorf("stock %d, version %d", s.Items[0].Stock, s.Version)
	}
}

func TestADraftsSKUsMayBeReplacedAndTheLedgerFollows(t *testing.T) {
	db, _ := openRecord(t)
	st := record.NewSaleStore(db)
	s := create(t, db, "drop", 10, 20, 30)
	_, err := st.Change(t.Context(), "drop", engine.Act{Name: "put"}, func(s *engine.Sale) error {
		s.Items = []engine.Item{{No: 0, SKU: "SKU-B", UnitPrice: 7, Stock: 1}, {No: 1, SKU: "SKU-A", UnitPrice: 8, Stock: 25}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	totals, err := record.NewAudit(db).Totals(t.Context(), s.No)
	if err != nil || len(totals) != 2 || totals[0].Stock != 1 || totals[0].LedgerStock != 1 || totals[1].LedgerStock != 25 {
		t.Fatalf("totals %+v, %v", totals, err)
	}
}

func TestStockCannotBeBroughtBelowWhatIsSold(t *testing.T) {
	db, url := openRecord(t)
	st := record.NewSaleStore(db)
	s := create(t, db, "drop", 10)
	commit(t, ledger(t, db), batch(0, event(s, 3, 0)))
	_, err := st.Change(t.Context(), "drop", engine.Act{Name: "stock"}, func(s *engine.Sale) error { s.Items[0].Stock = 2; return nil })
	wantCode(t, err, engine.CodeSaleState)
	if err := psql(t, url, `UPDATE skus SET stock = 2`); err == nil {
		t.Error("the CHECK let the stock fall below what is sold")
	}
	if err := psql(t, url, `UPDATE skus SET sold = 11`); err == nil {
		t.Error("the CHECK let unit N+1 be sold")
	}
}

func TestTheCachedReaderFollowsTheRecord(t *testing.T) {
	db, url := openRecord(t)
	st := record.NewSaleStore(db)
	c := record.NewSales(db, record.SalesOptions{Negative: time.Hour})
	_, err := c.Sale(t.Context(), "drop")
	wantCode(t, err, engine.CodeNotFound)
	s := create(t, db, "drop", 10)
	if _, err := c.Sale(t.Context(), "drop"); engine.CodeOf(err) != engine.CodeNotFound {
		t.Fatal("a negative result was not believed for its time")
	}
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Sale(t.Context(), "drop"); err != nil || got.No != s.No {
		t.Fatalf("after a refresh: %v, %v", got, err)
	}
	if len(c.Active()) != 0 {
		t.Error("a draft is active")
	}
	for _, to := range []engine.SaleState{engine.SaleArmed, engine.SaleOpen, engine.SaleDraining, engine.SaleClosed} {
		if _, err := st.Change(t.Context(), "drop", engine.Act{Name: string(to)}, func(s *engine.Sale) error { s.State, s.Epoch = to, 1; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := c.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _ := c.SaleByNo(t.Context(), s.No); got.State != to {
			t.Errorf("the cache says %s, the record %s", got.State, to)
		}
		if len(c.Active()) != 1 {
			t.Errorf("a sale that is %s is not active", to)
		}
	}
	if err := psql(t, url, `UPDATE sales SET updated_at = now() - interval '2 hours'`); err != nil {
		t.Fatal(err)
	}
	if err := c.Refresh(t.Context()); err != nil || len(c.Active()) != 0 {
		t.Errorf("long closed, still active: %v, %v", c.Active(), err)
	}
}

// A reservation was made at another node, which knew that the sale is armed.
func TestAReservationsSaleIsReadAnewWhereItIsKnownAsADraft(t *testing.T) {
	db, _ := openRecord(t)
	st := record.NewSaleStore(db)
	s := create(t, db, "drop", 10)
	c := record.NewSales(db, record.SalesOptions{}) // nobody refreshes it
	if got, err := c.SaleByNo(t.Context(), s.No); err != nil || got.Epoch != 0 {
		t.Fatalf("a draft: %+v, %v", got, err)
	}
	if _, err := st.Change(t.Context(), "drop", engine.Act{Name: "arm"}, func(s *engine.Sale) error { s.State, s.Epoch = engine.SaleArmed, 1; return nil }); err != nil {
		t.Fatal(err)
	}
	if got, err := c.SaleByNo(t.Context(), s.No); err != nil || got.Epoch != 1 {
		t.Fatalf("armed elsewhere, it is served as a draft: %+v, %v", got, err)
	}
	if got, err := c.Sale(t.Context(), "drop"); err != nil || got.Epoch != 1 {
		t.Errorf("what was read is not kept: %+v, %v", got, err)
	}
}
