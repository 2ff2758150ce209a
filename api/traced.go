package api

import "github.com/flashsale-engine/flashsale/internal/telemetry"

// Requests that are traced. Which are is decided where their bytes are read, or
// else here; they go the usual way, where there is room for it. All others cost a
// look at a header that most do not have.

// trace begins the request's span, if it is to have one.
func (s *Server) trace(x *exchange, in *conn) {
	t := &x.head.traceparent
	if t.times > 1 {
		t.value = nil // which one is meant?
	}
	chosen := in != nil && in.chosen
	if in != nil {
		in.chosen = false
	}
	if !chosen && !s.opt.Trace.Chosen(t.value) {
		return
	}
	method := knownMethod(x.http.Method())
	_, x.span = s.opt.Trace.Begin(s.base, t.value, method+" "+x.route.pattern,
		"http.request.method", method, "http.route", x.route.pattern, "request_id", string(x.id))
}

// headerTrace tells who asked where to look: W3C Trace Context, level 2.
const headerTrace = "traceresponse"

// traceparent is the trace context of what is done for a request elsewhere and
// later: its own, or what its caller sent.
func (s *Server) traceparent(x *exchange) string {
	if x.span.On() {
		return x.span.Traceparent()
	}
	t := x.head.traceparent
	if t.times != 1 || !telemetry.Valid(t.value) || s.opt.Trace != nil && telemetry.Asks(t.value) {
		return "" // one that asks to be traced, and is not: nobody else shall begin either
	}
	return string(t.value)
}

// ended ends the span.
func (x *exchange) ended(status int) {
	if !x.span.On() {
		return
	}
	x.span.Set("http.response.status_code", status)
	var failed error
	if x.code != "" {
		x.span.Set("code", string(x.code))
	}
	if status >= 500 {
		failed = errorText(x.code)
	}
	x.span.End(failed)
}

type errorText string

func (e errorText) Error() string { return string(e) }
