package admission

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/redisdb"
)

//go:embed lua/*.lua
var luaFiles embed.FS

var (
	armScript     = assemble("arm")
	dropScript    = assemble("drop")
	startScript   = assemble("room", "start")
	takeScript    = assemble("room", "take")
	closeScript   = assemble("room", "close")
	statusScript  = assemble("room", "status")
	joinScript    = assemble("room", "waiter", "join")
	rejoinScript  = assemble("room", "waiter", "log", "rejoin")
	claimScript   = assemble("room", "waiter", "log", "claim")
	leaveScript   = assemble("room", "waiter", "log", "leave")
	advanceScript = assemble("room", "log", "advance")
	holesScript   = assemble("room", "holes")
)

func assemble(names ...string) *redis.Script {
	return redis.NewScript(redisdb.Parts(luaFiles, names...))
}

// run calls a script. A call that was sent is waited for even if the caller is
// gone: what it did must not become unknown because a browser was closed.
func (q *Queue) run(ctx context.Context, x *redis.Script, k keys, args ...any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, engine.Wrap(err, engine.CodeUnavailable, "the request ended before it reached the waiting room").After(retryAfter)
	}
	return q.lane.do(&call{script: x, keys: k.all, args: args})
}

// reply is what every script of a room answers; see lua/room.lua.
type reply struct {
	now    time.Time
	state  State
	n      int64 // -1 before the opening
	joined int64
	front  int64
	rest   []any
}

// ask calls a script of a room, with the epoch before its arguments.
func (q *Queue) ask(ctx context.Context, r Room, x *redis.Script, k keys, args ...any) (a reply, err error) {
	v, err := q.run(ctx, x, k, append([]any{r.Epoch}, args...)...)
	if err != nil {
		return a, err
	}
	const head = 5
	all, ok := v.([]any)
	if !ok || len(all) < head {
		return a, garbled(v)
	}
	var p parts
	a = reply{
		now: time.UnixMilli(p.number(all[0])).UTC(), state: State(p.text(all[1])),
		n: p.number(all[2]), joined: p.number(all[3]), front: p.number(all[4]), rest: all[head:],
	}
	return a, p.err
}

// parts reads a reply's parts, and remembers whether one was not what it must be.
type parts struct{ err error }

func (p *parts) number(v any) int64 {
	n, ok := v.(int64)
	if !ok {
		p.err = garbled(v)
	}
	return n
}

func (p *parts) text(v any) string {
	s, ok := v.(string)
	if !ok {
		p.err = garbled(v)
	}
	return s
}

// want says that a reply has too few parts.
func (p *parts) want(a reply, n int) []any {
	if len(a.rest) != n {
		p.err = garbled(a.rest)
		return make([]any, n)
	}
	return a.rest
}

func garbled(v any) error {
	return engine.Wrap(engine.ErrUnknown, engine.CodeInternal, "the waiting room's reply makes no sense: %T", v)
}

// retryAfter is what a client hears when the room cannot answer just now.
const retryAfter = time.Second

// classify gives a driver's error its code, once. All operations may be repeated,
// so nothing depends on whether a call that got no answer has run.
func classify(err error) error {
	var answer redis.Error
	if errors.As(err, &answer) {
		if detail, ok := strings.CutPrefix(answer.Error(), "LOST "); ok {
			return engine.E(engine.CodeGateFrozen, "%s", detail).After(retryAfter)
		}
		if redisdb.Refused(answer.Error()) {
			return engine.Wrap(err, engine.CodeUnavailable, "Redis refuses just now").After(retryAfter)
		}
		return engine.Wrap(fmt.Errorf("%w: %w", engine.ErrUnknown, err), engine.CodeInternal, "the waiting room's script failed")
	}
	if redisdb.NotSent(err) {
		return engine.Wrap(err, engine.CodeUnavailable, "Redis cannot be reached").After(retryAfter)
	}
	return engine.Wrap(fmt.Errorf("%w: %w", engine.ErrUnknown, err), engine.CodeUnavailable, "the waiting room did not answer").After(retryAfter)
}
