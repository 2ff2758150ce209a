package telemetry

import (
	"fmt"
	"net/http"
)

// Transport makes each request of an HTTP client a step, and hands the trace on by
// traceparent. What is not traced goes through as it is.
func Transport(base http.RoundTripper) http.RoundTripper { return transport{base} }

type transport struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper. The step ends when the answer's head is there.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !Of(r.Context()).On() {
		return t.base.RoundTrip(r)
	}
	ctx, span := Call(r.Context(), r.Method+" "+r.URL.Host, "http.request.method", r.Method, "server.address", r.URL.Host, "url.path", r.URL.Path)
	r = r.Clone(ctx) // a RoundTripper does not change the caller's
	r.Header.Set("traceparent", span.Traceparent())
	res, err := t.base.RoundTrip(r)
	if err == nil {
		span.Set("http.response.status_code", res.StatusCode)
		if res.StatusCode >= 500 {
			span.End(fmt.Errorf("%s", res.Status))
			return res, nil
		}
	}
	span.End(err)
	return res, err
}

// CloseIdleConnections is what http.Client looks for.
func (t transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
