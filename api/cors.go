package api

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
)

// origins are the storefronts whose pages may call this API from a browser
// (the Fetch standard's CORS protocol). Nobody else's may read an answer; a
// buyer's token is no cookie, so there is nothing else that a page could misuse.
type origins map[string]*origin

// origin is what answers say to its pages.
type origin struct {
	name  string
	lines []byte // the same as header lines, for quick answers
}

const (
	readableHeaders = "ETag, Idempotency-Replayed, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id"
	sendableHeaders = "Admission-Token, Authorization, Challenge-Solution, Content-Type, Idempotency-Key, If-None-Match, Prefer, X-Request-Id"
	preflightFor    = "7200" // seconds; browsers keep it no longer
)

// anyOrigin is who comes from no page, or from a stranger's.
var anyOrigin = &origin{lines: []byte("Vary: Origin\r\n")}

// CheckOrigin says what keeps s from being a storefront's origin.
func CheckOrigin(s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "*":
		return fmt.Errorf("origin %q: name the storefronts; any page could act for a buyer whose token it has", s)
	case err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.Scheme+"://"+u.Host != s || strings.ToLower(s) != s:
		return fmt.Errorf("origin %q: write scheme://host or scheme://host:port in lower case, as in https://shop.example", s)
	case u.Scheme == "https":
		if u.Port() == "443" {
			return fmt.Errorf("origin %q: browsers leave the usual port out; so must this", s)
		}
		return nil
	case u.Scheme != "http":
		return fmt.Errorf("origin %q: pages come from https", s)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
		return fmt.Errorf("origin %q: http is for pages of this machine; anybody on the way could change another's", s)
	}
	if u.Port() == "80" {
		return fmt.Errorf("origin %q: browsers leave the usual port out; so must this", s)
	}
	return nil
}

func newOrigins(names []string) (origins, error) {
	if len(names) == 0 {
		return nil, nil
	}
	all := origins{}
	for _, n := range names {
		if err := CheckOrigin(n); err != nil {
			return nil, fmt.Errorf("api: %w", err)
		}
		all[n] = &origin{n, []byte("Vary: Origin\r\nAccess-Control-Allow-Origin: " + n + "\r\nAccess-Control-Expose-Headers: " + readableHeaders + "\r\n")}
	}
	return all, nil
}

// of says whose page a request comes from; nil: there are no rules.
func (o origins) of(h *head) *origin {
	if o == nil {
		return nil
	}
	if h.origin.times == 1 {
		if known := o[string(h.origin.value)]; known != nil {
			return known
		}
	}
	return anyOrigin
}

// appendTo writes the header lines of a quick answer.
func (o *origin) appendTo(b []byte) []byte {
	if o == nil {
		return b
	}
	return append(b, o.lines...)
}

// mark sets them on any other. Caches must know that answers differ by origin
// even where this one came from none.
func (o *origin) mark(h *fasthttp.ResponseHeader) {
	if o == nil {
		return
	}
	h.Set(fasthttp.HeaderVary, "Origin")
	if o != anyOrigin {
		h.Set(fasthttp.HeaderAccessControlAllowOrigin, o.name)
		h.Set(fasthttp.HeaderAccessControlExposeHeaders, readableHeaders)
	}
}

// preflight says whether a browser asks what a page may send.
func (x *exchange) preflight() bool {
	return x.origin != nil && x.head.origin.times == 1 && string(x.http.Method()) == fasthttp.MethodOptions &&
		len(x.http.Request.Header.Peek(fasthttp.HeaderAccessControlRequestMethod)) > 0
}

// allow answers that.
func (x *exchange) allow() error {
	if x.origin == anyOrigin {
		return engine.E(engine.CodeForbidden, "pages of this origin may not call this API; its operator can allow them")
	}
	h := &x.http.Response.Header
	x.origin.mark(h)
	h.Set(fasthttp.HeaderAccessControlAllowMethods, x.route.allow)
	h.Set(fasthttp.HeaderAccessControlAllowHeaders, sendableHeaders)
	h.Set(fasthttp.HeaderAccessControlMaxAge, preflightFor)
	h.SetCanonical(headerRequestID, x.id)
	x.http.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}
