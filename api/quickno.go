package api

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/problem"
	"github.com/flashsale-engine/flashsale/internal/trail"
)

// The quick no. When a sale has sold out, most of what arrives has the same
// answer. It is given before the token is verified, with one buffer. That halves
// the cost of a "no", to below that of fasthttp's "Hello, World!".
//
// That the buyer is who the token says is not checked: what is sold out is
// public, and the buyer's name only keeps those from this answer who may have
// a reservation already.

// quickNo refuses a cart of one line, if this node knows that it is sold out.
func (s *Server) quickNo(c *conn, x *exchange, sale *soldFrom, line engine.CartLine) bool {
	if s.opt.SoldOut == nil || !sale.lately(x.start.Unix()) {
		return false
	}
	buyer, ok := subject(x.head.authorization.value, x.room[:])
	if !ok {
		return false
	}
	refusal := s.opt.SoldOut(sale.id, buyer, line.SKU, line.Quantity)
	if refusal == nil {
		return false
	}
	x.noted.Buyer, x.noted.SKU = s.opt.Trail.Of(buyer), s.opt.Trail.Name(line.SKU) // the room is for the answer from here on
	x.noted.Source, x.noted.Unproven = trail.Knowledge, true
	now := x.start.Unix()
	if !s.quickRefusal(c, x, sale, refusal) {
		return false
	}
	sale.refuse(now)
	return true
}

// quickRefusal answers a request that nobody decides, and gives x back; or says no.
func (s *Server) quickRefusal(c *conn, x *exchange, sale *soldFrom, refusal error) bool {
	p := problem.Of(refusal)
	x.sale, x.code, x.id = sale, p.Code, s.ids.of(&x.head, x.scratch[:0])
	answer := s.appendNo(x.room[:0], p, x.id, s.origins.of(&x.head), x.start, x.secure)
	if answer == nil {
		return false
	}
	if c.rest(true); s.draining.Load() {
		return false
	}
	if n := c.direct.try(answer); n < len(answer) && !c.writeRest(answer[n:], s.opt.WriteTimeout) {
		_ = c.Close()
	}
	now := time.Since(began)
	c.read.wanted.Store(int64(now + s.opt.IdleTimeout))
	route := &s.metrics.routes[atReservations]
	s.metrics.count(route, fasthttp.MethodPost, p.Status, p.Code)
	route.metrics.seconds.Observe((now - x.start.Sub(began)).Seconds())
	s.noteQuick(x, p.Status, x.start)
	x.free()
	return true
}

// subject reads the buyer's name out of a token, unverified. It is part of room.
func subject(auth, room []byte) (string, bool) {
	const scheme = "Bearer "
	if len(auth) <= len(scheme) || !bytes.EqualFold(auth[:len(scheme)], []byte(scheme)) {
		return "", false
	}
	_, rest, _ := bytes.Cut(auth[len(scheme):], []byte{'.'})
	payload, _, ok := bytes.Cut(rest, []byte{'.'})
	if !ok || base64.RawURLEncoding.DecodedLen(len(payload)) > len(room) {
		return "", false
	}
	n, err := base64.RawURLEncoding.Decode(room, payload)
	if err != nil {
		return "", false
	}
	claims := room[:n]
	const name = `"sub":"`
	at := bytes.Index(claims, []byte(name))
	if at < 0 || bytes.Contains(claims[at+len(name):], []byte(name)) || bytes.IndexByte(claims, '\\') >= 0 {
		return "", false // twice, or not plain
	}
	sub := claims[at+len(name):]
	end := bytes.IndexByte(sub, '"')
	if end <= 0 || end > 128 || !utf8.Valid(sub[:end]) { // the verifier's JSON replaces what is no UTF-8
		return "", false
	}
	return textOf(sub[:end]), true
}

// appendNo writes the whole answer: what refuse and fasthttp would write.
func (s *Server) appendNo(b []byte, p problem.Problem, id []byte, from *origin, now time.Time, secure bool) []byte {
	switch p.Code {
	case engine.CodeSoldOut:
		b = append(b, "HTTP/1.1 409 Conflict\r\nDate: "...)
	case engine.CodeOverloaded:
		b = append(b, "HTTP/1.1 503 Service Unavailable\r\nDate: "...)
	default:
		return nil
	}
	b = append(b, s.date.at(now)...)
	b = append(b, "\r\nContent-Type: "+problem.ContentType+"\r\nContent-Length: "...)
	length := len(b)
	b = append(b, "000\r\nCache-Control: no-store\r\n"...)
	if after := p.RetryAfter(); after > 0 {
		b = append(strconv.AppendInt(append(b, "Retry-After: "...), int64(after), 10), "\r\n"...)
	}
	b = append(b, "X-Request-Id: "...)
	b = append(b, id...)
	b = append(b, "\r\nX-Content-Type-Options: nosniff\r\n"...)
	if secure {
		b = append(b, hstsLine...)
	}
	b = append(from.appendTo(b), "\r\n"...)
	body := len(b)
	if b = p.AppendPlain(b, id); b == nil {
		return nil
	}
	return setLength(b, length, len(b)-body)
}
