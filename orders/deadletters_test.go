package orders_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// letters gives the desk's list.
func letters(t *testing.T, d orders.DeadLetters, f engine.DeadLetterFilter) []engine.DeadLetter {
	t.Helper()
	f.Limit = 100
	list, err := d.List(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// killed gives a rig whose stream had some events, all of which the record has
// refused for a reason that nobody foresaw and that is gone now.
func killed(t *testing.T, stock int64, events int) (*rig, orders.DeadLetters) {
	t.Helper()
	r := newRig(t, fakeKafka(t).ListenAddrs(), testenv.Postgres(t), 1, stock)
	p := r.producer()
	refuse := map[engine.ReservationID]bool{}
	for range events {
		e := r.accept(1, 0)
		refuse[e.ID] = true
		r.publish(p, e)
	}
	stop := start(t, r.writer(func(c *orders.WriterConfig) {
		c.Record = grudging{record.NewLedger(r.db), func(id engine.ReservationID) bool { return refuse[id] }}
	}).Run)
	until(t, "all are dead letters", func() bool { return r.count(`SELECT count(*) FROM dead_letters`) == int64(events) })
	start(t, r.watch().Run)
	until(t, "the metrics say so", func() bool {
		n, _ := testutil.GatherAndCount(r.registry, "flashsale_dead_letters_open", "flashsale_dead_letters_oldest_seconds")
		return n == 2 && r.gauge("flashsale_dead_letters_open") == float64(events) && r.gauge("flashsale_dead_letters_oldest_seconds") > 0
	})
	stop()
	return r, orders.NewDeadLetters(r.db)
}

// gauge reads one metric without labels.
func (r *rig) gauge(name string) float64 {
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

func TestADeadLetterThatIsRetriedBecomesItsOrderOnce(t *testing.T) {
	r, desk := killed(t, 10, 1)
	l := letters(t, desk, engine.DeadLetterFilter{State: engine.DeadLetterOpen, Sale: "drop", Reason: "rejected_by_record"})
	if len(l) != 1 || !l[0].Accepted || l[0].Ordered || l[0].Reservation == "" || l[0].Offset != 0 {
		t.Fatalf("%+v", l)
	}
	act := engine.Act{Actor: "ann", Reason: "the constraint is gone"}
	would, err := desk.Retry(t.Context(), l[0].ID, act, true)
	if err != nil || would.Did != engine.RetryConfirmed || r.count(`SELECT count(*) FROM orders`) != 0 || r.count(`SELECT count(*) FROM audit_log WHERE act = 'retry dead letter'`) != 0 {
		t.Fatalf("a look changed something: %+v, %v", would, err)
	}
	for i, did := range []string{engine.RetryConfirmed, engine.RetrySettled} {
		got, err := desk.Retry(t.Context(), l[0].ID, act, false)
		if err != nil || got.Did != did || got.Letter.State != engine.DeadLetterRetried || got.Letter.SettledBy != "ann" {
			t.Errorf("time %d: %+v, %v", i, got, err)
		}
	}
	if n, a := r.count(`SELECT count(*) FROM orders WHERE state = 'confirmed'`), r.count(`SELECT count(*) FROM audit_log WHERE act = 'retry dead letter'`); n != 1 || a != 1 {
		t.Errorf("%d orders, %d entries in the audit log", n, a)
	}
	if p := r.count(`SELECT count(*) FROM payments WHERE state = 'authorised'`); p != 1 {
		t.Errorf("%d payments are authorised", p)
	}
	r.balanced()
}

func TestRetriesThatRaceMakeOneOrder(t *testing.T) {
	r, desk := killed(t, 10, 1)
	id := letters(t, desk, engine.DeadLetterFilter{})[0].ID
	did := make(chan string, 8)
	for range cap(did) {
		go func() {
			got, err := desk.Retry(t.Context(), id, engine.Act{Actor: "ann"}, false)
			if err != nil {
				t.Error(err)
			}
			did <- got.Did
		}()
	}
	count := map[string]int{}
	for range cap(did) {
		count[<-did]++
	}
	if count[engine.RetryConfirmed] != 1 || count[engine.RetrySettled] != cap(did)-1 || r.count(`SELECT count(*) FROM orders`) != 1 {
		t.Errorf("%v, %d orders", count, r.count(`SELECT count(*) FROM orders`))
	}
	r.balanced()
}

func TestARetryMeetsTheRecordsLastGuard(t *testing.T) {
	r, desk := killed(t, 1, 2)
	l := letters(t, desk, engine.DeadLetterFilter{})
	for i, did := range []string{engine.RetryConfirmed, engine.RetryRefused} {
		if got, err := desk.Retry(t.Context(), l[i].ID, engine.Act{Actor: "ann"}, false); err != nil || got.Did != did {
			t.Errorf("%+v, %v", got, err)
		}
	}
	r.balanced()
}

func TestARetryOfAnEventThatHasItsOrderByNowSaysSo(t *testing.T) {
	r, desk := killed(t, 10, 1)
	e := r.outboxEntry(0)
	r.publish(r.producer(), e) // the relay, say: this time nothing is refused
	start(t, r.writer(nil).Run)
	until(t, "it is an order", func() bool { return r.count(`SELECT count(*) FROM orders`) == 1 })
	l := letters(t, desk, engine.DeadLetterFilter{})
	if !l[0].Ordered {
		t.Errorf("%+v", l[0])
	}
	if got, err := desk.Retry(t.Context(), l[0].ID, engine.Act{Actor: "ann"}, false); err != nil || got.Did != engine.RetryRepeated || got.Order != e.ID.Order() {
		t.Errorf("%+v, %v", got, err)
	}
	r.balanced()
}

func TestWhatIsStillPoisonStaysOpenUntilItIsDropped(t *testing.T) {
	r := newRig(t, fakeKafka(t).ListenAddrs(), testenv.Postgres(t), 1, 10)
	r.produceRaw([]byte("not json"), nil)
	start(t, r.writer(nil).Run)
	until(t, "it is a dead letter", func() bool { return r.count(`SELECT count(*) FROM dead_letters`) == 1 })
	desk := orders.NewDeadLetters(r.db)
	id := letters(t, desk, engine.DeadLetterFilter{})[0].ID
	got, err := desk.Retry(t.Context(), id, engine.Act{Actor: "ann"}, false)
	if err != nil || got.Did != engine.RetryDead || got.Detail == "" || got.Letter.State != engine.DeadLetterOpen || got.Letter.Tries != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	for range 2 {
		l, err := desk.Drop(t.Context(), id, engine.Act{Actor: "ann", Reason: "a stranger's"})
		if err != nil || l.State != engine.DeadLetterDropped || l.SettledWhy != "a stranger's" || l.SettledAt == nil {
			t.Errorf("%+v, %v", l, err)
		}
	}
	if got, err := desk.Retry(t.Context(), id, engine.Act{Actor: "ann"}, false); err != nil || got.Did != engine.RetrySettled {
		t.Errorf("%+v, %v", got, err)
	}
	if n := r.count(`SELECT count(*) FROM audit_log WHERE target LIKE 'dead_letter/%'`); n != 2 {
		t.Errorf("%d entries in the audit log, not one for the retry and one for the drop", n)
	}
	for _, err := range []error{second(desk.Retry(t.Context(), 99, engine.Act{}, false)), second(desk.Drop(t.Context(), 99, engine.Act{Actor: "ann", Reason: "x"}))} {
		if engine.CodeOf(err) != engine.CodeNotFound {
			t.Errorf("one that is not there: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// outboxEntry makes the nth accepted entry anew, as the relay would find it.
func (r *rig) outboxEntry(n int) engine.OutboxEntry {
	r.outbox.mu.Lock()
	defer r.outbox.mu.Unlock()
	return r.outbox.all[n]
}
