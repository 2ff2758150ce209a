package api

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Server is the public listener. Use New.
type Server struct {
	opt      Options
	http     *fasthttp.Server
	buyers   *verifier
	origins  origins
	metrics  *metrics
	faults   *faultLog
	sales    *saleCache
	rooms    roomPages
	ids      *requestIDs
	names    names
	date     dates
	limits   deadlines
	inFlight atomic.Int64
	conns    atomic.Int64 // open connections
	taken    sync.Map     // and which: *conn
	streams  atomic.Int64 // of events
	draining atomic.Bool
	leaving  chan struct{} // closed once it is
	leave    sync.Once

	base context.Context // of every engine call; ends when Shutdown gives up waiting
	stop context.CancelFunc
}

// New checks the options and gives a server that listens nowhere yet.
func New(o Options) (*Server, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	v, err := newVerifier(o.Keys, o.Audience, o.TokenCache, o.Now)
	if err != nil {
		return nil, err
	}
	v.unknown = o.UnknownKid
	from, err := newOrigins(o.Origins)
	if err != nil {
		return nil, err
	}
	s := &Server{opt: o, buyers: v, origins: from, faults: &faultLog{log: o.Log, now: o.Now}, ids: newRequestIDs(), leaving: make(chan struct{})}
	s.base, s.stop = context.WithCancel(context.Background())
	s.sales = newSaleCache(s.base, o)
	s.limits.base, s.limits.limit = s.base, o.RequestTimeout
	if s.metrics, err = newMetrics(o.Registerer, s.inFlight.Load, o.MaxInFlight); err != nil {
		s.stop()
		return nil, err
	}
	s.http = &fasthttp.Server{
		Handler:            s.handle,
		ErrorHandler:       s.unreadable,
		HeaderReceived:     s.bodyLimit,
		MaxRequestBodySize: maxReadBody,
		ReadBufferSize:     o.MaxHeaderBytes,
		ReadTimeout:        o.ReadTimeout,
		WriteTimeout:       o.WriteTimeout,
		IdleTimeout:        o.IdleTimeout,
		Concurrency:        o.MaxConnections,
		MaxConnsPerIP:      o.MaxConnsPerIP,

		CloseOnShutdown:              true,
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		DisablePreParseMultipartForm: true, // a form is refused, not spooled to disk
		SecureErrorLogMessage:        true, // never print a stranger's header
		Logger:                       fasthttpLog{o.Log},
	}
	return s, nil
}

// SetKeys replaces the keys of buyer tokens, at any time. A token whose key is not
// among them is refused from then on, however often it was accepted before.
func (s *Server) SetKeys(keys []Key) error { return s.buyers.set(keys) }

// Serve takes connections from ln until Shutdown, then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	if s.draining.Load() {
		return ln.Close()
	}
	if err := s.http.Serve(&listener{Listener: ln, log: s.opt.Log, open: &s.conns, server: s, stopped: s.base.Done()}); err != nil {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}

// Shutdown stops taking connections, lets the requests in flight finish, and
// returns. When ctx ends first, it cancels what the engine is still doing,
// gives that a second to leave, and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	s.leave.Do(func() { close(s.leaving) })
	defer s.stop()
	s.dismiss()
	err := s.http.ShutdownWithContext(ctx)
	if err != nil {
		s.stop()
		s.settle(time.Second)
	}
	return err
}

// dismiss ends the connections that were last answered the quick way, or will be.
// Of such answers fasthttp knows nothing: it may take a connection for one whose
// first request is still on its way, and wait for it.
func (s *Server) dismiss() {
	s.taken.Range(func(c, _ any) bool {
		if c := c.(*conn); c.resting.Load() {
			_ = c.Close()
		}
		return true
	})
}

// settle waits for connections to close, for at most d. fasthttp cannot be
// asked a second time: it has forgotten its listeners by then, and says that
// all is done.
func (s *Server) settle(d time.Duration) {
	end := time.NewTimer(d)
	defer end.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for s.conns.Load() > 0 {
		select {
		case <-look.C:
		case <-end.C:
			return
		}
	}
}
