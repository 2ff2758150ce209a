package admission

import (
	"context"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/redisdb"
)

// Options are the queue's settings; zero values take the defaults.
type Options struct {
	// URL of Redis: redis://user:password@host:port/db, rediss:// for TLS; with
	// one or more addr=host:port in the query, a Redis Cluster.
	URL string
	// CallTimeout bounds one call to Redis. Default 2 s.
	CallTimeout time.Duration
	// PoolSize bounds connections to Redis (per cluster node). Default 32.
	PoolSize int
	// MaxQueue is how many calls may wait; more are told CodeOverloaded. Default 16,384.
	MaxQueue int
}

// Queue is the waiting rooms at one Redis. It is safe for concurrent use.
type Queue struct {
	opt    Options
	client redis.UniversalClient
	lane   lane

	mu     sync.Mutex
	opened map[Room]*opened
}

// Open prepares the driver; nothing is asked of Redis yet.
func Open(o Options) (*Queue, error) {
	if o.CallTimeout == 0 {
		o.CallTimeout = 2 * time.Second
	}
	if o.PoolSize == 0 {
		o.PoolSize = 32
	}
	if o.MaxQueue == 0 {
		o.MaxQueue = 16 << 10
	}
	c, err := redisdb.Connect(o.URL, o.CallTimeout, o.PoolSize)
	if err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	return &Queue{opt: o, client: c, lane: lane{client: c, opt: o}, opened: map[Room]*opened{}}, nil
}

// Close gives the connections back. Nothing may be under way.
func (q *Queue) Close() error { return q.client.Close() }

// Arm makes a room and fixes its terms; buyers may join from now on. It can be
// repeated with the same terms, and with others until somebody has joined. A room of an
// earlier epoch gives way to it.
func (q *Queue) Arm(ctx context.Context, r Room, t Terms) error {
	if err := r.validate(); err != nil {
		return err
	}
	if err := t.validate(); err != nil {
		return err
	}
	opens := int64(0)
	if !t.OpensAt.IsZero() {
		opens = t.OpensAt.UnixMilli()
	}
	v, err := q.run(ctx, armScript, keysOf(r), r.Epoch, Commitment(r.ID, t.Seed), hex.EncodeToString(t.Seed[:]),
		opens, t.Lease.Milliseconds(), t.Use.Milliseconds())
	if err != nil {
		return err
	}
	if v == int64(-1) {
		return engine.E(engine.CodeSaleLocked, "the waiting room is armed with other terms")
	}
	return nil
}

// Start says when a room opens, now if that time has come: N is fixed then, the seed
// is public, places are known. Of a room that is open it changes nothing.
func (q *Queue) Start(ctx context.Context, r Room, at time.Time) error {
	_, err := q.ask(ctx, r, startScript, keysOf(r), at.UnixMilli())
	return err
}

// Take notes that admitted buyers have taken units, by the second in which they had
// claimed. It is no part of any decision about units, and must not be repeated.
func (q *Queue) Take(ctx context.Context, r Room, taken map[int64]Taken) error {
	args := make([]any, 0, 3*len(taken))
	for second, t := range taken {
		args = append(args, second, t.Buyers, t.Units)
	}
	_, err := q.ask(ctx, r, takeScript, keysOf(r), args...)
	return err
}

// Taken is what admitted buyers took.
type Taken struct{ Buyers, Units int64 }

// Shut ends a room: nobody joins, is reached or is admitted any more. Repeatable.
func (q *Queue) Shut(ctx context.Context, r Room) error {
	_, err := q.ask(ctx, r, closeScript, keysOf(r))
	return err
}

// dropAtOnce bounds the keys of one call, so that Redis is not held up.
const dropAtOnce = 256

// Drop forgets a room and all its waiters. Repeatable; a later generation stays.
func (q *Queue) Drop(ctx context.Context, r Room) error {
	if _, err := q.run(ctx, dropScript, keysOf(r), r.Epoch); err != nil {
		return err
	}
	all := keysOf(r).generation()
	for len(all) > 0 {
		some := all[:min(dropAtOnce, len(all))]
		all = all[len(some):]
		if err := q.client.Unlink(ctx, some...).Err(); err != nil {
			return classify(err)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.opened, r)
	return nil
}
