package payment

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// lines are the connections to one provider. Every authorisation and every
// capture goes over one, so they do what net/http's transport does without its
// two goroutines per connection: whoever asks writes the request in one piece
// and reads the answer. What may have left is then no riddle either.
type lines struct {
	addr  string
	tls   *tls.Config // nil: plain TCP
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	slots chan struct{}

	mu   sync.Mutex
	idle []*line // the one used last at the end
}

const (
	idleFor    = 90 * time.Second
	handshake  = 5 * time.Second
	maxHead    = 64 << 10 // of an answer, its framing included
	maxInterim = 5        // answers 1xx before the answer
)

// errGone is that of a connection that ended before a byte of the answer came.
var errGone = errors.New("the connection ended before the answer")

// line is one connection. One request at a time is on it.
type line struct {
	net.Conn
	counted *countedConn // below TLS, if there is any
	in      *bufio.Reader
	left    int64 // bytes that the answer may still have
	used    time.Time
	reused  bool
}

// Read bounds an answer, whatever its head says.
func (c *line) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the answer is too long")
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}

func newLines(u *url.URL, most int, dialTimeout time.Duration) *lines {
	l := &lines{addr: u.Host, dial: countingDial(dialTimeout), slots: make(chan struct{}, most)}
	if u.Scheme == "https" {
		l.tls = &tls.Config{ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	}
	if u.Port() == "" {
		l.addr = net.JoinHostPort(u.Hostname(), map[bool]string{true: "443", false: "80"}[l.tls != nil])
	}
	return l
}

// answered is an answer that was read to its end.
type answered struct {
	status int
	header http.Header
	body   []byte
	last   bool // the provider closes the connection
}

// exchanged is how one request fared.
type exchanged struct {
	answered
	sent bool // of a request without an answer: it may have been taken; of an answered one: an earlier sending of it may
}

// exchange sends a request and reads its answer, within ctx. A kept connection
// may turn out to be dead: then the request, which must be repeatable, is sent
// once more on a new one.
func (l *lines) exchange(ctx context.Context, request []byte, most int64) (x exchanged, err error) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return x, ctx.Err()
	}
	for c := l.kept(); ; c = nil {
		if c == nil {
			if c, err = l.open(ctx); err != nil {
				return x, err
			}
		}
		before := c.counted.wrote.Load()
		x.answered, err = l.on(ctx, c, request, most)
		if err == nil {
			return x, nil
		}
		x.sent = x.sent || c.counted.wrote.Load() > before
		if !c.reused || !errors.Is(err, errGone) || ctx.Err() != nil {
			return x, err
		}
	}
}

// on has a request answered on one connection, and keeps that if it may.
func (l *lines) on(ctx context.Context, c *line, request []byte, most int64) (answered, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	a, err := c.ask(request, most)
	inTime := stop()
	if err != nil || !inTime || a.last || c.in.Buffered() > 0 {
		_ = c.Close()
	} else {
		l.keep(c)
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	return a, err
}

func (c *line) ask(request []byte, most int64) (a answered, err error) {
	c.left = most + maxHead
	if _, err := c.Write(request); err != nil {
		return a, errors.Join(errGone, err)
	}
	if _, err := c.in.Peek(1); err != nil {
		return a, errors.Join(errGone, err)
	}
	for range maxInterim {
		// Its body ends as GET's and POST's do.
		head, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return a, err
		}
		a = answered{status: head.StatusCode, header: head.Header, last: head.Close}
		a.body, err = allOf(head, most)
		if err = errors.Join(err, head.Body.Close()); err != nil || a.status >= 200 {
			return a, err
		}
	}
	return a, errors.New("the answer never came")
}

func allOf(head *http.Response, most int64) (body []byte, err error) {
	if n := head.ContentLength; n >= 0 && n <= most {
		body = make([]byte, n)
		_, err = io.ReadFull(head.Body, body)
		return body, err
	}
	return io.ReadAll(head.Body)
}

// kept gives the connection that was used last, if it is alive as far as that
// can be known. One to which the provider has said goodbye has bytes, or an end,
// to read.
func (l *lines) kept() *line {
	for {
		l.mu.Lock()
		n := len(l.idle)
		if n == 0 {
			l.mu.Unlock()
			return nil
		}
		c := l.idle[n-1]
		l.idle = l.idle[:n-1]
		l.mu.Unlock()
		if time.Since(c.used) < idleFor && silent(c.counted.Conn) {
			c.reused = true
			return c
		}
		_ = c.Close()
	}
}

func (l *lines) keep(c *line) {
	c.used = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = append(l.idle, c)
	if old := l.idle[0]; c.used.Sub(old.used) > idleFor { // a crowd has gone: its connections go one by one
		l.idle = append(l.idle[:0], l.idle[1:]...)
		_ = old.Close()
	}
}

func (l *lines) open(ctx context.Context) (*line, error) {
	raw, err := l.dial(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	c := &line{Conn: raw}
	c.counted, _ = raw.(*countedConn)
	if l.tls != nil {
		secure := tls.Client(raw, l.tls)
		ctx, cancel := context.WithTimeout(ctx, handshake)
		defer cancel()
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		c.Conn = secure
	}
	c.in = bufio.NewReaderSize(c, 4096)
	return c, nil
}

// closeIdle closes the connections that nobody uses.
func (l *lines) closeIdle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.idle {
		_ = c.Close()
	}
	l.idle = nil
}
