package orders

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// Record is what the writer asks of Postgres; record.Ledger is it, and says which
// errors Commit returns.
type Record interface {
	Ping(ctx context.Context) error
	Positions(ctx context.Context, topic, topicID string, partitions []int32) (map[int32]int64, error)
	Commit(ctx context.Context, b record.Batch) (record.Result, error)
}

// WriterConfig says what is read and where it goes. Brokers and Record are needed.
type WriterConfig struct {
	Brokers  []string
	Topic    string // default DefaultTopic
	Group    string // default "flashsale-orders"
	Record   Record
	Notifier engine.Notifier // nil: nobody is told; they poll
	MaxBatch int             // most events per transaction, see pace; default 2000
	// CommitTimeout bounds one transaction. Default 15 s.
	CommitTimeout time.Duration
	// MaxBackoff bounds the pause between looks while Postgres is away. Default 1 s.
	MaxBackoff time.Duration
	Trace      *telemetry.Telemetry  // nil: nothing is traced
	Log        *slog.Logger          // nil discards
	Registry   prometheus.Registerer // nil: no metrics
	Options    []kgo.Opt             // further client options: TLS, SASL, hooks
}

func (c WriterConfig) withDefaults() WriterConfig {
	if c.Topic == "" {
		c.Topic = DefaultTopic
	}
	if c.Group == "" {
		c.Group = "flashsale-orders"
	}
	if c.MaxBatch <= 0 {
		c.MaxBatch = 2000
	}
	if c.CommitTimeout <= 0 {
		c.CommitTimeout = 15 * time.Second
	}
	if c.MaxBackoff <= 0 {
		c.MaxBackoff = time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// rebalanceTimeout is how long the group waits for a member that is inside a
// transaction. It must exceed CommitTimeout, or a busy writer is thrown out.
const rebalanceTimeout = 60 * time.Second

// sessionTimeout is after how long without a sign of life a dead writer's
// partitions go to another. Kafka's default, 45 s, is a long time in a flash sale.
const sessionTimeout = 10 * time.Second

// Writer turns the stream into orders. Any number may run: the group shares the
// partitions among them, and the record fences whoever is late to notice.
type Writer struct {
	cfg     WriterConfig
	metrics writerMetrics

	mu sync.Mutex
	at map[int32]int64 // where the record stands, as this writer believes
}

// NewWriter makes a writer; Run it.
func NewWriter(cfg WriterConfig) (*Writer, error) {
	cfg = cfg.withDefaults()
	if len(cfg.Brokers) == 0 || cfg.Record == nil {
		return nil, errors.New("orders: a writer needs brokers and a record")
	}
	if cfg.CommitTimeout >= rebalanceTimeout {
		return nil, fmt.Errorf("orders: a writer's CommitTimeout %s must be below the group's rebalance time-out %s", cfg.CommitTimeout, rebalanceTimeout)
	}
	return &Writer{cfg: cfg, metrics: newWriterMetrics(cfg.Registry), at: map[int32]int64{}}, nil
}

// Run reads and writes until ctx ends; then it finishes the batch in hand,
// announces its outcomes, leaves the group and returns nil. It does not return
// for a Kafka or a Postgres that is away: it waits for them.
func (w *Writer) Run(ctx context.Context) error {
	asking, err := kgo.NewClient(append(clientOptions(w.cfg.Brokers), w.cfg.Options...)...)
	if err != nil {
		return fmt.Errorf("orders: Kafka client: %w", err)
	}
	defer asking.Close()
	admin := kadm.NewClient(asking)
	client, err := kgo.NewClient(append(w.consumerOptions(admin), w.cfg.Options...)...)
	if err != nil {
		return fmt.Errorf("orders: Kafka consumer: %w", err)
	}
	tell := newAnnouncer(w.cfg.Notifier, w.cfg.Log)
	w.reader(client, tell).run(ctx)
	tell.close()
	client.CloseAllowingRebalance() // leaves the group
	return nil
}

func (w *Writer) reader(client consuming, tell *announcer) *reader {
	return &reader{Writer: w, client: client, tell: tell, copy: newOffsetCopy(client, w.cfg.Topic), pace: newPace(w.cfg.MaxBatch, w.cfg.CommitTimeout)}
}

func (w *Writer) consumerOptions(admin *kadm.Client) []kgo.Opt {
	return append(clientOptions(w.cfg.Brokers),
		kgo.ConsumerGroup(w.cfg.Group),
		kgo.ConsumeTopics(w.cfg.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // never skip what cannot be found
		kgo.DisableAutoCommit(),                           // the record has the position
		kgo.BlockRebalanceOnPoll(),                        // a partition is not given away inside a transaction
		kgo.RebalanceTimeout(rebalanceTimeout),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(sessionTimeout/10),
		kgo.FetchMaxWait(500*time.Millisecond),
		kgo.AdjustFetchOffsetsFn(func(ctx context.Context, o map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
			return w.resume(ctx, admin, o)
		}),
	)
}
