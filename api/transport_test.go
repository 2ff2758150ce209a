package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

func post(t *testing.T, headers, body string) string {
	return "POST " + reservePath + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token(t, anyBuyer) +
		"\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\n" + headers + "\r\n" + body
}

func chunked(body string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body) }

func TestAmbiguousFramingIsRefusedAndTheConnectionClosed(t *testing.T) {
	var asked atomic.Int64
	d := openTCP(t, &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		asked.Add(1)
		return held(r.Buyer), nil
	}})
	smuggled := "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, request := range map[string]string{
		"length before encoding": post(t, "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", chunked(oneShoe)+smuggled),
		"encoding before length": post(t, "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", chunked(oneShoe)+smuggled),
		"in odd case":            post(t, "tRANSFER-eNCODING: chunked\r\ncONTENT-lENGTH: 4\r\n", chunked(oneShoe)+smuggled),
		"identity and length":    post(t, fmt.Sprintf("Transfer-Encoding: identity\r\nContent-Length: %d\r\n", len(oneShoe)), oneShoe+smuggled),
		"identity":               post(t, "Transfer-Encoding: identity\r\n", smuggled),
		"gzip, chunked":          post(t, "Transfer-Encoding: gzip, chunked\r\n", chunked(oneShoe)+smuggled),
		"two encodings":          post(t, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunked(oneShoe)+smuggled),
		"two lengths":            post(t, "Content-Length: 4\r\nContent-Length: 5\r\n", oneShoe+smuggled),
		"a signed length":        post(t, "Content-Length: +4\r\n", oneShoe+smuggled),
		"a space before a colon": post(t, "Transfer-Encoding : chunked\r\n", chunked(oneShoe)+smuggled),
		"HTTP/1.0 in chunks":     strings.Replace(post(t, "Transfer-Encoding: chunked\r\n", chunked(oneShoe)+smuggled), "HTTP/1.1", "HTTP/1.0", 1),
		"no host":                "GET /healthz HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + smuggled,
		"no HTTP":                "hello\r\n\r\n" + smuggled,
	} {
		t.Run(name, func(t *testing.T) {
			c := d.dial()
			c.say(request)
			status, body, h := c.hear()
			if status != 400 || !strings.Contains(body, `"code":"invalid_request"`) || h.Get("Connection") != "close" || h.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%d %v %s", status, h, body)
			}
			c.expectClosed()
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the engine was asked %d times", n)
	}
	c := d.dial()
	c.say(post(t, "Transfer-Encoding: chunked\r\n", chunked(oneShoe)))
	c.expect(201, "rsv_")
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	d := openTCP(t, &fake{})
	c := d.dial()
	one := post(t, fmt.Sprintf("Content-Length: %d\r\n", len(oneShoe)), oneShoe)
	c.say(one + "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /" + strings.Replace(one, reservePath, "/nowhere", 1) + one)
	c.expect(201, "rsv_")
	c.expect(200, "ok") // and its body was no request
	c.expect(404, "not_found")
	c.expect(201, "rsv_")
}

func TestWhatIsTooLargeIsRefusedAndTheAnswerArrives(t *testing.T) {
	d := openTCP(t, &fake{})
	big := strings.Repeat("x", 200<<10)
	for name, c := range map[string]struct {
		request string
		status  int
		code    string
	}{
		"a body by its length":     {post(t, fmt.Sprintf("Content-Length: %d\r\n", len(big)), big), 413, "payload_too_large"},
		"a body in chunks":         {post(t, "Transfer-Encoding: chunked\r\n", chunked(big)), 413, "payload_too_large"},
		"a body that may yet wait": {post(t, "Expect: 100-continue\r\nContent-Length: 10000000\r\n", ""), 413, "payload_too_large"},
		"headers":                  {"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + big + "\r\n\r\n", 431, "payload_too_large"},
		"a path":                   {"GET /" + big + " HTTP/1.1\r\nHost: x\r\n\r\n", 431, "payload_too_large"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := d.dial()
			conn.say(c.request)
			status, body, h := conn.hear()
			if status == 100 {
				status, body, h = conn.hear()
			}
			if status != c.status || !strings.Contains(body, c.code) || !strings.Contains(body, fmt.Sprintf(`"status":%d`, c.status)) || h.Get("Connection") != "close" {
				t.Errorf("%d %v %s", status, h, body)
			}
			must(t, conn.Conn.(*net.TCPConn).CloseWrite())
			conn.expectClosed() // and not reset, which might have overtaken the answer
		})
	}
	c := d.dial() // a little too large: read, refused, and the connection lives on
	body := strings.Repeat(" ", MaxBody+1)
	c.say(post(t, fmt.Sprintf("Content-Length: %d\r\n", len(body)), body))
	c.expect(413, "payload_too_large")
	c.say(post(t, fmt.Sprintf("Content-Length: %d\r\n", len(oneShoe)), oneShoe))
	c.expect(201, "rsv_")
}

func TestASlowRequestIsCutOff(t *testing.T) {
	d := openTCP(t, &fake{}, func(o *Options) { o.ReadTimeout = 30 * time.Millisecond })
	for name, part := range map[string]string{
		"in its headers": "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow",
		"in its body":    post(t, "Content-Length: 100\r\n", `{"lines":`),
	} {
		t.Run(name, func(t *testing.T) {
			c := d.dial()
			c.say(part)
			c.expect(408, `"status":408`)
			c.expectClosed()
		})
	}
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	d := openTCP(t, &fake{}, func(o *Options) { o.IdleTimeout = 30 * time.Millisecond })
	c := d.dial()
	c.say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	c.expect(200, "ok")
	c.expectClosed()
}

func TestAPanicIsOneRequestsFault(t *testing.T) {
	first := true
	d := openTCP(t, &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		if first {
			first = false
			panic("secret of the panic")
		}
		return held(r.Buyer), nil
	}})
	a := d.do("POST", reservePath, oneShoe, header{"X-Request-Id": "the-panic"})
	a.expect(t, 500, engine.CodeInternal)
	if strings.Contains(a.text, "secret") {
		t.Errorf("leaked: %s", a.text)
	}
	if log := d.log.String(); !strings.Contains(log, "the-panic") || !strings.Contains(log, "secret of the panic") || strings.Contains(log, "SHOE-42") {
		t.Errorf("log: %s", log)
	}
	d.do("POST", reservePath, oneShoe, nil).expect(t, 201, "")
	if n := d.server.inFlight.Load(); n != 0 {
		t.Errorf("%d requests are still counted", n)
	}
}

// gateKeeper makes Reserve wait until the test lets it go.
type gateKeeper struct{ entered, leave chan struct{} }

func newGateKeeper() (gateKeeper, *fake) {
	g := gateKeeper{make(chan struct{}, 8), make(chan struct{})}
	return g, &fake{reserve: func(ctx context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		g.entered <- struct{}{}
		select {
		case <-g.leave:
			return held(r.Buyer), nil
		case <-ctx.Done():
			return engine.Reservation{}, ctx.Err()
		}
	}}
}

func TestBeyondItsCapacityANodeSaysSoAtOnce(t *testing.T) {
	g, f := newGateKeeper()
	d := open(t, f, func(o *Options) { o.MaxInFlight = 1 })
	first := make(chan answer, 1)
	go func() { first <- d.do("POST", reservePath, oneShoe, nil) }()
	<-g.entered
	impatient := time.AfterFunc(time.Minute, func() { close(g.leave) }) // if it is let in, fail rather than hang
	a := d.do("POST", reservePath, oneShoe, nil)
	if !impatient.Stop() {
		t.Fatal("a request beyond the capacity was let in")
	}
	a.expect(t, 503, engine.CodeOverloaded)
	if a.header.Get("Retry-After") != "1" {
		t.Error("Retry-After is missing")
	}
	d.do("GET", "/healthz", "", nil).expect(t, 200, "")
	d.do("GET", "/readyz", "", nil).expect(t, 200, "")
	close(g.leave)
	(<-first).expect(t, 201, "")
	d.do("GET", reservationPath, "", nil).expect(t, 200, "")
}

func TestShutdownLetsRequestsInFlightFinish(t *testing.T) {
	g, f := newGateKeeper()
	d := openTCP(t, f)
	c, idle := d.dial(), d.dial()
	idle.say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	idle.expect(200, "ok")
	c.say(post(t, fmt.Sprintf("Content-Length: %d\r\n", len(oneShoe)), oneShoe))
	<-g.entered
	ended := make(chan error, 1)
	go func() { ended <- d.server.Shutdown(context.Background()) }()
	must(t, <-d.served) // it takes no more connections
	d.served <- nil     // for the clean-up
	select {
	case err := <-ended:
		t.Fatalf("shutdown did not wait for the request: %v", err)
	default:
	}
	if c, err := net.Dial("tcp", d.addr); err == nil {
		_ = c.Close()
		t.Error("it still takes connections")
	}
	close(g.leave)
	status, _, h := c.hear()
	if status != 201 || h.Get("Connection") != "close" {
		t.Errorf("the request in flight got %d %v", status, h)
	}
	c.expectClosed()
	idle.expectClosed()
	must(t, <-ended)
}

func TestShutdownThatRunsOutOfTimeCancelsTheWork(t *testing.T) {
	g, f := newGateKeeper()
	d := openTCP(t, f)
	c := d.dial()
	c.say(post(t, fmt.Sprintf("Content-Length: %d\r\n", len(oneShoe)), oneShoe))
	<-g.entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if n := d.server.conns.Load(); n != 0 {
		t.Errorf("%d connections outlived the shutdown", n)
	}
	c.expect(503, "unavailable")
	c.expectClosed()
}

func TestServingAfterShutdownEndsAtOnce(t *testing.T) {
	key, err := HS256Key("", testSecret)
	must(t, err)
	s, err := New(Options{Engine: &fake{}, Views: &fake{}, Keys: []Key{key}})
	must(t, err)
	must(t, s.Shutdown(context.Background()))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, s.Serve(ln))
}

// shortListener is out of file descriptors at first.
type shortListener struct {
	net.Listener
	short int
}

func (l *shortListener) Accept() (net.Conn, error) {
	if l.short > 0 {
		l.short--
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestALackOfFileDescriptorsPasses(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	d := serve(t, &fake{}, &shortListener{ln, 2}, nil, nil)
	d.url = "http://" + ln.Addr().String()
	d.do("GET", "/healthz", "", nil).expect(t, 200, "")
}

func TestManyRequestsAtOnceDoNotMixUp(t *testing.T) {
	d := open(t, &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		v := held(r.Buyer)
		v.Lines = []engine.PricedLine{{SKU: r.Lines[0].SKU, Quantity: r.Lines[0].Quantity}}
		v.Reason = r.IdempotencyKey
		return v, nil
	}})
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 50 {
				sku := fmt.Sprintf("SKU-%d-%d", n, i)
				a := d.do("POST", reservePath, fmt.Sprintf(`{"lines":[{"sku":%q,"quantity":%d}]}`, sku, n+1), header{
					"Idempotency-Key": "key-" + sku, "X-Request-Id": "id-" + sku, "Authorization": "Bearer " + token(t, "buyer-"+sku)})
				line := a.body["lines"].([]any)[0].(map[string]any)
				if line["sku"] != sku || line["quantity"] != float64(n+1) || a.body["reason"] != "key-"+sku || a.body["buyer"] != "buyer-"+sku || a.header.Get("X-Request-Id") != "id-"+sku {
					t.Errorf("%s: %s", sku, a.text)
				}
			}
		})
	}
	all.Wait()
}

func TestFaultsAreLoggedButDoNotFloodTheLog(t *testing.T) {
	d := open(t, &fake{read: func(string, engine.ReservationID) (engine.Reservation, error) {
		return engine.Reservation{}, engine.Wrap(errors.New("connection refused"), engine.CodeUnavailable, "the gate cannot be reached")
	}})
	for range 3 * faultsPerSecond {
		d.do("GET", reservationPath, "", nil).expect(t, 503, engine.CodeUnavailable)
	}
	if n := strings.Count(d.log.String(), "request failed"); n != faultsPerSecond {
		t.Errorf("%d lines", n)
	}
	d.clock.pass(time.Second)
	d.do("GET", reservationPath, "", nil)
	if want := fmt.Sprintf("not_logged_before=%d", 2*faultsPerSecond); !strings.Contains(d.log.String(), want) {
		t.Errorf("the log does not say %s", want)
	}
}
