package api

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

func networks(t *testing.T, texts ...string) (all []netip.Prefix) {
	t.Helper()
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		must(t, err)
		all = append(all, p)
	}
	return all
}

func TestAClientIsTheLastHopThatIsNoProxyOfOurs(t *testing.T) {
	p, err := newProxies(Options{TrustedProxies: networks(t, "10.0.0.0/8", "fd00::/8")})
	must(t, err)
	rfc, err := newProxies(Options{TrustedProxies: p.trusted, ForwardedHeader: "forwarded"})
	must(t, err)
	for headers, want := range map[string]string{
		"X-Forwarded-For: 192.0.2.1":                                                "192.0.2.1",
		"X-Forwarded-For: 198.51.100.9, 192.0.2.1, 10.1.1.1":                        "192.0.2.1", // the first is the client's tale
		"X-Forwarded-For: 198.51.100.9\r\nx-forwarded-for: 192.0.2.1, 10.1.1.1":     "192.0.2.1",
		"X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 10.1.1.1 , 10.2.2.2":        "192.0.2.1",
		"X-Forwarded-For: 192.0.2.1:4711, [fd00::1]:80":                             "192.0.2.1",
		"X-Forwarded-For: [2001:db8:1:2:3::4]:4711":                                 "2001:db8:1:2:3::4",
		"X-Forwarded-For: 2001:db8:1:2:3::4":                                        "2001:db8:1:2:3::4",
		"X-Forwarded-For: ::ffff:192.0.2.1, ::ffff:10.0.0.1":                        "192.0.2.1",
		"X-Forwarded-For: 192.0.2.1, unknown":                                       "nobody",
		"X-Forwarded-For: 10.0.0.1, 10.0.0.2":                                       "nobody", // a proxy's own request
		"X-Forwarded-For: 192.0.2.1,":                                               "nobody",
		"X-Forwarded-For:":                                                          "nobody",
		"X-Other: 192.0.2.1":                                                        "nobody",
		"Forwarded: for=192.0.2.1":                                                  "nobody", // not the header that the proxies write
		`rfc Forwarded: for=198.51.100.9, for="[2001:db8:1:2::3]:4711";proto=https`: "2001:db8:1:2::3",
		`rfc Forwarded: proto=https;For=192.0.2.1:80;by=10.0.0.1, for=10.0.0.2`:     "192.0.2.1",
		`rfc Forwarded: for="198.51.100.9, for=192.0.2.1`:                           "192.0.2.1", // a quote that a stranger left open
		`rfc Forwarded: for=_hidden, for=10.0.0.1`:                                  "nobody",
		`rfc Forwarded: by=10.0.0.1`:                                                "nobody",
		`rfc X-Forwarded-For: 192.0.2.1`:                                            "nobody",
	} {
		var h head
		reader := &p
		if text, ok := strings.CutPrefix(headers, "rfc "); ok {
			reader, headers = &rfc, text
		}
		h.read([]byte(headers + "\r\nHost: x\r\n"))
		got := "nobody"
		if c := reader.client(&h); c.n > 0 {
			got = c.addr.String()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", headers, got, want)
		}
	}
}

func TestAHouseholdsAddressesAreOnePlace(t *testing.T) {
	place := func(text string) [9]byte { c := clientAt(netip.MustParseAddr(text)); return c.place() }
	if place("2001:db8:1:2:3:4:5:6") != place("2001:db8:1:2::1") || place("2001:db8:1:2::") == place("2001:db8:1:3::") {
		t.Error("a /64 is not one place")
	}
	if place("192.0.2.1") == place("192.0.2.2") || place("192.0.2.1") != place("::ffff:192.0.2.1") {
		t.Error("an IPv4 address is not one place")
	}
	if c := clientAt(netip.MustParseAddr("192.0.2.1")); c.limit != engine.LimitIP || c.name() != "\xc0\x00\x02\x01" {
		t.Errorf("%+v", c)
	}
}

func TestProxiesThatWouldBelieveEverybodyAreRefused(t *testing.T) {
	if _, err := newProxies(Options{TrustedProxies: networks(t, "0.0.0.0/0")}); err == nil {
		t.Error("the whole world is a proxy")
	}
	if _, err := newProxies(Options{ForwardedHeader: "Via"}); err == nil {
		t.Error("Via is taken")
	}
}

func TestAPlaceHasSoManyConnectionsAndNoMore(t *testing.T) {
	d := openTCP(t, &fake{}, func(o *Options) { o.MaxConnsPerIP, o.limitLoopback = 2, true })
	ask := func(c *raw) int {
		c.say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		status, _, _ := c.hear()
		return status
	}
	one, two := d.dial(), d.dial()
	if ask(one) != 200 || ask(two) != 200 {
		t.Fatal("the first two are not served")
	}
	third, err := net.Dial("tcp", d.addr)
	must(t, err)
	must(t, third.SetReadDeadline(time.Now().Add(time.Minute)))
	text, err := io.ReadAll(third)
	if errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(string(text), "HTTP/1.1 429 ") || !strings.Contains(string(text), `"code":"rate_limited"`) {
		t.Errorf("the third hears %q, %v", text, err)
	}
	must(t, one.Close())
	until(t, "the place of a connection that has ended", func() bool {
		c, err := net.Dial("tcp", d.addr)
		must(t, err)
		defer func() { _ = c.Close() }()
		_, _ = fmt.Fprint(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		got := make([]byte, len("HTTP/1.1 200"))
		_, _ = io.ReadFull(c, got)
		return strings.HasSuffix(string(got), "200")
	})
}

func TestProxiesAndThisMachineHaveAnyNumberOfConnections(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"this machine": func(o *Options) { o.MaxConnsPerIP = 1 },
		"a proxy": func(o *Options) {
			o.MaxConnsPerIP, o.limitLoopback, o.TrustedProxies = 1, true, networks(t, "127.0.0.0/8")
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := openTCP(t, &fake{}, change)
			for range 5 {
				c := d.dial()
				c.say("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
				if status, _, _ := c.hear(); status != 200 {
					t.Fatalf("status %d", status)
				}
			}
		})
	}
}
