package api

import (
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/trail"
)

// The buyer's endpoints: each reads its parts of the request, asks the engine
// once, and writes the answer.

func (s *Server) reserve(x *exchange) error {
	if !saleID(x.param) {
		return engine.E(engine.CodeNotFound, "no such sale")
	}
	key, body, err := x.mutation()
	if err != nil {
		return err
	}
	if err := s.passBuyer(x, x.param, true); err != nil {
		return err
	}
	if x.head.admission.times > 1 {
		return engine.E(engine.CodeInvalidRequest, "Admission-Token: must come once").With("field", "Admission-Token")
	}
	var room [4]engine.CartLine
	lines, plain := quickReserve(string(body), room[:0])
	if !plain {
		var bad *fieldError
		if lines, bad = reserveBody(body); bad != nil {
			return bad.refusal()
		}
	}
	x.noted.SKU = s.skuOf(lines)
	r, err := s.opt.Engine.Reserve(x.span.Into(s.limits.get(x.start)), engine.ReserveRequest{Sale: x.param, Buyer: x.buyer, IdempotencyKey: key, Lines: lines, Admission: string(x.head.admission.value)})
	if err == nil {
		s.names.keep(x.param)
	} else if engine.CodeOf(err) == engine.CodeSoldOut {
		s.names.keep(x.param).refuse(x.start.Unix())
	}
	if err != nil {
		return err
	}
	if !r.Replayed {
		s.made(x, x.param)
	}
	x.reserved(&r)
	return nil
}

// reserved writes a reservation that was made, or made before.
func (x *exchange) reserved(r *engine.Reservation) {
	x.credit(r)
	if x.span.On() {
		x.span.Set("reservation", r.ID.String())
	}
	place := r.ID.Append(append(x.room[:0], "/v1/reservations/"...))
	x.http.Response.Header.SetCanonical(headerLocation, place)
	x.replayed(r.Replayed)
	x.http.SetStatusCode(fasthttp.StatusCreated)
	x.common("application/json")
	x.http.Response.SetBody(append(appendReservation(x.room[len(place):len(place)], r, place[len("/v1/reservations/"):]), '\n'))
}

var (
	headerLocation     = []byte(fasthttp.HeaderLocation)
	headerRequestID    = []byte("X-Request-Id")
	headerCacheControl = []byte(fasthttp.HeaderCacheControl)
	noStore            = []byte("no-store")
	headerNoSniff      = []byte(fasthttp.HeaderXContentTypeOptions)
	noSniff            = []byte("nosniff")
)

func (s *Server) getReservation(x *exchange) error {
	id, err := x.reservationID()
	if err != nil {
		return err
	}
	ctx, done := s.work(x, 0)
	defer done()
	r, err := s.opt.Engine.Reservation(ctx, x.buyer, id)
	if err != nil {
		return err
	}
	return x.json(fasthttp.StatusOK, formReservation(r))
}

// release needs no Idempotency-Key: releasing twice is releasing once.
func (s *Server) release(x *exchange) error {
	id, err := x.reservationID()
	if err != nil {
		return err
	}
	ctx, done := s.work(x, 0)
	defer done()
	r, err := s.opt.Engine.Release(ctx, x.buyer, id)
	if err != nil {
		return err
	}
	x.credit(&r)
	return x.json(fasthttp.StatusOK, formReservation(r))
}

func (s *Server) checkout(x *exchange) error {
	id, err := x.reservationID()
	if err != nil {
		return err
	}
	key, body, err := x.mutation()
	if err != nil {
		return err
	}
	pay, bad := checkoutBody(body)
	if bad != nil {
		return bad.refusal()
	}
	if err := s.passMethod(x, pay.method); err != nil {
		return err
	}
	if x.span.On() {
		x.span.Set("reservation", id.String())
	}
	wait, waitSet := preferWait(x.http.Request.Header.PeekAll("Prefer"), s.opt.MaxWait)
	ctx, done := s.work(x, s.opt.MaxWait)
	defer done()
	res, err := s.opt.Engine.Checkout(ctx, engine.CheckoutRequest{
		Buyer: x.buyer, ID: id, IdempotencyKey: key, Method: pay.method, Contact: pay.contact,
		Wait: wait, WaitSet: waitSet, Traceparent: s.traceparent(x),
	})
	if err != nil {
		var e *engine.Error
		x.replayed(errors.As(err, &e) && e.Replayed)
		return err
	}
	if waitSet {
		x.set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
	}
	x.replayed(res.Replayed)
	x.noted.Source, x.noted.Seq = trail.Gate, res.Reservation.Seq
	if a := res.Action; a != nil {
		x.set(fasthttp.HeaderLocation, "/v1/reservations/"+id.String())
		return x.json(fasthttp.StatusOK, actionNeededForm{string(engine.PaymentNeedsAction), actionForm{a.Type, a.URL},
			stamp(res.Reservation.ExpiresAt), formReservation(res.Reservation)})
	}
	if res.Order == nil {
		x.set(fasthttp.HeaderLocation, "/v1/reservations/"+id.String())
		x.retryAfter(time.Second)
		return x.json(fasthttp.StatusAccepted, pendingForm{"pending", formReservation(res.Reservation)})
	}
	if !res.Replayed {
		s.paid(x, res.Order.SaleID)
	}
	if x.span.On() {
		x.span.Set("order", res.Order.ID.Order())
	}
	x.noted.Source, x.noted.Seq, x.noted.Epoch = trail.Record, res.Order.Seq, res.Order.Epoch
	x.set(fasthttp.HeaderLocation, "/v1/orders/"+res.Order.ID.Order())
	return x.json(fasthttp.StatusCreated, formOrder(*res.Order))
}

func (s *Server) getOrder(x *exchange) error {
	id, ok := engine.ParseOrderID(x.param)
	if !ok {
		return engine.E(engine.CodeNotFound, "no such order")
	}
	ctx, done := s.work(x, 0)
	defer done()
	o, err := s.opt.Engine.Order(ctx, x.buyer, id)
	if err != nil {
		return err
	}
	f := formOrder(o)
	f.Contact = formContact(o.Contact)
	return x.json(fasthttp.StatusOK, f)
}

func (x *exchange) reservationID() (engine.ReservationID, error) {
	id, ok := engine.ParseReservationID(x.param)
	if !ok {
		return id, engine.E(engine.CodeNotFound, "no such reservation")
	}
	return id, nil
}

// mutation reads what every POST must have. The body is the request's own
// memory: it must be decoded into copies before the handler returns.
func (x *exchange) mutation() (key string, body []byte, err error) {
	if body = x.http.Request.Body(); len(body) > MaxBody {
		return "", nil, tooLarge()
	}
	if key, err = idempotencyKey(x.head.idempotencyKey); err != nil {
		return "", nil, err
	}
	return key, body, x.jsonContent()
}

// saleID says whether s can be a sale's id at all, so that nothing else of a
// stranger's reaches the engine.
func saleID(s string) bool {
	if len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if b := s[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' {
			return false
		}
	}
	return s != ""
}
