package loadtest

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
)

// call is one request as a buyer makes it.
type call struct {
	step   Step
	method string
	path   string
	token  string
	key    string // Idempotency-Key; empty: none
	prefer string
	body   []byte

	admission string // Admission-Token; empty: none
}

// answer is what came back, or why nothing did.
type answer struct {
	status     int    // 0: no answer came
	code       string // the problem's code, the body's state, or why no answer came
	retryAfter time.Duration
	location   string
	body       reply
	repeats    int // how many times the call was sent before, without an answer that is final
}

// reply holds the members of all answers that the driver reads.
type reply struct {
	Code        string          `json:"code"`
	ID          string          `json:"id"`
	State       string          `json:"state"`
	Reservation ref             `json:"reservation"`
	Order       string          `json:"order"`
	Buyer       string          `json:"buyer"`
	Lines       []line          `json:"lines"`
	NextAction  json.RawMessage `json:"next_action"`
	Ticket      *int64          `json:"ticket"`
	Token       string          `json:"token"`
}

type line struct {
	SKU      string `json:"sku"`
	Quantity int    `json:"quantity"`
}

// ref is an id, alone or inside the object that it names: an order names its
// reservation, and a pending checkout shows it.
type ref string

// UnmarshalJSON reads both forms.
func (r *ref) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return json.Unmarshal(b, (*string)(r))
	}
	var named struct {
		ID string `json:"id"`
	}
	err := json.Unmarshal(b, &named)
	*r = ref(named.ID)
	return err
}

// Reasons for which a request has no usable answer.
const (
	codeTimeout      = "timeout"
	codeNoConnection = "no_connection" // none of the allowed connections came free in time
	codeUnreachable  = "unreachable"
	codeBroken       = "broken_connection"
	codeMalformed    = "malformed" // an answer came and is not what the contract says
	codeNextAction   = "next_action"
)

// sender carries calls. It makes no retries of its own: those are the buyer's,
// with the same Idempotency-Key, and they are counted.
type sender interface {
	send(call) answer
	close()
}

type httpSender struct {
	host    *fasthttp.HostClient
	base    string
	timeout time.Duration
}

func newHTTPSender(c Config) (*httpSender, error) {
	u, err := url.Parse(c.API)
	if err != nil {
		return nil, err
	}
	secure := u.Scheme == "https"
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), map[bool]string{false: "80", true: "443"}[secure])
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		trust = c.TLS.Clone()
	}
	trust.ServerName = u.Hostname()
	return &httpSender{base: c.API, timeout: c.Timeout, host: &fasthttp.HostClient{
		Addr: addr, IsTLS: secure, TLSConfig: trust,
		// The default dialer knows IPv4 only, and keeps a goroutine for good.
		Dial:                      func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, c.Timeout) },
		Name:                      "flashsale-loadtest",
		MaxConns:                  c.Connections,
		MaxConnWaitTimeout:        c.Timeout,
		MaxIdemponentCallAttempts: 1,
		MaxResponseBodySize:       1 << 20,
		ReadTimeout:               c.Timeout,
		WriteTimeout:              c.Timeout,
		// Shorter than servers keep an idle connection, so that a request
		// seldom meets one that is just being closed.
		MaxIdleConnDuration: 5 * time.Second,
	}}, nil
}

func (h *httpSender) close() { h.host.CloseIdleConnections() }

func (h *httpSender) send(c call) answer {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI(h.base + c.path)
	req.Header.SetMethod(c.method)
	req.Header.Set("Authorization", "Bearer "+c.token)
	if c.key != "" {
		req.Header.Set("Idempotency-Key", c.key)
	}
	if c.admission != "" {
		req.Header.Set("Admission-Token", c.admission)
	}
	if c.prefer != "" {
		req.Header.Set("Prefer", c.prefer)
	}
	if c.body != nil {
		req.Header.SetContentType("application/json")
		req.SetBodyRaw(c.body)
	}
	req.SetTimeout(h.timeout)
	if err := h.host.Do(req, resp); err != nil {
		return answer{code: reason(err)}
	}
	return read(resp.StatusCode(), resp.Body(),
		string(resp.Header.Peek("Retry-After")), string(resp.Header.Peek("Location")))
}

// reason names why no answer came.
func reason(err error) string {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, fasthttp.ErrNoFreeConns):
		return codeNoConnection
	case errors.Is(err, fasthttp.ErrTimeout), errors.As(err, &timeout) && timeout.Timeout():
		return codeTimeout
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EADDRNOTAVAIL):
		return codeUnreachable
	}
	return codeBroken
}

// read makes an answer of a response. Nothing of it refers to the response.
func read(status int, body []byte, retryAfter, location string) answer {
	a := answer{status: status, retryAfter: parseRetryAfter(retryAfter, time.Now()), location: location}
	if err := json.Unmarshal(body, &a.body); err != nil {
		if status < 500 { // a proxy's 502 need not be JSON
			a.code = codeMalformed
		}
		return a
	}
	switch {
	case a.body.Code != "":
		a.code = a.body.Code
	case status == http.StatusOK && present(a.body.NextAction):
		a.code = codeNextAction
	default:
		a.code = a.body.State
	}
	return a
}

func present(m json.RawMessage) bool { return len(m) > 0 && string(m) != "null" }

// parseRetryAfter reads both forms of RFC 9110 §10.2.3: seconds, or a date.
func parseRetryAfter(s string, now time.Time) time.Duration {
	if s == "" {
		return 0
	}
	if n, err := strconv.Atoi(s); err == nil {
		return time.Duration(min(max(n, 0), 1<<32)) * time.Second // 136 years: more does not fit a Duration
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

// transient says whether the same request may succeed later, unchanged. The
// engine's own table decides; whatever has no code of the engine's comes from
// the network or from a proxy.
func (a answer) transient() bool {
	if a.status == 0 {
		return true
	}
	if class, ok := engine.Codes[engine.Code(a.code)]; ok {
		// Admission asks for another request first, not for the same again.
		return class.Transient && a.code != string(engine.CodeAdmissionRequired)
	}
	return a.status >= 500 || a.status == http.StatusTooManyRequests
}
