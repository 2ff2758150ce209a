package reservation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/redisdb"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// Gate is Redis' view of all sales. It implements engine.Gate, GateReader,
// GateControl, GateShards, GateRepair and Outbox, and is safe for concurrent use.
type Gate struct {
	opt     Options
	client  redis.UniversalClient
	metrics *metrics
	soldOut *soldOut

	lanesMu sync.RWMutex
	lanes   map[laneKey]*lane
	boards  boards // of sales with several shards
	pairs   pairs
	reaps   atomic.Uint64
	trusted sync.Map      // server → when it said its name; see fence.go
	rest    time.Duration // see fetch.go; tests whose clock stands still take none

	wellFilled int // see lane.go; tests that count calls take more

	closing sync.Mutex
	closed  bool
	working sync.WaitGroup // lanes that drain
}

var (
	_ engine.Gate        = (*Gate)(nil)
	_ engine.Knowledge   = (*Gate)(nil)
	_ engine.Later       = (*Gate)(nil)
	_ engine.GateReader  = (*Gate)(nil)
	_ engine.GateControl = (*Gate)(nil)
	_ engine.GateShards  = (*Gate)(nil)
	_ engine.GateHolds   = (*Gate)(nil)
	_ engine.Outbox      = (*Gate)(nil)
)

var errClosed = errors.New("reservation: the gate is closed")

// Open makes a gate. It does not call Redis: a Redis that is away makes the
// gate's answers engine.CodeUnavailable until it is back.
func Open(o Options) (*Gate, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	hush.Do(func() { redis.SetLogger(driverLog{}) })
	client, err := redisdb.Connect(o.URL, o.CallTimeout, o.PoolSize)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	g := &Gate{opt: o, client: client, metrics: m, lanes: map[laneKey]*lane{}, rest: rest, wellFilled: wellFilled}
	g.soldOut = newSoldOut(g, o.SoldOutFor)
	if o.Registerer != nil {
		if err := o.Registerer.Register(g.soldOut.known); err != nil {
			return nil, errors.Join(fmt.Errorf("reservation: metrics: %w", err), client.Close())
		}
	}
	return g, nil
}

// driverLog takes what the driver prints, process-wide: a line for each failed
// dial, for one. All of it comes as an error too, so it is for debugging only.
type driverLog struct{}

func (driverLog) Printf(ctx context.Context, format string, v ...any) {
	slog.DebugContext(ctx, fmt.Sprintf(format, v...), "from", "redis driver")
}

var hush sync.Once

// Ping says whether Redis answers, and is new enough for the gate.
func (g *Gate) Ping(ctx context.Context) error {
	info, err := g.client.Info(ctx).Result()
	if err != nil {
		return readFailed(err)
	}
	if _, err := serverName(info); errors.Is(err, errOldRedis) {
		return unavailable(err, "Redis is too old for the gate")
	}
	return nil
}

// Close waits for what is in flight and closes the connections.
func (g *Gate) Close() error {
	g.closing.Lock()
	was := g.closed
	g.closed = true
	g.closing.Unlock()
	if was {
		return nil
	}
	g.working.Wait()
	return g.client.Close()
}

// enter counts a lane that begins to drain, unless the gate is closed.
func (g *Gate) enter() bool {
	g.closing.Lock()
	defer g.closing.Unlock()
	if !g.closed {
		g.working.Add(1)
	}
	return !g.closed
}

func (g *Gate) leave() { g.working.Done() }

// searches bounds how often a hold is sent again because the script's budget
// ended before it had looked for expired stock everywhere.
const searches = 16

// fetches bounds how often a hold is tried again after units were brought to its
// shard and somebody else was faster.
const fetches = 64

// hold asks the gate; Hold, in soldout.go, does so for whom it must. What the home shard lacks is fetched from the
// others; sold out is the word only after a look at all of them.
func (g *Gate) hold(ctx context.Context, s *engine.Sale, r engine.HoldRequest) (engine.Hold, error) {
	h, refusal, err := g.holdAtHome(ctx, s, r)
	if refusal != refSoldOut || s.Shards <= 1 {
		return h, err
	}
	lines, _ := normal(r.Lines) // as the operation has them
	ticket := g.boards.tickets.Add(1)
	for i := range fetches {
		gone, fetchErr := g.fetch(ctx, s, shardOf(s, r.Buyer), lines, ticket)
		if fetchErr != nil {
			return engine.Hold{}, fetchErr
		}
		if gone {
			return h, err
		}
		if i > 0 { // somebody was faster, and may still be on the way
			select {
			case <-time.After(min(time.Duration(i)*time.Millisecond/2, rest)):
			case <-ctx.Done():
				return engine.Hold{}, unavailable(ctx.Err(), "the request ended while units were fetched from other shards")
			}
		}
		if h, refusal, err = g.holdAtHome(ctx, s, r); refusal != refSoldOut {
			return h, err
		}
	}
	return engine.Hold{}, overloaded()
}

// holdAtHome asks the buyer's own shard, and gives the script's word if it refused.
func (g *Gate) holdAtHome(ctx context.Context, s *engine.Sale, r engine.HoldRequest) (h engine.Hold, refusal int64, err error) {
	for i := 1; ; i++ {
		o, err := holdOp(s, r)
		if err != nil {
			return h, 0, err
		}
		if o, err = g.do(ctx, s, o); o == nil {
			return h, 0, err
		}
		h, refusal = o.answer.hold, o.answer.refusal
		if o.free(); refusal != refAgain || i == searches {
			return h, refusal, err
		}
	}
}

// move asks for the transition of a hold that exists.
func (g *Gate) move(ctx context.Context, s *engine.Sale, o *op) (h engine.Hold, entryID string, err error) {
	if o, err = g.do(ctx, s, o); o == nil {
		return h, "", err
	}
	h, entryID = o.answer.hold, o.answer.entryID
	o.free()
	return h, entryID, err
}

// BeginPayment implements engine.Gate.
func (g *Gate) BeginPayment(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence) (engine.Hold, error) {
	h, _, err := g.move(ctx, s, moveOp(opBegin, s, id, &f, nil))
	return h, err
}

// Claim implements engine.Gate. The entry of a repeated claim has no EntryID.
func (g *Gate) Claim(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence, event []byte) (engine.Hold, engine.OutboxEntry, error) {
	h, entry, err := g.move(ctx, s, moveOp(opClaim, s, id, &f, event))
	if err != nil {
		return engine.Hold{}, engine.OutboxEntry{}, err
	}
	return h, engine.OutboxEntry{
		Sale: s.No, Shard: shardOf(s, id.Buyer), EntryID: entry, Payload: event,
		ID: id, Epoch: s.Lease(shardOf(s, id.Buyer)).Epoch, Seq: h.Seq, AcceptedAt: h.ExpiresAt,
	}, nil
}

// Return implements engine.Gate.
func (g *Gate) Return(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence) (engine.Hold, error) {
	h, _, err := g.move(ctx, s, moveOp(opReturn, s, id, &f, nil))
	return h, err
}

// Bar implements engine.Gate.
func (g *Gate) Bar(ctx context.Context, s *engine.Sale, id engine.ReservationID, f engine.Fence) (engine.Hold, error) {
	h, _, err := g.move(ctx, s, moveOp(opBar, s, id, &f, nil))
	return h, err
}

// Extend implements engine.GateHolds.
func (g *Gate) Extend(ctx context.Context, s *engine.Sale, id engine.ReservationID, until time.Time) (engine.Hold, error) {
	f := untilFence(until)
	h, _, err := g.move(ctx, s, moveOp(opExtend, s, id, &f, nil))
	return h, err
}

// Release implements engine.Gate.
func (g *Gate) Release(ctx context.Context, s *engine.Sale, id engine.ReservationID) (engine.Hold, error) {
	h, _, err := g.move(ctx, s, moveOp(opRelease, s, id, nil, nil))
	return h, err
}

// do sends one operation through its lane. It gives the operation back if it was
// answered, by a refusal too; see lane.do.
func (g *Gate) do(ctx context.Context, s *engine.Sale, o *op) (*op, error) {
	k := o.kind // o is given away
	var span telemetry.Span
	if g.opt.Trace != nil && telemetry.Of(ctx).On() {
		_, span = telemetry.Start(ctx, "gate "+kinds[k])
		o.span = span
	}
	o, err := g.lane(s, shardOf(s, o.buyer)).do(ctx, o)
	err = g.judged(k, o, err)
	span.End(err)
	return o, err
}

// judged turns a refusal into an error, and counts.
func (g *Gate) judged(k kind, o *op, err error) error {
	switch {
	case err != nil:
		g.metrics.decided(k, false, err)
	case o.answer.refusal < 0:
		err = o.answer.refused()
		g.metrics.decided(k, false, err)
	default:
		g.metrics.decided(k, o.answer.hold.Replayed, nil)
	}
	return err
}
