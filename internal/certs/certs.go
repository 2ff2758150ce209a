// Package certs is TLS as this program speaks it: version 1.3 and HTTP/1.1, with
// certificates that may be renewed while it runs.
package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files are a certificate with its chain and its key, both PEM. They are read again
// when somebody connects, once a second at most: whoever renews them has only to
// write them. A pair that cannot be used, such as one of which only half is
// written, changes nothing.
type Files struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	current atomic.Pointer[pair]
	looking sync.Mutex
	looked  time.Time
	wrong   string // what was said of the files last
}

// pair is what the files held.
type pair struct {
	cert, key []byte
	usable    *tls.Certificate
}

// lookEvery is how soon a renewed certificate is noticed.
const lookEvery = time.Second

// Open reads the files for the first time.
func Open(certFile, keyFile string, log *slog.Logger) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	p, err := f.read(nil)
	if err != nil {
		return nil, err
	}
	f.looked = f.now()
	f.current.Store(p)
	return f, nil
}

// Config is a server's. Clients that want HTTP/2 alone are refused.
func (f *Files) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			f.look()
			return f.current.Load().usable, nil
		}}
}

// NotAfter says when the certificate ends.
func (f *Files) NotAfter() time.Time { return f.current.Load().usable.Leaf.NotAfter }

// look takes what is there now, unless somebody has just looked, or does.
func (f *Files) look() {
	if !f.looking.TryLock() {
		return
	}
	defer f.looking.Unlock()
	if f.now().Sub(f.looked) < lookEvery {
		return
	}
	f.looked = f.now()
	old := f.current.Load()
	p, err := f.read(old)
	switch {
	case err != nil && err.Error() != f.wrong:
		f.wrong = err.Error()
		f.log.Warn("the TLS certificate could not be read again; the old one stays in use", "err", err, "ends", old.usable.Leaf.NotAfter)
	case err == nil && p != old:
		f.wrong = ""
		f.current.Store(p)
		f.log.Info("the TLS certificate was renewed", "file", f.certFile, "ends", p.usable.Leaf.NotAfter)
	}
}

// read gives what the files hold, or old if that is the same.
func (f *Files) read(old *pair) (*pair, error) {
	p := &pair{}
	var errs [2]error
	p.cert, errs[0] = os.ReadFile(f.certFile)
	p.key, errs[1] = os.ReadFile(f.keyFile)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if old != nil && bytes.Equal(p.cert, old.cert) && bytes.Equal(p.key, old.key) {
		return old, nil
	}
	c, err := tls.X509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", f.certFile, f.keyFile, err)
	}
	if now := f.now(); now.After(c.Leaf.NotAfter) {
		return nil, fmt.Errorf("%s: the certificate ended on %s", f.certFile, c.Leaf.NotAfter.Format(time.DateOnly))
	} else if now.Before(c.Leaf.NotBefore) {
		return nil, fmt.Errorf("%s: the certificate is not good before %s", f.certFile, c.Leaf.NotBefore.Format(time.RFC3339))
	}
	p.usable = &c
	return p, nil
}

// Client is the configuration of a client that trusts the authorities in a PEM file
// and nobody else; without a file, those that the system trusts.
func Client(caFile string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS13}
	if caFile == "" {
		return c, nil
	}
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: there is no PEM certificate in it", caFile)
	}
	return c, nil
}
