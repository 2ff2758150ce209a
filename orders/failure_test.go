package orders_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestTwoWritersShareTheStreamAndARebalanceLosesNothing(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		r := newRig(t, brokers, testenv.Postgres(t), 4, 10_000)
		p := r.producer()
		const n = 300
		feed := func(k int) {
			for range k {
				r.publish(p, r.accept(1, 0))
			}
		}
		small := func(c *orders.WriterConfig) { c.MaxBatch = 7 } // many transactions, so that a rebalance meets some
		stopFirst := start(t, r.writer(small).Run)
		feed(n / 3)
		start(t, r.writer(small).Run)
		feed(n / 3)
		stopFirst()
		feed(n / 3)
		until(t, "every event is an order", func() bool { return r.count(`SELECT count(*) FROM orders WHERE state = 'confirmed'`) == n })
		until(t, "every node is told", func() bool { return r.notes.len() == n })
		if dead := r.count(`SELECT count(*) FROM dead_letters`); dead != 0 {
			t.Errorf("%d dead letters", dead)
		}
		r.balanced()
	})
}

// Writers come and go all the while: each time the partitions change hands.
func TestRebalancesWhileEventsFlowLoseAndRepeatNothing(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		r := newRig(t, brokers, testenv.Postgres(t), 4, 100_000)
		p := r.producer()
		small := func(c *orders.WriterConfig) { c.MaxBatch = 5 }
		start(t, r.writer(small).Run)
		written := func() int64 { return r.count(`SELECT count(*) FROM orders`) }
		enough := make(chan struct{})
		fed := make(chan int64)
		go func() {
			for n := int64(0); ; n++ {
				select {
				case <-enough:
					fed <- n
					return
				default:
					r.publish(p, r.accept(1, 0))
				}
			}
		}()
		moved := 0
		for range 3 {
			before := written()
			stop := start(t, r.writer(small).Run)
			until(t, "orders appear while two writers share the stream", func() bool { return written() > before+20 })
			stop() // its partitions go back, in the middle of the flow
			before = written()
			until(t, "orders appear after one has left", func() bool { return written() > before+20 })
			moved++
		}
		close(enough)
		var n int64
		select {
		case n = <-fed:
		case <-time.After(patience):
			t.Fatal("nobody feeds the stream any more")
		}
		until(t, "every event is an order", func() bool { return written() == n })
		until(t, "the record stands at the stream's end", func() bool { return r.count(`SELECT sum(next_offset)::bigint FROM stream_offsets`) == n })
		if again := r.count(`SELECT count(*) FROM dead_letters`) + r.count(`SELECT count(*) - count(DISTINCT cause) FROM stock_ledger WHERE kind = 'sold'`); again != 0 {
			t.Errorf("%d events became a dead letter, or two orders", again)
		}
		t.Logf("%d events, %d rebalances", n, 2*moved)
		r.balanced()
	})
}

func TestTwoWritersThatBothBelieveThePartitionTheirsSellEachUnitOnce(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		r := newRig(t, brokers, testenv.Postgres(t), 1, 50)
		p := r.producer()
		for range 120 {
			r.publish(p, r.accept(1, 0))
		}
		// Each in a group of its own: Kafka gives both the same partition, as it
		// does for a moment when a writer hangs and comes back as a zombie.
		for range 2 {
			start(t, r.writer(func(c *orders.WriterConfig) { c.Group, c.MaxBatch = testenv.Unique(), 5 }).Run)
		}
		until(t, "all is read", func() bool { return r.count(`SELECT next_offset FROM stream_offsets`) == 120 })
		if c, x := r.count(`SELECT count(*) FROM orders WHERE state = 'confirmed'`), r.count(`SELECT count(*) FROM orders WHERE state = 'refused'`); c != 50 || x != 70 {
			t.Errorf("%d confirmed, %d refused", c, x)
		}
		r.balanced()
	})
}

// seam is a record whose Commit a test bends.
type seam struct {
	*record.Ledger
	commit func(ctx context.Context, b record.Batch) (record.Result, error)
}

func (s seam) Commit(ctx context.Context, b record.Batch) (record.Result, error) {
	return s.commit(ctx, b)
}

func TestAWriterKilledBetweenCommitAndNoticeLeavesOneOrderThatCanBeRead(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		r := newRig(t, brokers, testenv.Postgres(t), 1, 10)
		p := r.producer()
		e := r.accept(1, 0)
		r.publish(p, e)
		ledger := record.NewLedger(r.db)
		committed := make(chan struct{})
		var once sync.Once
		// This writer commits, and dies before it knows: it never gets to announce.
		stop := start(t, r.writer(func(c *orders.WriterConfig) {
			c.Record = seam{ledger, func(ctx context.Context, b record.Batch) (record.Result, error) {
				_, err := ledger.Commit(ctx, b)
				if err == nil {
					once.Do(func() { close(committed) })
				}
				return record.Result{}, errors.Join(engine.ErrUnknown, errors.New("killed"))
			}}
		}).Run)
		<-committed
		stop()
		next := r.accept(1, 0)
		r.publish(p, next)
		start(t, r.writer(nil).Run)
		until(t, "the next one is told", func() bool { return r.notes.of(next.ID) == engine.Confirmed })
		if r.notes.of(e.ID) != "" {
			t.Error("a dead writer told")
		}
		o, err := record.NewOrders(r.db).Order(t.Context(), e.ID) // the poll
		if err != nil || o.State != engine.Confirmed {
			t.Errorf("%+v, %v", o, err)
		}
		if n := r.count(`SELECT count(*) FROM orders`); n != 2 {
			t.Errorf("%d orders", n)
		}
	})
}

func TestAGracefulStopFinishesTheBatchInHand(t *testing.T) {
	r := newRig(t, fakeKafka(t).ListenAddrs(), testenv.Postgres(t), 1, 10)
	p := r.producer()
	e := r.accept(1, 0)
	r.publish(p, e)
	ledger := record.NewLedger(r.db)
	inHand, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	stop := start(t, r.writer(func(c *orders.WriterConfig) {
		c.Record = seam{ledger, func(ctx context.Context, b record.Batch) (record.Result, error) {
			once.Do(func() { close(inHand) })
			<-goOn
			return ledger.Commit(ctx, b)
		}}
	}).Run)
	<-inHand
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	close(goOn)
	<-stopped
	if r.notes.of(e.ID) != engine.Confirmed {
		t.Error("the batch in hand was not finished and announced")
	}
}

func TestAnnouncementsThatFailDoNotHoldUpOrders(t *testing.T) {
	r := newRig(t, fakeKafka(t).ListenAddrs(), testenv.Postgres(t), 1, 10)
	r.notes.err = errors.New("no channel")
	p := r.producer()
	start(t, r.writer(nil).Run)
	for range 5 {
		r.publish(p, r.accept(1, 0))
	}
	until(t, "5 orders", func() bool { return r.count(`SELECT count(*) FROM orders`) == 5 })
}

func TestPostgresKilledAndRestartedUnderLoadLosesNothing(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		pg := testenv.OwnPostgres(t)
		r := newRig(t, brokers, pg.URL, 2, 10_000)
		p := r.producer()
		var entries []engine.OutboxEntry
		for range 300 {
			entries = append(entries, r.accept(1, 0)) // their attempts need Postgres, so they are noted first
		}
		ledger := record.NewLedger(r.db)
		var batches atomic.Int32
		midway := make(chan struct{})
		start(t, r.writer(func(c *orders.WriterConfig) {
			c.MaxBatch = 10
			c.Record = seam{ledger, func(ctx context.Context, b record.Batch) (record.Result, error) {
				if batches.Add(1) == 5 {
					close(midway)
				}
				return ledger.Commit(ctx, b)
			}}
		}).Run)
		go func() {
			for _, e := range entries {
				if err := p.Publish(context.Background(), e); err != nil {
					t.Error(err)
				}
			}
		}()
		<-midway
		if err := pg.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := pg.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, "every event is an order", func() bool { return r.count(`SELECT count(*) FROM orders WHERE state = 'confirmed'`) == 300 })
		if dead := r.count(`SELECT count(*) FROM dead_letters`); dead != 0 {
			t.Errorf("%d dead letters", dead)
		}
		r.balanced()
	})
}
