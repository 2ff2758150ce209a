//go:build unix

package api

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// keeper remembers the server's ends of connections.
type keeper struct {
	net.Listener
	taken chan *net.TCPConn
}

func (k keeper) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if err == nil {
		k.taken <- c.(*net.TCPConn)
	}
	return c, err
}

// fill writes to a connection until nothing more goes in, and says how much did.
func fill(t *testing.T, c *net.TCPConn) (n int) {
	t.Helper()
	must(t, c.SetWriteBuffer(4096))
	socket, err := c.SyscallConn()
	must(t, err)
	must(t, socket.Write(func(fd uintptr) bool {
		for room := make([]byte, 64<<10); len(room) > 0; {
			wrote, err := syscall.Write(int(fd), room)
			if err != nil {
				room = room[:len(room)/2]
			}
			n += max(0, wrote)
		}
		return true
	}))
	return n
}

func openFilled(t *testing.T, f *fake, change ...func(*Options)) (d *door, c *raw, filled int) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	k := keeper{ln, make(chan *net.TCPConn, 8)}
	d = serve(t, f, k, nil, change)
	d.addr = ln.Addr().String()
	c = d.dial()
	must(t, c.Conn.(*net.TCPConn).SetReadBuffer(4096))
	return d, c, fill(t, <-k.taken)
}

func TestASlowReaderKeepsNobodyElseWaiting(t *testing.T) {
	var waiting []engine.OnReserve
	asked := make(chan engine.OnReserve, 2)
	d, slow, filled := openFilled(t, &fake{}, func(o *Options) {
		o.ReserveThen = func(_ context.Context, _ engine.ReserveRequest, who engine.OnReserve) { asked <- who }
	})
	slow.say(shoeRequest(t, anyBuyer).String())
	waiting = append(waiting, <-asked)
	other := d.dial()
	other.say(shoeRequest(t, anyBuyer).String())
	waiting = append(waiting, <-asked)
	r := held(anyBuyer)
	for _, who := range waiting { // one after the other, as a lane does
		who.Reserved(&r, nil)
	}
	other.expect(201, "rsv_")
	must(t, slow.SetDeadline(time.Now().Add(time.Minute)))
	if n, err := io.CopyN(io.Discard, slow.r, int64(filled)); err != nil {
		t.Fatal(n, err)
	}
	slow.expect(201, "rsv_")
	slow.say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	slow.expect(200, "ok")
}

func TestWhoNeverReadsIsCutOff(t *testing.T) {
	d, c, _ := openFilled(t, &fake{}, func(o *Options) { o.WriteTimeout = 30 * time.Millisecond })
	c.say(shoeRequest(t, anyBuyer).String())
	until(t, "the end of the connection", func() bool { return d.server.conns.Load() == 0 })
	if n := d.server.inFlight.Load(); n != 0 {
		t.Errorf("%d requests are still counted", n)
	}
}
