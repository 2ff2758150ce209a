package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/internal/trail"
)

// exchange is one request and its answer. It lives as long as the handler call;
// everything in it but http is a copy.
type exchange struct {
	http   *fasthttp.RequestCtx
	conn   *conn     // of a quick one
	sale   *soldFrom // of a quick one
	route  *route
	head   head
	param  string // the path's id
	id     []byte // the request's
	buyer  string
	from   client // where it comes from
	span   telemetry.Span
	start  time.Time
	asks   bool    // it is counted among those who ask for stock
	secure bool    // it came over TLS
	origin *origin // whose page it comes from; nil: nobody minds

	quota   engine.Quota // how its limit stands, if that is to be told
	counted bool         // by who the buyer is
	demand  int          // whether it needs the solution of a challenge

	code   engine.Code // of a refusal, for the metrics
	noted  trail.Noted // for support; see trail.go
	status int         // of a refusal, where HTTP has a more exact one than the code's

	scratch [maxRequestID]byte // for the request's id
	room    [1024]byte         // for whatever is written
	cart    [4]engine.CartLine // of a quick one
}

// exchanges are used again: each has room for an answer.
var exchanges = sync.Pool{New: func() any { return new(exchange) }}

func (x *exchange) free() {
	x.http, x.conn, x.sale, x.head, x.route, x.param, x.id, x.buyer, x.origin, x.code, x.status = nil, nil, nil, head{}, nil, "", nil, "", nil, "", 0
	x.asks, x.secure, x.span = false, false, telemetry.Span{}
	x.from, x.quota, x.counted, x.demand = client{}, engine.Quota{}, false, unasked
	x.noted = trail.Noted{}
	clear(x.cart[:])
	exchanges.Put(x)
}

// path gives the path as it was sent.
func path(c *fasthttp.RequestCtx) []byte {
	uri := c.Request.Header.RequestURI()
	if len(uri) == 0 || uri[0] != '/' || len(uri) > 1 && uri[1] == '/' || bytes.ContainsAny(uri, "?#") {
		return c.URI().PathOriginal()
	}
	return uri
}

// handle is the way of every request that could be read.
func (s *Server) handle(c *fasthttp.RequestCtx) {
	x := exchanges.Get().(*exchange)
	x.http, x.route, x.start, x.secure = c, &s.metrics.routes[atNowhere], s.opt.Now(), s.opt.TLS != nil
	working := s.inFlight.Add(1)
	defer func() {
		if p := recover(); p != nil {
			s.panicked(x, p)
			c.Response.Reset()
			c.Response.Header.SetCanonical(headerCacheControl, noStore)
			s.refuse(x, engine.E(engine.CodeInternal, ""))
		}
		s.inFlight.Add(-1)
		if x.asks {
			s.pressure.leave(s.opt.Now().Sub(x.start))
		}
		if s.draining.Load() {
			c.SetConnectionClose()
		}
		s.done(x)
		answered(c)
		x.free()
	}()
	at, param := match(path(c))
	x.route, x.param = &s.metrics.routes[at], s.names.of(param)
	x.head.read(c.Request.Header.RawHeaders())
	x.id, x.origin = s.ids.of(&x.head, x.scratch[:0]), s.origins.of(&x.head)
	in, ok := c.Conn().(*conn)
	if ok {
		x.from = s.sender(in, &x.head)
	}
	s.trace(x, in)
	if err := s.answer(x, working); err != nil {
		s.refuse(x, err)
	}
}

func (s *Server) answer(x *exchange, working int64) error {
	c := x.http
	if detail := x.head.badFraming(&c.Request.Header); detail != "" {
		c.SetConnectionClose()
		closePatiently(c.Conn())
		return engine.E(engine.CodeInvalidRequest, "%s", detail)
	}
	if x.route.methods == nil {
		return engine.E(engine.CodeNotFound, "no such path")
	}
	m, ok := x.route.method(c.Method())
	preflight := !ok && x.preflight()
	if !ok && !preflight {
		c.Response.Header.Set(fasthttp.HeaderAllow, x.route.allow)
		return engine.E(engine.CodeMethodNotAllowed, "this path knows %s", x.route.allow)
	}
	if m.buyer {
		c.Response.Header.SetCanonical(headerCacheControl, noStore)
	}
	if r := x.route.rankOf(m); r != supervisors && working > r.room(s.opt.MaxInFlight) {
		return turnedAway(r)
	}
	if preflight {
		return x.allow()
	}
	if x.route == &s.metrics.routes[atReservations] {
		if err := s.passPlace(x, true); err != nil {
			return err
		}
		if x.asks = s.pressure.enter(1, x.start.Sub(began)); !x.asks {
			return turnedAway(newcomers)
		}
	}
	if m.buyer {
		who, err := s.buyers.authenticate(x.head.authorization, x.start)
		if err != nil {
			return err
		}
		if x.buyer = who.buyer; x.route == &s.metrics.routes[atBatch] && !who.batch {
			return engine.E(engine.CodeForbidden, "the token lacks the scope %s", ScopeBatch)
		}
		if x.route.rank == holders {
			if err := s.passHolder(x); err != nil {
				return err
			}
		}
	}
	return m.handler(s, x)
}

// unreadable answers what fasthttp could not read as a request; it closes the
// connection afterwards.
func (s *Server) unreadable(c *fasthttp.RequestCtx, err error) {
	x := &exchange{http: c, route: &s.metrics.routes[atUnparsed], id: s.ids.next(nil), secure: s.opt.TLS != nil}
	closePatiently(c.Conn())
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		s.refuse(x, tooLarge())
	case errors.As(err, &small):
		x.status = fasthttp.StatusRequestHeaderFieldsTooLarge
		s.refuse(x, engine.E(engine.CodePayloadTooLarge, "the request line and headers exceed %d bytes", s.opt.MaxHeaderBytes))
	case errors.As(err, &timeout) && timeout.Timeout():
		x.status = fasthttp.StatusRequestTimeout
		s.refuse(x, engine.E(engine.CodeInvalidRequest, "the request did not arrive within %s", s.opt.ReadTimeout))
	default:
		// The parser's own words may quote the request; they stay here.
		s.refuse(x, engine.E(engine.CodeInvalidRequest, "this is not a well-formed HTTP/1.1 request"))
	}
	s.metrics.count(x.route, "other", c.Response.StatusCode(), x.code)
}

func tooLarge() error {
	return engine.E(engine.CodePayloadTooLarge, "the body exceeds %d bytes", MaxBody).With("limit", MaxBody)
}

func (s *Server) done(x *exchange) {
	took := s.opt.Now().Sub(x.start)
	status := x.http.Response.StatusCode()
	method := knownMethod(x.http.Method())
	s.metrics.count(x.route, method, status, x.code)
	x.span.Observe(x.route.metrics.seconds, took.Seconds())
	s.noteUsual(x, status)
	if s.opt.AccessLog {
		s.opt.Log.Info("request", "request_id", string(x.id), "method", method, "route", x.route.pattern,
			"status", status, "code", string(x.code), "took", took, "from", x.where(), "trace_id", x.span.TraceID())
	}
	x.ended(status)
}

// work gives the context of an engine call. extra is what the client asked to
// wait on top of the usual time.
func (s *Server) work(x *exchange, extra time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(x.span.Into(s.base), s.opt.RequestTimeout+extra)
}

// json writes an answer.
func (x *exchange) json(status int, body any) error {
	x.http.SetStatusCode(status)
	x.common("application/json")
	return encode(x.http.Response.BodyWriter(), body)
}

func encode(w io.Writer, body any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false) // it is served as JSON and marked nosniff
	return enc.Encode(body)
}

// common sets the headers of every answer.
func (x *exchange) common(contentType string) {
	h := &x.http.Response.Header
	h.SetContentType(contentType)
	h.SetCanonical(headerRequestID, x.id)
	h.SetCanonical(headerNoSniff, noSniff)
	if x.secure {
		h.SetCanonical(headerHSTS, hsts)
	}
	if x.http.IsGet() || x.http.IsHead() { // nothing else can be opened as a page
		h.SetCanonical(headerCSP, csp)
	}
	x.origin.mark(h)
	if x.span.On() {
		h.Set(headerTrace, x.span.Traceparent())
	}
	if x.quota.Most > 0 {
		x.standing()
	}
}

// What every answer says to browsers: see docs/security.md.
var (
	headerHSTS = []byte(fasthttp.HeaderStrictTransportSecurity)
	hsts       = []byte("max-age=31536000")
	headerCSP  = []byte(fasthttp.HeaderContentSecurityPolicy)
	csp        = []byte("default-src 'none'; frame-ancestors 'none'")
)

// hstsLine is the first of them in a quick answer.
const hstsLine = "Strict-Transport-Security: max-age=31536000\r\n"

func (x *exchange) set(name, value string) { x.http.Response.Header.Set(name, value) }

func (x *exchange) replayed(yes bool) {
	if yes {
		x.set("Idempotency-Replayed", "true")
	}
}

func (x *exchange) retryAfter(d time.Duration) {
	x.set(fasthttp.HeaderRetryAfter, strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10))
}
