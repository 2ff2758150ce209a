package api

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Where a request comes from: from the other end of its connection, unless that is
// a proxy which the operator has named. Such a proxy is believed about who
// connected to it, and nobody else is about anything.

// client is a place that requests come from, as limits know it: an IPv4 address, or
// the 64 bits of an IPv6 network, in which one household has all addresses.
type client struct {
	addr  netip.Addr
	limit engine.Limit
	key   [8]byte
	n     uint8 // bytes of key; 0: a place without limits, or one that nobody knows
}

func clientAt(a netip.Addr) (c client) {
	switch a = a.Unmap().WithZone(""); {
	case a.Is4():
		b := a.As4()
		c = client{addr: a, limit: engine.LimitIP, n: 4}
		copy(c.key[:], b[:])
	case a.Is6():
		b := a.As16()
		c = client{addr: a, limit: engine.LimitNet, n: 8}
		copy(c.key[:], b[:8])
	}
	return c
}

// name is the key's bytes; they are c's.
func (c *client) name() string { return textOf(c.key[:c.n]) }

// proxies are the peers that are believed.
type proxies struct {
	trusted   []netip.Prefix
	forwarded bool // by Forwarded (RFC 7239) instead of X-Forwarded-For
}

// The headers in which a proxy may name the client. Only one is looked at: a proxy
// that writes the one passes the other on as a stranger has written it.
const (
	HeaderXForwardedFor = "X-Forwarded-For"
	HeaderForwarded     = "Forwarded"
)

func newProxies(o Options) (p proxies, err error) {
	p.trusted = o.TrustedProxies
	switch {
	case o.ForwardedHeader == "" || strings.EqualFold(o.ForwardedHeader, HeaderXForwardedFor):
	case strings.EqualFold(o.ForwardedHeader, HeaderForwarded):
		p.forwarded = true
	default:
		return p, fmt.Errorf("api: ForwardedHeader %q is neither %s nor %s", o.ForwardedHeader, HeaderXForwardedFor, HeaderForwarded)
	}
	for _, t := range p.trusted {
		if !t.IsValid() || t.Bits() == 0 {
			return p, fmt.Errorf("api: trusted proxies %s: name the proxies' own networks; this would believe everybody", t)
		}
	}
	return p, nil
}

func (p *proxies) trusts(a netip.Addr) bool {
	for i := range p.trusted {
		if p.trusted[i].Contains(a) {
			return true
		}
	}
	return false
}

// client reads what proxies have written, the last first: each has added who
// connected to it. The first hop that is no proxy of ours is the client, and what
// stands before it is the client's own tale.
func (p *proxies) client(h *head) client {
	f := &h.forwardedFor
	if p.forwarded {
		f = &h.forwarded
	}
	if f.times <= 1 {
		c, _ := p.walk(f.value)
		return c
	}
	lines := h.all(p.header()) // one list, in several lines
	for i := len(lines) - 1; i >= 0; i-- {
		if c, found := p.walk(lines[i]); found {
			return c
		}
	}
	return client{}
}

func (p *proxies) header() string {
	if p.forwarded {
		return "forwarded"
	}
	return "x-forwarded-for"
}

// walk reads one line from its end. It splits at every comma, in quotes or not: a
// quote that a stranger left open must not swallow what a proxy has added.
func (p *proxies) walk(list []byte) (c client, found bool) {
	for len(list) > 0 {
		at := bytes.LastIndexByte(list, ',')
		hop := list[at+1:]
		if p.forwarded {
			hop = forParam(hop)
		}
		a, err := hopAddr(hop)
		if err != nil { // a proxy that does not say who it was: nobody is known
			return client{}, true
		}
		if !p.trusts(a) {
			return clientAt(a), true
		}
		list = list[:max(0, at)]
	}
	return client{}, false
}

// forParam gives the value of for= in an element of Forwarded.
func forParam(element []byte) []byte {
	for len(element) > 0 {
		pair, rest, _ := bytes.Cut(element, []byte{';'})
		name, value, ok := bytes.Cut(bytes.TrimSpace(pair), []byte{'='})
		if ok && bytes.EqualFold(name, []byte("for")) {
			return bytes.Trim(value, `"`)
		}
		element = rest
	}
	return nil
}

// hopAddr reads an address with a port or without: 192.0.2.1, 192.0.2.1:80,
// 2001:db8::1, [2001:db8::1]:80.
func hopAddr(b []byte) (netip.Addr, error) {
	b = bytes.TrimSpace(b)
	if end := bytes.IndexByte(b, ']'); len(b) > 0 && b[0] == '[' && end > 0 {
		b = b[1:end]
	} else if at := bytes.IndexByte(b, ':'); at > 0 && at == bytes.LastIndexByte(b, ':') {
		b = b[:at]
	}
	if len(b) == 0 {
		return netip.Addr{}, errNoAddr // without the words of one
	}
	a, err := netip.ParseAddr(textOf(b))
	if err != nil {
		return netip.Addr{}, errNoAddr
	}
	return a.Unmap().WithZone(""), nil
}

var errNoAddr = errors.New("no address")

// peer says where a connection comes from, and whether it is a proxy's. The limits
// of a place are not for proxies, nor for this machine.
func (s *Server) peer(c net.Conn) (from client, proxied bool) {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return client{}, false
	}
	a := tcp.AddrPort().Addr().Unmap().WithZone("")
	if s.proxies.trusts(a) {
		return client{}, true
	}
	if a.IsLoopback() && !s.opt.limitLoopback {
		return client{}, false
	}
	return clientAt(a), false
}

// sender says where a request comes from.
func (s *Server) sender(c *conn, h *head) client {
	if c.proxied {
		return s.proxies.client(h)
	}
	return c.from
}

// where is that for the log, or else the other end of the connection.
func (x *exchange) where() string {
	if x.from.n > 0 {
		return x.from.addr.String()
	}
	return x.http.RemoteAddr().String()
}

// neighbours counts the open connections of each place.
type neighbours struct {
	most int
	mu   sync.Mutex
	open map[[9]byte]int
}

func (c *client) place() (p [9]byte) {
	p[0] = c.n
	copy(p[1:], c.key[:])
	return p
}

// enter counts a connection, unless there are as many as may be.
func (n *neighbours) enter(c *client) bool {
	if n.most == 0 || c.n == 0 {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p := c.place()
	if n.open[p] >= n.most {
		return false
	}
	n.open[p]++
	return true
}

func (n *neighbours) leave(c *client) {
	if n.most == 0 || c.n == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := c.place(); n.open[p] > 1 {
		n.open[p]--
	} else {
		delete(n.open, p)
	}
}

// tooMany answers a connection that is one too many, as far as its socket takes
// the answer at once.
func (s *Server) tooMany(c net.Conn) {
	s.metrics.turned.Inc()
	if s.opt.TLS == nil {
		_ = c.SetWriteDeadline(time.Now().Add(time.Millisecond))
		_, _ = c.Write(tooManyConns)
	}
	_ = c.Close()
}

var tooManyConns = func() []byte {
	const body = `{"type":"urn:flashsale:problem:rate_limited","title":"Rate limited","status":429,"detail":"too many connections from this address","code":"rate_limited",` +
		`"what_to_do":"Close connections, or use the ones that are open."}`
	return fmt.Appendf(nil, "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nRetry-After: 1\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n%s", len(body), body)
}()
