package api

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw is a TCP connection that says exactly what a test wants said.
type raw struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (d *door) dial() *raw {
	d.t.Helper()
	c, err := net.Dial("tcp", d.addr)
	must(d.t, err)
	if d.tls != nil {
		c = tls.Client(c, d.tls)
	}
	must(d.t, c.SetDeadline(time.Now().Add(time.Minute)))
	d.t.Cleanup(func() { _ = c.Close() })
	return &raw{d.t, c, bufio.NewReader(c)}
}

func (r *raw) say(text string) {
	r.t.Helper()
	_, err := io.WriteString(r.Conn, text)
	must(r.t, err)
}

func (r *raw) hear() (int, string, http.Header) {
	r.t.Helper()
	status, body, h, err := r.answer()
	must(r.t, err)
	return status, body, h
}

func (r *raw) answer() (int, string, http.Header, error) {
	res, err := http.ReadResponse(r.r, nil)
	if err != nil {
		return 0, "", nil, err
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.Close { // net/http takes the header away
		res.Header.Set("Connection", "close")
	}
	return res.StatusCode, string(body), res.Header, err
}

// ask says a request and hears its answer, or says what is wrong.
func (r *raw) ask(request string, want int) error {
	if _, err := io.WriteString(r.Conn, request); err != nil {
		return err
	}
	status, body, _, err := r.answer()
	if err == nil && status != want {
		err = fmt.Errorf("got %d %s, want %d", status, body, want)
	}
	return err
}

// goOn has the exchange again and again on one connection, for as long as span,
// and gives that connection. If all paused for half the idle time, the server was
// free to end it: then it begins anew.
func (d *door) goOn(idle, span time.Duration, exchange func(*raw) error) *raw {
	d.t.Helper()
	end := time.Now().Add(time.Minute)
	c := d.dial()
	began := time.Now()
	for last := began; ; <-time.After(idle / 40) {
		err := exchange(c)
		now := time.Now()
		switch {
		case err == nil && now.Sub(began) > span:
			return c
		case err != nil && (now.Sub(last) < idle/2 || now.After(end)):
			d.t.Fatal(err)
		case err != nil:
			c = d.dial()
			now = time.Now()
			began = now
		}
		last = now
	}
}

func (r *raw) expect(status int, text string) {
	r.t.Helper()
	if s, body, _ := r.hear(); s != status || !strings.Contains(body, text) {
		r.t.Errorf("got %d %s, want %d …%s…", s, body, status, text)
	}
}

func (r *raw) expectClosed() {
	r.t.Helper()
	if rest, err := io.ReadAll(r.r); err != nil || len(rest) > 0 {
		r.t.Errorf("not closed cleanly: %q, %v", rest, err)
	}
}
