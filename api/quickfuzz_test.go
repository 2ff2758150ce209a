package api

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
)

// spoken is a loop that keeps what was answered.
type spoken struct {
	loop
	heard bytes.Buffer
}

func (s *spoken) Write(b []byte) (int, error) { return s.heard.Write(b) }

// echo makes a reservation that tells what was understood of the request.
func echo(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
	v := held(strings.Clone(r.Buyer))
	v.Reason = fmt.Sprint(r.Sale, " ", r.IdempotencyKey)
	v.Lines = nil
	for _, l := range r.Lines {
		v.Lines = append(v.Lines, engine.PricedLine{SKU: strings.Clone(l.SKU), Quantity: l.Quantity})
	}
	return v, nil
}

type atOnce struct{ quick int }

func (a *atOnce) ReserveThen(ctx context.Context, r engine.ReserveRequest, who engine.OnReserve) {
	a.quick++
	v, err := echo(ctx, r)
	who.Reserved(&v, err)
}

// FuzzAQuickAnswerIsTheUsual says the same bytes to a door that answers quickly
// and to one that does not, and hears the same.
func FuzzAQuickAnswerIsTheUsual(f *testing.F) {
	const tokenHere = "TOKEN"
	key, err := HS256Key("", testSecret)
	if err != nil {
		f.Fatal(err)
	}
	quick := &atOnce{}
	doors := make([]*Server, 2)
	for i := range doors {
		o := Options{Engine: &fake{reserve: echo}, Views: &fake{}, Keys: []Key{key}, Log: slog.New(slog.DiscardHandler)}
		if i == 0 {
			o.ReserveThen = quick.ReserveThen
		}
		if doors[i], err = New(o); err != nil {
			f.Fatal(err)
		}
		doors[i].names.keep("demo")
		doors[i].ids.node = "req_x-"
	}
	tok := token(&testing.T{}, anyBuyer)
	with := func(headers, body string) string {
		return "POST " + reservePath + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + tokenHere + "\r\n" + headers +
			fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	plain := "Idempotency-Key: k\r\nContent-Type: application/json\r\n"
	for _, seed := range []string{
		with(plain, oneShoe),
		with("X-Request-Id: mine\r\n"+plain, oneShoe),
		with("X-Request-Id: a b\r\n"+plain, oneShoe),
		with("Idempotency-Key: \"k\"\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n", oneShoe),
		with("Idempotency-Key: a\\\"b\r\nContent-Type: application/json\r\n", oneShoe),
		with(" folded: x\r\n"+plain, oneShoe),
		with("Transfer-Encoding: chunked\r\n"+plain, oneShoe),
		with("Content-Length: 3\r\n"+plain, oneShoe),
		with("X: \x00\r\n"+plain, oneShoe),
		with(": x\r\n"+plain, oneShoe),
		with("X\x7f: x\r\nno colon\r\n"+plain, oneShoe),
		with(plain, `{"lines":[{"sku":"A","quantity":1},{"quantity":2,"sku":"B"}]}`),
		with(plain, `{"lines":[{"sku":"4242424242424242","quantity":1}]}`),
		with(plain, `{"lines":[{"sku":"A","quantity":101}]}`),
		with(plain, oneShoe) + with(plain, oneShoe),
		strings.Replace(with(plain, oneShoe), "\r\n", "\n", 2),
		strings.Replace(with(plain, oneShoe), "Host: x", "Host: x y", 1),
		strings.Replace(with(plain, oneShoe), "Host: x", "Host:", 1),
		strings.Replace(with(plain, oneShoe), "Host: x", "Host: a.example:8080", 1),
		strings.Replace(with(plain, oneShoe), "Host: x", "Host: [::1]:80", 1),
		strings.Replace(with(plain, oneShoe), "Length: ", "Length: 0", 1),
		with("X: y\r\n\nGET / HTTP/1.1\r\n"+plain, oneShoe),
		with("X: a\rb\r\n"+plain, oneShoe),
		with("Trailer: Content-Length\r\n"+plain, oneShoe),
		with("X: 7 bytes\x80\r\nX: tab\there\r\nX: ~~~~~~~~\x7f\r\n"+plain, oneShoe),
	} {
		f.Add([]byte(seed))
	}
	date := regexp.MustCompile(`Date: [^\r]*`)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.ReplaceAll(b, []byte(tokenHere), []byte(tok))
		var heard [2]string
		for i, s := range doors {
			s.ids.n.Store(0)
			c := &spoken{loop: loop{request: b, n: 1}}
			_ = s.http.ServeConn(&conn{Conn: c, open: new(atomic.Int64), server: s})
			heard[i] = date.ReplaceAllString(c.heard.String(), "Date: then")
		}
		if heard[0] != heard[1] {
			t.Errorf("to %q\nquickly %q\nusually %q", b, heard[0], heard[1])
		}
	})
}
