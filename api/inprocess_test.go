package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
)

// loop is a connection without a kernel: it sends one request n times and takes
// whatever is answered.
type loop struct {
	request []byte
	n       int
	wrote   int64
}

func (l *loop) Read(b []byte) (int, error) {
	if l.n == 0 {
		return 0, io.EOF
	}
	l.n--
	return copy(b, l.request), nil
}
func (l *loop) Write(b []byte) (int, error)      { l.wrote += int64(len(b)); return len(b), nil }
func (l *loop) Close() error                     { return nil }
func (l *loop) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (l *loop) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (l *loop) SetDeadline(time.Time) error      { return nil }
func (l *loop) SetReadDeadline(time.Time) error  { return nil }
func (l *loop) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkDoorAlone is what a request costs in this process, without the
// kernel's part: the same request through fasthttp's plaintext, through the door
// to an engine that answers at once, and refused.
func BenchmarkDoorAlone(b *testing.B) {
	key, _ := HS256Key("", testSecret)
	head := "Host: x\r\nAuthorization: Bearer " + mustToken(b) + "\r\n"
	one := []byte("POST " + reservePath + " HTTP/1.1\r\n" + head + fmt.Sprintf("Idempotency-Key: k\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(oneShoe), oneShoe))
	serve := func(b *testing.B, s *fasthttp.Server) {
		b.ReportAllocs()
		b.ResetTimer()
		c := &loop{request: one, n: b.N}
		_ = s.ServeConn(&conn{Conn: c, open: new(atomic.Int64)})
		b.ReportMetric(float64(c.wrote)/float64(b.N), "bytes/answer")
	}
	b.Run("plaintext", func(b *testing.B) {
		serve(b, &fasthttp.Server{NoDefaultServerHeader: true, NoDefaultDate: true, Handler: func(c *fasthttp.RequestCtx) { c.SetBodyString("Hello, World!") }})
	})
	soldOut := engine.E(engine.CodeSoldOut, "no unit is left of what was asked for")
	for name, refuse := range map[string]bool{"accepted": false, "refused": true} {
		s, err := New(Options{Views: &fake{}, Keys: []Key{key}, Engine: &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
			if refuse {
				return engine.Reservation{}, soldOut
			}
			return held(r.Buyer), nil
		}}})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) { serve(b, s.http) })
	}
}
