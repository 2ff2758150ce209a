// Package fault makes things go wrong at a place and a time that a test chose,
// or at any place by dice that a seed throws. A node takes a plan by its hidden --fault flag; without one nothing of this
// is in the way of a call.
package fault

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Points are the places: before and after each side effect of a checkout.
var Points = []string{
	"attempt.before", "attempt.after", // the attempt is noted durably
	"authorise.before", "authorise.after", // the money is reserved
	"claim.before", "claim.after", // the units are taken for good, the event is in the outbox
	"publish.before", "publish.after", // the stream has the event
	"commit.before", "commit.after", // the record has the order
	"capture.before", "capture.after", // the money is taken
}

// Plan is what is to happen: the process is killed when a point is reached for
// the nth time, or calls go wrong by dice. Its nil value does nothing.
type Plan struct {
	point string
	left  atomic.Int64
	die   func()
	dice  *dice
}

// Parse reads "kill@POINT#N" or "dice@SEED#PERCENT". An empty text is no plan.
func Parse(text string) (*Plan, error) {
	if text == "" {
		return nil, nil
	}
	bad := func(why string) (*Plan, error) {
		return nil, fmt.Errorf("fault %q: %s; write dice@SEED#PERCENT, or kill@POINT#N with a POINT of %s", text, why, strings.Join(Points, ", "))
	}
	if rest, ok := strings.CutPrefix(text, "dice@"); ok {
		seed, percent, _ := strings.Cut(rest, "#")
		s, err := strconv.ParseUint(seed, 10, 64)
		n, err2 := strconv.ParseUint(percent, 10, 7)
		if err != nil || err2 != nil || n > 100 {
			return bad("SEED must be a number and PERCENT at most 100")
		}
		return Dice(s, int(n)), nil
	}
	rest, ok := strings.CutPrefix(text, "kill@")
	if !ok {
		return bad("only kill@ and dice@ are known")
	}
	point, count, ok := strings.Cut(rest, "#")
	if !ok || !slices.Contains(Points, point) {
		return bad("no such point")
	}
	n, err := strconv.ParseInt(count, 10, 32)
	if err != nil || n < 1 {
		return bad("N must be a positive number")
	}
	p := &Plan{point: point, die: suicide}
	p.left.Store(n)
	return p, nil
}

// suicide ends the process as kill -9 does: nothing is flushed, closed or undone.
func suicide() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// At tells the plan that a point is reached.
func (p *Plan) At(point string) {
	if p != nil && p.point == point && p.left.Add(-1) == 0 {
		p.die()
	}
}

// Around runs f between two points, or as the dice say.
func Around[T any](ctx context.Context, p *Plan, what string, f func() (T, error)) (T, error) {
	if p == nil {
		return f()
	}
	p.At(what + ".before")
	v, err := fateful(ctx, p.dice, what, f)
	if err == nil {
		p.At(what + ".after")
	}
	return v, err
}

// around is Around for a call that gives nothing but an error.
func around(ctx context.Context, p *Plan, what string, f func() error) error {
	_, err := Around(ctx, p, what, func() (struct{}, error) { return struct{}{}, f() })
	return err
}
