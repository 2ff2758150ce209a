package orders_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestAnAcceptedReservationBecomesAnOrderAndItsNodeIsTold(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		r := newRig(t, brokers, testenv.Postgres(t), 3, 2)
		start(t, r.writer(nil).Run)
		p := r.producer()
		won, also, lost := r.accept(1, 0), r.accept(1, 0), r.accept(2, 0)
		r.publish(p, won, also)
		until(t, "two outcomes", func() bool { return r.notes.len() == 2 })
		r.publish(p, lost)
		until(t, "the third outcome", func() bool { return r.notes.len() == 3 })
		if r.notes.of(won.ID) != engine.Confirmed || r.notes.of(also.ID) != engine.Confirmed || r.notes.of(lost.ID) != engine.Refused {
			t.Errorf("outcomes: %s, %s, %s", r.notes.of(won.ID), r.notes.of(also.ID), r.notes.of(lost.ID))
		}
		until(t, "the outbox is tidied", func() bool { return r.outbox.len() == 0 })
		due, err := r.attempts.Authorised(t.Context(), time.Minute, 0, 9)
		work := due.Void
		if err != nil || len(work) != 1 || work[0].Reservation != lost.ID {
			t.Errorf("to void: %+v, %v", work, err)
		}
		r.balanced()
	})
}

func TestAnEventPublishedTwiceIsOneOrder(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		r := newRig(t, brokers, testenv.Postgres(t), 1, 10)
		e := r.accept(1, 0)
		for range 3 { // the node that claimed, and the relays of two others
			r.publish(r.producer(), e)
		}
		r.publish(r.producer(), r.accept(1, 0))
		start(t, r.writer(nil).Run)
		until(t, "all is read", func() bool { return r.count(`SELECT next_offset FROM stream_offsets`) == 4 })
		if n := r.count(`SELECT count(*) FROM orders`); n != 2 {
			t.Errorf("%d orders", n)
		}
		r.balanced()
	})
}

func TestPoisonBecomesADeadLetterAndThePartitionGoesOn(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		r := newRig(t, brokers, testenv.Postgres(t), 1, 10)
		r.produceRaw([]byte("not json"), nil)
		r.produceRaw([]byte(`{"version":2}`), nil)
		r.produceRaw(nil, nil)
		p := r.producer()
		good := r.accept(1, 0)
		r.publish(p, good)
		start(t, r.writer(nil).Run)
		until(t, "the good one is told", func() bool { return r.notes.of(good.ID) == engine.Confirmed })
		dead, err := record.NewAudit(r.db).DeadLetters(t.Context())
		if err != nil || dead["unknown_version"] != 3 { // no ce_type: not of a version that we know
			t.Errorf("%v, %v", dead, err)
		}
	})
}

// One transaction holds them all, so the poison is in its middle: what came
// before it and what came after it become orders all the same.
func TestPoisonInTheMiddleOfABatchHurtsNoNeighbour(t *testing.T) {
	r := newRig(t, fakeKafka(t).ListenAddrs(), testenv.Postgres(t), 1, 100)
	p := r.producer()
	for range 10 {
		r.publish(p, r.accept(1, 0))
	}
	foreign := r.accept(1, 0)
	foreign.Payload = bytes.Replace(foreign.Payload, []byte(`"SKU-0"`), []byte(`"SKU-X"`), 1)
	r.publish(p, foreign)
	r.produceRaw([]byte("{"), []kgo.RecordHeader{{Key: "ce_type", Value: []byte("io.flashsale.reservation.accepted.v1")}})
	r.produceRaw([]byte("\x00\xff"), []kgo.RecordHeader{{Key: "ce_\xff", Value: []byte("\x00")}})
	for range 10 {
		r.publish(p, r.accept(1, 0))
	}
	start(t, r.writer(nil).Run)
	until(t, "all is read", func() bool { return r.count(`SELECT next_offset FROM stream_offsets`) == 23 })
	if n := r.count(`SELECT count(*) FROM orders WHERE state = 'confirmed'`); n != 20 {
		t.Errorf("%d orders", n)
	}
	if n := r.count(`SELECT count(*) FROM dead_letters WHERE "offset" BETWEEN 10 AND 12`); n != 3 {
		t.Errorf("%d dead letters in the middle", n)
	}
	if n := r.count(`SELECT count(*) FROM dead_letters WHERE reason = 'unknown_sku' AND reservation IS NOT NULL AND sale_no IS NOT NULL`); n != 1 {
		t.Error("a dead letter does not say which reservation it was")
	}
	r.balanced()
}

// produceRaw puts a stranger's record into the stream.
func (r *rig) produceRaw(value []byte, headers []kgo.RecordHeader) {
	r.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(r.brokers...))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	if err := c.ProduceSync(r.t.Context(), &kgo.Record{Topic: r.topic, Value: value, Headers: headers}).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// grudging refuses a transaction that has a certain order in it, as Postgres
// would for a reason that nobody foresaw.
type grudging struct {
	*record.Ledger
	refuse func(engine.ReservationID) bool
}

func (g grudging) Commit(ctx context.Context, b record.Batch) (record.Result, error) {
	for _, e := range b.Entries {
		if e.Reason == "" && g.refuse(e.Event.ID) {
			return record.Result{}, &record.DataError{Err: errors.New("violates something")}
		}
	}
	return g.Ledger.Commit(ctx, b)
}

func TestOnlyTheEventThatPostgresRefusesBecomesADeadLetter(t *testing.T) {
	r := newRig(t, fakeKafka(t).ListenAddrs(), testenv.Postgres(t), 1, 100)
	p := r.producer()
	var bad engine.OutboxEntry
	for i := range 21 {
		e := r.accept(1, 0)
		if i == 13 {
			bad = e
		}
		r.publish(p, e)
	}
	start(t, r.writer(func(c *orders.WriterConfig) {
		c.Record = grudging{record.NewLedger(r.db), func(id engine.ReservationID) bool { return id == bad.ID }}
	}).Run)
	until(t, "all is read", func() bool { return r.count(`SELECT next_offset FROM stream_offsets`) == 21 })
	if n := r.count(`SELECT count(*) FROM orders`); n != 20 {
		t.Errorf("%d orders, want 20", n)
	}
	if n := r.count(`SELECT count(*) FROM dead_letters WHERE reason = 'rejected_by_record' AND "offset" = 13`); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

func TestTheStreamsEndIsPassedOnceTheRecordHasReadIt(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		r := newRig(t, brokers, testenv.Postgres(t), 3, 100)
		audit, err := orders.NewStreamAudit(brokers, r.topic, record.NewLedger(r.db))
		if err != nil {
			t.Fatal(err)
		}
		defer audit.Close()
		empty, err := audit.Mark(t.Context())
		if err != nil || len(empty) != 3 {
			t.Fatalf("mark %v, %v", empty, err)
		}
		if left, err := audit.Left(t.Context(), empty); err != nil || left != 0 {
			t.Errorf("an empty stream is not passed: %v", err)
		}
		p := r.producer()
		for range 10 {
			r.publish(p, r.accept(1, 0))
		}
		mark, err := audit.Mark(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if left, _ := audit.Left(t.Context(), mark); left != 10 {
			t.Errorf("%d of 10 are left before anybody read", left)
		}
		sum := func() (n int64) {
			lag, err := audit.Lag(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range lag {
				n += l
			}
			return n
		}
		if n := sum(); n != 10 {
			t.Errorf("lag %d, want 10", n)
		}
		start(t, r.writer(nil).Run)
		until(t, "passed", func() bool { left, err := audit.Left(t.Context(), mark); return left == 0 && err == nil })
		if n := sum(); n != 0 {
			t.Errorf("lag %d, want 0", n)
		}
	})
}

func TestMetricsCountWhatTheWriterDid(t *testing.T) {
	r := newRig(t, fakeKafka(t).ListenAddrs(), testenv.Postgres(t), 1, 1)
	p := r.producer()
	r.publish(p, r.accept(1, 0), r.accept(1, 0))
	r.produceRaw([]byte("x"), nil)
	start(t, r.writer(nil).Run)
	start(t, r.watch().Run)
	until(t, "all is counted", func() bool {
		n, _ := testutil.GatherAndCount(r.registry, "flashsale_writer_orders_total", "flashsale_dead_letters_total")
		return n == 3 // confirmed, refused; unknown_version
	})
	for _, name := range []string{"flashsale_writer_batch_size", "flashsale_writer_batch_limit", "flashsale_writer_commit_seconds", "flashsale_stream_lag_events", "flashsale_stream_lag_seconds"} {
		if n, err := testutil.GatherAndCount(r.registry, name); err != nil || n != 1 {
			t.Errorf("%s: %d series, %v", name, n, err)
		}
	}
}
