package history

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Kind is what an operation asked for.
type Kind uint8

// The kinds. Nobody asks for an expiry: it is what the gate's clock does.
const (
	Hold Kind = iota + 1
	Begin
	Claim
	Return
	Release
	Find
	Counters
	Expiry
)

func (k Kind) String() string {
	return [...]string{"", "hold", "begin", "claim", "return", "release", "find", "counters", "expiry"}[k]
}

// Never is the return of an operation that got no answer.
const Never = math.MaxInt64

// Op is one operation as its client saw it. Times are nanoseconds of the
// recorder's monotonic clock.
type Op struct {
	Client       int
	Kind         Kind
	Call, Return int64

	// What was asked.
	Buyer   engine.BuyerKey
	Nonce   engine.Nonce
	Created int64 // of the id; 0 for a hold
	Fence   engine.Fence
	Lines   []engine.Line

	// What was answered: a hold, or a code.
	Code     engine.Code
	Detail   string // what the error said, of faults
	Unknown  bool   // no answer: it may have been decided
	After    int64  // the place after which a refusal was judged, if it says; else -1
	Out      engine.Hold
	Entry    bool // a claim named its outbox entry
	Counters []engine.Counters
}

// Source is what is recorded.
type Source interface {
	engine.Gate
	engine.GateReader
}

// Recorder notes operations on one sale. Give every client its own Client.
type Recorder struct {
	start time.Time

	mu      sync.Mutex
	clients []*Client
}

// NewRecorder starts the clock.
func NewRecorder() *Recorder { return &Recorder{start: time.Now()} }

// Client gives a recording view of one node's gate, for one goroutine.
func (r *Recorder) Client(g Source) *Client {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &Client{r: r, gate: g, no: len(r.clients)}
	r.clients = append(r.clients, c)
	return c
}

// Ops gives all that was recorded. Its clients must be at rest.
func (r *Recorder) Ops() []Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, c := range r.clients {
		n += len(c.ops)
	}
	out := make([]Op, 0, n)
	for _, c := range r.clients {
		out = append(out, c.ops...)
	}
	return out
}

// Client implements engine.Gate and the reads that matter, for one goroutine.
type Client struct {
	r    *Recorder
	gate Source
	no   int
	ops  []Op
}

var _ engine.Gate = (*Client)(nil)

func (c *Client) now() int64 { return int64(time.Since(c.r.start)) }

// HoldAll implements engine.Gate.
func (c *Client) HoldAll(ctx context.Context, s *engine.Sale, rs []engine.HoldRequest, each func(int, *engine.Hold, error), pause func()) {
	for i, r := range rs {
		pause()
		h, err := c.Hold(ctx, s, r)
		each(i, &h, err)
	}
}

// Bar implements engine.Gate: the crowd pays nobody, so nothing is cancelled.
func (c *Client) Bar(context.Context, *engine.Sale, engine.ReservationID, engine.Fence) (engine.Hold, error) {
	return engine.Hold{}, engine.E(engine.CodeInternal, "a history has no bars")
}

// note completes an operation and keeps it.
func (c *Client) note(o Op, call int64, h engine.Hold, err error) {
	o.Client, o.Call, o.Return, o.Out, o.After = c.no, call, c.now(), h, -1
	if err != nil {
		o.Code, o.Unknown, o.After = engine.CodeOf(err), errors.Is(err, engine.ErrUnknown), judgedAfter(err)
		if o.Unknown {
			o.Return = Never
		}
		if o.Code == engine.CodeInternal || o.Code == engine.CodeGateFrozen {
			o.Detail = err.Error()
		}
	}
	c.ops = append(c.ops, o)
}

// judgedAfter reads the place after which a refusal was judged; -1: it does not say.
func judgedAfter(err error) int64 {
	var e *engine.Error
	if errors.As(err, &e) {
		switch n := e.Fields["seq"].(type) {
		case uint64:
			return int64(n)
		case int64:
			return n
		case int:
			return int64(n)
		}
	}
	return -1
}

func moveOf(k Kind, id engine.ReservationID, f engine.Fence) Op {
	return Op{Kind: k, Buyer: id.Buyer, Nonce: id.Nonce, Created: id.Created, Fence: f}
}

// Hold implements engine.Gate.
func (c *Client) Hold(ctx context.Context, s *engine.Sale, r engine.HoldRequest) (engine.Hold, error) {
	call := c.now()
	h, err := c.gate.Hold(ctx, s, r)
	c.note(Op{Kind: Hold, Buyer: r.Buyer, Nonce: r.Nonce, Lines: r.Lines}, call, h, err)
	return h, err
}

// BeginPayment implements engine.Gate.
func (c *Client) BeginPayment(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence) (engine.Hold, error) {
	call := c.now()
	h, err := c.gate.BeginPayment(ctx, s, id, f)
	c.note(moveOf(Begin, id, f), call, h, err)
	return h, err
}

// Claim implements engine.Gate.
func (c *Client) Claim(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence, event []byte) (engine.Hold, engine.OutboxEntry, error) {
	call := c.now()
	h, e, err := c.gate.Claim(ctx, s, id, f, event)
	o := moveOf(Claim, id, f)
	o.Entry = e.EntryID != ""
	c.note(o, call, h, err)
	return h, e, err
}

// Return implements engine.Gate.
func (c *Client) Return(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence) (engine.Hold, error) {
	call := c.now()
	h, err := c.gate.Return(ctx, s, id, f)
	c.note(moveOf(Return, id, f), call, h, err)
	return h, err
}

// Release implements engine.Gate.
func (c *Client) Release(ctx context.Context, s *engine.Sale, id engine.ReservationID) (engine.Hold, error) {
	call := c.now()
	h, err := c.gate.Release(ctx, s, id)
	c.note(moveOf(Release, id, engine.Fence{}), call, h, err)
	return h, err
}

// Find implements engine.GateReader's Find.
func (c *Client) Find(ctx context.Context, s *engine.Sale, id engine.ReservationID) (engine.Hold, error) {
	call := c.now()
	h, err := c.gate.Find(ctx, s, id)
	c.note(moveOf(Find, id, engine.Fence{}), call, h, err)
	return h, err
}

// Counters implements engine.GateReader's Counters. A sale of several shards has
// no one instant to compare them with: there it is not recorded.
func (c *Client) Counters(ctx context.Context, s *engine.Sale) ([]engine.Counters, error) {
	call := c.now()
	cs, err := c.gate.Counters(ctx, s)
	if s.Shards <= 1 {
		c.note(Op{Kind: Counters, Counters: cs}, call, engine.Hold{}, err)
	}
	return cs, err
}
