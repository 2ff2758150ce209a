package limit

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/redisdb"
)

//go:embed lua/*.lua
var luaFiles embed.FS

var countScript = redis.NewScript(redisdb.Parts(luaFiles, "count"))

const (
	batchMost = 256  // keys of one call
	queueMost = 4096 // keys that wait for one
)

// question is what is asked of one key: one question for all who want to know.
type question struct {
	key    uint64
	limit  engine.Limit
	name   string // at Redis
	asked  int64
	told   int64
	owed   int64 // of told: what this node let in alone
	done   chan struct{}
	err    error
	within atomic.Int64 // how many of who asked are within; each takes one
	used   int64        // nanoseconds, as Redis says
}

// shared asks Redis. One call is under way at most, for all questions that came
// while the one before was.
type shared struct {
	client redis.UniversalClient
	limits *Limits

	mu      sync.Mutex
	waiting map[uint64]*question
	wake    chan struct{}
	closed  bool
	stop    context.CancelFunc
	ended   chan struct{}

	away atomic.Int64 // until when Redis is left alone, on the table's clock
}

// enqueue joins the question of a key, or begins one; nil: there are too many, or
// Redis is away.
func (s *shared) enqueue(key uint64, l engine.Limit, who, where string, asked, told, now int64) *question {
	if s.away.Load() > now {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.waiting[key]
	if q == nil {
		if s.closed || len(s.waiting) >= queueMost {
			return nil
		}
		q = &question{key: key, limit: l, name: keyOf(s.limits.opt.Secret, l, who, where), done: make(chan struct{})}
		s.waiting[key] = q
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	q.asked, q.told = q.asked+asked, q.told+told
	return q
}

func (s *shared) run(ctx context.Context) {
	defer close(s.ended)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
		for batch := s.take(); len(batch) > 0; batch = s.take() {
			s.ask(ctx, batch)
		}
	}
}

func (s *shared) take() (batch []*question) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, q := range s.waiting {
		if len(batch) == batchMost {
			break
		}
		batch = append(batch, q)
		delete(s.waiting, key)
	}
	return batch
}

// ask answers a batch of questions, each by itself. After a failure Redis is left
// alone for a while: a limit is not worth anybody's waiting.
func (s *shared) ask(ctx context.Context, batch []*question) {
	now := at(time.Now())
	var bad error
	if s.away.Load() > now {
		bad = errAway
	}
	for _, q := range batch {
		q.err = bad
	}
	if bad == nil {
		for _, q := range batch {
			q.owed = s.limits.table.owes(q.key, q.limit, now)
			q.told += q.owed
		}
		ctx, cancel := context.WithTimeout(ctx, s.limits.opt.CallTimeout)
		bad = s.call(ctx, batch, countScript.EvalSha)
		cancel()
	}
	if bad != nil && !errors.Is(bad, errAway) {
		s.away.Store(at(time.Now()) + int64(s.limits.opt.Pause))
		s.limits.metrics.failed(bad)
	}
	now = at(time.Now())
	for _, q := range batch {
		switch {
		case q.err == nil:
			s.limits.table.learn(q.key, q.limit, q.used, now)
		case q.owed > 0 && unheard(q.err): // else it is forgotten: nobody pays twice for what Redis may have heard
			s.limits.table.owe(q.key, q.limit, q.owed, now)
		}
		close(q.done)
	}
}

// unheard says that Redis certainly did not count.
func unheard(err error) bool {
	var answer redis.Error
	return redisdb.NotSent(err) || errors.As(err, &answer) && redisdb.Refused(answer.Error())
}

var errAway = errors.New("limit: Redis is left alone for a while")

type eval func(ctx context.Context, c redis.Scripter, keys []string, args ...any) *redis.Cmd

// call sends a batch in one pipeline; a question's error stays its own.
func (s *shared) call(ctx context.Context, batch []*question, by eval) error {
	pipe := s.client.Pipeline()
	cmds := make([]*redis.Cmd, len(batch))
	for i, q := range batch {
		p := &s.limits.paces[q.limit]
		cmds[i] = by(ctx, pipe, []string{q.name}, q.asked, q.told, p.each/1000, p.burst/1000)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	var unknown []*question
	var bad error
	for i, q := range batch {
		if q.err = q.read(cmds[i]); q.err != nil && strings.HasPrefix(q.err.Error(), "NOSCRIPT") {
			unknown = append(unknown, q)
		} else if q.err != nil {
			bad = q.err
		}
	}
	if len(unknown) > 0 { // Redis refused before it did anything
		return errors.Join(bad, s.call(ctx, unknown, countScript.Eval))
	}
	return bad
}

func (q *question) read(cmd *redis.Cmd) error {
	v, err := cmd.Int64Slice()
	if err != nil {
		return err
	}
	if len(v) != 2 {
		return fmt.Errorf("limit: the script answers %d numbers", len(v))
	}
	q.within.Store(v[0])
	q.used = v[1] * 1000
	return nil
}
