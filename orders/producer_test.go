package orders_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/orders"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestWithoutKafkaPublishIsUnknownInTimeAndTheEntryStaysInTheOutbox(t *testing.T) {
	c := fakeKafka(t)
	r := newRig(t, c.ListenAddrs(), testenv.Postgres(t), 1, 10)
	p := r.producer()
	e := r.accept(1, 0)
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := p.Publish(ctx, e)
	if !errors.Is(err, engine.ErrUnknown) || engine.CodeOf(err) != engine.CodeUnavailable {
		t.Errorf("%v", err)
	}
	if r.outbox.len() != 1 {
		t.Error("the outbox forgot it")
	}
}

func TestAStumblingBrokerDelaysAnEventAndLosesNone(t *testing.T) {
	c := fakeKafka(t)
	r := newRig(t, c.ListenAddrs(), testenv.Postgres(t), 1, 100)
	c.ControlKey(int16(kmsg.Produce), stumble(c, 5))
	p := r.producer()
	began := time.Now()
	for range 20 {
		r.publish(p, r.accept(1, 0))
	}
	t.Logf("20 events over 5 stumbles in %s", time.Since(began))
	start(t, r.writer(nil).Run)
	until(t, "20 orders", func() bool { return r.count(`SELECT count(*) FROM orders`) == 20 })
	r.balanced()
}

// stumble refuses the first n produce requests.
func stumble(c *kfake.Cluster, n int) func(kmsg.Request) (kmsg.Response, error, bool) {
	return func(req kmsg.Request) (kmsg.Response, error, bool) {
		if n == 0 {
			return nil, nil, false
		}
		n--
		c.KeepControl()
		in := req.(*kmsg.ProduceRequest)
		out := in.ResponseKind().(*kmsg.ProduceResponse)
		for _, topic := range in.Topics {
			x := kmsg.NewProduceResponseTopic()
			x.Topic, x.TopicID = topic.Topic, topic.TopicID
			for _, part := range topic.Partitions {
				y := kmsg.NewProduceResponseTopicPartition()
				y.Partition, y.ErrorCode = part.Partition, kerr.NotLeaderForPartition.Code
				x.Partitions = append(x.Partitions, y)
			}
			out.Topics = append(out.Topics, x)
		}
		return out, nil, true
	}
}

func TestTheRelayRescuesWhatADeadNodeLeft(t *testing.T) {
	onEveryKafka(t, func(t *testing.T, brokers []string) {
		r := newRig(t, brokers, testenv.Postgres(t), 3, 100)
		start(t, r.writer(nil).Run)
		var left []engine.OutboxEntry
		for range 25 {
			left = append(left, r.accept(1, 0)) // claimed, and the node died
		}
		died := time.Now()
		relay, err := orders.NewRelay(orders.RelayConfig{Producer: r.producer(), Active: func() []*engine.Sale { return []*engine.Sale{r.sale} }, Outbox: r.outbox, Registry: r.registry})
		if err != nil {
			t.Fatal(err)
		}
		start(t, relay.Run)
		until(t, "all are orders", func() bool {
			for _, e := range left {
				if r.notes.of(e.ID) != engine.Confirmed {
					return false
				}
			}
			return true
		})
		t.Logf("rescued after %s", time.Since(died))
		until(t, "the outbox is empty", func() bool { return r.outbox.len() == 0 })
	})
}

func TestTheRelayBuffersAnEntryOnceHoweverLongKafkaIsAway(t *testing.T) {
	c := fakeKafka(t)
	r := newRig(t, c.ListenAddrs(), testenv.Postgres(t), 1, 100)
	// A broker that is not there yet: the relay comes by many times meanwhile.
	c.ControlKey(int16(kmsg.Produce), stumble(c, 8))
	p := r.producer(func(c *orders.ProducerConfig) { c.PublishTimeout = 5 * time.Millisecond })
	relay, err := orders.NewRelay(orders.RelayConfig{
		Producer: p, Active: func() []*engine.Sale { return []*engine.Sale{r.sale} }, Outbox: r.outbox,
		Every: 5 * time.Millisecond, MinAge: time.Nanosecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		r.accept(1, 0)
	}
	stop := start(t, relay.Run)
	until(t, "the outbox is empty", func() bool { return r.outbox.len() == 0 })
	stop()
	if err := p.Close(t.Context()); err != nil { // what is buffered twice is sent now
		t.Fatal(err)
	}
	audit, err := orders.NewStreamAudit(r.brokers, r.topic, record.NewLedger(r.db))
	if err != nil {
		t.Fatal(err)
	}
	defer audit.Close()
	mark, err := audit.Mark(t.Context())
	if err != nil || mark[0] < 10 || mark[0] > 20 {
		t.Errorf("the stream has %v events for 10 entries, %v", mark, err)
	}
}

func TestTheFlyingEventsAreBounded(t *testing.T) {
	c := fakeKafka(t)
	r := newRig(t, c.ListenAddrs(), testenv.Postgres(t), 1, 100)
	p := r.producer(func(c *orders.ProducerConfig) { c.MaxInFlight = 2 })
	hold := make(chan struct{})
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.SleepControl(func() { <-hold })
		return nil, nil, false
	})
	done := make(chan error, 3)
	for _, e := range []engine.OutboxEntry{r.accept(1, 0), r.accept(1, 0), r.accept(1, 0)} {
		go func() { done <- p.Publish(context.Background(), e) }()
	}
	wantOverloaded := <-done // the first answer is the one that was turned away
	if engine.CodeOf(wantOverloaded) != engine.CodeOverloaded || !engine.Transient(wantOverloaded) {
		t.Errorf("%v", wantOverloaded)
	}
	close(hold)
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("one that was taken: %v", err)
		}
	}
}
