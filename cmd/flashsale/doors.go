package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/problem"
)

// doors are a node's listeners. They open before anything else does: while a
// backend is away, whoever comes hears that, and of which, instead of nothing.
type doors struct {
	admin, public net.Listener // public: nil without the role api
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

func openDoors(ctx context.Context, set Settings, public bool) (_ *doors, err error) {
	d := &doors{}
	d.missing.Store(&outage{what: "the record"})
	listen := func(flag, addr string) net.Listener {
		if err != nil {
			return nil
		}
		var l net.Listener
		if l, err = (&net.ListenConfig{}).Listen(ctx, "tcp", addr); err != nil {
			err = fail(exitUnavailable, "--%s %s: %w; choose another, or port 0 for a free one", flag, addr, err)
		}
		return l
	}
	d.admin = listen("admin-listen", set.AdminListen)
	if public {
		d.public = listen("listen", set.Listen)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	for _, l := range d.all() {
		keeper := &http.Server{Handler: d.answer(l == d.admin), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, MaxHeaderBytes: 8 << 10}
		keeper.SetKeepAlivesEnabled(false) // the next request is for the node itself
		d.keepers = append(d.keepers, keeper)
		d.served.Go(func() { _ = keeper.Serve(lent{l}) }) // it has nothing to tell but that it was ended
	}
	return d, nil
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
func (d *doors) answer(operators bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
// to come. What waiting does not mend ends it: a setting, or a refusal.
func openNode(ctx *world, set Settings, at Backends, roles []string) (*node, error) {
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
			n, err := newNode(ctx, set, at, roles, ctx.log, d)
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
			ctx.log.Warn("nothing is served until a backend answers", "backend", away.what, "at", away.where, "err", away.err, "cure", "start it, or set "+away.flags, "healthz", "http://"+d.admin.Addr().String())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			d.close()
			return nil, context.Cause(ctx)
		}
	}
}
