package orders

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/engine"
)

// Offsets tells where the record stands in the stream: record.Ledger does.
type Offsets interface {
	Offsets(ctx context.Context, topic string) (map[int32]int64, error)
}

// StreamAudit is engine.StreamAudit: the stream's end by Kafka, the record's
// position by Postgres. Kafka's own committed offsets are not asked: they are a
// copy for lag tools.
type StreamAudit struct {
	topic  string
	client *kgo.Client
	admin  *kadm.Client
	record Offsets
}

var _ engine.StreamAudit = (*StreamAudit)(nil)

// NewStreamAudit makes the reader; topic "" is DefaultTopic. Close it.
func NewStreamAudit(brokers []string, topic string, record Offsets, opts ...kgo.Opt) (*StreamAudit, error) {
	if topic == "" {
		topic = DefaultTopic
	}
	if len(brokers) == 0 || record == nil {
		return nil, errors.New("orders: a stream audit needs brokers and the record's offsets")
	}
	client, err := kgo.NewClient(append(clientOptions(brokers), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("orders: Kafka client: %w", err)
	}
	return &StreamAudit{topic: topic, client: client, admin: kadm.NewClient(client), record: record}, nil
}

// Close ends the connections.
func (a *StreamAudit) Close() { a.client.Close() }

// Mark notes where each partition ends now.
func (a *StreamAudit) Mark(ctx context.Context) (engine.Mark, error) {
	_, end, err := bounds(ctx, a.admin, a.topic)
	return end, err
}

// Left says how much the record has not read yet up to a mark. An empty partition
// has been read, whether or not a writer has come by.
func (a *StreamAudit) Left(ctx context.Context, m engine.Mark) (n int64, err error) {
	at, err := a.record.Offsets(ctx, a.topic)
	for p, end := range m {
		n += max(0, end-at[p])
	}
	return n, err
}

// Lag gives, per partition, how many events the record has not read yet.
func (a *StreamAudit) Lag(ctx context.Context) (map[int32]int64, error) {
	return lag(ctx, a.admin, a.topic, a.record)
}

func lag(ctx context.Context, admin *kadm.Client, topic string, record Offsets) (map[int32]int64, error) {
	start, end, err := bounds(ctx, admin, topic)
	if err != nil {
		return nil, err
	}
	at, err := record.Offsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(map[int32]int64, len(end))
	for p, e := range end {
		out[p] = max(0, e-max(at[p], start[p]))
	}
	return out, nil
}

// bounds gives the first offset of each partition and the one after the last.
func bounds(ctx context.Context, admin *kadm.Client, topic string) (start, end map[int32]int64, err error) {
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, nil, streamAway(err)
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, nil, streamAway(err)
	}
	start, end = map[int32]int64{}, map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) { end[o.Partition] = o.Offset })
	starts.Each(func(o kadm.ListedOffset) { start[o.Partition] = o.Offset })
	return start, end, nil
}

func streamAway(err error) error {
	return engine.Wrap(err, engine.CodeUnavailable, "the stream cannot be asked").After(time.Second)
}
