package api

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"
	"time"
)

// listener mends two things under fasthttp. It survives a lack of file
// descriptors, which fasthttp takes for the end of the listener. And it lets a
// refused request be answered: see conn.
type listener struct {
	net.Listener
	log     *slog.Logger
	server  *Server
	stopped <-chan struct{}
}

// Accept waits for a connection whose place may have one more.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.accept()
		if err != nil {
			return nil, err
		}
		from, proxied := l.server.peer(c)
		if !l.server.neighbours.enter(&from) {
			l.server.tooMany(c)
			continue
		}
		l.server.conns.Add(1)
		made := l.server.connect(c)
		made.from, made.proxied = from, proxied
		l.server.taken.Store(made, nil)
		return made, nil
	}
}

// accept waits for a connection, through passing shortages.
func (l *listener) accept() (net.Conn, error) {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		c, err := l.Listener.Accept()
		if err == nil {
			return c, nil
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

// connect makes a connection of a socket. Over TLS nothing goes by the socket
// directly: bytes are read and written in records.
func (s *Server) connect(socket net.Conn) *conn {
	if s.opt.TLS != nil {
		return &conn{Conn: tls.Server(socket, s.opt.TLS), open: &s.conns, server: s, secure: true}
	}
	c := &conn{Conn: socket, open: &s.conns, server: s}
	c.direct.open(socket)
	c.in.open(socket)
	return c
}

func shortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// fasthttpLog passes on what fasthttp has to say: mostly clients that went away.
type fasthttpLog struct{ log *slog.Logger }

// Printf logs at level debug.
func (l fasthttpLog) Printf(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }
