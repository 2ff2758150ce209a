package orders

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// consuming is what a reader asks of its client.
type consuming interface {
	committing
	PollRecords(ctx context.Context, most int) kgo.Fetches
	AllowRebalance()
	SetOffsets(to map[string]map[int32]kgo.EpochOffset)
}

// reader is one Run of a writer: poll, write, announce, and again.
type reader struct {
	*Writer
	client consuming
	tell   *announcer
	copy   *offsetCopy
	pace   *pace

	fetchTrouble string // the last fetch error that was logged
	recordAway   bool
}

func (r *reader) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		fetches := r.client.PollRecords(ctx, r.pace.limit)
		if fetches.IsClientClosed() {
			return
		}
		r.noteTrouble(ctx, fetches)
		err := r.write(ctx, fetches)
		// Between here and the next poll partitions may move: nothing is in hand.
		r.client.AllowRebalance()
		if err == nil {
			if fetches.NumRecords() > 0 {
				failures = 0
			}
			continue
		}
		failures++
		r.backOff(ctx, failures)
	}
	r.copy.finish()
}

// write turns what was polled into one transaction, or, if the record refuses
// that, goes back to where the record stands, so that the same events come again.
// The batch in hand is ended even if ctx has ended: that is a graceful stop.
func (r *reader) write(ctx context.Context, fetches kgo.Fetches) error {
	if fetches.NumRecords() == 0 {
		return nil
	}
	entries := make([]record.Entry, 0, fetches.NumRecords())
	fetches.EachRecord(func(rec *kgo.Record) { entries = append(entries, fromRecord(rec)) })
	r.noteGaps(entries)
	err := r.commit(context.WithoutCancel(ctx), entries)
	switch {
	case err == nil:
		r.noteRecord(nil)
		r.noteMarks(entries)
		return nil
	case errors.Is(err, record.ErrFenced):
		r.cfg.Log.Warn("order writer was fenced; it reads its positions anew", "partitions", partitionsOf(entries))
		if at, loadErr := r.positions(ctx, entries); loadErr == nil {
			r.believe(at)
		}
	default:
		r.noteRecord(err)
	}
	r.rewind(entries)
	return err
}

// commit writes entries in one transaction. If Postgres refuses the data, they
// are halved until the one that it refuses stands alone: that one becomes a dead
// letter, and all others become orders.
func (r *reader) commit(ctx context.Context, entries []record.Entry) error {
	err := r.commitOnce(ctx, entries)
	var data *record.DataError
	if !errors.As(err, &data) {
		return err
	}
	if len(entries) > 1 {
		half := len(entries) / 2
		if err := r.commit(ctx, entries[:half]); err != nil {
			return err
		}
		return r.commit(ctx, entries[half:])
	}
	if entries[0].Reason != "" {
		return err // not even as a dead letter: stop here rather than lose it
	}
	r.cfg.Log.Error("the record refuses an event; it becomes a dead letter", "partition", entries[0].Partition, "offset", entries[0].Offset, "order", entries[0].Event.ID.Order(), "err", err)
	entries[0].Reason, entries[0].Detail = DeadRejected, clip(data.Error())
	return r.commitOnce(ctx, entries)
}

func (r *reader) commitOnce(ctx context.Context, entries []record.Entry) error {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.CommitTimeout)
	defer cancel()
	orders := r.traced(entries)
	ctx, span := r.cfg.Trace.Shared(ctx, orders, "write orders", "messaging.system", "kafka", "messaging.destination.name", r.cfg.Topic, "messaging.batch.message_count", len(entries))
	began := time.Now()
	result, err := r.cfg.Record.Commit(ctx, record.Batch{Topic: r.cfg.Topic, Entries: entries, From: r.believed(partitionsOf(entries))})
	span.End(err)
	for _, o := range orders {
		o.End(err)
	}
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			r.pace.unanswered()
		}
		r.metrics.limit.Set(float64(r.pace.limit))
		return err
	}
	r.pace.wrote(len(entries), time.Since(began))
	r.metrics.limit.Set(float64(r.pace.limit))
	span.Observe(r.metrics.commit, time.Since(began).Seconds())
	r.metrics.batch.Observe(float64(len(entries)))
	r.believe(result.Next)
	r.count(entries, result)
	r.tell.announce(result.Decided, span)
	r.copy.note(result.Next)
	return nil
}

// traced begins a step of the trace of each order that is traced.
func (r *reader) traced(entries []record.Entry) (out []telemetry.Span) {
	if r.cfg.Trace == nil {
		return nil
	}
	for i := range entries {
		e := &entries[i].Event
		if e.Traceparent == "" || entries[i].Reason != "" {
			continue
		}
		if _, span := r.cfg.Trace.Resume(context.Background(), e.Traceparent, "write order"); span.On() {
			span.Set("order", e.ID.Order(), "reservation", e.ID.String(), "messaging.kafka.offset", entries[i].Offset, "messaging.destination.partition.id", int(entries[i].Partition))
			out = append(out, span)
		}
	}
	return out
}

func (r *reader) count(entries []record.Entry, result record.Result) {
	events := make(map[engine.ReservationID]*record.Entry, len(entries))
	for i := range entries {
		events[entries[i].Event.ID] = &entries[i]
	}
	for _, d := range result.Decided {
		if d.Repeated {
			r.metrics.orders.WithLabelValues("repeated").Inc()
			continue
		}
		r.metrics.orders.WithLabelValues(string(d.State)).Inc()
		if d.State == engine.Refused {
			r.cfg.Log.Error("the record refused an order that the gate had accepted", "order", d.ID.Order(), "reason", d.Reason)
			continue
		}
		if e := events[d.ID]; e != nil {
			r.metrics.sold(&e.Event.AcceptedEvent)
		}
	}
	for reason, n := range result.Dead {
		r.metrics.dead.WithLabelValues(reason).Add(float64(n))
		r.cfg.Log.Error("events became dead letters", "reason", reason, "events", n)
	}
}

func (r *reader) positions(ctx context.Context, entries []record.Entry) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.CommitTimeout)
	defer cancel()
	var list []int32
	for p := range partitionsOf(entries) {
		list = append(list, p)
	}
	return r.cfg.Record.Positions(ctx, r.cfg.Topic, "", list)
}

// rewind makes the client fetch again from where the record stands.
func (r *reader) rewind(entries []record.Entry) {
	r.copy.quiet()
	to := map[int32]kgo.EpochOffset{}
	for p, at := range r.believed(partitionsOf(entries)) {
		to[p] = kgo.EpochOffset{Epoch: -1, Offset: at}
	}
	r.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{r.cfg.Topic: to})
}

// backOff waits until the record answers, longer each time in a row. Meanwhile
// nothing is polled: the stream is the queue.
func (r *reader) backOff(ctx context.Context, failures int) {
	pause := min(25*time.Millisecond<<min(failures, 16), r.cfg.MaxBackoff)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if r.cfg.Record.Ping(ctx) == nil {
			return
		}
		pause = min(2*pause, r.cfg.MaxBackoff)
	}
}

func partitionsOf(entries []record.Entry) map[int32]int64 {
	out := map[int32]int64{}
	for i := range entries {
		out[entries[i].Partition] = 0
	}
	return out
}
