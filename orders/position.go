package orders

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// resume is called when partitions are assigned to this writer, before any of
// their events is fetched: it puts the record's position in the place of Kafka's.
// It keeps asking until both answer or the group's session ends.
func (w *Writer) resume(ctx context.Context, admin *kadm.Client, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	partitions := make([]int32, 0, len(offsets[w.cfg.Topic]))
	for p := range offsets[w.cfg.Topic] {
		partitions = append(partitions, p)
	}
	slices.Sort(partitions)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, w.cfg.MaxBackoff) {
		from, err := w.load(ctx, admin, partitions)
		if err == nil {
			for p, o := range from {
				offsets[w.cfg.Topic][p] = kgo.NewOffset().At(o)
			}
			return offsets, nil
		}
		w.cfg.Log.Warn("order writer waits for its positions", "partitions", partitions, "err", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// load reads the record's positions and gives the offsets to read from. They are
// the same, unless the stream ends before the record's position: then it has lost
// its end, and what was written there since would be skipped.
func (w *Writer) load(ctx context.Context, admin *kadm.Client, partitions []int32) (map[int32]int64, error) {
	topics, err := admin.ListTopics(ctx, w.cfg.Topic)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		return nil, err
	}
	topicID := ""
	if id := topics[w.cfg.Topic].ID; id != (kadm.TopicID{}) {
		topicID = id.String()
	}
	start, end, err := bounds(ctx, admin, w.cfg.Topic)
	if err != nil {
		return nil, err
	}
	at, err := w.cfg.Record.Positions(ctx, w.cfg.Topic, topicID, partitions)
	if err != nil {
		return nil, err
	}
	from := make(map[int32]int64, len(at))
	for p, o := range at {
		from[p] = o
		if o > end[p] {
			w.cfg.Log.Error("the stream ends before what the record has read from it; reading it from its start", "partition", p, "record", o, "end", end[p])
			from[p] = start[p]
		}
	}
	w.believe(at)
	return from, nil
}

func (w *Writer) believe(at map[int32]int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, o := range at {
		w.at[p] = o
	}
}

// believed gives what this writer holds for the record's position.
func (w *Writer) believed(partitions map[int32]int64) map[int32]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make(map[int32]int64, len(partitions))
	for p := range partitions {
		out[p] = w.at[p]
	}
	return out
}

// offsetCopy copies positions to Kafka, at most once a second and in the
// background, for people's lag tools. Nothing here reads them.
type offsetCopy struct {
	client committing
	topic  string
	free   chan struct{} // holds a token while no copy is under way
	last   time.Time

	next map[int32]kgo.EpochOffset
}

const copyEvery = time.Second

// committing is what the copy asks of its client.
type committing interface {
	CommitOffsetsSync(ctx context.Context, to map[string]map[int32]kgo.EpochOffset, done func(*kgo.Client, *kmsg.OffsetCommitRequest, *kmsg.OffsetCommitResponse, error))
}

func newOffsetCopy(client committing, topic string) *offsetCopy {
	c := &offsetCopy{client: client, topic: topic, free: make(chan struct{}, 1), next: map[int32]kgo.EpochOffset{}}
	c.free <- struct{}{}
	return c
}

func (c *offsetCopy) note(next map[int32]int64) {
	for p, o := range next {
		c.next[p] = kgo.EpochOffset{Epoch: -1, Offset: o}
	}
	if time.Since(c.last) < copyEvery {
		return
	}
	select {
	case <-c.free:
	default:
		return
	}
	c.last = time.Now()
	c.start()
}

// start sends what is noted; the token comes back with the answer.
func (c *offsetCopy) start() {
	send := map[string]map[int32]kgo.EpochOffset{c.topic: c.next}
	c.next = map[int32]kgo.EpochOffset{}
	go func() {
		defer func() { c.free <- struct{}{} }()
		ctx, cancel := context.WithTimeout(context.Background(), copyEvery)
		defer cancel()
		c.client.CommitOffsetsSync(ctx, send, nil)
	}()
}

// quiet waits for a copy under way: a position must not be set meanwhile.
func (c *offsetCopy) quiet() {
	<-c.free
	c.free <- struct{}{}
}

// finish sends what is left and waits.
func (c *offsetCopy) finish() {
	<-c.free
	if len(c.next) == 0 {
		c.free <- struct{}{}
		return
	}
	c.start()
	c.quiet()
}
