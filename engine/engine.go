package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// Engine is the flash sale over its ports. Use New.
type Engine struct {
	Ports
	Options

	paying atomic.Int64 // checkouts under way
}

// Ports are everything that the engine calls.
type Ports struct {
	Sales    Sales
	Gate     Gate
	Reader   GateReader
	Attempts Attempts
	Payments Payments
	Stream   Stream
	Outcomes Outcomes
	Orders   Orders
	Hash     Hasher
	Clock    Clock
	Log      *slog.Logger
	// Admissions judges the tokens of sales with a waiting room; nil: nobody reserves of those.
	Admissions Admissions
	// Stale hears that a sale's snapshot may be old, because the gate refused its
	// lease. It must not block; nil: nobody does.
	Stale func(saleNo uint32)
	// Resume goes on with the trace of a request, for what is done for it later, as a
	// step of it that end ends; nil: nobody traces.
	Resume func(ctx context.Context, traceparent, step string) (_ context.Context, end func(error))
	// Score asks a fraud service before a provider is chosen; nil: nobody is
	// asked. Its error allows the payment: a checkout does not wait for it to be well.
	Score func(ctx context.Context, a Attempt) (Score, error)
}

// Options are the engine's settings.
type Options struct {
	PaymentTimeout time.Duration // of one provider call
	DefaultWait    time.Duration // how long a checkout waits for the commit unless the client says
	MaxWait        time.Duration // the longest that a client may ask for
	MaxQueued      int           // payments that may wait for a provider that is away; 0: none, buyers are told 503
}

// New checks the ports and gives an engine.
func New(p Ports, o Options) (*Engine, error) {
	if p.Sales == nil || p.Gate == nil || p.Reader == nil || p.Attempts == nil || p.Payments == nil ||
		p.Stream == nil || p.Outcomes == nil || p.Orders == nil || p.Hash == nil || p.Clock == nil || p.Log == nil {
		return nil, errors.New("engine: every port must be given")
	}
	if o.PaymentTimeout <= 0 || o.DefaultWait <= 0 || o.MaxWait < o.DefaultWait || o.MaxQueued < 0 {
		return nil, errors.New("engine: payment time-out and waits must be positive, MaxWait at least DefaultWait, and MaxQueued not negative")
	}
	return &Engine{Ports: p, Options: o}, nil
}

// resumed goes on with the trace in which an attempt was begun.
func (e *Engine) resumed(ctx context.Context, a Attempt, step string) (context.Context, func(error)) {
	if e.Resume == nil || a.Traceparent == "" {
		return ctx, func(error) {}
	}
	return e.Resume(ctx, a.Traceparent, step)
}

// crowd is how many checkouts under way are a crowd.
const crowd = 64

// Crowded says that many buyers are paying here now, so that what has time, such
// as capturing what others paid, may stand back.
func (e *Engine) Crowded() bool { return e.paying.Load() >= crowd }

// lease is how long an attempt belongs to the node that works on it: the
// provider call and what follows it.
func (e *Engine) lease() time.Duration { return e.PaymentTimeout + PaymentMargin/2 }

// ReserveRequest asks for a reservation.
type ReserveRequest struct {
	Sale           string
	Buyer          string
	IdempotencyKey string
	Lines          []CartLine
	Admission      string // the admission token; "": none
}

// Reserve sets units aside for a buyer, all lines or none.
func (e *Engine) Reserve(ctx context.Context, r ReserveRequest) (Reservation, error) {
	s, err := e.Sales.Sale(ctx, r.Sale)
	if err != nil {
		return Reservation{}, err
	}
	lines, err := s.Cart(r.Lines)
	if err != nil {
		return Reservation{}, err
	}
	if s.Epoch == 0 {
		return Reservation{}, e.explain(E(CodeSaleNotOpen, ""), s) // a draft is not at the gate
	}
	asked := HoldRequest{Buyer: e.Hash.Buyer(s, r.Buyer), Lines: lines}
	var right Right
	if asked.Nonce, right, err = e.nonce(s, asked.Buyer, &r); err != nil {
		return Reservation{}, err
	}
	h, err := e.Gate.Hold(ctx, s, asked)
	var v Reservation
	if err = e.conclude(ctx, s, r.Buyer, &asked, right, &h, err, &v); err != nil {
		return Reservation{}, err
	}
	return v, nil
}

// conclude makes of the gate's answer what the buyer is told. v's lines are room.
func (e *Engine) conclude(ctx context.Context, s *Sale, buyer string, asked *HoldRequest, right Right, h *Hold, err error, v *Reservation) error {
	switch {
	case CodeOf(err) == CodeGateFrozen:
		return e.frozen(s, asked.Buyer, err)
	case err != nil:
		return e.explain(err, s)
	case !h.Replayed:
		e.took(s, right, h)
		e.fill(v, s, buyer, h)
	case s.Admission != nil && h.ID.Nonce != asked.Nonce:
		return NotAdmitted(s, AdmissionUsed, "the admission token has made a reservation under another Idempotency-Key")
	case !sameLines(h.Lines, asked.Lines):
		return E(CodeKeyReused, "this Idempotency-Key made reservation %s with other lines", h.ID)
	default:
		*v, err = e.settled(ctx, s, buyer, *h)
	}
	return err
}

// Knowledge is what a Gate may also be: it knows some of its answers by itself.
type Knowledge interface {
	// SoldOut gives the refusal of a hold of one line, if it is known without
	// asking anybody; else nil. It never blocks.
	SoldOut(s *Sale, b BuyerKey, l Line) error
}

// SoldOut gives the refusal of a cart of one line, if this node knows it; else
// nil. Who the buyer is need not be proven: see ADR 009.
func (e *Engine) SoldOut(sale, buyer, sku string, quantity int) error {
	k, ok := e.Gate.(Knowledge)
	if !ok {
		return nil
	}
	s, err := e.Sales.Sale(context.Background(), sale)
	if err != nil || s.Epoch == 0 {
		return nil
	}
	it, ok := s.Item(sku)
	if !ok {
		return nil
	}
	return k.SoldOut(s, e.Hash.Buyer(s, buyer), Line{No: it.No, Quantity: quantity})
}

// ReserveAll is Reserve for many buyers of one sale: the requests' own Sale is
// not looked at. It calls each once for every request, in any order, from one
// goroutine, and pause before it waits for further answers. The *Reservation is
// each's for the time of the call.
func (e *Engine) ReserveAll(ctx context.Context, sale string, rs []ReserveRequest, each func(i int, r *Reservation, err error), pause func()) {
	var v Reservation
	var room [MaxLines]PricedLine
	refuse := func(i int, err error) {
		v = Reservation{}
		each(i, &v, err)
	}
	s, err := e.Sales.Sale(ctx, sale)
	if err == nil && s.Epoch == 0 {
		err = e.explain(E(CodeSaleNotOpen, ""), s)
	}
	if err != nil {
		for i := range rs {
			refuse(i, err)
		}
		return
	}
	asks := make([]HoldRequest, 0, min(len(rs), reserveAtOnce))
	which := make([]int, 0, cap(asks))
	rights := make([]Right, 0, cap(asks))
	for from := 0; from < len(rs); from += reserveAtOnce {
		asks, which, rights = asks[:0], which[:0], rights[:0]
		for i, r := range rs[from:min(from+reserveAtOnce, len(rs))] {
			lines, err := s.Cart(r.Lines)
			if err == nil {
				err = ctx.Err() // nobody listens any more: what was not begun is not
			}
			a, right := HoldRequest{Buyer: e.Hash.Buyer(s, r.Buyer), Lines: lines}, Right{}
			if err == nil {
				a.Nonce, right, err = e.nonce(s, a.Buyer, &r)
			}
			if err != nil {
				refuse(from+i, err)
				continue
			}
			asks, which, rights = append(asks, a), append(which, from+i), append(rights, right)
		}
		e.Gate.HoldAll(ctx, s, asks, func(i int, h *Hold, err error) {
			v.Lines = room[:0]
			if err = e.conclude(ctx, s, rs[which[i]].Buyer, &asks[i], rights[i], h, err, &v); err != nil {
				refuse(which[i], err)
				return
			}
			each(which[i], &v, nil)
		}, pause)
	}
}

// reserveAtOnce is how many requests ReserveAll has at the gate at once: a long
// list must not keep single buyers waiting.
const reserveAtOnce = 256

// explain adds to a refusal what the buyer can use.
func (e *Engine) explain(err error, s *Sale) error {
	var x *Error
	if !errors.As(err, &x) || x.Code != CodeSaleNotOpen {
		return err
	}
	x = E(CodeSaleNotOpen, "the sale is %s", s.State).With("state", string(s.State))
	if (s.State == SaleDraft || s.State == SaleArmed) && !s.OpensAt.IsZero() {
		x.Detail += ", opens at " + s.OpensAt.Format(time.RFC3339)
		x = x.With("opens_at", s.OpensAt.Format(time.RFC3339))
	}
	return x
}

// Reservation reads a buyer's reservation; another buyer's is not found.
func (e *Engine) Reservation(ctx context.Context, buyer string, id ReservationID) (Reservation, error) {
	s, err := e.owned(ctx, buyer, id)
	if err != nil {
		return Reservation{}, err
	}
	h, err := e.Reader.Find(ctx, s, id)
	if err == nil {
		v, err := e.settled(ctx, s, buyer, h)
		if h.State == Paying {
			v.NextAction = e.nextAction(ctx, h)
		}
		return v, err
	}
	// The gate may be away or may have forgotten; an order is readable all the same.
	o, orderErr := e.Orders.Order(ctx, id)
	if orderErr != nil {
		return Reservation{}, e.lost(ctx, s, id, e.frozen(s, id.Buyer, err))
	}
	return ofOrder(s, o), nil
}

// nextAction gives what the buyer of a paying hold has to do, if anything. When
// the record cannot be asked, the reservation is shown without it.
func (e *Engine) nextAction(ctx context.Context, h Hold) *NextAction {
	a, err := e.Attempts.ByFence(ctx, h.ID, h.Fence)
	if err != nil || a.State != PaymentNeedsAction {
		return nil
	}
	return &a.Action
}

// Release gives a buyer's hold back.
func (e *Engine) Release(ctx context.Context, buyer string, id ReservationID) (Reservation, error) {
	s, err := e.owned(ctx, buyer, id)
	if err != nil {
		return Reservation{}, err
	}
	h, err := e.Gate.Release(ctx, s, id)
	if err != nil {
		return Reservation{}, e.lost(ctx, s, id, e.frozen(s, id.Buyer, err))
	}
	return e.view(s, buyer, h), nil
}

// Order reads a buyer's order, with the contact; another buyer's is not found.
func (e *Engine) Order(ctx context.Context, buyer string, id ReservationID) (Order, error) {
	if _, err := e.owned(ctx, buyer, id); err != nil {
		return Order{}, notFound(err, "order", id.Order())
	}
	o, err := e.Orders.Order(ctx, id)
	if err == nil {
		o.Contact, err = e.Orders.Contact(ctx, o)
	}
	if err != nil {
		return Order{}, notFound(err, "order", id.Order())
	}
	return o, nil
}

// owned finds the sale of an id and checks that the id is the buyer's.
func (e *Engine) owned(ctx context.Context, buyer string, id ReservationID) (*Sale, error) {
	s, err := e.Sales.SaleByNo(ctx, id.Sale)
	if err != nil {
		return nil, notFound(err, "reservation", id.String())
	}
	if s.Epoch == 0 || e.Hash.Buyer(s, buyer) != id.Buyer { // a draft was never at the gate
		return nil, E(CodeNotFound, "no reservation %s", id)
	}
	return s, nil
}

func notFound(err error, what, id string) error {
	if CodeOf(err) == CodeNotFound {
		return E(CodeNotFound, "no %s %s", what, id)
	}
	return err
}

// settled gives the view of a hold, with the record's word if it is accepted.
func (e *Engine) settled(ctx context.Context, s *Sale, buyer string, h Hold) (Reservation, error) {
	v := e.view(s, buyer, h)
	if h.State != Accepted {
		return v, nil
	}
	o, err := e.Orders.Order(ctx, h.ID)
	switch {
	case err == nil:
		r := ofOrder(s, o)
		r.Replayed = h.Replayed
		return r, nil
	case CodeOf(err) == CodeNotFound:
		return v, nil
	}
	return Reservation{}, err
}

func (e *Engine) view(s *Sale, buyer string, h Hold) (r Reservation) {
	e.fill(&r, s, buyer, &h)
	return r
}

// fill is view, into a reservation whose lines are room.
func (e *Engine) fill(r *Reservation, s *Sale, buyer string, h *Hold) {
	*r = Reservation{ID: h.ID, Sale: s, Buyer: buyer, State: h.State, Seq: h.Seq, Replayed: h.Replayed, Lines: r.Lines[:0]}
	r.Lines, r.Total = s.appendPrices(r.Lines, h.Lines)
	if h.State == Held || h.State == Paying {
		r.ExpiresAt = h.ExpiresAt
	}
}

func ofOrder(s *Sale, o Order) Reservation {
	r := Reservation{ID: o.ID, Sale: s, Buyer: o.Buyer, State: o.State, Lines: o.Lines, Total: o.Total, Seq: o.Seq, Reason: o.Reason}
	if o.State == Confirmed {
		r.Order = o.ID.Order()
	}
	return r
}
