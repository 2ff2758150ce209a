package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/internal/trail"
)

// Fixed limits of the contract.
const (
	MaxBody     = 16 << 10 // bytes of a request body
	maxReadBody = 64 << 10 // beyond this a body is not even read: 413 and close
	maxToken    = 4 << 10  // bytes of a bearer token
)

// Options are the door's settings. Engine, Views and at least one Key must be
// given; everything else has a default.
type Options struct {
	Engine   Engine
	Views    Views
	Webhooks Webhooks // nil: providers are told 404
	Rooms    Rooms    // waiting rooms; nil: no sale has one

	// SoldOut, if given, is what this node knows without asking anybody: the
	// refusal of a cart of one line, or nil. It must not block. The door then
	// refuses such a request before it reads the token; see ADR 009.
	SoldOut func(sale, buyer, sku string, quantity int) error

	// ReserveThen, if given, is the engine's: Engine.Reserve for a caller that does
	// not wait. The door then answers plain reservations outside fasthttp; see ADR 013.
	ReserveThen func(ctx context.Context, r engine.ReserveRequest, who engine.OnReserve)

	Keys       []Key         // who may sign buyer tokens, until Server.SetKeys says otherwise
	Audience   string        // the aud a token must carry; default "flashsale"
	Origins    []string      // storefronts whose pages may call this API from a browser, as https://shop.example; none: no page may
	TokenCache int           // verified tokens remembered, rounded down to a power of two; default 262,144 (about 32 MB when full)
	MaxWait    time.Duration // the longest Prefer: wait; default 30 s. Use the engine's own MaxWait.

	// UnknownKid, if given, is called when a token names a key that is not there. It
	// may bring Server.SetKeys about, and the token is then looked at once more. Only
	// that request waits for it; it should take a second at most.
	UnknownKid func()

	// Unguarded believes what plain requests for stock say of who sends them, and does
	// not count who asks. It is there to measure what that costs, and for nothing else.
	Unguarded bool

	// Pages, if given, answers GET and POST below /shop/: the demo's storefront. It says what
	// its pages may do by a Content-Security-Policy of its own.
	Pages http.Handler

	// TLS, if given, is spoken on every connection; NextProtos must be HTTP/1.1 alone.
	// Browsers are then told to come by https only.
	TLS *tls.Config

	// TargetLatency is what an answer to who asks for stock may take on average. If it
	// takes longer, fewer are let in at once; 0: MaxInFlight alone decides.
	TargetLatency time.Duration

	MaxInFlight    int // requests worked on at once, beyond which 503 overloaded at once; default 16,384. Three quarters of it are for asking for stock, half for looking; see rank.
	MaxConnections int // open connections; default 262,144

	// MaxConnsPerIP is how many connections may be open from one IPv4 address or one
	// IPv6 network of 64 bits; 0, the default, is no limit. It is not for loopback, nor
	// for TrustedProxies.
	MaxConnsPerIP int
	// TrustedProxies are the peers that are believed about whom they forward for, as
	// ForwardedHeader says: X-Forwarded-For, the default, or Forwarded.
	TrustedProxies  []netip.Prefix
	ForwardedHeader string
	// Limits, if given, says how often somebody may come.
	Limits Limits
	// Challenges, if given, says who has to solve one first.
	Challenges Challenges
	// limitLoopback treats this machine as any other, which only a test wants.
	limitLoopback bool

	MaxStreams int // event streams; default 4,096

	ReadTimeout    time.Duration // for one whole request to arrive; default 5 s
	WriteTimeout   time.Duration // for one answer to leave; default 5 s
	IdleTimeout    time.Duration // between requests of a connection; default 60 s
	RequestTimeout time.Duration // for the engine to answer; default 10 s. A checkout has MaxWait on top.
	MaxHeaderBytes int           // of a request's line and headers together; default 8 KiB

	// SaleCacheFor is how long GET /v1/sales/{sale} serves what it read last,
	// so that a crowd looking at a sale costs a few reads per second; default
	// 250 ms, negative: always read.
	SaleCacheFor time.Duration

	Trace *telemetry.Telemetry // traces some of the requests; nil: none

	Trail *trail.Trail // remembers what buyers were told, for support; nil: nobody does

	Registerer prometheus.Registerer // nil: metrics are kept but not exposed
	Log        *slog.Logger          // faults only; nil: slog.Default()
	AccessLog  bool                  // also one line per request, at level info
	Now        func() time.Time      // nil: time.Now
}

func (o Options) withDefaults() Options {
	or := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if o.Audience == "" {
		o.Audience = "flashsale"
	}
	orInt(&o.TokenCache, 1<<18)
	or(&o.MaxWait, 30*time.Second)
	orInt(&o.MaxConnections, 256*1024)
	orInt(&o.MaxInFlight, min(16_384, o.MaxConnections))
	orInt(&o.MaxStreams, 4096)
	or(&o.ReadTimeout, 5*time.Second)
	or(&o.WriteTimeout, 5*time.Second)
	or(&o.IdleTimeout, time.Minute)
	or(&o.RequestTimeout, 10*time.Second)
	orInt(&o.MaxHeaderBytes, 8<<10)
	or(&o.SaleCacheFor, 250*time.Millisecond)
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Engine == nil || o.Views == nil:
		return errors.New("api: Engine and Views must be given")
	case o.MaxWait < time.Second || o.MaxWait > 5*time.Minute:
		return fmt.Errorf("api: MaxWait %s is not between 1s and 5m", o.MaxWait)
	case o.TokenCache < 0 || o.MaxInFlight < 0 || o.MaxConnections < 0 || o.MaxConnsPerIP < 0 || o.MaxStreams < 0:
		return errors.New("api: limits must not be negative")
	case o.MaxInFlight > o.MaxConnections:
		return fmt.Errorf("api: MaxInFlight %d exceeds MaxConnections %d: it could never bind", o.MaxInFlight, o.MaxConnections)
	case o.TargetLatency < 0 || o.ReadTimeout < 0 || o.WriteTimeout < 0 || o.IdleTimeout < 0 || o.RequestTimeout < 0:
		return errors.New("api: time-outs must be positive")
	case o.MaxHeaderBytes < 1<<10 || o.MaxHeaderBytes > 1<<20:
		return fmt.Errorf("api: MaxHeaderBytes %d is not between 1 KiB and 1 MiB", o.MaxHeaderBytes)
	}
	return nil
}
