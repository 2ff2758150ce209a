package live

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// Sources are where the figures come from. What is nil is not shown.
type Sources struct {
	Node     string
	Active   func() []*engine.Sale                             // those with a gate, from memory
	All      func(ctx context.Context) ([]*engine.Sale, error) // from the record, drafts included
	Counters func(ctx context.Context, s *engine.Sale) ([]engine.Counters, error)
	Room     func(ctx context.Context, sale string) (*engine.RoomView, error)
	Fast     func(ctx context.Context, settle time.Duration) (engine.Verdict, error)
	Full     func(ctx context.Context, settle time.Duration) (engine.Verdict, error)
	Acts     func(ctx context.Context, most int) ([]Event, error) // the newest first
	Askers   func(most int) []Asker
	Knee     func(Mix) Knee // by a capacity model
	Metrics  prometheus.Gatherer
	Log      *slog.Logger
}

// How often things are read while somebody looks.
const (
	Every     = 400 * time.Millisecond // the gate, the rooms and the metrics; then a snapshot goes out
	patience  = 350 * time.Millisecond // for those; who takes longer is shown as silent
	actsEvery = time.Second
	listEvery = 2 * time.Second
	fastEvery = time.Second
	fullLeast = 30 * time.Second // between two full proofs; and fullShare times what one takes
	fullShare = 20
	linger    = 3 * time.Second // of work after the last one has gone: a page that is loaded anew finds it warm
	history   = 300             // points: two minutes
)

// Collector computes snapshots while somebody looks. Use New.
type Collector struct {
	src Sources

	mu      sync.Mutex
	lookers map[chan Frame]bool
	stop    context.CancelFunc // of the work under way; nil: there is none
	idle    *time.Timer
	work    sync.WaitGroup
	closed  bool

	state state
}

// Frame is a snapshot as it goes out, made once for all.
type Frame struct {
	At   time.Time
	JSON []byte
}

// New gives a collector. It does nothing until somebody looks.
func New(s Sources) *Collector {
	return &Collector{src: s, lookers: map[chan Frame]bool{}, state: newState(s)}
}

// Look has snapshots sent until leave is called: always the newest, so that one who
// reads slowly misses some and is never behind. The channel is closed when the
// collector is. The points of the last minutes come at once.
func (c *Collector) Look() (frames <-chan Frame, past []Point, leave func()) {
	ch := make(chan Frame, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		close(ch)
		return ch, nil, func() {}
	}
	c.lookers[ch] = true
	if c.idle != nil {
		c.idle.Stop()
		c.idle = nil
	}
	if c.stop == nil {
		ctx, cancel := context.WithCancel(context.Background())
		c.stop = cancel
		c.state.begin()
		c.run(ctx)
	}
	return ch, c.state.points(), func() { c.leave(ch) }
}

func (c *Collector) leave(ch chan Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.lookers[ch] {
		return
	}
	delete(c.lookers, ch)
	if len(c.lookers) > 0 || c.stop == nil {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(linger, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.idle == timer && c.stop != nil && len(c.lookers) == 0 {
			c.stop()
			c.stop, c.idle = nil, nil
		}
	})
	c.idle = timer
}

// Close ends the work and sends everybody away.
func (c *Collector) Close() {
	c.mu.Lock()
	c.closed = true
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
	for ch := range c.lookers {
		close(ch)
	}
	c.lookers = map[chan Frame]bool{}
	c.mu.Unlock()
	c.work.Wait()
}

// run begins the loops. Who does not answer holds up nobody else. The caller holds mu.
func (c *Collector) run(ctx context.Context) {
	loop := func(every time.Duration, step func(ctx context.Context)) {
		c.work.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for ctx.Err() == nil {
				step(ctx)
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	if c.src.All != nil {
		loop(listEvery, c.state.readSales)
	}
	if c.src.Acts != nil {
		loop(actsEvery, c.state.readActs)
	}
	if c.src.Fast != nil {
		loop(fastEvery, c.state.proveFast)
	}
	if c.src.Full != nil {
		c.work.Go(func() { c.state.proveFull(ctx) })
	}
	loop(Every, func(ctx context.Context) {
		c.state.readNow(ctx)
		if ctx.Err() == nil {
			c.send(c.state.snapshot(time.Now()))
		}
	})
}

// send gives everybody the newest frame; one that is still there from before goes.
func (c *Collector) send(l *Live) {
	raw, err := json.Marshal(l)
	if err != nil {
		c.src.Log.Error("a snapshot for the console could not be written", "err", err)
		return
	}
	f := Frame{l.At, raw}
	c.mu.Lock()
	defer c.mu.Unlock()
	for ch := range c.lookers {
		select {
		case <-ch:
		default:
		}
		ch <- f
	}
}
