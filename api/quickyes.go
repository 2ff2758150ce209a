package api

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/trail"
)

// The quick yes. A plain reservation is asked for where its bytes are read, and
// the connection's goroutine goes back to reading. Whoever hears the decision
// writes the answer: mostly the gate's lane, for all that one call decided. So a
// goroutine is woken once per request instead of twice, and nothing of fasthttp
// is passed. docs/adr/013 has the reasoning.

// quickYes asks for a reservation, or says no. x is the answer's from then on.
func (s *Server) quickYes(c *conn, x *exchange, sale *soldFrom, lines []engine.CartLine) bool {
	if s.opt.ReserveThen == nil || s.draining.Load() || s.passPlace(x, false) != nil {
		return false // what is not plainly within its limits is not counted yet
	}
	if s.inFlight.Add(1) > newcomers.room(s.opt.MaxInFlight) || !s.pressure.enter(1, x.start.Sub(began)) {
		s.inFlight.Add(-1)
		buyer, _ := subject(x.head.authorization.value, x.room[:])
		x.noted.Buyer, x.noted.SKU, x.noted.Source, x.noted.Unproven = s.opt.Trail.Of(buyer), s.skuOf(lines), trail.Node, true
		return s.quickRefusal(c, x, sale, turnedAway(newcomers))
	}
	if !c.flight.takeOff() {
		s.inFlight.Add(-1)
		s.pressure.asking.Add(-1)
		return false
	}
	c.rest(true)
	x.conn, x.sale, x.route = c, sale, &s.metrics.routes[atReservations]
	x.id, x.origin = s.ids.of(&x.head, x.scratch[:0]), s.origins.of(&x.head)
	s.ask(x, lines)
	return true
}

// ask has the engine decide. It keeps nothing of the request.
func (s *Server) ask(x *exchange, lines []engine.CartLine) {
	defer func() {
		if p := recover(); p != nil {
			s.panicked(x, p)
			x.Reserved(nil, engine.E(engine.CodeInternal, ""))
		}
	}()
	who, err := s.whoAsks(x)
	if err != nil {
		x.Reserved(nil, err)
		return
	}
	x.buyer = who.buyer
	x.noted.Buyer, x.noted.SKU = s.opt.Trail.Of(who.buyer), s.skuOf(lines)
	key := textOf(bareKey(x.head.idempotencyKey.value))
	if err := s.passBuyer(x, x.sale.id, false); errors.Is(err, errWaits) {
		x.keepSolution()
		go s.askLater(x, engine.ReserveRequest{Sale: x.sale.id, Buyer: x.buyer, IdempotencyKey: strings.Clone(key), Lines: keep(lines), Admission: string(x.head.admission.value)})
		return
	} else if err != nil {
		x.Reserved(nil, err)
		return
	}
	s.opt.ReserveThen(s.limits.get(x.start), engine.ReserveRequest{Sale: x.sale.id, Buyer: who.buyer, IdempotencyKey: key, Lines: lines, Admission: textOf(x.head.admission.value)}, x)
}

func (s *Server) whoAsks(x *exchange) (bearer, error) {
	if s.opt.Unguarded {
		if buyer, ok := subject(x.head.authorization.value, x.room[:]); ok {
			return bearer{buyer: buyer}, nil
		}
	}
	return s.buyers.authenticate(x.head.authorization, x.start)
}

// askLater is ask for who has to wait for what limits say. The request has gone by then.
func (s *Server) askLater(x *exchange, r engine.ReserveRequest) {
	defer func() {
		if p := recover(); p != nil {
			s.panicked(x, p)
			x.Reserved(nil, engine.E(engine.CodeInternal, ""))
		}
	}()
	if err := s.passBuyer(x, x.sale.id, true); err != nil {
		x.Reserved(nil, err)
		return
	}
	s.opt.ReserveThen(s.limits.get(s.opt.Now()), r, x)
}

// keep copies a cart whose names are a request's.
func keep(lines []engine.CartLine) []engine.CartLine {
	lines = slices.Clone(lines)
	for i := range lines {
		lines[i].SKU = strings.Clone(lines[i].SKU)
	}
	return lines
}

// rooms are where answers are put together. One that has just been used is in the
// processor's cache, which the room of a request that came long ago is not.
var rooms = sync.Pool{New: func() any { return new([answerRoom]byte) }}

const answerRoom = 1024

// Reserved implements engine.OnReserve: it answers.
func (x *exchange) Reserved(r *engine.Reservation, err error) {
	c := x.conn
	s := c.server
	room := rooms.Get().(*[answerRoom]byte)
	answer, last := s.answerTo(x, r, err, room[:0])
	n := c.direct.try(answer)
	if n < len(answer) { // a slow reader, or one that has gone
		go func(rest []byte) {
			gone := !c.writeRest(rest, s.opt.WriteTimeout)
			s.landed(x, last || gone)
		}(bytes.Clone(answer[n:]))
		rooms.Put(room)
		return
	}
	rooms.Put(room)
	s.landed(x, last)
}

// landed lets the connection go on, or ends it.
func (s *Server) landed(x *exchange, last bool) {
	c := x.conn
	x.free()
	c.read.wanted.Store(int64(time.Since(began) + s.opt.IdleTimeout))
	if over := c.flight.land(); over || last {
		_ = c.Close()
	}
}

// answerTo writes the whole answer, into room if it fits, and counts it.
func (s *Server) answerTo(x *exchange, r *engine.Reservation, err error, room []byte) (answer []byte, last bool) {
	s.inFlight.Add(-1)
	now := s.opt.Now()
	s.pressure.leave(now.Sub(x.start))
	answer, status, last := s.compose(x, r, err, room, now)
	switch {
	case x.code == engine.CodeSoldOut:
		x.sale.refuse(now.Unix())
	case err == nil && !r.Replayed:
		s.made(x, x.sale.id)
	}
	s.metrics.count(x.route, fasthttp.MethodPost, status, x.code)
	s.noteQuick(x, status, now)
	x.route.metrics.seconds.Observe(now.Sub(x.start).Seconds())
	return answer, last
}

// compose gives the bytes that the usual way would. last says that the
// connection ends with them.
func (s *Server) compose(x *exchange, r *engine.Reservation, err error, room []byte, now time.Time) (answer []byte, status int, last bool) {
	defer func() {
		if p := recover(); p != nil {
			s.panicked(x, p)
			answer, status, last = s.usually(x, nil, engine.E(engine.CodeInternal, ""))
		}
	}()
	if err == nil && !r.Replayed && !s.draining.Load() && x.quota.Most == 0 {
		x.credit(r)
		if answer = s.appendYes(room, r, x, now); answer != nil {
			return answer, http.StatusCreated, false
		}
	}
	return s.usually(x, r, err)
}

// appendYes writes the answer to a new reservation.
func (s *Server) appendYes(b []byte, r *engine.Reservation, x *exchange, now time.Time) []byte {
	b = append(b, "HTTP/1.1 201 Created\r\nDate: "...)
	b = append(b, s.date.at(now)...)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	length := len(b)
	b = append(b, "000\r\nCache-Control: no-store\r\nLocation: /v1/reservations/"...)
	place := len(b)
	b = r.ID.Append(b)
	named := b[place:]
	b = append(b, "\r\nX-Request-Id: "...)
	b = append(b, x.id...)
	b = append(b, "\r\nX-Content-Type-Options: nosniff\r\n"...)
	if x.secure {
		b = append(b, hstsLine...)
	}
	b = append(x.origin.appendTo(b), "\r\n"...)
	body := len(b)
	b = append(appendReservation(b, r, named), '\n')
	return setLength(b, length, len(b)-body)
}

// setLength puts a length of three digits in its place; nil: it has not three.
func setLength(b []byte, at, n int) []byte {
	if n < 100 || n > 999 {
		return nil
	}
	b[at], b[at+1], b[at+2] = byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10)
	return b
}

// contexts are where rarer answers are put together, by the code of the usual way.
var contexts = sync.Pool{New: func() any {
	c := new(fasthttp.RequestCtx)
	c.Request.Header.SetMethod(fasthttp.MethodPost)
	return c
}}

func (s *Server) usually(x *exchange, r *engine.Reservation, err error) (answer []byte, status int, last bool) {
	c := contexts.Get().(*fasthttp.RequestCtx)
	defer contexts.Put(c)
	c.Response.Reset()
	c.Response.Header.SetNoDefaultContentType(true)
	c.Response.Header.SetCanonical(headerCacheControl, noStore)
	if x.http = c; err != nil {
		s.refuse(x, err)
	} else {
		x.reserved(r)
	}
	x.http = nil
	if last = s.draining.Load(); last {
		c.SetConnectionClose()
	}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	_ = c.Response.Write(w) // into memory
	_ = w.Flush()
	return b.Bytes(), c.Response.StatusCode(), last
}

func (s *Server) panicked(x *exchange, p any) {
	s.opt.Log.Error("panic", "request_id", string(x.id), "route", x.route.pattern, "panic", p, "stack", string(debug.Stack()))
}
