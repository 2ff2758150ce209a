package orders

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// Headers of a record: CloudEvents 1.0 in Kafka's binary mode, with two
// extension attributes, and W3C trace context. EVENT.md describes them.
const (
	headerSpec        = "ce_specversion"
	headerID          = "ce_id"
	headerSource      = "ce_source"
	headerType        = "ce_type"
	headerTime        = "ce_time"
	headerEpoch       = "ce_epoch"
	headerSeq         = "ce_seq"
	headerContentType = "content-type"
	headerTrace       = "traceparent"

	eventType   = "io.flashsale.reservation.accepted.v1"
	contentType = "application/json"
)

// toRecord makes the Kafka record of an outbox entry. Its key is the order's id.
func toRecord(topic string, e engine.OutboxEntry) *kgo.Record {
	var p struct {
		Sale        string `json:"sale"`
		Traceparent string `json:"traceparent"`
	}
	_ = json.Unmarshal(e.Payload, &p) // what it cannot read, the writer will name
	id := e.ID.Order()
	h := []kgo.RecordHeader{
		{Key: headerSpec, Value: []byte("1.0")},
		{Key: headerID, Value: []byte(id)},
		{Key: headerSource, Value: []byte("/flashsale/sales/" + p.Sale)},
		{Key: headerType, Value: []byte(eventType)},
		{Key: headerTime, Value: e.AcceptedAt.UTC().AppendFormat(nil, time.RFC3339Nano)},
		{Key: headerEpoch, Value: strconv.AppendInt(nil, e.Epoch, 10)},
		{Key: headerSeq, Value: strconv.AppendUint(nil, e.Seq, 10)},
		{Key: headerContentType, Value: []byte(contentType)},
	}
	if p.Traceparent != "" {
		h = append(h, kgo.RecordHeader{Key: headerTrace, Value: []byte(p.Traceparent)})
	}
	return &kgo.Record{Topic: topic, Key: []byte(id), Value: e.Payload, Headers: h}
}

// fromRecord reads a Kafka record. What cannot become an order says so in Reason.
func fromRecord(r *kgo.Record) record.Entry {
	e := record.Entry{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Headers: make(map[string]string, len(r.Headers))}
	for _, h := range r.Headers {
		e.Headers[h.Key] = string(h.Value)
	}
	err := open(&e)
	switch {
	case errors.Is(err, errVersion):
		e.Reason, e.Detail = DeadUnknownVersion, err.Error()
	case err != nil:
		e.Reason, e.Detail = DeadMalformed, clip(err.Error())
	}
	return e
}

func open(e *record.Entry) (err error) {
	if t := e.Headers[headerType]; t != eventType {
		return fmt.Errorf("%w: %s %q", errVersion, headerType, clip(t))
	}
	if e.Event.AcceptedEvent, err = Decode(e.Value); err != nil {
		return err
	}
	if e.Headers[headerID] != e.Event.ID.Order() {
		return fmt.Errorf("%s: not the order of %s", headerID, e.Event.ID)
	}
	if e.Event.Epoch, err = strconv.ParseInt(e.Headers[headerEpoch], 10, 64); err != nil || e.Event.Epoch < 0 {
		return fmt.Errorf("%s: not an epoch", headerEpoch)
	}
	seq, err := strconv.ParseInt(e.Headers[headerSeq], 10, 64) // 63 bits: the record's column
	if err != nil || seq < 0 {
		return fmt.Errorf("%s: not a sequence number", headerSeq)
	}
	e.Event.Seq = uint64(seq)
	if e.Event.AcceptedAt, err = time.Parse(time.RFC3339Nano, e.Headers[headerTime]); err != nil {
		return fmt.Errorf("%s: not a time", headerTime)
	}
	return nil
}

// clip shortens a stranger's text before it enters a message.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
