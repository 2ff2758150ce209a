package api

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// listener mends two things under fasthttp. It survives a lack of file
// descriptors, which fasthttp takes for the end of the listener. And it lets a
// refused request be answered: see conn.
type listener struct {
	net.Listener
	log     *slog.Logger
	open    *atomic.Int64 // counts connections
	stopped <-chan struct{}
}

// Accept waits for a connection, through passing shortages.
func (l *listener) Accept() (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		c, err := l.Listener.Accept()
		if err == nil {
			l.open.Add(1)
			return &conn{Conn: c, open: l.open}, nil
		}
		if !shortage(err) {
			return nil, err
		}
		l.log.Warn("cannot take connections; trying again", "err", err, "wait", wait)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-l.stopped:
			t.Stop()
			return nil, err
		}
	}
}

func shortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// conn closes with patience when told to. A request that is refused before its
// body was read leaves bytes in the receive buffer; closing over them resets
// the connection, and the reset may overtake the answer. So such a connection
// is closed for writing first, and drained for a moment.
type conn struct {
	net.Conn
	open    *atomic.Int64
	closed  atomic.Bool
	patient atomic.Bool
}

const (
	drainFor   = time.Second
	drainBytes = MaxBatchBody + 256<<10
)

// Close ends the connection.
func (c *conn) Close() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.patient.Swap(false) {
		if w.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(drainFor)) == nil {
			_, _ = io.CopyN(io.Discard, c.Conn, drainBytes)
		}
	}
	if !c.closed.Swap(true) {
		defer c.open.Add(-1)
	}
	return c.Conn.Close()
}

func closePatiently(c net.Conn) {
	if p, ok := c.(*conn); ok {
		p.patient.Store(true)
	}
}

// fasthttpLog passes on what fasthttp has to say: mostly clients that went away.
type fasthttpLog struct{ log *slog.Logger }

// Printf logs at level debug.
func (l fasthttpLog) Printf(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }
