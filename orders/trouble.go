package orders

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/orders/record"
)

// noteTrouble logs what Kafka complains of, once per complaint.
func (r *reader) noteTrouble(ctx context.Context, fetches kgo.Fetches) {
	trouble := ""
	fetches.EachError(func(_ string, _ int32, err error) {
		if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			trouble = err.Error()
		}
	})
	if trouble != r.fetchTrouble && (trouble != "" || fetches.NumRecords() > 0) {
		r.fetchTrouble = trouble
		if trouble != "" {
			r.cfg.Log.Warn("order writer cannot read the stream", "err", trouble)
		} else {
			r.cfg.Log.Info("order writer reads the stream again")
		}
	}
}

// noteRecord logs that the record is away, and that it is back, once each.
func (r *reader) noteRecord(err error) {
	if away := err != nil; away != r.recordAway {
		r.recordAway = away
		if away {
			r.cfg.Log.Warn("order writer cannot write; events wait in the stream", "err", err)
		} else {
			r.cfg.Log.Info("order writer writes again")
		}
	}
}

// noteMarks logs where an epoch of the gate ended, as the record passes it.
func (r *reader) noteMarks(entries []record.Entry) {
	for i := range entries {
		if entries[i].Reason == record.Marked {
			r.cfg.Log.Info("the record has read up to the mark of an epoch", "mark", entries[i].Detail, "partition", entries[i].Partition, "offset", entries[i].Offset)
		}
	}
}

// noteGaps says aloud if the stream has lost events that the record never read:
// our producer leaves no gaps in the offsets.
func (r *reader) noteGaps(entries []record.Entry) {
	next := r.believed(partitionsOf(entries))
	for i := range entries {
		p, o := entries[i].Partition, entries[i].Offset
		if gap := o - next[p]; gap > 0 {
			r.metrics.gaps.Add(float64(gap))
			r.cfg.Log.Error("the stream has lost events that the record never read; run verify", "partition", p, "from", next[p], "to", o)
		}
		next[p] = o + 1
	}
}
