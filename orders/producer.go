package orders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// ProducerConfig says where accepted events go. Brokers, Sales and Outbox are needed.
type ProducerConfig struct {
	Brokers []string
	Topic   string        // default DefaultTopic
	Sales   engine.Sales  // finds the sale of an entry that leaves the outbox
	Outbox  engine.Outbox // what the stream has is removed from there
	// PublishTimeout bounds one Publish; the event stays in the outbox and may
	// still arrive. Default 2 s.
	PublishTimeout time.Duration
	// DeliveryTimeout is when the client gives up an event that certainly was
	// not sent. Default 10 s.
	DeliveryTimeout time.Duration
	// MaxInFlight bounds events without an acknowledgement; one more is
	// CodeOverloaded. Default 16,384.
	MaxInFlight int
	Log         *slog.Logger // nil discards
	Options     []kgo.Opt    // further client options: TLS, SASL, hooks
}

func (c ProducerConfig) withDefaults() ProducerConfig {
	if c.Topic == "" {
		c.Topic = DefaultTopic
	}
	if c.PublishTimeout <= 0 {
		c.PublishTimeout = 2 * time.Second
	}
	if c.DeliveryTimeout <= 0 {
		c.DeliveryTimeout = 10 * time.Second
	}
	if c.MaxInFlight <= 0 {
		c.MaxInFlight = 16_384
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Producer is engine.Stream on Kafka.
type Producer struct {
	cfg    ProducerConfig
	client producing
	tidy   *tidier

	mu     sync.Mutex
	flying map[place]*flight // on their way, or landed and still in the outbox
}

var _ engine.Stream = (*Producer)(nil)

// producing is what a Producer asks of its client.
type producing interface {
	TryProduce(ctx context.Context, r *kgo.Record, promise func(*kgo.Record, error))
	Flush(ctx context.Context) error
	Close()
}

// place names an outbox entry.
type place struct {
	sale  uint32
	shard int
	entry string
}

// flight is an event on its way; err is set when done is closed.
type flight struct {
	done chan struct{}
	err  error
}

// NewProducer makes the producer. It does not wait for Kafka: while that is away,
// events stay in the outbox. Close it.
func NewProducer(cfg ProducerConfig) (*Producer, error) {
	cfg = cfg.withDefaults()
	if len(cfg.Brokers) == 0 || cfg.Sales == nil || cfg.Outbox == nil {
		return nil, errors.New("orders: a producer needs brokers, sales and an outbox")
	}
	opts := append(clientOptions(cfg.Brokers),
		// acks=all and idempotence are the client's defaults; said aloud, because
		// everything rests on them.
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(0), // natural batching: what waits for the request before shares the next
		kgo.MaxBufferedRecords(cfg.MaxInFlight),
		kgo.RecordDeliveryTimeout(cfg.DeliveryTimeout),
		kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression()),
	)
	client, err := kgo.NewClient(append(opts, cfg.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("orders: Kafka producer: %w", err)
	}
	return newProducer(cfg, client), nil
}

func newProducer(cfg ProducerConfig, client producing) *Producer {
	p := &Producer{cfg: cfg, client: client, flying: map[place]*flight{}}
	p.tidy = &tidier{sales: cfg.Sales, outbox: cfg.Outbox, log: cfg.Log, done: p.forget}
	return p
}

// clientOptions are what every Kafka client here has: a leader that moves is
// noticed in a tenth of a second rather than in five.
func clientOptions(brokers []string) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(brokers...),
		kgo.ClientID("flashsale"),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.RetryBackoffFn(func(try int) time.Duration { return min(time.Duration(try)*20*time.Millisecond, 500*time.Millisecond) }),
		kgo.DialTimeout(2 * time.Second),
	}
}

// Encode gives the event's wire form.
func (p *Producer) Encode(a engine.AcceptedEvent) ([]byte, error) { return Encode(a) }

// Publish returns when every in-sync replica has the event, and then takes it out
// of the outbox in the background. CodeOverloaded: too many are on their way;
// CodeUnavailable: Kafka certainly did not take it, or (wrapping ErrUnknown) has
// not answered yet. The entry stays in the outbox after any error.
func (p *Producer) Publish(ctx context.Context, e engine.OutboxEntry) (err error) {
	ctx, span := telemetry.Start(ctx, "publish", "messaging.system", "kafka", "messaging.destination.name", p.cfg.Topic)
	defer func() { span.End(err) }()
	f := p.start(e)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.PublishTimeout)
	defer cancel()
	return f.wait(ctx)
}

// start hands an event to the client, unless it is on its way already or has
// landed and is about to leave the outbox: however often the relay comes by, an
// entry is sent once.
//
// The produce has no deadline of the caller's and is never cancelled: a record
// cancelled after it may have been sent would break the idempotent sequence.
func (p *Producer) start(e engine.OutboxEntry) *flight {
	at := place{e.Sale, e.Shard, e.EntryID}
	p.mu.Lock()
	if f, ok := p.flying[at]; ok {
		p.mu.Unlock()
		return f
	}
	f := &flight{done: make(chan struct{})}
	p.flying[at] = f
	p.mu.Unlock()
	p.client.TryProduce(context.Background(), toRecord(p.cfg.Topic, e), func(_ *kgo.Record, err error) {
		f.err = produceError(err)
		if err == nil {
			p.tidy.add(e) // landed: known until it has left the outbox
		} else {
			p.forget(e)
		}
		close(f.done)
	})
	return f
}

func (p *Producer) forget(entries ...engine.OutboxEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries {
		delete(p.flying, place{e.Sale, e.Shard, e.EntryID})
	}
}

func (f *flight) wait(ctx context.Context) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return engine.Wrap(errors.Join(engine.ErrUnknown, ctx.Err()), engine.CodeUnavailable, "the stream has not answered").After(time.Second)
	}
}

func produceError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kgo.ErrMaxBuffered):
		return engine.Wrap(err, engine.CodeOverloaded, "too many events wait for the stream").After(time.Second)
	}
	// A time-out too may follow a request that reached the broker.
	return engine.Wrap(errors.Join(engine.ErrUnknown, err), engine.CodeUnavailable, "the stream did not take the event").After(time.Second)
}

// Close waits, within ctx, for the events on their way and for the outbox to be
// tidied. What is left is in the outbox, and another node's relay has it.
func (p *Producer) Close(ctx context.Context) error {
	err := p.client.Flush(ctx)
	p.tidy.wait(ctx)
	p.client.Close()
	return err
}
