package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

var gone = engine.E(engine.CodeSoldOut, "no unit is left of what was asked for")

// knowing is a door that knows the sale demo to be sold out to everyone but bob.
func knowing(t *testing.T) (d *door, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	d = openTCP(t, &fake{reserve: func(context.Context, engine.ReserveRequest) (engine.Reservation, error) {
		return engine.Reservation{}, gone
	}}, func(o *Options) {
		o.SoldOut = func(sale, buyer, sku string, quantity int) error {
			asked.Add(1)
			if sale != "demo" || sku != "SHOE-42" || quantity != 2 {
				t.Errorf("asked for %q %q %d", sale, sku, quantity)
			}
			if buyer == "bob" {
				return nil
			}
			return gone
		}
	})
	d.server.names.keep("demo").refuse(d.clock.now().Unix())
	return d, asked
}

type part struct{ line, headers, body string }

func (p part) String() string {
	return p.line + "\r\n" + p.headers + "\r\n" + p.body
}

func shoeRequest(t *testing.T, buyer string) part {
	t.Helper()
	return part{"POST " + reservePath + " HTTP/1.1", "Host: x\r\nAuthorization: Bearer " + token(t, buyer) +
		"\r\nidempotency-key: k\r\nX-Request-ID: same\r\nContent-Type: application/json\r\n" + fmt.Sprintf("Content-Length: %d\r\n", len(oneShoe)), oneShoe}
}

// answerTo gives what comes back, as it comes, but for the date.
func answerTo(t *testing.T, d *door, request string) string {
	t.Helper()
	c := d.dial()
	c.say(request)
	var text []byte
	for room := make([]byte, 4096); ; {
		n, err := c.Read(room)
		text = append(text, room[:n]...)
		if err != nil || strings.HasSuffix(strings.TrimSpace(string(text)), "}") {
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatalf("%v after %q", err, text)
			}
			return regexp.MustCompile(`Date: [^\r]*`).ReplaceAllString(string(text), "Date: then")
		}
	}
}

func TestTheQuickNoIsTheUsualNoByteForByte(t *testing.T) {
	d, asked := knowing(t)
	request := shoeRequest(t, anyBuyer).String()
	quickly := answerTo(t, d, request)
	if asked.Load() != 1 {
		t.Fatalf("it was asked %d times", asked.Load())
	}
	d.server.opt.SoldOut = nil
	if usually := answerTo(t, d, request); quickly != usually || !strings.HasPrefix(usually, "HTTP/1.1 409 Conflict\r\n") {
		t.Errorf("quickly\n%s\nusually\n%s", quickly, usually)
	}
}

func TestOnlyAPlainRequestIsAnsweredQuickly(t *testing.T) {
	d, asked := knowing(t)
	good := shoeRequest(t, anyBuyer)
	bob := shoeRequest(t, "bob")
	with := func(change func(p *part)) string {
		p := good
		change(&p)
		return p.String()
	}
	header := func(was, is string) string {
		return with(func(p *part) { p.headers = strings.Replace(p.headers, was, is, 1) })
	}
	for name, c := range map[string]struct {
		request string
		quick   bool
		status  int
	}{
		"as it should be":             {good.String(), true, 409},
		"a header nobody knows":       {header("Host: x", "Host: x\r\nX-Some: thing"), true, 409},
		"a connection kept alive":     {header("Host: x", "Host: x\r\nConnection: keep-alive"), true, 409},
		"another path":                {with(func(p *part) { p.line = strings.Replace(p.line, "demo", "other", 1) }), false, 409},
		"a query":                     {with(func(p *part) { p.line = strings.Replace(p.line, " HTTP", "?a HTTP", 1) }), false, 409},
		"an older version":            {with(func(p *part) { p.line = strings.Replace(p.line, "1.1", "1.0", 1) }), false, 409},
		"a connection to be closed":   {header("Host: x", "Host: x\r\nConnection: close"), false, 409},
		"no host":                     {header("Host: x\r\n", ""), false, 400},
		"two hosts":                   {header("Host: x", "Host: x\r\nHost: y"), false, 400},
		"two keys":                    {header("X-Request-ID: same", "X-Request-ID: same\r\nIdempotency-Key: j"), false, 400},
		"no key":                      {header("idempotency-key: k\r\n", ""), false, 400},
		"a quoted key":                {header("idempotency-key: k", `idempotency-key: "k"`), true, 409},
		"an escape in a quoted key":   {header("idempotency-key: k", `idempotency-key: "a\"b"`), false, 409},
		"nothing between the quotes":  {header("idempotency-key: k", `idempotency-key: ""`), false, 400},
		"a folded header":             {header("X-Request-ID: same", "X-Request-ID:\r\n same"), false, 400},
		"space before a colon":        {header("X-Request-ID: same", "X-Request-ID : same"), false, 400},
		"two lengths":                 {header("Host: x", "Host: x\r\nContent-Length: 1"), false, 400},
		"a length and an encoding":    {header("Host: x", "Host: x\r\nTransfer-Encoding: chunked"), false, 400},
		"a compressed body":           {header("Host: x", "Host: x\r\nContent-Encoding: gzip"), false, 415},
		"another kind of body":        {header("application/json", "text/plain"), false, 415},
		"a kind with a charset":       {header("application/json", "application/json; charset=utf-8"), false, 409},
		"a key with a quote inside":   {header("idempotency-key: k", `idempotency-key: a"b`), false, 409},
		"no token":                    {header("Authorization: Bearer ", "Authorization: Basic "), false, 401},
		"a token that is none":        {header("Authorization: Bearer ", "Authorization: Bearer !"), true, 409}, // its subject is readable
		"a token without a subject":   {header("Authorization: Bearer ", "Authorization: Bearer e30.e30.x"), false, 401},
		"one who may have a hold":     {bob.String(), false, 409},
		"a body with another field":   {with(func(p *part) { p.body = strings.Replace(p.body, "lines", "linen", 1) }), false, 400},
		"a read of something else":    {"GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", false, 200},
		"a body longer than it says":  {header(fmt.Sprint("Length: ", len(oneShoe)), "Length: 5"), false, 400},
		"a length with a plus before": {header("Length: ", "Length: +"), false, 400},
	} {
		t.Run(name, func(t *testing.T) {
			before := asked.Load()
			conn := d.dial()
			conn.say(c.request)
			status, body, _ := conn.hear()
			quick := asked.Load() > before && !strings.Contains(c.request, bob.headers)
			if quick != c.quick || status != c.status {
				t.Errorf("quick %v, status %d: %s", quick, status, body)
			}
		})
	}
}

func TestTheQuickNoKnowsWhereARequestBegins(t *testing.T) {
	d, asked := knowing(t)
	one, two := shoeRequest(t, anyBuyer).String(), "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
	c := d.dial()
	quick := func(want bool, text string, statuses ...int) {
		t.Helper()
		before := asked.Load()
		c.say(text)
		for _, status := range statuses {
			if got, body, _ := c.hear(); got != status {
				t.Fatalf("%d %s", got, body)
			}
		}
		if (asked.Load() > before) != want {
			t.Errorf("quick is %v", !want)
		}
	}
	quick(true, one, 409)
	quick(false, two, 200)
	quick(true, one, 409)
	quick(false, one+two, 409, 200) // two at once
	quick(true, one, 409)
	quick(false, two+one[:20]) // one and a piece of the next
	time.AfterFunc(10*time.Millisecond, func() { c.say(one[20:]) })
	quick(false, "", 200, 409)
	quick(true, one, 409)
	chunked := strings.Replace(one, fmt.Sprintf("Content-Length: %d", len(oneShoe)), "Transfer-Encoding: chunked", 1)
	chunked = strings.Replace(chunked, oneShoe, fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(oneShoe), oneShoe), 1)
	quick(false, chunked, 409)
	quick(false, one, 409) // how long a chunked body was is not known
}

func TestAConnectionThatHearsOnlyQuickNosEndsWhenItIsIdle(t *testing.T) {
	t.Parallel()
	const idle = 2 * time.Second
	d := openTCP(t, &fake{}, func(o *Options) {
		o.ReadTimeout, o.IdleTimeout = idle, idle
		o.SoldOut = func(string, string, string, int) error { return gone }
	})
	d.server.names.keep("demo").refuse(d.clock.now().Unix())
	one := shoeRequest(t, anyBuyer).String()
	c := d.goOn(idle, 3*idle/2, func(c *raw) error { return c.ask(one, 409) })
	c.expectClosed()
}

func TestPrintableLooksAtEveryByte(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				for _, others := range []string{" ", "~", "a", "\xff", "\x00"} {
					b := []byte(strings.Repeat(others, n))
					b[at] = byte(c)
					want := c >= ' ' && c <= '~' && (n == 1 || others[0] >= ' ' && others[0] <= '~')
					if printable(b) != want {
						t.Fatalf("%q is printable: %v", b, !want)
					}
				}
			}
		}
	}
}
