// Package fault makes things go wrong at a place and a time that a test chose.
// A node takes a plan by its hidden --fault flag; without one nothing of this
// is in the way of a call.
package fault

import (
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
// the nth time. Its nil value does nothing.
type Plan struct {
	point string
	left  atomic.Int64
	die   func()
}

// Parse reads "kill@POINT#N". An empty text is no plan.
func Parse(text string) (*Plan, error) {
	if text == "" {
		return nil, nil
	}
	bad := func(why string) (*Plan, error) {
		return nil, fmt.Errorf("fault %q: %s; write kill@POINT#N with a POINT of %s", text, why, strings.Join(Points, ", "))
	}
	rest, ok := strings.CutPrefix(text, "kill@")
	if !ok {
		return bad("only kill@ is known")
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

// Around runs f between two points.
func Around[T any](p *Plan, what string, f func() (T, error)) (T, error) {
	p.At(what + ".before")
	v, err := f()
	if err == nil {
		p.At(what + ".after")
	}
	return v, err
}
