package payment

import (
	"bufio"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestAConnectionIsKeptForWhateverAnswersMayBeFramedAs(t *testing.T) {
	for name, first := range map[string]string{
		"a stated length":    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"chunks":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
		"nothing":            "HTTP/1.1 204 No Content\r\n\r\n",
		"an interim answer":  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"a refusal, chunked": "HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var conns atomic.Int32
			url, _ := raw(t, func(n int, c net.Conn, r *bufio.Reader) {
				conns.Store(int32(n))
				read(r)
				_, _ = io.WriteString(c, first)
				read(r)
				answer(c, "200 OK", okIntent)
				read(r)
			})
			p := client(t, url)
			a := attempt("pm_card_visa", "k")
			_, _ = p.Authorise(t.Context(), a) // whatever it is worth
			if got, err := p.Authorise(t.Context(), a); err != nil || got.State != engine.PaymentAuthorised || conns.Load() != 1 {
				t.Fatalf("%+v, %v, over %d connections", got, err, conns.Load())
			}
			p.Close()
		})
	}
}

func TestAConnectionIsNotKeptAfter(t *testing.T) {
	for name, first := range map[string]string{
		"a goodbye":           "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
		"HTTP/1.0":            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"more than it stated": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 402 No\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := raw(t, func(n int, c net.Conn, r *bufio.Reader) {
				read(r)
				if n == 1 {
					_, _ = io.WriteString(c, first)
				} else {
					answer(c, "200 OK", okIntent)
				}
				read(r)
			})
			p := client(t, url)
			a := attempt("pm_card_visa", "k")
			_, _ = p.Authorise(t.Context(), a)
			if got, err := p.Authorise(t.Context(), a); err != nil || got.State != engine.PaymentAuthorised {
				t.Fatalf("%+v, %v", got, err)
			}
			p.Close()
		})
	}
}

// A provider that has closed an idle connection is no reason for doubt: nothing
// is written there.
func TestNothingIsSentWhereTheProviderHasSaidGoodbye(t *testing.T) {
	url, _ := raw(t, func(n int, c net.Conn, r *bufio.Reader) {
		read(r)
		if n == 1 {
			answer(c, "200 OK", okIntent)
			return
		}
		answer(c, "503 Service Unavailable", `{"error":{"type":"api_error","code":"outage"}}`)
	})
	p := client(t, url)
	a := attempt("pm_card_visa", "k")
	if _, err := p.Authorise(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); silent(p.lines.idle[0].counted.Conn); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the end of the connection never came")
		}
	}
	if _, err := p.Authorise(t.Context(), a); verdict(err) != "not taken" {
		t.Fatal(err)
	}
}

func TestAnAnswerWithoutEndIsCutAndUnknown(t *testing.T) {
	for name, begin := range map[string]string{
		"in its head":   "HTTP/1.1 200 OK\r\n",
		"in its body":   "HTTP/1.1 200 OK\r\n\r\n",
		"in its chunks": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := raw(t, func(_ int, c net.Conn, r *bufio.Reader) {
				read(r)
				_, err := io.WriteString(c, begin)
				for line := "3e8\r\n" + strings.Repeat("x", 1000) + "\r\n"; err == nil; {
					_, err = io.WriteString(c, line)
				}
			})
			if _, err := client(t, url).Authorise(t.Context(), attempt("pm_card_visa", "k")); verdict(err) != "unknown" {
				t.Fatal(err)
			}
		})
	}
}

func TestTheSandboxIsReachedOverTLSAndUnderAPath(t *testing.T) {
	var path string
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		_, _ = io.WriteString(w, okIntent)
	}))
	t.Cleanup(srv.Close)
	p := client(t, srv.URL+"/pay/")
	if _, err := p.Authorise(t.Context(), attempt("pm_card_visa", "k")); verdict(err) != "not taken" {
		t.Fatalf("a certificate that nobody vouches for: %v", err)
	}
	p.lines.tls.RootCAs = x509.NewCertPool()
	p.lines.tls.RootCAs.AddCert(srv.Certificate())
	for range 2 {
		if _, err := p.Authorise(t.Context(), attempt("pm_card_visa", "k")); err != nil || path != "/pay/v1/payment_intents" {
			t.Fatalf("%s: %v", path, err)
		}
	}
}
