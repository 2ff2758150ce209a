package api

import (
	"bytes"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/valyala/fasthttp"
)

// The quick way. Most of what a crowd sends is one request, written as plainly
// as can be and alone in what was read. It is answered where its bytes are read,
// before fasthttp parses them: "no" from what this node knows (quickno.go), else
// by the gate (quickyes.go). Anything else goes the usual way, which gives the
// same answers in the same words.

// quickly takes a request of which b is all, or says no.
func (s *Server) quickly(c *conn, b []byte) (taken bool) {
	if s.opt.SoldOut == nil && s.opt.ReserveThen == nil || s.opt.AccessLog || s.draining.Load() {
		return false
	}
	sale, raw, body, ok := plainReserve(b)
	if !ok {
		return false
	}
	known := s.names.sale(sale)
	if known == nil {
		return false
	}
	x := exchanges.Get().(*exchange)
	defer func() {
		if p := recover(); p != nil { // here it would end the process; the client finds out with the same key
			x.route = &s.metrics.routes[atReservations]
			s.panicked(x, p)
			if c.flight.up.Load() {
				s.inFlight.Add(-1)
				c.flight.land()
			}
			_ = c.Close()
			taken = true
		}
	}()
	x.head.read(raw)
	lines, ok := quickReserve(textOf(body), x.cart[:0])
	if x.head.plain(len(body)) && ok {
		if c.chosen = s.opt.Trace.Chosen(x.head.traceparent.value); c.chosen {
			x.free()
			return false
		}
		x.start, x.secure, x.from = s.opt.Now(), c.secure, s.sender(c, &x.head)
		if len(lines) == 1 && s.quickNo(c, x, known, lines[0]) || s.quickYes(c, x, known, lines) {
			return true
		}
	}
	x.free()
	return false
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
		h.host.times == 1 && plainHost(h.host.value) && h.authorization.times == 1 &&
		h.idempotencyKey.times == 1 && bareKey(h.idempotencyKey.value) != nil && h.admission.times <= 1 &&
		h.contentType.times == 1 && string(h.contentType.value) == "application/json" &&
		(h.connection.times == 0 || h.connection.times == 1 && bytes.EqualFold(h.connection.value, keepAlive))
}

// plainHost says whether b is a name or an IPv4 address, with a port or without.
func plainHost(b []byte) bool {
	name, port, has := bytes.Cut(b, []byte{':'})
	for _, c := range name {
		if !wordByte(c) && c != '.' {
			return false
		}
	}
	for _, c := range port {
		if !digit(c) {
			return false
		}
	}
	return len(name) > 0 && has == (len(port) > 0)
}

var keepAlive = []byte("keep-alive")

// bareKey gives a key that is quoted or bare and has no escapes; nil: it may have.
func bareKey(b []byte) []byte {
	if len(b) > 1 && b[0] == '"' && b[len(b)-1] == '"' {
		b = b[1 : len(b)-1]
	}
	for _, c := range b {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return nil
		}
	}
	if len(b) == 0 || len(b) > 255 {
		return nil
	}
	return b
}

// textOf gives bytes as a string that lives no longer than they do.
func textOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) } //nolint:gosec // nobody keeps it

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
