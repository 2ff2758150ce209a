package api

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
)

// seen is a request as a reader of HTTP took it.
type seen struct{ method, target, body string }

// FuzzWhatIsServedIsWhatAnotherReaderReads says bytes to the door and to net/http's
// parser. Where the door serves a request, the other must find the same request at
// the same place, or refuse: else something could be smuggled past one of them.
func FuzzWhatIsServedIsWhatAnotherReaderReads(f *testing.F) {
	key, err := HS256Key("", testSecret)
	if err != nil {
		f.Fatal(err)
	}
	s, err := New(Options{Engine: &fake{reserve: echo}, ReserveThen: (&atOnce{}).ReserveThen, Views: &fake{}, Keys: []Key{key}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	s.names.keep("demo")
	var served []seen
	handle := s.http.Handler
	s.http.Handler = func(c *fasthttp.RequestCtx) {
		h := &c.Request.Header
		one := seen{string(h.Method()), string(h.RequestURI()), string(c.Request.Body())}
		handle(c)
		if c.Response.StatusCode() != 400 {
			served = append(served, one)
		}
	}
	t := &testing.T{}
	for _, c := range hostile(t) {
		f.Add([]byte(strings.ReplaceAll(c.request, token(t, anyBuyer), "TOKEN")))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		served = nil
		_ = s.http.ServeConn(&conn{Conn: &spoken{loop: loop{request: b, n: 1}}, open: new(atomic.Int64), server: s})
		other := bufio.NewReaderSize(bytes.NewReader(b), len(b)+16)
		for i, one := range served {
			r, err := http.ReadRequest(other)
			if err != nil {
				return // stricter than we are: it would go no further
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			if got := (seen{r.Method, r.RequestURI, string(body)}); got != one {
				t.Fatalf("request %d of %q\nhere  %q\nthere %q", i, b, one, got)
			}
		}
	})
}

// FuzzATokenIsBelievedOnlyIfItIsSigned checks signature, end and audience by hand.
func FuzzATokenIsBelievedOnlyIfItIsSigned(f *testing.F) {
	now := time.Now()
	key, err := HS256Key("", testSecret)
	if err != nil {
		f.Fatal(err)
	}
	v, err := newVerifier([]Key{key}, "flashsale", 0, time.Now)
	if err != nil {
		f.Fatal(err)
	}
	sign := func(head, claims string) string {
		text := base64.RawURLEncoding.EncodeToString([]byte(head)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
		mac := hmac.New(sha256.New, testSecret)
		mac.Write([]byte(text))
		return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	good, err := buyertoken.Mint(testSecret, anyBuyer, "", time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	parts := strings.Split(good, ".")
	plain := func(s string) string { b, _ := base64.RawURLEncoding.DecodeString(s); return string(b) }
	f.Add(plain(parts[0]), plain(parts[1]), "")
	f.Add(`{"alg":"none"}`, plain(parts[1]), "")
	f.Add(`{"alg":"HS256"}`, `{"sub":"a","aud":["x","flashsale"],"exp":99999999999.5}`, "")
	f.Add(`{"alg":"HS256","kid":"x"}`, `{"sub":"a","aud":"flashsale","exp":1,"nbf":-1}`, "")
	f.Add(`{}`, `{"sub":"a","sub":"b","aud":"flashsale","exp":1e300}`, good)
	f.Fuzz(func(t *testing.T, head, claims, raw string) {
		signed := sign(head, claims)
		if who, err := v.verify([]byte(signed), now); err == nil {
			var h struct{ Alg string }
			var c struct {
				Sub string
				Exp *float64
				Aud any
			}
			if json.Unmarshal([]byte(head), &h) != nil || h.Alg != "HS256" {
				t.Errorf("believed under the header %q", head)
			}
			if json.Unmarshal([]byte(claims), &c) != nil || c.Exp == nil || *c.Exp < float64(now.Add(-tokenLeeway).Unix())-1 || c.Sub != who.buyer || who.buyer == "" {
				t.Errorf("believed %q as %+v", claims, who)
			}
			list, _ := c.Aud.([]any)
			if c.Aud != "flashsale" && !slices.Contains(list, any("flashsale")) {
				t.Errorf("believed for %v", c.Aud)
			}
		}
		if _, err := v.verify([]byte(raw), now); err == nil {
			at := strings.LastIndexByte(raw, '.')
			mac := hmac.New(sha256.New, testSecret)
			mac.Write([]byte(raw[:at]))
			if sum, err := base64.RawURLEncoding.DecodeString(raw[at+1:]); err != nil || !hmac.Equal(sum, mac.Sum(nil)) {
				t.Errorf("a forgery was believed: %q", raw)
			}
		}
	})
}

// FuzzTheNameReadUnverifiedIsTheTokens: what quickNo reads by hand is what a JSON
// decoder reads, where that reads anything.
func FuzzTheNameReadUnverifiedIsTheTokens(f *testing.F) {
	for _, claims := range []string{`{"sub":"bob"}`, `{"aud":"x","sub":"a b","exp":1}`, `{"sub":""}`, `{"sub" : "x"}`, `{"x":{"sub":"a"}}`, `{"x":"\"sub\":\"a\""}`} {
		f.Add(claims)
	}
	f.Fuzz(func(t *testing.T, claims string) {
		var room [1024]byte
		name, ok := subject([]byte("Bearer x."+base64.RawURLEncoding.EncodeToString([]byte(claims))+".y"), room[:])
		if !ok {
			return
		}
		if name == "" || len(name) > 128 || !strings.Contains(claims, `"sub":"`+name+`"`) {
			t.Errorf("%q from %q", name, claims)
		}
		var flat map[string]any
		if json.Unmarshal([]byte(claims), &flat) != nil {
			return // the usual way refuses it
		}
		if sub, has := flat["sub"]; has && sub != name && len(flat) > 0 && !strings.Contains(claims, "{\"sub\"") && strings.Count(claims, "sub") == 1 {
			t.Errorf("%q, not %v, from %q", name, sub, claims)
		}
	})
}

// FuzzACardNumberIsFoundAsWritten compares with a search that knows no shortcuts.
func FuzzACardNumberIsFoundAsWritten(f *testing.F) {
	for _, s := range []string{"4242424242424242", "4242 4242 4242 4242", "x4242-4242-4242-4242y", "14242424242424242", "0000000000000000", "4242  424242424242", "378282246310005 1"} {
		f.Add(s)
	}
	run := regexp.MustCompile(`\d(?:[ -]?\d)*`)
	f.Fuzz(func(t *testing.T, s string) {
		want := false
		for _, text := range run.FindAllString(s, -1) {
			groups := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '-' })
			for i := range groups {
				for j := i + 1; j <= len(groups); j++ {
					digits := strings.Join(groups[i:j], "")
					want = want || len(digits) >= 13 && len(digits) <= 19 && checked(digits)
				}
			}
		}
		if got := looksLikeCard([]byte(s)); got != want {
			t.Errorf("%q: %v, not %v", s, got, want)
		}
	})
}

// checked is the Luhn check from the right, as its description goes.
func checked(digits string) bool {
	sum := 0
	for i := range len(digits) {
		d := int(digits[len(digits)-1-i] - '0')
		if i%2 == 1 {
			d *= 2
			d = d/10 + d%10
		}
		sum += d
	}
	return sum%10 == 0 && strings.Trim(digits, "0") != ""
}

func FuzzAnOriginIsHTTPSOrThisMachine(f *testing.F) {
	for _, s := range []string{"https://shop.example", "http://localhost:3000", "http://127.0.0.1", "https://a@b", "https://x:443", "https://X", "null", "*", "http://[::1]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if CheckOrigin(s) != nil {
			return
		}
		u, err := url.Parse(s)
		if err != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || s != strings.ToLower(s) || strings.ContainsAny(s, "\r\n ,") {
			t.Fatalf("%q is taken", s)
		}
		ip, err := netip.ParseAddr(u.Hostname())
		if u.Scheme != "https" && u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback()) {
			t.Fatalf("%q is taken", s)
		}
	})
}
