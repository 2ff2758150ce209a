package api

import (
	"bufio"
	"bytes"
	"context"
	"mime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/problem"
)

// Many reservations in one request, for a storefront's back end or an edge that
// has gathered its crowd. Each line is a reservation of its own: decided by
// itself, refused by itself, repeatable under its own key. All lines are in
// flight together, so that the gate decides them in one call or a few; answers
// are written as they come, which may be in another order: index says whose.

// Limits of a batch, fixed by the contract.
const (
	MaxBatchLines = 1024
	MaxBatchBody  = 1 << 20 // bytes
	batchInFlight = 256     // lines of one request at the gate at once: as many as one call takes
)

// ScopeBatch is the scope that lets a token name the buyers.
const ScopeBatch = "reservations:batch"

const ndjson = "application/x-ndjson"

// bodyLimit lets a service send more than a buyer, and nobody else: fasthttp
// asks once the headers are there, before it makes room for a body.
func (s *Server) bodyLimit(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	if uri := h.RequestURI(); bytes.HasSuffix(uri, batchSuffix) && h.IsPost() {
		if who, err := s.buyers.authenticate(h); err == nil && who.batch {
			c.MaxRequestBodySize = MaxBatchBody
			c.WriteTimeout = s.opt.RequestTimeout + s.opt.WriteTimeout // it is written while it is decided
		}
	}
	return c
}

var batchSuffix = []byte("/reservations:batch")

// wanted is one line as it was read.
type wanted struct {
	engine.ReserveRequest
	err error // of the reading
}

// decidedLine is one line as it was answered.
type decidedLine struct {
	index int
	r     engine.Reservation
	err   error
}

func (s *Server) reserveBatch(x *exchange) error {
	if !saleID(x.param) {
		return engine.E(engine.CodeNotFound, "no such sale")
	}
	h := &x.http.Request.Header
	if kind, _, err := mime.ParseMediaType(string(h.ContentType())); err != nil || kind != ndjson {
		return engine.E(engine.CodeUnsupportedMedia, "the body must be "+ndjson)
	}
	if e := h.Peek(fasthttp.HeaderContentEncoding); len(e) > 0 && !strings.EqualFold(string(e), "identity") {
		return engine.E(engine.CodeUnsupportedMedia, "the body must not be compressed")
	}
	lines, err := readBatch(x.http.Request.Body(), x.param)
	if err != nil {
		return err
	}
	// Each line counts as a request; a batch that is alone here is served, however long.
	n := int64(len(lines))
	if now := s.inFlight.Add(n); now > int64(s.opt.MaxInFlight) && now > n+1 {
		s.inFlight.Add(-n)
		return engine.E(engine.CodeOverloaded, "this node has no room for %d requests more", n).After(time.Second)
	}
	b := &batch{server: s, id: x.id, route: x.route, lines: lines, answers: make(chan decidedLine, len(lines))}
	b.ctx, b.cancel = context.WithCancel(s.limits.get())
	for range min(len(lines), batchInFlight) {
		go b.work()
	}
	x.http.SetStatusCode(fasthttp.StatusOK)
	x.common(ndjson)
	x.http.SetBodyStreamWriter(b.write) // x and its request are somebody else's by then
	return nil
}

// readBatch takes the lines apart. Blank ones do not count.
func readBatch(body []byte, sale string) ([]wanted, error) {
	if len(body) > MaxBatchBody {
		return nil, engine.E(engine.CodePayloadTooLarge, "the body exceeds %d bytes", MaxBatchBody).With("limit", MaxBatchBody)
	}
	out := make([]wanted, 0, min(bytes.Count(body, []byte{'\n'})+1, MaxBatchLines))
	for len(body) > 0 {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte{'\n'})
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if len(out) == MaxBatchLines {
			return nil, engine.E(engine.CodePayloadTooLarge, "the body exceeds %d lines", MaxBatchLines).With("limit", MaxBatchLines)
		}
		w := wanted{ReserveRequest: engine.ReserveRequest{Sale: sale}}
		if len(line) > MaxBody {
			w.err = engine.E(engine.CodePayloadTooLarge, "the line exceeds %d bytes", MaxBody).With("limit", MaxBody)
		} else if !quickBatchLine(line, &w.ReserveRequest) {
			if bad := batchLine(line, &w.ReserveRequest); bad != nil {
				w.err = bad.refusal()
			}
		}
		out = append(out, w)
	}
	if len(out) == 0 {
		return nil, engine.E(engine.CodeInvalidRequest, "body: is empty; one JSON object per line is expected").With("field", "body")
	}
	return out, nil
}

// batchLine reads {"buyer","idempotency_key","lines":[{"sku","quantity"}]}.
func batchLine(b []byte, r *engine.ReserveRequest) *fieldError {
	c, err := openJSON(b)
	if err != nil {
		return err
	}
	if err := cardNumber(c); err != nil {
		return err
	}
	given := false
	err = c.object(func(name string) (err *fieldError) {
		switch name {
		case "buyer":
			if r.Buyer, err = c.str(); err == nil && !fitBuyer(r.Buyer) {
				err = &fieldError{"", "must have 1 to 128 bytes and no control characters"}
			}
		case "idempotency_key":
			if r.IdempotencyKey, err = c.str(); err == nil && !plainKey(r.IdempotencyKey) {
				err = &fieldError{"", "must have 1 to 255 printable ASCII characters"}
			}
		case "lines":
			given = true
			r.Lines, err = cartLines(&c)
		default:
			return unknown(name)
		}
		return under(name, err)
	})
	switch {
	case err != nil:
		return err
	case r.Buyer == "":
		return missing("buyer")
	case r.IdempotencyKey == "":
		return missing("idempotency_key")
	case !given:
		return missing("lines")
	case len(r.Lines) == 0:
		return noLines()
	}
	return nil
}

func plainKey(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= 255
}

// quickBatchLine reads a line that is written plainly; see quickReserve.
func quickBatchLine(b []byte, r *engine.ReserveRequest) bool {
	q, read := quick{b: b}, engine.ReserveRequest{Sale: r.Sale}
	if !q.is('{') {
		return false
	}
	text := string(b)
	for {
		from, to, ok := q.text()
		if !ok || !q.is(':') {
			return false
		}
		switch text[from:to] {
		case "buyer":
			if from, to, ok = q.text(); !ok || read.Buyer != "" || manyDigits(b[from:to]) || !fitBuyer(text[from:to]) {
				return false
			}
			read.Buyer = text[from:to]
		case "idempotency_key":
			if from, to, ok = q.text(); !ok || read.IdempotencyKey != "" || manyDigits(b[from:to]) || !plainKey(text[from:to]) {
				return false
			}
			read.IdempotencyKey = text[from:to]
		case "lines":
			if read.Lines != nil || !q.is('[') {
				return false
			}
			for more := true; more; more = q.is(',') {
				l, ok := q.line(text)
				if !ok || len(read.Lines) == engine.MaxLines {
					return false
				}
				read.Lines = append(read.Lines, l)
			}
			if !q.is(']') {
				return false
			}
		default:
			return false
		}
		if !q.is(',') {
			break
		}
	}
	if !q.is('}') || q.i != len(b) || read.Buyer == "" || read.IdempotencyKey == "" || read.Lines == nil {
		return false
	}
	*r = read
	return true
}

// batch is one request's lines on their way.
type batch struct {
	server  *Server
	id      string
	route   *route
	lines   []wanted
	next    atomic.Int64
	answers chan decidedLine // has room for all: nobody waits to answer

	ctx    context.Context // ends when the client has gone
	cancel context.CancelFunc
}

// work takes one line after another.
func (b *batch) work() {
	for {
		i := int(b.next.Add(1)) - 1
		if i >= len(b.lines) {
			return
		}
		b.answers <- b.decide(i)
	}
}

func (b *batch) decide(i int) (d decidedLine) {
	d.index = i
	defer b.server.inFlight.Add(-1)
	defer func() {
		if p := recover(); p != nil {
			b.server.opt.Log.Error("panic", "request_id", b.id, "route", b.route.pattern, "panic", p, "stack", string(debug.Stack()))
			d.err = engine.E(engine.CodeInternal, "")
		}
	}()
	switch d.err = b.lines[i].err; {
	case d.err != nil:
	case b.ctx.Err() != nil: // nobody listens any more: what was not begun is not
		d.err = b.ctx.Err()
	default:
		d.r, d.err = b.server.opt.Engine.Reserve(b.ctx, b.lines[i].ReserveRequest)
	}
	return d
}

// write streams the answers: whatever is there goes out at once.
func (b *batch) write(w *bufio.Writer) {
	defer b.cancel()
	var room [1024]byte
	gone := false
	for range b.lines {
		var d decidedLine
		select {
		case d = <-b.answers:
		default:
			if !gone && w.Flush() != nil {
				gone = true
				b.cancel() // the client has hung up
			}
			d = <-b.answers
		}
		line, code := b.line(room[:0], d)
		b.server.metrics.countLine(code)
		if !gone {
			if _, err := w.Write(line); err != nil {
				gone = true
				b.cancel()
			}
		}
	}
}

// line gives an answer's text: index, then a reservation's or a problem's members.
func (b *batch) line(to []byte, d decidedLine) ([]byte, engine.Code) {
	to = strconv.AppendInt(append(to, `{"index":`...), int64(d.index), 10)
	if d.err == nil {
		if d.r.Replayed {
			to = append(to, `,"replayed":true`...)
		}
		at := len(to)
		to = appendReservation(to, &d.r)
		to[at] = ',' // was the brace
		return append(to, '\n'), ""
	}
	p := problem.Of(d.err)
	b.server.logFault(p, b.id, b.route)
	to = append(to, ',')
	to = append(to, p.Document(b.id)[1:]...)
	return append(to, '\n'), p.Code
}
