package api

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/problem"
)

// The quick no. When a sale has sold out, most of what arrives is the same
// request with the same answer. It is given where the bytes are read: before
// fasthttp parses them, before the token is verified, with one buffer. That
// halves the cost of a "no", to below that of fasthttp's "Hello, World!".
//
// Only a request that is written as plainly as can be, alone in what was read,
// is looked at; anything else, and whatever is not known to be sold out to this
// very buyer, goes the usual way, which gives the same answer in the same words.
// That the buyer is who the token says is not checked: what is sold out is
// public, and the buyer's name only keeps those from this answer who may have
// a reservation already.

// quickNo answers a request of which b is all, or says no.
func (s *Server) quickNo(c *conn, b []byte) bool {
	if s.opt.SoldOut == nil || s.opt.AccessLog || s.draining.Load() {
		return false
	}
	sale, raw, body, ok := plainReserve(b)
	if !ok {
		return false
	}
	known := s.names.have.Load()
	if known == nil {
		return false
	}
	name, ok := (*known)[string(sale)]
	if !ok {
		return false
	}
	x := exchanges.Get().(*exchange)
	defer exchanges.Put(x)
	h := &x.head
	if h.read(raw); !h.plain(len(body)) {
		return false
	}
	var room [1]engine.CartLine
	lines, ok := quickReserve(textOf(body), room[:0])
	if !ok || len(lines) != 1 {
		return false
	}
	buyer, ok := subject(h.authorization.value, x.room[:])
	if !ok {
		return false
	}
	refusal := s.opt.SoldOut(name, buyer, lines[0].SKU, lines[0].Quantity)
	if refusal == nil {
		return false
	}
	now := time.Now()
	answer := s.appendNo(x.room[:0], refusal, s.ids.of(h, x.scratch[:0]), now)
	if answer == nil {
		return false
	}
	c.quick = true
	c.read.wanted.Store(int64(now.Sub(began) + s.opt.IdleTimeout))
	c.write.set(now.Add(s.opt.WriteTimeout), c.Conn.SetWriteDeadline) //nolint:errcheck // a closed connection: the write says so
	if _, err := c.Write(answer); err != nil {
		return false // fasthttp meets the same error
	}
	route := &s.metrics.routes[atReservations]
	s.metrics.count(route, fasthttp.MethodPost, http.StatusConflict, engine.CodeSoldOut)
	route.metrics.seconds.Observe(time.Since(now).Seconds())
	return true
}

var (
	reserveStart = []byte("POST /v1/sales/")
	reserveEnd   = []byte("/reservations HTTP/1.1\r\n")
	blankLine    = []byte("\r\n\r\n")
)

// plainReserve takes a reservation's request apart.
func plainReserve(b []byte) (sale, headers, body []byte, ok bool) {
	rest, ok := bytes.CutPrefix(b, reserveStart)
	if !ok {
		return nil, nil, nil, false
	}
	at := bytes.IndexByte(rest, '/')
	if at <= 0 || !bytes.HasPrefix(rest[at:], reserveEnd) {
		return nil, nil, nil, false
	}
	sale, rest = rest[:at], rest[at+len(reserveEnd):]
	end := bytes.Index(rest, blankLine)
	if end < 0 {
		return nil, nil, nil, false
	}
	return sale, rest[:end+2], rest[end+len(blankLine):], true
}

// plain says whether headers are those of a request that could mean nothing else.
func (h *head) plain(body int) bool {
	n, err := strconv.Atoi(string(h.length.value))
	return err == nil && n == body && h.length.times == 1 && h.length.value[0] != '+' && body <= MaxBody &&
		!h.folded && !h.odd && h.transfer.times == 0 && h.expect.times == 0 && h.encoding.times == 0 &&
		h.host.times == 1 && len(h.host.value) > 0 && h.authorization.times == 1 &&
		h.idempotencyKey.times == 1 && keyIsPlain(h.idempotencyKey.value) &&
		h.contentType.times == 1 && string(h.contentType.value) == "application/json" &&
		(h.connection.times == 0 || h.connection.times == 1 && bytes.EqualFold(h.connection.value, keepAlive))
}

var keepAlive = []byte("keep-alive")

// keyIsPlain says whether a key is fit, quoted or bare, without a look at escapes.
func keyIsPlain(b []byte) bool {
	if len(b) > 1 && b[0] == '"' && b[len(b)-1] == '"' {
		b = b[1 : len(b)-1]
	}
	for _, c := range b {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 255
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
	if end <= 0 || end > 128 {
		return "", false
	}
	return textOf(sub[:end]), true
}

// textOf gives bytes as a string that lives no longer than they do.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // nobody keeps it

// appendNo writes the whole answer: what refuse and fasthttp would write.
func (s *Server) appendNo(b []byte, refusal error, id []byte, now time.Time) []byte {
	p := problem.Of(refusal)
	if p.Code != engine.CodeSoldOut {
		return nil
	}
	from := len(b)
	b = append(b, "HTTP/1.1 409 Conflict\r\nDate: "...)
	b = append(b, s.date.at(now)...)
	b = append(b, "\r\nContent-Type: "+problem.ContentType+"\r\nContent-Length: "...)
	length := len(b)
	b = append(b, "000\r\nCache-Control: no-store\r\nX-Request-Id: "...)
	b = append(b, id...)
	b = append(b, "\r\nX-Content-Type-Options: nosniff\r\n\r\n"...)
	body := len(b)
	if b = p.AppendPlain(b, id); b == nil || len(b)-body > 999 || len(b)-from > cap(b) {
		return nil
	}
	n := len(b) - body
	b[length], b[length+1], b[length+2] = byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10)
	return b
}

// answered keeps account of what fasthttp has of a connection: once it has
// answered all that it was given, the next byte begins a request.
func answered(ctx *fasthttp.RequestCtx) {
	c, ok := ctx.Conn().(*conn)
	if !ok {
		return
	}
	h := &ctx.Request.Header
	if h.ContentLength() < 0 || ctx.Request.IsBodyStream() {
		c.lost = c.lost || h.ContentLength() == -1 // chunked: its length on the wire is not known
	}
	// METHOD SP URI SP HTTP/1.1 CR LF, headers with their blank line, body
	c.given -= len(h.Method()) + len(h.RequestURI()) + len("  HTTP/1.1\r\n") + len(h.RawHeaders()) + max(0, h.ContentLength())
}

// dates remembers the Date header of a second.
type dates struct{ last atomic.Pointer[dated] }

type dated struct {
	second int64
	text   []byte
}

func (d *dates) at(now time.Time) []byte {
	last := d.last.Load()
	if last == nil || last.second != now.Unix() {
		last = &dated{now.Unix(), fasthttp.AppendHTTPDate(nil, now)}
		d.last.Store(last)
	}
	return last.text
}
