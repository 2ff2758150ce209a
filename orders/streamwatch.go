package orders

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// StreamWatch tells how far the record is behind the stream. It is no part of a
// writer: when all of them are dead, somebody must still see it.
type StreamWatch struct {
	audit *StreamAudit
	dead  DeadCounter
	now   func() time.Time

	events   prometheus.Gauge
	deadOpen prometheus.Gauge
	deadAge  prometheus.Gauge

	mu    sync.Mutex
	parts map[int32]*partAge
	at    map[int32]int64
}

// DeadCounter counts open dead letters: record.Ledger does.
type DeadCounter interface {
	OpenDeadLetters(ctx context.Context) (n int64, oldest time.Duration, err error)
}

// NewStreamWatch makes a watch; Run it. A nil registerer registers nothing.
func NewStreamWatch(a *StreamAudit, dead DeadCounter, reg prometheus.Registerer) *StreamWatch {
	w := &StreamWatch{audit: a, dead: dead, now: time.Now, parts: map[int32]*partAge{}, at: map[int32]int64{},
		events: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flashsale_stream_lag_events", Help: "Events in the stream that the record has not read yet.",
		})),
		deadOpen: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flashsale_dead_letters_open", Help: "Dead letters that nobody has retried or dropped.",
		})),
		deadAge: register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "flashsale_dead_letters_oldest_seconds", Help: "Age of the oldest of them; 0 if there is none.",
		})),
	}
	register(reg, prometheus.Collector(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flashsale_stream_lag_seconds", Help: "How long the oldest event in the stream that the record has not read has been there, as this node has seen it, to two seconds; 0 if there is none.",
	}, w.age)))
	return w
}

// watchEvery is the time between two looks.
const watchEvery = 2 * time.Second

// Run looks again and again until ctx ends.
func (w *StreamWatch) Run(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look notes where stream and record end. What does not answer stands where it
// was last seen: a record that is away reads nothing, and its lag goes on aging.
func (w *StreamWatch) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if start, end, err := bounds(ctx, w.audit.admin, w.audit.topic); err == nil {
		at, err := w.audit.record.Offsets(ctx, w.audit.topic)
		w.note(start, end, at, err == nil)
	}
	if n, oldest, err := w.dead.OpenDeadLetters(ctx); err == nil {
		w.deadOpen.Set(float64(n))
		w.deadAge.Set(oldest.Seconds())
	}
}

func (w *StreamWatch) note(start, end, at map[int32]int64, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if known {
		w.at = at
	}
	sum := int64(0)
	for p, e := range end {
		a := w.parts[p]
		if a == nil {
			a = &partAge{}
			w.parts[p] = a
		}
		read := max(w.at[p], start[p])
		a.note(read, e, w.now())
		sum += max(0, e-read)
	}
	w.events.Set(float64(sum))
}

func (w *StreamWatch) age() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest := time.Duration(0)
	for _, a := range w.parts {
		if len(a.ends) > 0 {
			oldest = max(oldest, w.now().Sub(a.ends[0].seen))
		}
	}
	return oldest.Seconds()
}

// partAge remembers when a partition was first seen to reach its ends that the
// record has not read, the oldest first.
type partAge struct{ ends []seenEnd }

type seenEnd struct {
	end  int64
	seen time.Time
}

// mostEnds bounds what is remembered; beyond it every other one is forgotten,
// which makes what lies between look younger, never the oldest.
const mostEnds = 256

func (a *partAge) note(read, end int64, now time.Time) {
	a.ends = slices.DeleteFunc(a.ends, func(s seenEnd) bool { return s.end <= read || s.end > end }) // read, or of a stream that was made anew
	if last := len(a.ends) - 1; end > read && (last < 0 || a.ends[last].end < end) {
		a.ends = append(a.ends, seenEnd{end, now})
	}
	if len(a.ends) > mostEnds {
		kept := a.ends[:0]
		for i, s := range a.ends {
			if i%2 == 0 {
				kept = append(kept, s)
			}
		}
		a.ends = kept
	}
}
