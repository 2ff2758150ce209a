package api

import (
	"bufio"
	"bytes"
	"context"
	"mime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
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
)

// ScopeBatch is the scope that lets a token name the buyers.
const ScopeBatch = "reservations:batch"

const ndjson = "application/x-ndjson"

// bodyLimit lets a service send more than a buyer, and nobody else: fasthttp
// asks once the headers are there, before it makes room for a body.
func (s *Server) bodyLimit(h *fasthttp.RequestHeader) (c fasthttp.RequestConfig) {
	if uri := h.RequestURI(); bytes.HasSuffix(uri, batchSuffix) && h.IsPost() {
		var in head
		in.read(h.RawHeaders())
		if who, err := s.buyers.authenticate(in.authorization, s.opt.Now()); err == nil && who.batch {
			c.MaxRequestBodySize = MaxBatchBody
			c.WriteTimeout = s.opt.RequestTimeout + s.opt.WriteTimeout // it is written while it is decided
		}
	}
	return c
}

var batchSuffix = []byte("/reservations:batch")

func (s *Server) reserveBatch(x *exchange) error {
	if !saleID(x.param) {
		return engine.E(engine.CodeNotFound, "no such sale")
	}
	if kind, _, err := mime.ParseMediaType(string(x.http.Request.Header.ContentType())); err != nil || kind != ndjson {
		return engine.E(engine.CodeUnsupportedMedia, "the body must be "+ndjson)
	}
	if !x.head.plainBody() {
		return engine.E(engine.CodeUnsupportedMedia, "the body must not be compressed")
	}
	b := &batch{server: s, id: string(x.id), route: x.route, sale: x.param, start: x.start, first: make(chan struct{}), more: make(chan struct{}, 1)}
	if err := b.read(x.http.Request.Body()); err != nil {
		return err
	}
	// Each line counts as a request; a batch that is alone here is served, however long.
	n := int64(len(b.index) + len(b.bad))
	full := !s.pressure.enter(n, x.start.Sub(began))
	if now := s.inFlight.Add(n); full || now > newcomers.room(s.opt.MaxInFlight) && now > n+1 {
		if s.inFlight.Add(-n); !full {
			s.pressure.asking.Add(-n)
		}
		return engine.E(engine.CodeOverloaded, "this node has no room for %d requests more", n).After(time.Second)
	}
	b.ctx, b.cancel = context.WithCancel(s.limits.get(x.start))
	go b.decide()
	x.http.SetStatusCode(fasthttp.StatusOK)
	x.common(ndjson)
	<-b.first
	if whole, all := b.take(nil); all {
		b.cancel()
		x.http.Response.SetBodyRaw(whole)
	} else {
		x.http.SetBodyStreamWriter(func(w *bufio.Writer) { b.write(w, whole) }) // x and its request are somebody else's by then
	}
	return nil
}

// batch is one request's lines on their way.
type batch struct {
	server *Server
	id     string
	route  *route
	sale   string
	start  time.Time
	asked  []engine.ReserveRequest // the lines that could be read
	index  []int                   // and which they are
	bad    []badLine               // the others

	ctx    context.Context // ends when the client has gone
	cancel context.CancelFunc

	mu      sync.Mutex
	text    []byte // answers to be written
	pending int    // answers still to come
	first   chan struct{}
	begun   bool          // first is closed
	more    chan struct{} // filled when there is text or the end
}

type badLine struct {
	index int
	err   error
}

// readBatch takes the lines apart. Blank ones do not count.
func (b *batch) read(body []byte) error {
	if len(body) > MaxBatchBody {
		return engine.E(engine.CodePayloadTooLarge, "the body exceeds %d bytes", MaxBatchBody).With("limit", MaxBatchBody)
	}
	most := min(bytes.Count(body, []byte{'\n'})+1, MaxBatchLines)
	b.asked, b.index = make([]engine.ReserveRequest, 0, most), make([]int, 0, most)
	carts := make([]engine.CartLine, 0, most) // most carts have one line
	text := string(body)                      // one copy holds whatever is kept of it
	n := 0
	for at := 0; at < len(text); {
		line := text[at:]
		if i := strings.IndexByte(line, '\n'); i >= 0 {
			line = line[:i]
		}
		at += len(line) + 1
		if line = strings.TrimSpace(line); len(line) == 0 {
			continue
		}
		if n == MaxBatchLines {
			return engine.E(engine.CodePayloadTooLarge, "the body exceeds %d lines", MaxBatchLines).With("limit", MaxBatchLines)
		}
		var r engine.ReserveRequest
		var err error
		if len(line) > MaxBody {
			err = engine.E(engine.CodePayloadTooLarge, "the line exceeds %d bytes", MaxBody).With("limit", MaxBody)
		} else if !quickBatchLine(line, &r, &carts) {
			if bad := batchLine([]byte(line), &r); bad != nil {
				err = bad.refusal()
			}
		}
		if err != nil {
			b.bad = append(b.bad, badLine{n, err})
		} else {
			b.asked, b.index = append(b.asked, r), append(b.index, n)
		}
		n++
	}
	if n == 0 {
		return engine.E(engine.CodeInvalidRequest, "body: is empty; one JSON object per line is expected").With("field", "body")
	}
	b.pending = n
	return nil
}

// batchLine reads {"buyer","idempotency_key","admission_token"?,"lines":[{"sku","quantity"}]}.
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
		case "admission_token":
			r.Admission, err = c.str()
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

// quickBatchLine reads a line that is written plainly; see quickReserve. Its
// cart is appended to carts.
func quickBatchLine(text string, r *engine.ReserveRequest, carts *[]engine.CartLine) bool {
	b := bytesOf(text)
	q, read := quick{b: b}, engine.ReserveRequest{}
	if !q.is('{') {
		return false
	}
	from := len(*carts)
	room := *carts
	for {
		at, to, ok := q.text()
		if !ok || !q.is(':') {
			return false
		}
		switch text[at:to] {
		case "buyer":
			if at, to, ok = q.text(); !ok || read.Buyer != "" || manyDigits(b[at:to]) || !fitBuyer(text[at:to]) {
				return false
			}
			read.Buyer = text[at:to]
		case "idempotency_key":
			if at, to, ok = q.text(); !ok || read.IdempotencyKey != "" || manyDigits(b[at:to]) || !plainKey(text[at:to]) {
				return false
			}
			read.IdempotencyKey = text[at:to]
		case "admission_token":
			if at, to, ok = q.text(); !ok || read.Admission != "" || manyDigits(b[at:to]) || !plainKey(text[at:to]) {
				return false
			}
			read.Admission = text[at:to]
		case "lines":
			if len(room) > from || !q.is('[') {
				return false
			}
			for more := true; more; more = q.is(',') {
				l, ok := q.line(text)
				if !ok || len(room)-from == engine.MaxLines {
					return false
				}
				room = append(room, l)
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
	if !q.is('}') || q.i != len(b) || read.Buyer == "" || read.IdempotencyKey == "" || len(room) == from {
		return false
	}
	*carts, read.Lines = room, room[from:len(room):len(room)]
	*r = read
	return true
}

// decide answers all lines. What it panics over is answered as an internal error.
func (b *batch) decide() {
	answered := make([]bool, len(b.asked))
	say := func(i, index int, r *engine.Reservation, err error) {
		if i >= 0 {
			answered[i] = true
		}
		b.server.inFlight.Add(-1)
		b.server.pressure.leave(b.server.opt.Now().Sub(b.start))
		code := b.line(index, r, err)
		b.server.metrics.countLine(code)
		if i >= 0 {
			b.server.noteLine(b, &b.asked[i], r, err, code)
		}
	}
	defer func() {
		p := recover()
		if p != nil {
			b.server.opt.Log.Error("panic", "request_id", b.id, "route", b.route.pattern, "panic", p, "stack", string(debug.Stack()))
		}
		for i, done := range answered {
			if !done {
				say(i, b.index[i], nil, engine.E(engine.CodeInternal, ""))
			}
		}
		b.pause()
	}()
	for _, bad := range b.bad {
		say(-1, bad.index, nil, bad.err)
	}
	if len(b.asked) > 0 {
		b.server.opt.Engine.ReserveAll(b.ctx, b.sale, b.asked, func(i int, r *engine.Reservation, err error) { say(i, b.index[i], r, err) }, b.pause)
	}
}

// line appends an answer's text: index, then a reservation's or a problem's members.
func (b *batch) line(index int, r *engine.Reservation, err error) engine.Code {
	var p problem.Problem
	var document []byte
	if err != nil {
		p = problem.Of(err)
		b.server.logFault(p, b.id, b.route)
		document = p.Document(b.id)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pending--
	if b.text == nil {
		b.text = make([]byte, 0, 384*(b.pending+1))
	}
	to := strconv.AppendInt(append(b.text, `{"index":`...), int64(index), 10)
	if err != nil {
		b.text = append(append(append(to, ','), document[1:]...), '\n')
		return p.Code
	}
	if r.Replayed {
		to = append(to, `,"replayed":true`...)
	}
	at := len(to)
	to = appendReservation(to, r, nil)
	to[at] = ',' // was the brace
	b.text = append(to, '\n')
	return ""
}

// pause lets what is there be written.
func (b *batch) pause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.text) == 0 && b.pending > 0 {
		return
	}
	if !b.begun {
		b.begun = true
		close(b.first)
	}
	select {
	case b.more <- struct{}{}:
	default:
	}
}

// take gives the text to be written, and whether nothing follows it. A batch that
// is decided by one call is one piece.
func (b *batch) take(room []byte) (text []byte, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text, b.text = b.text, room[:0]
	return text, b.pending == 0
}

// write streams the answers: whatever is there goes out at once.
func (b *batch) write(w *bufio.Writer, text []byte) {
	defer b.cancel()
	for gone, all := false, false; ; {
		if !gone && len(text) > 0 {
			if _, err := w.Write(text); err != nil || w.Flush() != nil {
				gone = true
				b.cancel() // the client has hung up: what was not begun is not
			}
		}
		if all {
			return
		}
		<-b.more
		text, all = b.take(text)
	}
}
