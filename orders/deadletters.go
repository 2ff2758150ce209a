package orders

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// DeadLetters is what operators do about events that could not become orders.
// It adds to the record's desk the one thing that the record cannot do: read
// what came from the stream.
type DeadLetters struct{ *record.DeadLetters }

// NewDeadLetters gives the desk.
func NewDeadLetters(db *record.DB) DeadLetters {
	return DeadLetters{record.NewDeadLetters(db)}
}

// Retry decodes a dead letter anew, as this program reads events, and has the
// record decide it. See record.DeadLetters.Retry.
func (d DeadLetters) Retry(ctx context.Context, id int64, act engine.Act, dry bool) (engine.Retried, error) {
	as, err := d.Entry(ctx, id)
	if err != nil {
		return engine.Retried{}, err
	}
	rec := &kgo.Record{Partition: as.Partition, Offset: as.Offset, Key: as.Key, Value: as.Value}
	for k, v := range as.Headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: k, Value: []byte(v)})
	}
	return d.DeadLetters.Retry(ctx, id, fromRecord(rec), act, dry)
}
