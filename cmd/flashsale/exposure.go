package main

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/internal/certs"
)

// Exposure is how the listeners are protected, and what is allowed all the same.
type Exposure struct {
	TLSCert        string `name:"tls-cert" help:"PEM file with the public listener's certificate and its chain; read again when it changes." placeholder:"FILE"`
	TLSKey         string `name:"tls-key" help:"PEM file with its key." placeholder:"FILE"`
	AdminTLSCert   string `name:"admin-tls-cert" help:"The same for the admin listener." placeholder:"FILE"`
	AdminTLSKey    string `name:"admin-tls-key" help:"The same for the admin listener." placeholder:"FILE"`
	AllowPlainHTTP bool   `name:"allow-plain-http" help:"Let other machines reach listeners that have no certificate: a proxy or a mesh before this node speaks TLS."`
	Trial          bool   `help:"This node is for trying things out, and nobody else's machine reaches it: take secrets that anybody can know, and payments that move no money, on any address."`
}

// door is one listener with what protects it.
type door struct{ flag, addr, cert, key string }

func (s *Settings) facing(public bool) (out []door) {
	if public {
		out = append(out, door{"listen", s.Listen, s.TLSCert, s.TLSKey})
	}
	return append(out, door{"admin-listen", s.AdminListen, s.AdminTLSCert, s.AdminTLSKey})
}

// tlsFlag is the listener's prefix in the names of its flags for TLS.
func (d door) tlsFlag() string { return strings.TrimSuffix(d.flag, "listen") + "tls" }

// beyond says whether other machines can reach a door.
func (d door) beyond() bool {
	host, _, err := net.SplitHostPort(d.addr)
	return err == nil && !loopback(host)
}

// files opens the door's certificate; nil: it has none.
func (d door) files(log *slog.Logger) (*certs.Files, error) {
	if d.cert == "" {
		return nil, nil
	}
	return certs.Open(d.cert, d.key, log)
}

// validateExposure refuses what must not be reached from other machines.
func (s *Settings) validateExposure(p *problems, public bool) {
	reached := false
	for _, d := range s.facing(public) {
		f, err := d.files(slog.New(slog.DiscardHandler))
		switch {
		case (d.cert == "") != (d.key == ""):
			p.add("%s-cert, %[1]s-key: give both or neither", d.tlsFlag())
		case err != nil:
			p.add("%s-cert, %[1]s-key: %v", d.tlsFlag(), err)
		}
		if !d.beyond() {
			continue
		}
		reached = true
		if f == nil && err == nil && !s.AllowPlainHTTP {
			p.add("%s: other machines can reach %s, and whoever is on the way could read its tokens; set %s-cert and %[3]s-key, or listen on 127.0.0.1, or, where a proxy or mesh before this node speaks TLS, say allow-plain-http",
				d.flag, d.addr, d.tlsFlag())
		}
	}
	if reached {
		s.validateReached(p, public)
	}
}

// validateReached refuses what is for this machine only.
func (s *Settings) validateReached(p *problems, public bool) {
	if s.Fault != "" || s.ClockSkew != 0 {
		p.add("fault, clock-skew: they are for tests, on 127.0.0.1 only; take them out")
	}
	if s.Trial {
		return
	}
	for _, what := range s.known() {
		p.add("%s: anybody can guess it, and other machines can reach this node; make another with: openssl rand -hex 32", what)
	}
	if public && s.PaymentURL != "" && s.StripeKey == "" {
		p.add("payment-url: the sandbox alone takes the payments, which move no money, and other machines can reach this node; set stripe-key, or, to try things out, say trial")
	}
}

// known names the secrets that anybody can know.
func (s *Settings) known() (out []string) {
	for name, values := range map[string][]string{"admin-token": s.AdminToken, "buyer-key": {s.BuyerKey}, "payment-webhook-secret": s.PaymentWebhookSecret,
		"stripe-webhook-secret": s.StripeWebhookSecret, "notify-secret": s.NotifySecret} {
		for _, v := range values {
			if v != "" && guessable(v) {
				out = append(out, name)
				break
			}
		}
	}
	return out
}

// guessable says whether a secret is one of those that documents print, or hardly
// one at all. It looks for slips, not for strength.
func guessable(secret string) bool {
	secret = strings.ToLower(secret[strings.LastIndexByte(secret, ':')+1:])
	different := map[rune]bool{}
	for _, r := range secret {
		different[r] = true
	}
	return len(different) < 8 || strings.Contains(secret, "change-me") || strings.Contains(secret, "changeme") || strings.HasPrefix(secret, "0123456789")
}

// unsafe lists settings that work and should not face the world.
func (c *doctorCmd) unsafe() (out []diagnosis) {
	add := func(check, detail string) { out = append(out, diagnosis{check, true, "unsafe", detail}) }
	public := has(c.Roles, roleAPI)
	reached := false
	for _, d := range c.facing(public) {
		reached = reached || d.beyond()
		f, err := d.files(slog.New(slog.DiscardHandler))
		if d.beyond() && f == nil && err == nil {
			add(d.flag, "other machines can reach "+d.addr+", which speaks plain HTTP; a TLS proxy must stand before it")
		}
		if f == nil || err != nil {
			continue
		}
		if left := time.Until(f.NotAfter()); left < soonEnded {
			add(d.tlsFlag()+"-cert", "the certificate ends in "+left.Round(time.Hour).String())
		}
		if info, err := os.Stat(d.key); err == nil && info.Mode().Perm()&0o007 != 0 {
			add(d.tlsFlag()+"-key", d.key+" can be read by every account of this machine; chmod 640 it")
		}
	}
	if reached && c.Trial {
		add("trial", "other machines can reach this node, and it takes well-known secrets and payments that move no money")
	}
	for _, what := range c.known() {
		add(what, "anybody can guess it")
	}
	for _, u := range []struct{ flag, url, plain string }{{"redis-url", c.RedisURL, "redis"}, {"payment-url", c.PaymentURL, "http"}, {"fraud-url", c.FraudURL, "http"}, {"notify-url", c.NotifyURL, "http"}} {
		if at, err := url.Parse(u.url); err == nil && at.Scheme == u.plain && !loopback(at.Hostname()) {
			add(u.flag, "it goes to another machine without TLS")
		}
	}
	if at, err := url.Parse(c.PostgresURL); err == nil && at.Hostname() != "" && !loopback(at.Hostname()) && !strings.HasPrefix(at.Query().Get("sslmode"), "verify-") {
		add("postgres-url", "it goes to another machine without sslmode=verify-full, so nobody checks whose that is")
	}
	return out
}

// soonEnded is how long before its end a certificate should have been renewed.
const soonEnded = 14 * 24 * time.Hour

// config gives what a listener speaks, or nil: plain HTTP.
func config(f *certs.Files) *tls.Config {
	if f == nil {
		return nil
	}
	return f.Config()
}
