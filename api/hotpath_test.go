package api

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
)

// What a crowd sends is read and answered without garbage, because with 256
// connections on two cores each allocation per request cost about one percent of
// the requests per second.
func TestThePlainWayOfAReservationDoesNotAllocate(t *testing.T) {
	body, r := []byte(oneShoe), held(anyBuyer)
	room := make([]byte, 0, 1024)
	for name, c := range map[string]struct {
		most float64
		f    func()
	}{
		"reading": {1, func() { // the copy of what must outlive the request
			var lines [4]engine.CartLine
			if _, ok := quickReserve(string(body), lines[:0]); !ok {
				t.Fatal("not plain")
			}
		}},
		"writing": {0, func() { _ = appendReservation(room, &r, nil) }},
	} {
		if n := testing.AllocsPerRun(1000, c.f); n > c.most {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	d := &deadlines{base: t.Context(), limit: time.Minute}
	d.get(time.Now())
	if n := testing.AllocsPerRun(1000, func() { d.get(time.Now()) }); n != 0 {
		t.Errorf("a deadline: %v allocations", n)
	}
}

func TestAQuickAnswerDoesNotAllocate(t *testing.T) {
	r, ways, limits := held(anyBuyer), 0, &generous{}
	d := open(t, &fake{}, func(o *Options) {
		o.Limits = limits
		o.ReserveThen = func(_ context.Context, _ engine.ReserveRequest, who engine.OnReserve) { ways++; who.Reserved(&r, nil) }
		o.SoldOut = func(string, string, string, int) error { ways++; return gone }
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = ln.Close() }()
	client, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	defer func() { _ = client.Close() }()
	go func() {
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{client}, make([]byte, 64<<10))
	}()
	socket, err := ln.Accept()
	must(t, err)
	c := &conn{Conn: socket, open: new(atomic.Int64), server: d.server, from: clientAt(netip.MustParseAddr("192.0.2.1"))}
	c.direct.open(socket)
	defer func() { _ = c.Close() }()
	request := []byte(shoeRequest(t, anyBuyer).String())
	for _, way := range []string{"yes", "no"} {
		if way == "no" {
			d.server.names.keep("demo").refuse(d.clock.now().Unix())
		}
		ways = 0
		n := testing.AllocsPerRun(1000, func() {
			if !d.server.quickly(c, request) {
				t.Fatal("not quick")
			}
		})
		if n != 0 || ways != 1001 {
			t.Errorf("%s: %v allocations, asked %d times", way, n, ways)
		}
	}
	if limits.asked < 2*1001 {
		t.Errorf("limits were asked %d times", limits.asked)
	}
}

func TestADeadlineIsSharedForAWhileAndNeverShort(t *testing.T) {
	d := &deadlines{base: t.Context(), limit: 640 * time.Millisecond}
	a, now := d.get(time.Now()), time.Now()
	if ends, _ := a.Deadline(); ends.Before(now.Add(d.limit-time.Millisecond)) || ends.After(now.Add(d.limit+d.limit/32)) {
		t.Errorf("it ends in %s", ends.Sub(now))
	}
	w := d.now.Load()
	d.now.Store(&while{ctx: w.ctx, cancel: w.cancel, ends: time.Now().Add(-1)})
	if d.get(time.Now()) == a {
		t.Error("it is shared for ever")
	}
}

func TestWhatIsWrittenByHandIsWhatTheFormSays(t *testing.T) {
	for _, change := range []func(*engine.Reservation){
		func(*engine.Reservation) {},
		func(r *engine.Reservation) { r.ExpiresAt = time.Time{} },
		func(r *engine.Reservation) { r.Sale, r.Lines = nil, nil },
		func(r *engine.Reservation) { r.Buyer, r.Order, r.Reason = "é\"\\\x01<\u2028", "ord_x", "stock \xff" },
		func(r *engine.Reservation) { r.ExpiresAt = time.Date(12026, 1, 2, 3, 4, 5, 6e6, time.UTC) },
		func(r *engine.Reservation) {
			r.Lines = append(r.Lines, engine.PricedLine{SKU: "B", Quantity: 100, UnitPrice: 1 << 40})
		},
	} {
		r := held(anyBuyer)
		change(&r)
		var b strings.Builder
		must(t, encode(&b, formReservation(r)))
		if got := string(appendReservation(nil, &r, nil)) + "\n"; got != b.String() {
			t.Errorf("got  %swant %s", got, b.String())
		}
	}
}

// BenchmarkDoor measures the door beside fasthttp's plaintext, over TCP, the
// same request bytes, 64 connections, interleaved: read the ratios. The clients
// share the processor and cost about as much as the server, so true ratios are
// farther from 1; flashsale bench measures them apart.
func BenchmarkDoor(b *testing.B) {
	key, _ := HS256Key("", testSecret)
	soldOut := engine.E(engine.CodeSoldOut, "no unit is left of what was asked for")
	var refuse atomic.Bool
	s, err := New(Options{Views: &fake{}, Keys: []Key{key}, Engine: &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		if refuse.Load() {
			return engine.Reservation{}, soldOut
		}
		return held(r.Buyer), nil
	}}})
	if err != nil {
		b.Fatal(err)
	}
	plain := &fasthttp.Server{Handler: func(c *fasthttp.RequestCtx) { c.SetBodyString("Hello, World!") }}
	listen := func(serve func(net.Listener) error) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		go func() { _ = serve(ln) }()
		return ln.Addr().String()
	}
	door, text := listen(s.Serve), listen(plain.Serve)
	defer func() {
		ctx, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		_, _ = s.Shutdown(ctx), plain.ShutdownWithContext(ctx)
	}()
	head := "Host: x\r\nAuthorization: Bearer " + mustToken(b) + "\r\n"
	one := "POST " + reservePath + " HTTP/1.1\r\n" + head + fmt.Sprintf("Idempotency-Key: k\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(oneShoe), oneShoe)
	many := batchOf(64)
	batch := "POST " + batchPath + " HTTP/1.1\r\n" + head + fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s", ndjson, len(many), many)
	var took [4]time.Duration
	for b.Loop() {
		const n = 20_000
		took[0] += drive(b, text, one, n)
		refuse.Store(false)
		took[1] += drive(b, door, one, n)
		took[3] += drive(b, door, batch, n/64)
		refuse.Store(true)
		took[2] += drive(b, door, one, n)
	}
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "reserve/plaintext")
	b.ReportMetric(took[0].Seconds()/took[2].Seconds(), "refused/plaintext")
	b.ReportMetric(took[0].Seconds()/took[3].Seconds(), "ndjson64/plaintext")
}

func drive(b *testing.B, addr, request string, n int) time.Duration {
	var all sync.WaitGroup
	began := time.Now()
	for range 64 {
		all.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				b.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
			r := bufio.NewReader(c)
			for range n / 64 {
				if _, err := io.WriteString(c, request); err != nil {
					b.Error(err)
					return
				}
				if err := hear(r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return time.Since(began)
}

// hear reads one answer, cheaply.
func hear(r *bufio.Reader) error {
	length, chunked := 0, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(string(value[:len(value)-2]))
		} else if line[0] == 'T' {
			chunked = true
		}
	}
	for chunked {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(line[:len(line)-2]), 16, 32)
		if length = int(n); err != nil {
			return err
		}
		if _, err := r.Discard(length + 2); err != nil || length == 0 {
			return err
		}
	}
	_, err := r.Discard(length)
	return err
}

func mustToken(b *testing.B) string {
	b.Helper()
	t := &testing.T{}
	return serviceToken(t, ScopeBatch)
}
