package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// until waits for a condition, with patience for a busy machine.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}

// conns gives the server's ends of its connections, of which there are n.
func (d *door) conns(n int) (all []*conn) {
	d.t.Helper()
	d.server.taken.Range(func(c, _ any) bool {
		all = append(all, c.(*conn))
		return true
	})
	if len(all) != n {
		d.t.Fatalf("%d connections, not %d", len(all), n)
	}
	return all
}

func usualWay(o *Options) { o.ReserveThen = nil }

func TestTheQuickYesIsTheUsualAnswerByteForByte(t *testing.T) {
	tomorrow := func(o *Options) { o.Now = func() time.Time { return time.Now().Add(24 * time.Hour) } }
	for name, c := range map[string]struct {
		change func(*engine.Reservation)
		err    error
		token  string
		when   func(*Options)
		status int
	}{
		"made":                     {status: 201},
		"made before":              {change: func(r *engine.Reservation) { r.Replayed = true }, status: 201},
		"without an end":           {change: func(r *engine.Reservation) { r.ExpiresAt = time.Time{} }, status: 201},
		"paid meanwhile":           {change: func(r *engine.Reservation) { r.State, r.Order, r.Replayed = engine.Confirmed, "ord_x", true }, status: 201},
		"a name with escapes":      {change: func(r *engine.Reservation) { r.Buyer = "é\"\\" }, status: 201},
		"an answer of many bytes":  {change: func(r *engine.Reservation) { r.Reason = strings.Repeat("long ", 200) }, status: 201},
		"an answer of few":         {change: func(r *engine.Reservation) { *r = engine.Reservation{} }, status: 201},
		"sold out":                 {err: gone, status: 409},
		"sold out, with a number":  {err: engine.E(engine.CodeSoldOut, "none").With("seq", 7), status: 409},
		"beyond the limit":         {err: engine.E(engine.CodeBuyerLimit, "too many").With("limit", 2), status: 409},
		"not open":                 {err: engine.E(engine.CodeSaleNotOpen, "the sale is armed").With("state", "armed"), status: 409},
		"no such SKU":              {err: engine.E(engine.CodeInvalidRequest, "lines[0].sku: the sale has no SKU").With("field", "lines"), status: 400},
		"a key used otherwise":     {err: engine.E(engine.CodeKeyReused, "other lines"), status: 422},
		"overloaded":               {err: engine.E(engine.CodeOverloaded, "later").After(1500 * time.Millisecond), status: 503},
		"the gate is away":         {err: engine.Wrap(errors.New("refused"), engine.CodeUnavailable, "away"), status: 503},
		"nobody knows":             {err: fmt.Errorf("x: %w", engine.ErrUnknown), status: 503},
		"a fault":                  {err: errors.New("secret"), status: 500},
		"a panic":                  {change: func(*engine.Reservation) { panic("secret") }, status: 500},
		"a token that has ended":   {when: tomorrow, status: 401},
		"a token that is none":     {token: "!", status: 401},
		"a token with other bytes": {token: token(t, anyBuyer) + "A", status: 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{reserve: func(context.Context, engine.ReserveRequest) (engine.Reservation, error) {
				if c.err != nil {
					return engine.Reservation{}, c.err
				}
				r := held(anyBuyer)
				if c.change != nil {
					c.change(&r)
				}
				return r, nil
			}}
			request := shoeRequest(t, anyBuyer)
			if c.when == nil {
				c.when = func(*Options) {}
			}
			if c.token != "" {
				request.headers = strings.Replace(request.headers, token(t, anyBuyer), c.token, 1)
			}
			quickly := answerTo(t, openTCP(t, f, c.when), request.String())
			if asked := f.quick.Load() == 1; asked != (c.status != 401) {
				t.Errorf("the quick way was taken: %v", asked)
			}
			if usually := answerTo(t, openTCP(t, f, c.when, usualWay), request.String()); quickly != usually || !strings.HasPrefix(usually, fmt.Sprintf("HTTP/1.1 %d ", c.status)) {
				t.Errorf("quickly\n%s\nusually\n%s", quickly, usually)
			}
		})
	}
}

func TestEveryBuyerOfAKnownSaleIsServedQuicklyAndCounted(t *testing.T) {
	f := &fake{}
	d := openTCP(t, f)
	a := d.do("POST", reservePath, oneShoe, nil) // by net/http
	a.expect(t, 201, "")
	if f.quick.Load() != 1 {
		t.Error("the usual way was taken")
	}
	counters := *d.server.metrics.routes[atReservations].metrics.counters.Load()
	if _, counted := counters[outcome{"POST", 201, ""}]; !counted || d.server.inFlight.Load() != 0 {
		t.Errorf("counted: %v; in flight: %d", counters, d.server.inFlight.Load())
	}
}

// held back: answers wait until the test lets them go, in any order.
func heldBack(f *fake) (asked chan func()) {
	asked = make(chan func(), 16)
	f.reserve = func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		leave := make(chan struct{})
		asked <- func() { close(leave) }
		<-leave
		v := held(r.Buyer)
		v.Reason = r.IdempotencyKey
		return v, nil
	}
	return asked
}

func TestWhatComesWhileAnAnswerIsAwaitedIsAnsweredAfterIt(t *testing.T) {
	one := shoeRequest(t, anyBuyer)
	another := one
	another.headers = strings.Replace(one.headers, "key: k", "key: k2", 1)
	healthz := "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, c := range map[string]struct {
		then  string
		hears []string
	}{
		"another reservation":       {another.String(), []string{"rsv_", `"k2"`}},
		"two":                       {another.String() + one.String(), []string{"rsv_", `"k2"`, `"k"`}},
		"another kind of request":   {healthz, []string{"rsv_", "ok"}},
		"that and a reservation":    {healthz + another.String(), []string{"rsv_", "ok", `"k2"`}},
		"something that is no HTTP": {"hello\r\n\r\n", []string{"rsv_", "invalid_request"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			asked := heldBack(f)
			d := openTCP(t, f)
			conn := d.dial()
			conn.say(one.String())
			leave := <-asked
			conn.say(c.then)
			flight := &d.conns(1)[0].flight
			until(t, "the connection waiting for its answer", func() bool {
				if len(asked) > 0 {
					t.Fatal("it asked out of turn")
				}
				flight.mu.Lock()
				defer flight.mu.Unlock()
				return flight.landed != nil
			})
			leave()
			go func() {
				for {
					select {
					case leave := <-asked:
						leave()
					case <-t.Context().Done():
						return
					}
				}
			}()
			for i, text := range c.hears {
				if _, body, _ := conn.hear(); !strings.Contains(body, text) {
					t.Errorf("answer %d is %s", i, body)
				}
			}
		})
	}
}

func TestWhoLeavesBeforeTheAnswerLeavesNothingBehind(t *testing.T) {
	f := &fake{}
	asked := heldBack(f)
	d := openTCP(t, f)
	c := d.dial()
	c.say(shoeRequest(t, anyBuyer).String())
	leave := <-asked
	must(t, c.Close())
	leave()
	until(t, "the end of the connection", func() bool { return d.server.conns.Load() == 0 })
	if n := d.server.inFlight.Load(); n != 0 {
		t.Errorf("%d requests are still counted", n)
	}
}

func TestWhoHasSaidAllStillHearsTheAnswer(t *testing.T) {
	f := &fake{}
	asked := heldBack(f)
	d := openTCP(t, f)
	c := d.dial()
	c.say(shoeRequest(t, anyBuyer).String())
	leave := <-asked
	must(t, c.Conn.(*net.TCPConn).CloseWrite())
	leave()
	c.expect(201, "rsv_")
	c.expectClosed()
}

func TestShutdownDoesNotWaitForThoseWhoHaveTheirQuickAnswer(t *testing.T) {
	f := &fake{}
	d := openTCP(t, f)
	rests, between := d.dial(), d.dial()
	for _, c := range []*raw{rests, between} {
		c.say(shoeRequest(t, anyBuyer).String())
		c.expect(201, "rsv_")
	}
	between.say("GET /healthz HTTP/1.1\r\n") // the beginning of something else
	both := d.conns(2)
	until(t, "one of two connections in fasthttp's hands", func() bool { return both[0].resting.Load() != both[1].resting.Load() })
	ended := make(chan error, 1)
	go func() { ended <- d.server.Shutdown(context.Background()) }()
	must(t, <-d.served)
	d.served <- nil // for the clean-up
	d.conns(1)      // to fasthttp the other still is in its first request
	rests.expectClosed()
	between.say("Host: x\r\n\r\n")
	between.expect(200, "ok")
	must(t, <-ended)
}

// fasthttp closes at shutdown what looks idle to it: to it, a connection is idle
// while it is answered the quick way.
func TestShutdownWaitsForQuickAnswers(t *testing.T) {
	asked := make(chan engine.OnReserve, 1)
	d := openTCP(t, &fake{}, func(o *Options) {
		o.ReserveThen = func(_ context.Context, _ engine.ReserveRequest, who engine.OnReserve) { asked <- who }
	})
	c := d.dial()
	c.say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	c.expect(200, "ok")
	c.say(shoeRequest(t, anyBuyer).String())
	who := <-asked
	flight := &who.(*exchange).conn.flight
	ended := make(chan error, 1)
	go func() { ended <- d.server.Shutdown(context.Background()) }()
	must(t, <-d.served)
	d.served <- nil // for the clean-up
	until(t, "fasthttp closing the connection", func() bool {
		flight.mu.Lock()
		defer flight.mu.Unlock()
		return flight.over
	})
	r := held(anyBuyer)
	who.Reserved(&r, nil)
	status, _, h := c.hear()
	if status != 201 || h.Get("Connection") != "close" {
		t.Errorf("the request in flight got %d %v", status, h)
	}
	c.expectClosed()
	must(t, <-ended)
}

func TestOnlyAnUnguardedDoorBelievesAForgedToken(t *testing.T) {
	for _, unguarded := range []bool{false, true} {
		var heard string
		d := openTCP(t, &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
			heard = strings.Clone(r.Buyer)
			return held(heard), nil
		}}, func(o *Options) { o.Unguarded = unguarded })
		d.server.names.keep("demo")
		forged := strings.Replace(shoeRequest(t, anyBuyer).String(), "\r\nidempotency-key", "x\r\nidempotency-key", 1) // the signature's end
		status, want := "HTTP/1.1 401 ", ""
		if unguarded {
			status, want = "HTTP/1.1 201 ", anyBuyer
		}
		if a := answerTo(t, d, forged); !strings.HasPrefix(a, status) || heard != want {
			t.Errorf("unguarded %v: %q is told %s", unguarded, heard, a)
		}
	}
}
