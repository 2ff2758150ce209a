package waiters

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
)

// client is how the crowd reaches the engine: over a bounded number of connections.
type client struct {
	host *fasthttp.HostClient
	base string
}

const requestTimeout = 20 * time.Second

func newClient(base string, connections int) *client {
	addr := base[len("http://"):]
	return &client{base: base, host: &fasthttp.HostClient{Addr: addr, Name: "flashsale-crowd", MaxConns: connections, MaxConnWaitTimeout: requestTimeout,
		Dial:                      func(addr string) (net.Conn, error) { return net.DialTimeout("tcp", addr, requestTimeout) },
		MaxIdemponentCallAttempts: 1, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, MaxResponseBodySize: 1 << 20,
		MaxIdleConnDuration: 5 * time.Second}}
}

// ask is one request.
type ask struct {
	method, path string
	token        string // the buyer's
	key          string // Idempotency-Key
	admission    string
	body         string
}

// answer is what came back; status 0: nothing.
type answer struct {
	status     int
	retryAfter time.Duration
	sent, got  time.Time
	body       reply
	err        error
}

// reply holds the members of all answers that the crowd reads.
type reply struct {
	Code     string    `json:"code"`
	ID       string    `json:"id"`
	State    string    `json:"state"`
	Ticket   *int64    `json:"ticket"`
	Place    *int64    `json:"place"`
	Position *int64    `json:"position"`
	Wait     *float64  `json:"wait_seconds"`
	Token    string    `json:"token"`
	Expires  time.Time `json:"expires_at"`
	Waitlist bool      `json:"waitlist"`
}

func (c *client) once(a ask) (out answer) {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	req.SetRequestURI(c.base + a.path)
	req.Header.SetMethod(a.method)
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	if a.key != "" {
		req.Header.Set("Idempotency-Key", a.key)
	}
	if a.admission != "" {
		req.Header.Set("Admission-Token", a.admission)
	}
	if a.body != "" {
		req.Header.SetContentType("application/json")
		req.SetBodyString(a.body)
	}
	req.SetTimeout(requestTimeout)
	out.sent = time.Now()
	out.err = c.host.Do(req, res)
	out.got = time.Now()
	if out.err != nil {
		return out
	}
	out.status = res.StatusCode()
	if n, err := strconv.Atoi(string(res.Header.Peek("Retry-After"))); err == nil {
		out.retryAfter = time.Duration(n) * time.Second
	}
	if err := json.Unmarshal(res.Body(), &out.body); err != nil {
		out.err = fmt.Errorf("%s %s: status %d: %q: %w", a.method, a.path, out.status, clip(res.Body()), err)
	}
	return out
}

func clip(b []byte) []byte { return b[:min(len(b), 200)] }

// transient says whether the same request may succeed later, unchanged.
func (a answer) transient() bool {
	if class, ok := engine.Codes[engine.Code(a.body.Code)]; ok {
		return class.Transient && a.body.Code != string(engine.CodeAdmissionRequired)
	}
	return a.status == 0 || a.status >= 500 || a.status == http.StatusTooManyRequests
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("status %d %s %s", a.status, a.body.Code, a.body.State)
}

// insist repeats a request until its answer is final. repeats counts what was not.
func (c *client) insist(ctx context.Context, a ask, repeats func()) answer {
	for {
		out := c.once(a)
		if !out.transient() || ctx.Err() != nil {
			return out
		}
		repeats()
		sleep(ctx, min(max(out.retryAfter, 100*time.Millisecond), 5*time.Second))
	}
}

// sleep says whether ctx is still on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
