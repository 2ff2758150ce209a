package api

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/certs"
	"github.com/flashsale-engine/flashsale/internal/certs/certtest"
)

// overTLS has a door speak TLS as a node's does.
func overTLS(t *testing.T) func(*Options) {
	t.Helper()
	certFile, keyFile := certtest.Good(t).Write(t, t.TempDir())
	f, err := certs.Open(certFile, keyFile, slog.Default())
	must(t, err)
	return func(o *Options) { o.TLS = f.Config() }
}

func TestOverTLSEveryAnswerIsTheSameButForHSTS(t *testing.T) {
	yes := &fake{}
	no := &fake{reserve: func(context.Context, engine.ReserveRequest) (engine.Reservation, error) {
		return engine.Reservation{}, gone
	}}
	knows := func(o *Options) { o.SoldOut = func(string, string, string, int) error { return gone } }
	pages := func(o *Options) { o.Origins = []string{"https://shop.example"} }
	usual := shoeRequest(t, anyBuyer).String()
	for name, c := range map[string]struct {
		f       *fake
		change  func(*Options)
		request string
		starts  string
	}{
		"a yes":                {yes, func(*Options) {}, usual, "HTTP/1.1 201"},
		"a yes to a page":      {yes, pages, strings.Replace(usual, "Host: x", "Host: x\r\nOrigin: https://shop.example", 1), "HTTP/1.1 201"},
		"a no":                 {no, func(*Options) {}, usual, "HTTP/1.1 409"},
		"a no that is known":   {no, knows, usual, "HTTP/1.1 409"},
		"what is not readable": {yes, func(*Options) {}, "hello\r\n\r\n", "HTTP/1.1 400"},
		"a page":               {yes, func(*Options) {}, "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: same\r\n\r\n", "HTTP/1.1 200"},
	} {
		t.Run(name, func(t *testing.T) {
			var heard [3]string
			for i, ways := range [][]func(*Options){{c.change}, {c.change, overTLS(t)}, {c.change, overTLS(t), usualWay}} {
				d := openTCP(t, c.f, ways...)
				d.server.ids = &requestIDs{node: "req_x-"}
				d.server.names.keep("demo").refuse(d.clock.now().Unix())
				if i == 2 {
					d.server.opt.SoldOut = nil
				}
				heard[i] = answerTo(t, d, c.request)
			}
			const line = "Strict-Transport-Security: max-age=31536000\r\n"
			if !strings.HasPrefix(heard[0], c.starts) || strings.Contains(heard[0], line) || strings.Count(heard[1], line) != 1 {
				t.Errorf("plain\n%s\nover TLS\n%s", heard[0], heard[1])
			}
			if heard[1] != heard[2] || strings.Replace(heard[1], line, "", 1) != heard[0] {
				t.Errorf("plain\n%s\nover TLS, quickly\n%s\nover TLS, usually\n%s", heard[0], heard[1], heard[2])
			}
		})
	}
}

func TestOverTLSAConnectionIsUsedAgainQuicklyAndUsually(t *testing.T) {
	f := &fake{}
	d := openTCP(t, f, overTLS(t))
	c := d.dial()
	for range 3 {
		c.say(shoeRequest(t, anyBuyer).String())
		c.expect(201, "rsv_")
		c.say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		c.expect(200, "ok")
	}
	if n := f.quick.Load(); n != 3 {
		t.Errorf("%d of 3 were asked for quickly", n)
	}
	c.say(shoeRequest(t, anyBuyer).String() + shoeRequest(t, anyBuyer).String())
	c.expect(201, "rsv_")
	c.expect(201, "rsv_")
}

// What is under way is read from and written to by several goroutines; TLS does
// not forgive a write that was cut short.
func TestOverTLSDeadlinesThatMoveAwayEndNothing(t *testing.T) {
	t.Parallel()
	const tick = time.Second
	d := openTCP(t, &fake{}, overTLS(t), func(o *Options) { o.ReadTimeout, o.WriteTimeout, o.IdleTimeout = tick, tick, tick })
	one := shoeRequest(t, anyBuyer).String()
	c := d.goOn(tick, 5*tick/2, func(c *raw) error { // beyond the first deadlines
		if err := c.ask(one, 201); err != nil {
			return err
		}
		return c.ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 200)
	})
	c.expectClosed() // and an idle connection still ends
}

func TestOverTLSWhoDoesNotShakeHandsIsCutOff(t *testing.T) {
	d := openTCP(t, &fake{}, overTLS(t), func(o *Options) { o.ReadTimeout = 30 * time.Millisecond })
	for name, says := range map[string]string{"silence": "", "half a record": "\x16\x03\x01\x02", "plain HTTP": "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", d.addr)
			must(t, err)
			defer func() { _ = c.Close() }()
			must(t, c.SetDeadline(time.Now().Add(time.Minute)))
			_, err = io.WriteString(c, says)
			must(t, err)
			text, err := io.ReadAll(c)
			if err != nil || strings.Contains(string(text), "HTTP/") {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
	until(t, "the end of the connections", func() bool { return d.server.conns.Load() == 0 })
}

// fullListener's connections take nothing short any more once full is closed, as a
// goodbye is, whatever the deadline, until they are read from.
type fullListener struct {
	net.Listener
	full, read chan struct{}
}

func (l fullListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return fullConn{c.(*net.TCPConn), l}, nil
}

type fullConn struct {
	*net.TCPConn
	l fullListener
}

func (c fullConn) Write(b []byte) (int, error) {
	select {
	case <-c.l.full:
		if len(b) < 64 {
			<-c.l.read
		}
	default:
	}
	return c.TCPConn.Write(b)
}

func TestOverTLSAShutdownDoesNotWaitForThoseWhoDoNotRead(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l := fullListener{ln, make(chan struct{}), make(chan struct{})}
	d := serve(t, &fake{}, l, nil, []func(*Options){overTLS(t), func(o *Options) { o.IdleTimeout = time.Hour }})
	d.addr = ln.Addr().String()
	for range 4 {
		c := d.dial()
		c.say(shoeRequest(t, anyBuyer).String())
		c.expect(201, "rsv_")
	}
	refused := d.dial()
	refused.say(shoeRequest(t, anyBuyer).String())
	refused.expect(201, "rsv_")
	close(l.full) // closing one says goodbye, which takes until it reads
	refused.say("POST /v1/sales/drop/reservations HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
	refused.expect(413, "")
	until(t, "the refused one's place is free", func() bool { return d.server.conns.Load() == 4 })
	ended := make(chan error, 1)
	go func() { ended <- d.server.Shutdown(context.Background()) }()
	select {
	case err = <-ended:
	case <-time.After(time.Minute):
		t.Error("it waits for them")
	}
	close(l.read)
	must(t, err)
}
