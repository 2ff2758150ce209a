package record_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// armed gives a sale of two shards whose leases name servers.
func armed(t *testing.T, db *record.DB) (*record.SaleStore, *engine.Sale) {
	t.Helper()
	st := record.NewSaleStore(db)
	want := terms("drop", 10, 20)
	want.Shards = 2
	if _, _, err := st.Create(t.Context(), want, "test"); err != nil {
		t.Fatal(err)
	}
	s, err := st.Change(t.Context(), "drop", engine.Act{Actor: "ops", Name: "armed"}, func(s *engine.Sale) error {
		s.State, s.Epoch, s.Leases = engine.SaleArmed, 1, []engine.GateLease{{Epoch: 1, Server: "a"}, {Epoch: 1, Server: "b"}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return st, s
}

var lostServer = engine.Cause{Lost: "server", Actor: "keeper"}

func take(t *testing.T, r *record.Rebuilds, s *engine.Sale, shard int, d time.Duration) engine.RebuildLease {
	t.Helper()
	l, taken, err := r.Take(t.Context(), s, shard, lostServer, d)
	if err != nil || !taken {
		t.Fatalf("take: %v, %v", taken, err)
	}
	return l
}

func TestARebuildIsOneNodesAtATimeAndPassesEachStepOnce(t *testing.T) {
	db, url := openRecord(t)
	st, s := armed(t, db)
	var told *engine.Sale
	st.OnChange = func(s *engine.Sale) { told = s }
	r := record.NewRebuilds(db, st)

	var won int
	var mu sync.Mutex
	var wg sync.WaitGroup
	var l engine.RebuildLease
	for range 8 {
		wg.Go(func() {
			got, taken, err := r.Take(t.Context(), s, 1, lostServer, time.Minute)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if taken {
				won, l = won+1, got
			}
		})
	}
	wg.Wait()
	if won != 1 || told.Repair(1).Frozen.IsZero() || told.Repair(1).Reason != "server" || !told.Repair(0).Frozen.IsZero() || told.Version <= s.Version {
		t.Fatalf("%d nodes have it; the sale says %+v", won, told.Repairs)
	}
	now, err := r.Raise(t.Context(), l, "c")
	if err != nil || now.Epoch != 2 || now.Lease(1) != (engine.GateLease{Epoch: 2, Server: "c"}) || now.Lease(0) != (engine.GateLease{Epoch: 1, Server: "a"}) || now.Repair(1).Granted.IsZero() {
		t.Fatalf("raised: %+v, %+v, %v", now.Leases, now.Repairs, err)
	}
	frozen, err := r.Reopen(t.Context(), l, engine.Rebuilt{Cause: "server", Was: 1, Epoch: 2, Server: "c", Accepted: 3})
	if back := told.Repair(1); err != nil || frozen <= 0 || !back.Frozen.IsZero() || back.Took != frozen || back.Opened.Before(back.Granted) || !now.Repair(1).Opened.IsZero() || !told.Repair(0).Opened.IsZero() {
		t.Fatalf("reopened after %s: %+v, %v", frozen, told.Repairs, err)
	}
	if n := ask(t, url, `SELECT count(*) FROM audit_log WHERE act = 'gate rebuild' AND actor = 'keeper' AND detail->>'lost' = 'server' AND detail->'epoch' = '[1, 2]'`); n != 1 {
		t.Errorf("audited %d times", n)
	}
	if n := ask(t, url, `SELECT accepted FROM gate_rebuilds WHERE sale_no = $1 AND shard = 1 AND epoch = 2`, s.No); n != 3 {
		t.Errorf("the report says %d", n)
	}
	// The same snapshot as before is old news.
	if err := r.Keep(t.Context(), l, 0); err != nil {
		t.Fatal(err)
	}
	if _, taken, err := r.Take(t.Context(), s, 1, lostServer, time.Minute); taken || err != nil {
		t.Errorf("taken for an epoch that is over: %v, %v", taken, err)
	}
	if _, taken, err := r.Take(t.Context(), now, 1, engine.Cause{Lost: engine.CauseUnfinished}, time.Minute); taken || err != nil {
		t.Errorf("taken as unfinished, and it is finished: %v, %v", taken, err)
	}
}

func TestAHaltedGateIsNoKeepersToTake(t *testing.T) {
	db, url := openRecord(t)
	st, s := armed(t, db)
	r := record.NewRebuilds(db, st)
	olga := engine.Cause{Lost: engine.CauseHalted, Actor: "olga", Reason: "wait"}
	for range 2 { // repeated, it is halted still
		l, taken, err := r.Take(t.Context(), s, 0, olga, time.Minute)
		if err != nil || !taken {
			t.Fatalf("%v, %v", taken, err)
		}
		if err := r.Keep(t.Context(), l, 0); err != nil {
			t.Fatal(err)
		}
	}
	now, err := st.Get(t.Context(), "drop")
	if err != nil || now.Repair(0).Reason != engine.CauseHalted || now.Repair(0).Frozen.IsZero() || now.Lease(0).Epoch != 1 {
		t.Fatalf("%+v, %v", now.Repairs, err)
	}
	if n := ask(t, url, `SELECT count(*) FROM audit_log WHERE act = 'gate freeze' AND target = 'drop' AND actor = 'olga' AND detail->>'reason' = 'wait'`); n != 2 {
		t.Errorf("audited %d times", n)
	}
	for _, lost := range []string{"terms", engine.CauseUnfinished} { // s: a keeper that has not heard
		if _, taken, err := r.Take(t.Context(), s, 0, engine.Cause{Lost: lost, Actor: engine.KeeperActor}, time.Minute); taken || err != nil {
			t.Errorf("a keeper that sees %s lost: taken %v, %v", lost, taken, err)
		}
	}
	if l, taken, err := r.Take(t.Context(), now, 0, engine.Cause{Lost: engine.CauseOperator, Actor: "olga", Reason: "go on"}, time.Minute); !taken || err != nil || l.Cause.Lost != engine.CauseHalted {
		t.Errorf("an operator: taken %v, %v, cause %q", taken, err, l.Cause.Lost)
	}
}

func TestARebuilderThatWasAwayTooLongCannotFinish(t *testing.T) {
	db, _ := openRecord(t)
	st, s := armed(t, db)
	r := record.NewRebuilds(db, st)
	late := take(t, r, s, 0, time.Millisecond)
	var l engine.RebuildLease
	until(t, "the first lease is over", func() bool {
		var taken bool
		var err error
		l, taken, err = r.Take(t.Context(), s, 0, engine.Cause{Lost: engine.CauseUnfinished, Actor: "keeper"}, time.Minute)
		return err == nil && taken
	})
	if l.Cause.Lost != "server" || l.Token <= late.Token {
		t.Errorf("taken over as %+v after %+v", l, late)
	}
	nobody := func(engine.Hold) {}
	_, raise := r.Raise(t.Context(), late, "x")
	_, reopen := r.Reopen(t.Context(), late, engine.Rebuilt{Epoch: 1})
	for what, err := range map[string]error{
		"keep": r.Keep(t.Context(), late, time.Minute), "raise": raise, "live": r.Live(t.Context(), late, s, nobody), "reopen": reopen,
	} {
		if engine.CodeOf(err) != engine.CodeGateFrozen {
			t.Errorf("%s by the late one: %v", what, err)
		}
	}
	now, err := r.Raise(t.Context(), l, "x")
	if err != nil || now.Lease(0).Epoch != 2 {
		t.Fatalf("raise by the new one: %+v, %v", now, err)
	}
	if err := r.Live(t.Context(), l, now, nobody); err != nil {
		t.Errorf("live by the new one: %v", err)
	}
}

// homed gives an event of a buyer who is at home in a shard of two.
func homed(s *engine.Sale, shard byte, quantity int, nos ...uint16) record.Event {
	ev := event(s, quantity, nos...)
	ev.ID.Buyer[7] = shard
	ev.Attempt = engine.NewAttemptID(ev.ID, "key")
	return ev
}

func attemptUnder(s *engine.Sale, ev record.Event) engine.Attempt {
	a := attemptOf(ev)
	a.Shard = s.Home(ev.ID.Buyer)
	a.Epoch = s.Lease(a.Shard).Epoch
	for _, l := range ev.Lines {
		a.Lines = append(a.Lines, engine.Line{No: l.No, Quantity: l.Quantity})
	}
	return a
}

func TestNoPaymentBeginsUnderAnOldEpoch(t *testing.T) {
	db, _ := openRecord(t)
	st, s := armed(t, db)
	r, a := record.NewRebuilds(db, st), record.NewAttempts(db)
	before, other, after := homed(s, 1, 1, 0), homed(s, 0, 1, 0), homed(s, 1, 1, 0)
	if _, err := a.Begin(t.Context(), attemptUnder(s, before), time.Minute); err != nil {
		t.Fatal(err)
	}
	now, err := r.Raise(t.Context(), take(t, r, s, 1, time.Minute), "c")
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Begin(t.Context(), attemptUnder(s, after), time.Minute)
	wantCode(t, err, engine.CodeGateFrozen)
	_, err = a.Begin(t.Context(), attemptUnder(s, before), time.Minute) // not even one that is there
	wantCode(t, err, engine.CodeGateFrozen)
	if _, err := a.Begin(t.Context(), attemptUnder(s, other), time.Minute); err != nil {
		t.Errorf("in a shard that is whole: %v", err)
	}
	for _, ev := range []record.Event{before, after} {
		if got, err := a.Begin(t.Context(), attemptUnder(now, ev), time.Minute); err != nil || got.ID != ev.Attempt {
			t.Errorf("under the new epoch: %v", err)
		}
	}
}

// An epoch that is raised waits for payments that are just being noted, so that
// it sees them: the statement that notes them holds the lease's row. Here it is
// kept waiting in the middle by somebody who is about to note the same attempt.
func TestARaisedEpochSeesAPaymentThatWasBeingNoted(t *testing.T) {
	db, url := openRecord(t)
	st, s := armed(t, db)
	r, a := record.NewRebuilds(db, st), record.PatientAttempts(db)
	ev := homed(s, 1, 1, 0)
	l := take(t, r, s, 1, time.Minute)

	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	other, err := c.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), `INSERT INTO payments (id, reservation, sale_no, buyer, amount, currency, method, email, state, lease_until)
		VALUES ($1, $2, $3, 'ada', 1, 'USD', 'pm', '', 'authorising', now())`, ev.Attempt[:], ev.ID.Bytes(), int64(s.No)); err != nil {
		t.Fatal(err)
	}
	waiting := func(statement string) bool {
		return ask(t, url, `SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'`, statement) == 1
	}
	begun, raised := make(chan error, 1), make(chan error, 1)
	go func() { _, err := a.Begin(t.Context(), attemptUnder(s, ev), time.Minute); begun <- err }()
	until(t, "the payment is being noted", func() bool { return waiting("INSERT INTO payments AS p") })
	var now *engine.Sale
	go func() { var err error; now, err = r.Raise(t.Context(), l, "c"); raised <- err }()
	until(t, "the epoch waits", func() bool { return waiting("UPDATE gate_leases") })
	if err := other.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-begun; err != nil {
		t.Fatal(err)
	}
	if err := <-raised; err != nil {
		t.Fatal(err)
	}
	seen := 0
	if err := r.Live(t.Context(), l, now, func(h engine.Hold) {
		if h.ID == ev.ID && h.State == engine.Paying {
			seen++
		}
	}); err != nil || seen != 1 {
		t.Errorf("seen %d times, %v", seen, err)
	}
}

func TestLiveGivesOrdersAndUnfinishedPaymentsOfTheShard(t *testing.T) {
	db, url := openRecord(t)
	st, s := armed(t, db)
	r, a, l := record.NewRebuilds(db, st), record.NewAttempts(db), ledger(t, db)
	ordered, elsewhere, paying, ended, unsent, twice, old := homed(s, 1, 2, 0, 1), homed(s, 0, 1, 0), homed(s, 1, 1, 1), homed(s, 1, 1, 0), homed(s, 1, 1, 0), homed(s, 1, 1, 0), homed(s, 1, 1, 0)
	tooMuch := homed(s, 1, 11, 0)
	notes := map[engine.AttemptID]engine.Attempt{}
	for _, ev := range []record.Event{ordered, elsewhere, paying, ended, unsent, twice, old, tooMuch} {
		got, err := a.Begin(t.Context(), attemptUnder(s, ev), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		notes[ev.Attempt] = got
	}
	second := attemptUnder(s, twice)
	second.ID = engine.NewAttemptID(twice.ID, "another key")
	if _, err := a.Begin(t.Context(), second, time.Minute); err != nil {
		t.Fatal(err)
	}
	commit(t, l, batch(0, ordered, tooMuch)) // the last is refused
	if err := a.Note(t.Context(), notes[ended.Attempt], engine.Payment{State: engine.PaymentDeclined}, "no"); err != nil {
		t.Fatal(err)
	}
	if ok, err := a.Park(t.Context(), notes[unsent.Attempt], engine.Unsent, 0); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := psql(t, url, `UPDATE payments SET lines = NULL WHERE id = $1`, old.Attempt[:]); err != nil {
		t.Fatal(err)
	}
	lease := take(t, r, s, 1, time.Minute)
	now, err := r.Raise(t.Context(), lease, "c")
	if err != nil {
		t.Fatal(err)
	}
	var got []engine.Hold
	if err := r.Live(t.Context(), lease, now, func(h engine.Hold) { got = append(got, h) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 4 {
		t.Fatalf("%d: %+v", len(got), got)
	}
	if h := got[0]; h.ID != ordered.ID || h.State != engine.Accepted || h.Fence != ordered.Attempt.Fence() || !slices.Equal(h.Lines, []engine.Line{{No: 0, Quantity: 2}, {No: 1, Quantity: 2}}) {
		t.Errorf("the order: %+v", h)
	}
	if h := got[1]; h.ID != paying.ID || h.State != engine.Paying || h.Attempts != 1 || h.Fence != paying.Attempt.Fence() || !slices.Equal(h.Lines, []engine.Line{{No: 1, Quantity: 1}}) || !h.ExpiresAt.Equal(paying.ID.CreatedAt().Add(s.HoldCap)) {
		t.Errorf("the payment: %+v", h)
	}
	for _, h := range got[2:] {
		switch h.ID {
		case old.ID:
			if len(h.Lines) != 0 {
				t.Errorf("an old row: %+v", h)
			}
		case twice.ID:
			if h.Fence != second.ID.Fence() || h.Attempts != 2 {
				t.Errorf("the second attempt: %+v", h)
			}
		default:
			t.Errorf("unexpected: %+v", h)
		}
	}
	if orders, payments, err := r.Taken(t.Context(), now, 1); orders != 1 || payments != 3 || err != nil {
		t.Errorf("counted %d and %d, %v", orders, payments, err)
	}
}

func TestASaleOfAnOlderProgramGetsLeasesWhenItIsRebuilt(t *testing.T) {
	db, url := openRecord(t)
	st, s := armed(t, db)
	if err := psql(t, url, `DELETE FROM gate_leases`); err != nil {
		t.Fatal(err)
	}
	s, err := st.Get(t.Context(), s.ID)
	if err != nil || len(s.Leases) != 0 || s.Lease(1) != (engine.GateLease{Epoch: 1}) {
		t.Fatalf("%+v, %v", s.Leases, err)
	}
	r := record.NewRebuilds(db, st)
	now, err := r.Raise(t.Context(), take(t, r, s, 0, time.Minute), "c")
	if err != nil || !slices.Equal(now.Leases, []engine.GateLease{{Epoch: 2, Server: "c"}, {Epoch: 1}}) {
		t.Fatalf("%+v, %v", now.Leases, err)
	}
}

func TestADoubtedSnapshotIsReadAtOnce(t *testing.T) {
	db, _ := openRecord(t)
	st, s := armed(t, db)
	cache := record.NewSales(db, record.SalesOptions{Refresh: time.Hour})
	if _, err := cache.Sale(t.Context(), "drop"); err != nil {
		t.Fatal(err)
	}
	r := record.NewRebuilds(db, st)
	if _, err := r.Raise(t.Context(), take(t, r, s, 1, time.Minute), "c"); err != nil {
		t.Fatal(err)
	}
	until(t, "the new epoch is known", func() bool {
		cache.Doubt(s.No)
		now, err := cache.Sale(t.Context(), "drop")
		return err == nil && now.Lease(1).Epoch == 2
	})
}
