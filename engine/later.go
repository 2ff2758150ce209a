package engine

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// Later is what a Gate may also be: it decides without a caller who waits.
type Later interface {
	// HoldThen is Hold; who hears the outcome once, from another goroutine or
	// before HoldThen returns. After that the gate has no use for the request's
	// Lines any more.
	HoldThen(ctx context.Context, s *Sale, r HoldRequest, who OnHold)
}

// OnHold hears what Gate.Hold would have returned; with an error the hold means
// nothing. The *Hold is its for the time of the call, which must not block:
// others wait for theirs behind it.
type OnHold interface{ Held(h *Hold, err error) }

// OnReserve hears what Engine.Reserve would have returned, on the same terms.
type OnReserve interface {
	Reserved(r *Reservation, err error)
}

// ReserveThen is Reserve for a caller that does not wait: who hears the outcome
// once, from another goroutine or before ReserveThen returns. The request's key
// and SKUs need live no longer than until then.
func (e *Engine) ReserveThen(ctx context.Context, r ReserveRequest, who OnReserve) {
	later, ok := e.Gate.(Later)
	if !ok {
		e.reserveNow(ctx, r, who)
		return
	}
	s, err := e.Sales.Sale(ctx, r.Sale)
	if err != nil {
		who.Reserved(new(Reservation), err)
		return
	}
	a := asks.Get().(*ask)
	a.engine, a.ctx, a.sale, a.buyer, a.who = e, ctx, s, r.Buyer, who
	if a.lines, err = s.appendCart(a.lines[:0], r.Lines); err == nil && s.Epoch == 0 {
		err = E(CodeSaleNotOpen, "") // a draft is not at the gate
	}
	asked := HoldRequest{Buyer: e.Hash.Buyer(s, r.Buyer), Lines: a.lines}
	if err == nil {
		asked.Nonce, a.right, err = e.nonce(s, asked.Buyer, &r)
	}
	a.key, a.nonce = asked.Buyer, asked.Nonce
	if err != nil {
		a.Held(nil, err)
		return
	}
	later.HoldThen(ctx, s, asked, a)
}

// reserveNow is apart because what it hands out is on the heap, which a variable
// of ReserveThen would be on every way through it.
func (e *Engine) reserveNow(ctx context.Context, r ReserveRequest, who OnReserve) {
	v, err := e.Reserve(ctx, r)
	who.Reserved(&v, err)
}

// ask is a reservation between ReserveThen and its outcome. It is used again.
type ask struct {
	engine *Engine
	ctx    context.Context
	sale   *Sale
	buyer  string
	who    OnReserve
	key    BuyerKey
	nonce  Nonce
	right  Right
	lines  []Line
	view   Reservation
	room   [2]PricedLine
}

var asks = sync.Pool{New: func() any { return new(ask) }}

// Held implements Held.
func (a *ask) Held(h *Hold, err error) {
	if err == nil && h.Replayed && h.State == Accepted { // the record is asked, which takes its time
		again := *h
		go a.tell(&again, nil)
		return
	}
	a.tell(h, err)
}

func (a *ask) tell(h *Hold, err error) {
	a.view.Lines = a.room[:0]
	err = a.judge(h, err)
	a.who.Reserved(&a.view, err)
	*a = ask{lines: a.lines[:0]}
	asks.Put(a)
}

// judge makes a view of the hold.
func (a *ask) judge(h *Hold, refusal error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = Wrap(fmt.Errorf("panic: %v\n%s", p, debug.Stack()), CodeInternal, "")
		}
	}()
	asked := HoldRequest{Buyer: a.key, Nonce: a.nonce, Lines: a.lines}
	return a.engine.conclude(a.ctx, a.sale, a.buyer, &asked, a.right, h, refusal, &a.view)
}
