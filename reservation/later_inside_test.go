package reservation

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// told is the outcome of a hold that nobody waits for.
type told chan error

func (c told) Held(_ *engine.Hold, err error) { c <- err }

func (x *gated) then(ctx context.Context, buyer uint64) told {
	who := make(told, 2)
	x.HoldThen(ctx, x.s, engine.HoldRequest{Buyer: buyerKey(buyer), Lines: []engine.Line{{Quantity: 1}}}, who)
	return who
}

func (c told) hear(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(time.Minute):
		t.Fatal("nobody was told")
		return nil
	}
}

func (c told) once(t *testing.T) {
	t.Helper()
	if len(c) > 0 {
		t.Errorf("told again: %v", <-c)
	}
}

func TestWhoDoesNotWaitIsToldOfEveryEnd(t *testing.T) {
	x := newGated(t, Options{MaxQueue: 300})
	first := x.then(t.Context(), 0)
	<-x.arrived
	var many []told
	for b := range uint64(298) {
		many = append(many, x.then(t.Context(), b+1))
	}
	ctx, leave := context.WithCancel(t.Context())
	left := x.then(ctx, 400)
	last := x.then(t.Context(), 401)
	beyond := x.then(t.Context(), 402)
	if err := beyond.hear(t); engine.CodeOf(err) != engine.CodeOverloaded {
		t.Errorf("beyond the queue: %v", err)
	}
	leave()
	x.pass <- struct{}{}
	if err := first.hear(t); err != nil {
		t.Error(err)
	}
	sent := 0
	for sent < 299 {
		sent += <-x.arrived
		x.pass <- struct{}{}
	}
	for _, who := range append(many, last) {
		if err := who.hear(t); err != nil {
			t.Error(err)
		}
	}
	if err := left.hear(t); engine.CodeOf(err) != engine.CodeUnavailable || !strings.Contains(err.Error(), "before it reached the gate") {
		t.Errorf("who left: %v", err)
	}
	for _, who := range append(many, first, left, last, beyond) {
		who.once(t)
	}
	if sent != 299 {
		t.Errorf("%d were sent", sent)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if err := x.then(t.Context(), 500).hear(t); engine.CodeOf(err) != engine.CodeUnavailable {
		t.Errorf("at a closed gate: %v", err)
	}
}

// One who hears an answer may take its time, or ask again: the lane has its lock
// no longer, and others hear theirs.
type again struct {
	x     *gated
	first told
	then  told
}

func (a again) Held(_ *engine.Hold, err error) {
	a.x.HoldThen(context.Background(), a.x.s, engine.HoldRequest{Buyer: buyerKey(7), Lines: []engine.Line{{Quantity: 1}}}, a.then)
	a.first <- err
}

func TestWhoHearsAnAnswerMayAskAgain(t *testing.T) {
	x := newGated(t, Options{})
	busy := x.then(t.Context(), 1)
	<-x.arrived
	ctx, leave := context.WithCancel(t.Context())
	a := again{x, make(told, 1), make(told, 1)}
	x.HoldThen(ctx, x.s, engine.HoldRequest{Buyer: buyerKey(2), Lines: []engine.Line{{Quantity: 1}}}, a)
	leave() // so it is told by the lane that looks for work
	x.pass <- struct{}{}
	x.pass <- struct{}{}
	for _, who := range []told{busy, a.then} {
		if err := who.hear(t); err != nil {
			t.Error(err)
		}
	}
	if err := a.first.hear(t); err == nil {
		t.Error("it was sent")
	}
}

// A call without an answer turns away what waited meanwhile. Who asks again on
// hearing of it did not wait: Redis may be back.
func TestWhoAsksAgainAfterACallWithoutAnAnswerIsNotTurnedAwayByIt(t *testing.T) {
	t.Parallel()
	x := newGated(t, Options{CallTimeout: 5 * time.Second}) // which the call that is let through has, too
	a := again{x, make(told, 1), make(told, 1)}
	x.HoldThen(t.Context(), x.s, engine.HoldRequest{Buyer: buyerKey(2), Lines: []engine.Line{{Quantity: 1}}}, a)
	<-x.arrived
	if err := a.first.hear(t); !errors.Is(err, engine.ErrUnknown) {
		t.Errorf("the call without an answer: %v", err)
	}
	x.pass <- struct{}{} // the one that nobody hears of
	x.pass <- struct{}{}
	if err := a.then.hear(t); err != nil {
		t.Error(err)
	}
}
