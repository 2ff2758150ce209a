package orders

import (
	"bytes"
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

// Values that every record has: shared, so never changed.
var (
	valueSpec        = []byte("1.0")
	valueType        = []byte(eventType)
	valueContentType = []byte(contentType)
)

// toRecord makes the Kafka record of an outbox entry. Its key is the order's id.
func toRecord(topic string, e engine.OutboxEntry) *kgo.Record {
	id := []byte(e.ID.Order())
	h := make([]kgo.RecordHeader, 0, 9)
	h = append(h,
		kgo.RecordHeader{Key: headerSpec, Value: valueSpec},
		kgo.RecordHeader{Key: headerID, Value: id},
		kgo.RecordHeader{Key: headerSource, Value: []byte("/flashsale/sales/" + textOf(e.Payload, "sale"))},
		kgo.RecordHeader{Key: headerType, Value: valueType},
		kgo.RecordHeader{Key: headerTime, Value: e.AcceptedAt.UTC().AppendFormat(nil, time.RFC3339Nano)},
		kgo.RecordHeader{Key: headerEpoch, Value: strconv.AppendInt(nil, e.Epoch, 10)},
		kgo.RecordHeader{Key: headerSeq, Value: strconv.AppendUint(nil, e.Seq, 10)},
		kgo.RecordHeader{Key: headerContentType, Value: valueContentType},
	)
	if trace := textOf(e.Payload, "traceparent"); trace != "" {
		h = append(h, kgo.RecordHeader{Key: headerTrace, Value: []byte(trace)})
	}
	return &kgo.Record{Topic: topic, Key: id, Value: e.Payload, Headers: h}
}

// textOf reads a text of an encoded event without decoding all of it. Its quotes
// are those of a name: within a text they would be escaped. What it cannot read
// is "", and the writer will name it.
func textOf(payload []byte, name string) string {
	_, rest, found := bytes.Cut(payload, []byte(`"`+name+`":`))
	if !found || len(rest) == 0 || rest[0] != '"' {
		return ""
	}
	end := bytes.IndexByte(rest[1:], '"')
	if end < 0 {
		return ""
	}
	if plain := rest[1 : 1+end]; bytes.IndexByte(plain, '\\') < 0 {
		return string(plain)
	}
	var s string
	_ = json.NewDecoder(bytes.NewReader(rest)).Decode(&s)
	return s
}

// fromRecord reads a Kafka record. What cannot become an order says so in Reason.
func fromRecord(r *kgo.Record) record.Entry {
	e := record.Entry{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Headers: make(map[string]string, len(r.Headers))}
	for _, h := range r.Headers {
		e.Headers[h.Key] = string(h.Value)
	}
	if e.Headers[headerType] == markType {
		e.Reason, e.Detail = record.Marked, clip(string(r.Key))
		return e
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
