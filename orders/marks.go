package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/engine"
)

// markType is the ce_type of an epoch's mark. EVENT.md describes it.
const markType = "io.flashsale.gate.epoch.v1"

// Marks is engine.EpochStream: it writes marks by a client of its own, whose
// records go where they are told, and asks the stream's audit who has read them.
type Marks struct {
	*StreamAudit
	client *kgo.Client
}

var _ engine.EpochStream = (*Marks)(nil)

// NewMarks makes the writer of marks. Close it.
func NewMarks(brokers []string, audit *StreamAudit, opts ...kgo.Opt) (*Marks, error) {
	client, err := kgo.NewClient(append(append(clientOptions(brokers),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordDeliveryTimeout(markPatience)), opts...)...)
	if err != nil {
		return nil, fmt.Errorf("orders: Kafka client: %w", err)
	}
	return &Marks{StreamAudit: audit, client: client}, nil
}

// markPatience is how long the partitions may take to acknowledge a mark.
const markPatience = 10 * time.Second

// Close ends the connections; the audit's stay.
func (m *Marks) Close() { m.client.Close() }

// mark is the value of an epoch's mark.
type mark struct {
	Version int    `json:"version"`
	Sale    string `json:"sale"`
	Shard   int    `json:"shard"`
	Epoch   int64  `json:"epoch"`
}

// MarkEpoch writes a mark to every partition and gives the positions after them:
// CodeUnavailable if one of them does not take it. A mark too many harms nobody.
func (m *Marks) MarkEpoch(ctx context.Context, s *engine.Sale, shard int, epoch int64) (engine.Mark, error) {
	value, err := json.Marshal(mark{Version: 1, Sale: s.ID, Shard: shard, Epoch: epoch})
	if err != nil {
		return nil, err
	}
	topics, err := kadm.NewClient(m.client).ListTopics(ctx, m.topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return nil, streamAway(err)
	}
	at := time.Now().UTC()
	var mu sync.Mutex
	var failed error
	out := engine.Mark{}
	var all sync.WaitGroup
	for p := range topics[m.topic].Partitions {
		all.Add(1)
		// The produce is never cancelled: see Producer.start.
		m.client.Produce(context.Background(), markRecord(m.topic, p, s, shard, epoch, at, value), func(r *kgo.Record, err error) {
			defer all.Done()
			mu.Lock()
			defer mu.Unlock()
			if failed = errors.Join(failed, err); err == nil {
				out[r.Partition] = r.Offset + 1
			}
		})
	}
	all.Wait()
	if failed != nil || len(out) == 0 {
		return nil, streamAway(errors.Join(failed, ctx.Err()))
	}
	return out, nil
}

func markRecord(topic string, partition int32, s *engine.Sale, shard int, epoch int64, at time.Time, value []byte) *kgo.Record {
	id := s.ID + "/" + strconv.Itoa(shard) + "/" + strconv.FormatInt(epoch, 10)
	return &kgo.Record{Topic: topic, Partition: partition, Key: []byte(id), Value: value, Headers: []kgo.RecordHeader{
		{Key: headerSpec, Value: []byte("1.0")},
		{Key: headerID, Value: []byte(id + "/" + strconv.FormatInt(int64(partition), 10))},
		{Key: headerSource, Value: []byte("/flashsale/sales/" + s.ID)},
		{Key: headerType, Value: []byte(markType)},
		{Key: headerTime, Value: at.AppendFormat(nil, time.RFC3339Nano)},
		{Key: headerEpoch, Value: strconv.AppendInt(nil, epoch, 10)},
		{Key: headerContentType, Value: []byte(contentType)},
	}}
}
