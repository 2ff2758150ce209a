package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/certs"
	"github.com/flashsale-engine/flashsale/internal/problem"
)

// doors are a node's listeners. They open before anything else does: while a
// backend is away, whoever comes hears that, and of which, instead of nothing.
type doors struct {
	admin, public net.Listener // public: nil without the role api
	adminCert     *certs.Files // nil: plain HTTP
	publicCert    *certs.Files
	missing       atomic.Pointer[outage]
	keepers       []*http.Server
	served        sync.WaitGroup
}

// outage is a backend that does not answer. It may come, so it is waited for.
type outage struct {
	what, where, flags string
	err                error // nil: it is being asked for the first time
}

func (o *outage) Error() string {
	return fmt.Sprintf("%s at %s does not answer: %v", o.what, o.where, o.err)
}

func (o *outage) Unwrap() error { return o.err }

func openDoors(ctx *world, set Settings, public bool) (_ *doors, err error) {
	d := &doors{}
	d.missing.Store(&outage{what: "the record"})
	for _, one := range set.facing(public) {
		l, cert := &d.public, &d.publicCert
		if one.flag == "admin-listen" {
			l, cert = &d.admin, &d.adminCert
		}
		if *cert, err = one.files(ctx.log); err != nil {
			err = fail(exitUsage, "--%s-cert: %w", one.tlsFlag(), err)
		} else if *l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", one.addr); err != nil {
			err = fail(exitUnavailable, "--%s %s: %w; choose another, or port 0 for a free one", one.flag, one.addr, err)
		}
		if err != nil {
			d.close()
			return nil, err
		}
	}
	for _, l := range d.all() {
		cert := d.publicCert
		if l == d.admin {
			cert = d.adminCert
		}
		keeper := &http.Server{Handler: d.answer(l == d.admin, cert != nil), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxHeaderBytes: 8 << 10}
		keeper.SetKeepAlivesEnabled(false) // the next request is for the node itself
		d.keepers = append(d.keepers, keeper)
		d.served.Go(func() { _ = keeper.Serve(secured(lent{l}, cert)) }) // it has nothing to tell but that it was ended
	}
	return d, nil
}

// secured is a listener that speaks TLS, if there is a certificate.
func secured(l net.Listener, cert *certs.Files) net.Listener {
	if cert == nil {
		return l
	}
	return tls.NewListener(l, cert.Config())
}

// doorURL is a listener's address for people; "": there is none.
func doorURL(l net.Listener, cert *certs.Files) string {
	switch {
	case l == nil:
		return ""
	case cert != nil:
		return "https://" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}

func (d *doors) all() (out []net.Listener) {
	for _, l := range []net.Listener{d.admin, d.public} {
		if l != nil {
			out = append(out, l)
		}
	}
	return out
}

// answer speaks for a node that cannot work yet. Operators hear why, strangers
// only what.
func (d *doors) answer(operators, secure bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if secure {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		w.Header().Set("Cache-Control", "no-store")
		if r.URL.Path == "/healthz" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte("{\"status\":\"ok\"}\n"))
			return
		}
		o := d.missing.Load()
		text := fmt.Sprintf("this node is starting and waits for %s", o.what)
		if operators && o.err != nil {
			text = fmt.Sprintf("this node is starting: %v", o)
		}
		p := problem.Of(engine.E(engine.CodeUnavailable, "%s", text).After(mostPause))
		w.Header().Set("Content-Type", problem.ContentType)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Retry-After", fmt.Sprint(p.RetryAfter()))
		w.WriteHeader(p.Status)
		_, _ = w.Write(append(p.Document(""), '\n'))
	})
}

// handOver ends that. The listeners stay open: who comes in between waits for the
// node's own servers.
func (d *doors) handOver() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, k := range d.keepers {
		if k.Shutdown(ctx) != nil {
			_ = k.Close() // somebody is still sending a request that would be refused
		}
	}
	d.served.Wait()
	d.keepers = nil
	for _, l := range d.all() {
		_ = l.(*net.TCPListener).SetDeadline(time.Time{}) // fails once it is closed, and then nobody minds
	}
}

func (d *doors) close() {
	d.handOver()
	for _, l := range d.all() {
		_ = l.Close()
	}
}

// lent is a listener that its server may end serving, but not close.
type lent struct{ net.Listener }

func (l lent) Close() error { return l.Listener.(*net.TCPListener).SetDeadline(time.Unix(1, 0)) }

const (
	leastPause = 250 * time.Millisecond
	mostPause  = 2 * time.Second // between two looks for a backend that is away
	remindEach = 30 * time.Second
)

// openNode opens the doors and makes the node, for as long as it takes backends
// to come. dress may change a node before its parts are wired. What waiting does not mend ends it: a setting, or a refusal.
func openNode(ctx *world, set Settings, at Backends, roles []string, dress ...func(*node)) (*node, error) {
	raiseHeapFloor(set.HeapFloor)
	d, err := openDoors(ctx, set, has(roles, roleAPI))
	if err != nil {
		return nil, err
	}
	type made struct {
		n   *node
		err error
	}
	var said string
	var when time.Time
	for pause := leastPause; ; pause = min(2*pause, mostPause) {
		one := make(chan made, 1)
		go func() {
			n, err := newNode(ctx, set, at, roles, ctx.log, d, dress...)
			one <- made{n, err}
		}()
		var got made
		select {
		case got = <-one:
		case <-ctx.Done(): // drivers do not all mind it at once
			d.close()
			return nil, context.Cause(ctx)
		}
		var away *outage
		if got.err == nil || !errors.As(got.err, &away) {
			if got.err != nil {
				d.close()
			} else if said != "" {
				ctx.log.Info("every backend answers")
			}
			return got.n, got.err
		}
		d.missing.Store(away)
		if away.what != said || time.Since(when) > remindEach {
			said, when = away.what, time.Now()
			ctx.log.Warn("nothing is served until a backend answers", "backend", away.what, "at", away.where, "err", away.err, "cure", "start it, or set "+away.flags, "healthz", doorURL(d.admin, d.adminCert))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			d.close()
			return nil, context.Cause(ctx)
		}
	}
}

// register exposes when the certificates end.
func (d *doors) register(reg *prometheus.Registry) {
	for name, cert := range map[string]*certs.Files{"public": d.publicCert, "admin": d.adminCert} {
		if cert != nil {
			reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "flashsale_tls_certificate_ends_seconds", Help: "When the listener's certificate ends, as Unix time.",
				ConstLabels: prometheus.Labels{"listener": name}}, func() float64 { return float64(cert.NotAfter().Unix()) }))
		}
	}
}
