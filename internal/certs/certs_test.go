package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/internal/certs/certtest"
)

// shakeHands connects to a server that has these files, and gives what the client saw.
func shakeHands(t *testing.T, f *Files, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", f.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		if c, err := l.Accept(); err == nil {
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState(), nil
}

func trusting(t *testing.T, file string) *tls.Config {
	t.Helper()
	c, err := Client(file)
	if err != nil {
		t.Fatal(err)
	}
	c.ServerName = "localhost"
	return c
}

func TestTLS13AndHTTP11AreSpokenAndNothingElse(t *testing.T) {
	certFile, keyFile := certtest.Good(t).Write(t, t.TempDir())
	f, err := Open(certFile, keyFile, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*tls.Config)
		says   string
	}{
		"as usual":      {func(*tls.Config) {}, ""},
		"HTTP/1.1":      {func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }, ""},
		"HTTP/2 alone":  {func(c *tls.Config) { c.NextProtos = []string{"h2"} }, "no application protocol"},
		"TLS 1.2":       {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, "protocol version"},
		"another host":  {func(c *tls.Config) { c.ServerName = "shop.example" }, "not shop.example"},
		"nobody's word": {func(c *tls.Config) { c.RootCAs = nil }, "unknown authority"},
	} {
		client := trusting(t, certFile)
		c.change(client)
		state, err := shakeHands(t, f, client)
		if c.says == "" && (err != nil || state.Version != tls.VersionTLS13 || client.NextProtos != nil && state.NegotiatedProtocol != "http/1.1") {
			t.Errorf("%s: %v, version %x, %q", name, err, state.Version, state.NegotiatedProtocol)
		}
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestACertificateThatIsRenewedIsUsedAtOnceAndHalfOfOneNever(t *testing.T) {
	dir := t.TempDir()
	first, second := certtest.Good(t), certtest.Good(t)
	certFile, keyFile := first.Write(t, dir)
	var log bytes.Buffer
	f, err := Open(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	f.now = func() time.Time { return at }
	shows := func(p certtest.Pair) bool {
		t.Helper()
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, p.Cert, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := shakeHands(t, f, trusting(t, ca))
		return err == nil
	}
	if !shows(first) {
		t.Fatal("the first certificate is not shown")
	}
	if err := os.WriteFile(certFile, second.Cert, 0o600); err != nil { // the key follows later
		t.Fatal(err)
	}
	at = at.Add(lookEvery)
	if !shows(first) || !strings.Contains(log.String(), "the old one stays in use") {
		t.Errorf("half a pair was taken; the log says %s", &log)
	}
	at = at.Add(lookEvery)
	if shows(second); strings.Count(log.String(), "the old one stays in use") != 1 {
		t.Errorf("said more than once: %s", &log)
	}
	second.Write(t, dir)
	if shows(second) {
		t.Error("the files are read more than once a second")
	}
	at = at.Add(lookEvery)
	if !shows(second) || shows(first) || !strings.Contains(log.String(), "was renewed") {
		t.Errorf("the second certificate is not shown; the log says %s", &log)
	}
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	at = at.Add(lookEvery)
	if !shows(second) {
		t.Error("a key that went away took its certificate along")
	}
}

func TestBadFilesAreNamedWithWhatIsWrong(t *testing.T) {
	good, other := certtest.Good(t), certtest.Good(t)
	for says, p := range map[string]certtest.Pair{
		"private key does not match":                 {Cert: good.Cert, Key: other.Key},
		"failed to find any PEM data in certificate": {Cert: []byte("hello"), Key: good.Key},
		"failed to find any PEM data in key":         {Cert: good.Cert},
		"found a certificate rather than a key":      {Cert: good.Cert, Key: good.Cert},
		"the certificate ended on":                   certtest.New(t, time.Now().Add(-time.Minute)),
		"the certificate is not good before":         certtest.New(t, time.Now().Add(60*24*time.Hour)),
	} {
		certFile, keyFile := p.Write(t, t.TempDir())
		_, err := Open(certFile, keyFile, slog.Default())
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), certFile) {
			t.Errorf("%s: got %v", says, err)
		}
	}
	if _, err := Open("no-such.pem", "nor-this.pem", slog.Default()); err == nil || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "no-such.pem") || !strings.Contains(err.Error(), "nor-this.pem") {
		t.Errorf("got %v", err)
	}
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Client(empty); err == nil || !strings.Contains(err.Error(), empty) {
		t.Errorf("got %v", err)
	}
	if _, err := Client("no-such.pem"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
