package payment

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// countedConn counts what was handed to the network, the only proof there is
// that something was not.
type countedConn struct {
	net.Conn
	wrote atomic.Int64
}

// Write counts before it writes, so that nobody can see too small a number
// while the bytes are leaving.
func (c *countedConn) Write(b []byte) (int, error) {
	c.wrote.Add(int64(len(b)))
	n, err := c.Conn.Write(b)
	c.wrote.Add(int64(n - len(b)))
	return n, err
}

func countingDial(timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout, KeepAlive: 30 * time.Second}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &countedConn{Conn: c}, nil
	}
}

// provingClient is an HTTP client whose connections are counted. It speaks
// HTTP/1.1: one request per connection at a time is what makes the count a proof.
func provingClient(maxConns int, dialTimeout time.Duration) *http.Client {
	return &http.Client{
		Transport: telemetry.Transport(&http.Transport{
			DialContext:         countingDial(dialTimeout),
			MaxConnsPerHost:     maxConns,
			MaxIdleConns:        maxConns,
			MaxIdleConnsPerHost: maxConns,
			IdleConnTimeout:     90 * time.Second,
			TLSHandshakeTimeout: 5 * time.Second,
			DisableCompression:  true,
		}),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// sending follows one request through the connections that net/http gives it.
// There may be several: it repeats a request by itself when a reused connection
// turns out to be dead, and because ours carry an Idempotency-Key, even one that
// it had written already. So the last connection's story is not the whole one:
//
//	1 it takes an idle connection and writes the request
//	2 the provider authorises, and dies before it answers
//	3 net/http sees the end of the connection, and dials anew
//	4 connection refused: the error we get says that nothing was sent
type sending struct {
	mu    sync.Mutex
	conns []sentOn
}

type sentOn struct {
	conn *countedConn // nil: not one of ours, so nothing can be proved
	from int64
}

func (s *sending) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		c, _ := unwrap(i.Conn).(*countedConn)
		on := sentOn{conn: c}
		if c != nil {
			on.from = c.wrote.Load()
		}
		s.mu.Lock()
		s.conns = append(s.conns, on)
		s.mu.Unlock()
	}})
}

func unwrap(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}

func (o sentOn) maybe() bool { return o.conn == nil || o.conn.wrote.Load() > o.from }

// failed says, of a request that ended without an answer, whether any byte of
// it may have left. Once ours ended by ctx, net/http's writer may still be at
// it behind our back, so having had a connection is enough.
func (s *sending) failed(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil && len(s.conns) > 0 {
		return true
	}
	for _, o := range s.conns {
		if o.maybe() {
			return true
		}
	}
	return false
}

// before says, of a request that was answered, whether bytes of it may also
// have left on a connection before the one that gave the answer.
func (s *sending) before() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range len(s.conns) - 1 {
		if s.conns[i].maybe() {
			return true
		}
	}
	return false
}
