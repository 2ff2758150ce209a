package admission

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

// lane gathers the calls of a node, so that half a million buyers who join at once cost
// a few pipelines instead of a round trip each. Batching is natural: two pipelines are
// in flight at most, and whatever comes meanwhile goes into the next. What there is no
// room for is refused at once.
type lane struct {
	client redis.UniversalClient
	opt    Options

	mu     sync.Mutex
	queue  []*call
	drains int
}

const (
	maxPipeline = 128
	maxDrains   = 2
)

// call is one script's run.
type call struct {
	script *redis.Script
	keys   []string
	args   []any
	value  any
	err    error
	done   chan struct{}
}

// do runs a script and waits for its answer.
func (l *lane) do(c *call) (any, error) {
	c.done = make(chan struct{})
	l.mu.Lock()
	if len(l.queue) >= l.opt.MaxQueue {
		l.mu.Unlock()
		return nil, engine.E(engine.CodeOverloaded, "too many requests wait for the waiting room").After(retryAfter)
	}
	l.queue = append(l.queue, c)
	if l.drains < maxDrains {
		l.drains++
		go l.drain()
	}
	l.mu.Unlock()
	<-c.done
	return c.value, c.err
}

// drain sends pipelines until nothing waits.
func (l *lane) drain() {
	for {
		runtime.Gosched() // lets callers that were woken together queue up together
		l.mu.Lock()
		batch := l.queue[:min(len(l.queue), maxPipeline)]
		l.queue = l.queue[len(batch):]
		if len(batch) == 0 {
			l.queue = nil
			l.drains--
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		if err := l.send(batch); err != nil {
			l.shed(err)
		}
		for _, c := range batch {
			close(c.done)
		}
	}
}

// send runs a batch, and gives the error of a Redis that did not answer.
func (l *lane) send(batch []*call) (away error) {
	ctx, cancel := context.WithTimeout(context.Background(), l.opt.CallTimeout)
	defer cancel()
	p := l.client.Pipeline()
	answers := make([]*redis.Cmd, len(batch))
	for i, c := range batch {
		answers[i] = c.script.EvalSha(ctx, p, c.keys, c.args...)
	}
	_, _ = p.Exec(ctx) // each answer has its own error
	for i, c := range batch {
		v, err := answers[i].Result()
		if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") { // a Redis that is new to it
			v, err = c.script.Eval(ctx, l.client, c.keys, c.args...).Result()
		}
		if err == nil {
			c.value = v
			continue
		}
		if c.err = classify(err); engine.CodeOf(c.err) == engine.CodeUnavailable {
			away = c.err
		}
	}
	return away
}

// shed answers everybody who waits, after a pipeline that was not answered: what they
// asked was not sent, and one time-out after the other would bring them the same news.
func (l *lane) shed(cause error) {
	l.mu.Lock()
	waiting := l.queue
	l.queue = nil
	l.mu.Unlock()
	for _, c := range waiting {
		c.err = engine.Wrap(fmt.Errorf("not sent, because the call before had no answer: %v", cause), engine.CodeUnavailable, "Redis does not answer").After(retryAfter) //nolint:errorlint // %v: these are not unknown, even if the cause is
		close(c.done)
	}
}
