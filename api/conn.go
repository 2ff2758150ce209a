package api

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// conn is a connection with two manners of its own.
//
// It closes with patience when told to. A request that is refused before its
// body was read leaves bytes in the receive buffer; closing over them resets
// the connection, and the reset may overtake the answer. So such a connection
// is closed for writing first, and drained for a moment.
//
// And it sets its deadlines lazily. fasthttp sets three for each request, each a
// timer of the runtime, and hardly any of them ever ends; see deadline.
type conn struct {
	net.Conn
	open    *atomic.Int64
	closed  atomic.Bool
	patient atomic.Bool

	read, write deadline

	// For quick answers, see quick.go. Only the connection's goroutine uses these.
	server *Server
	secure bool // it speaks TLS
	given  int  // bytes that fasthttp has and that are of no answered request yet
	lost   bool // whether that is not known any more
	chosen bool // the request that fasthttp is given now is to be traced
	quick  bool // whether there was a quick answer

	from    client // where it comes from
	proxied bool   // by a proxy, which says in each request from where

	resting atomic.Bool // whether its last request was taken the quick way
	flight  flight
	in      inbound
	direct  direct
}

const (
	drainFor   = time.Second
	drainBytes = MaxBatchBody + 256<<10
)

// Close ends the connection, once the request that is under way is answered. Over TLS a
// goodbye is said, for which one that does not read makes it wait: nobody waits with it.
func (c *conn) Close() error {
	if !c.flight.end() {
		return nil
	}
	patient := c.patient.Swap(false)
	if patient && !c.secure {
		c.drain()
	}
	if !c.closed.Swap(true) {
		defer c.open.Add(-1)
		if c.server != nil {
			c.server.taken.Delete(c)
			c.server.neighbours.leave(&c.from)
		}
	}
	if !c.secure {
		return c.Conn.Close()
	}
	if !patient {
		c.deafen()
	}
	go func() {
		if patient {
			c.drain()
		}
		_ = c.Conn.Close()
	}()
	return nil
}

// drain ends what is written, and takes for a moment what still comes.
func (c *conn) drain() {
	w, ok := c.Conn.(interface{ CloseWrite() error })
	if ok && w.CloseWrite() == nil && c.Conn.SetReadDeadline(time.Now().Add(drainFor)) == nil {
		_, _ = io.CopyN(io.Discard, c.Conn, drainBytes)
	}
}

// deafen ends the reading of a connection that speaks TLS.
func (c *conn) deafen() {
	if s, ok := c.Conn.(interface{ NetConn() net.Conn }); ok {
		if r, ok := s.NetConn().(interface{ CloseRead() error }); ok {
			_ = r.CloseRead()
		}
	}
}

func closePatiently(c net.Conn) {
	if p, ok := c.(*conn); ok {
		p.patient.Store(true)
	}
}

// Read reads, and goes on reading when it was woken before its deadline. What can
// be taken the quick way is, and does not come out.
func (c *conn) Read(b []byte) (int, error) {
	for {
		n, err := c.receive(b)
		if n > 0 {
			c.given += n
			c.rest(false)
		}
		if n == 0 && err == nil {
			continue
		}
		if err == nil || n > 0 {
			return n, err
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || !c.read.extend(c.Conn.SetReadDeadline) {
			if c.quick && c.given == 0 && !c.lost {
				err = io.EOF // ended after an answer, and not, as fasthttp would think, after none
			}
			return n, err
		}
	}
}

// receive reads once. Neither bytes nor an error: it was a request that was taken
// the quick way. One answer follows the other: what is read while a request is
// under way, an error too, waits for the answer.
func (c *conn) receive(b []byte) (n int, err error) {
	quick := c.server != nil && c.given == 0 && !c.lost
	if !quick || c.in.conn == nil {
		n, err = c.Conn.Read(b)
		c.flight.await()
		if quick && n > 0 && err == nil && c.server.quickly(c, b[:n]) {
			c.quick = true
			return 0, nil
		}
		return n, err
	}
	text, err := c.in.take(len(b))
	c.flight.await()
	if text == nil {
		if err == nil {
			n, err = c.Conn.Read(b) // it knows the words of the error
		}
		return n, err
	}
	defer c.in.giveBack()
	if c.server.quickly(c, text) {
		c.quick = true
		return 0, nil
	}
	return copy(b, text), nil
}

// rest notes whether a shutdown has to end the connection; see Server.dismiss.
func (c *conn) rest(is bool) {
	if c.resting.Load() != is {
		c.resting.Store(is)
	}
}

// Write writes, and goes on writing when it was woken before its deadline.
func (c *conn) Write(b []byte) (wrote int, err error) {
	for {
		n, err := c.Conn.Write(b[wrote:])
		wrote += n
		if err == nil || c.secure || !errors.Is(err, os.ErrDeadlineExceeded) || !c.write.extend(c.Conn.SetWriteDeadline) {
			return wrote, err
		}
	}
}

// writeRest writes what did not go out at once, and says whether all of it left.
func (c *conn) writeRest(b []byte, within time.Duration) bool {
	_ = c.SetWriteDeadline(time.Now().Add(within))
	_, err := c.Write(b)
	return err == nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { return c.read.set(t, c.Conn.SetReadDeadline) }

// SetWriteDeadline implements net.Conn. TLS cannot go on after a write that was
// woken: its deadline is told as it is.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.secure {
		return c.Conn.SetWriteDeadline(t)
	}
	return c.write.set(t, c.Conn.SetWriteDeadline)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// deadline is a deadline whose timer is touched only when it comes closer. One
// that moves away, as it does with every request of a connection that is used,
// leaves the timer as it is; when that goes off too early it is set anew. The
// timers cost a reservation about 1 µs of its 15.
type deadline struct {
	wanted atomic.Int64 // nanoseconds since began; 0: none
	timer  atomic.Int64 // what the runtime was told
}

var began = time.Now() // deadlines count from here, so that no clock change moves them

func (d *deadline) set(t time.Time, tell func(time.Time) error) error {
	if t.IsZero() {
		d.wanted.Store(0)
		return nil
	}
	want := int64(t.Sub(began))
	d.wanted.Store(want)
	if timer := d.timer.Load(); timer != 0 && timer <= want {
		return nil
	}
	d.timer.Store(want)
	return tell(t)
}

// extend says whether the timer went off before the deadline, and sets it anew.
func (d *deadline) extend(tell func(time.Time) error) bool {
	want := d.wanted.Load()
	if want == 0 {
		d.timer.Store(0)
		return tell(time.Time{}) == nil
	}
	t := began.Add(time.Duration(want))
	if !time.Now().Before(t) {
		d.timer.Store(0) // whoever goes on all the same sets a new one
		return false
	}
	d.timer.Store(want)
	return tell(t) == nil
}
