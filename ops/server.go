// Package ops is the operators' side: the admin API and the metrics, on a
// listener of their own that does not face the crowd.
package ops

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/problem"
	"github.com/flashsale-engine/flashsale/ops/live"
)

// Role is what an admin token permits. Each includes the ones before it.
type Role int

// The roles.
const (
	Viewer   Role = iota + 1 // reads
	Operator                 // moves sales, changes stock, releases holds, forces breakers, rebuilds gates
	Owner                    // creates sales, gives money back
)

var roleNames = map[string]Role{"viewer": Viewer, "operator": Operator, "owner": Owner}

func (r Role) String() string {
	for name, role := range roleNames {
		if role == r {
			return name
		}
	}
	return "none"
}

// ParseRole reads a role's name.
func ParseRole(s string) (Role, error) {
	r := roleNames[s]
	if r == 0 {
		return 0, fmt.Errorf("%q is not viewer, operator or owner", s)
	}
	return r, nil
}

// Token is an admin bearer token. Name is what the audit log calls its bearer.
type Token struct {
	Name   string
	Role   Role
	Secret string
}

// MinTokenLength is the shortest admin token that is accepted, in bytes.
const MinTokenLength = 16

// ParseToken reads name:role:secret.
func ParseToken(s string) (Token, error) {
	part := strings.SplitN(s, ":", 3)
	if len(part) != 3 || part[0] == "" || roleNames[part[1]] == 0 || len(part[2]) < MinTokenLength {
		return Token{}, fmt.Errorf("an admin token is name:role:secret with role viewer, operator or owner and a secret of at least %d characters", MinTokenLength)
	}
	return Token{Name: part[0], Role: roleNames[part[1]], Secret: part[2]}, nil
}

// Options are what the admin listener serves.
type Options struct {
	Lifecycle *engine.Lifecycle
	Reader    engine.GateReader
	Orders    Orders
	Payments  Payments // nil: its paths are not there
	Resolver  Resolver // goes with Payments
	Truth     Truth
	Dead      DeadLetters
	Ready     func(ctx context.Context) error
	Breaker   func() string   // the payment breaker's state
	Breakers  Breakers        // all of them; nil: there are none
	Gates     *Gates          // nil: its paths are not there
	Rooms     Rooms           // nil: no sale has a waiting room
	Contacts  Contacts        // nil: its path is not there
	Buyers    Buyers          // nil: its path is not there
	Live      *live.Collector // nil: its path is not there, and the console shows nothing
	Tokens    []Token
	Staff     Staff                // nil: the Tokens are all that is known
	Registry  *prometheus.Registry // of /metrics
	Log       *slog.Logger
	Secure    bool // the listener speaks TLS
}

// Orders is the record as operators read it.
type Orders interface {
	// Order gives a committed order: CodeNotFound.
	Order(ctx context.Context, id engine.ReservationID) (engine.Order, error)
	// Recent lists a sale's newest orders, at most limit.
	Recent(ctx context.Context, saleNo uint32, limit int) ([]engine.Order, error)
}

// Staff is an identity provider's word on who somebody is.
type Staff interface {
	// Who gives a token's bearer and role: CodeUnauthenticated, CodeForbidden,
	// CodeUnavailable if nobody can say.
	Who(ctx context.Context, token string) (Token, error)
}

// Server is the admin listener.
type Server struct {
	Options
	http    *http.Server
	tokens  []hashedToken
	refused *prometheus.CounterVec
}

type hashedToken struct {
	Token
	sum [32]byte
}

// New checks the options and gives a server.
func New(o Options) (*Server, error) {
	if len(o.Tokens) == 0 && o.Staff == nil {
		return nil, errors.New("ops: at least one admin token or an identity provider must be set")
	}
	s := &Server{Options: o, refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flashsale_admin_requests_refused_total",
		Help: "Admin requests whose token was missing, unknown or expired (unauthenticated), or had too small a role (forbidden)."}, []string{"code"})}
	if err := o.Registry.Register(s.refused); err != nil {
		return nil, err
	}
	for _, c := range []engine.Code{engine.CodeUnauthenticated, engine.CodeForbidden} {
		s.refused.WithLabelValues(string(c))
	}
	for _, t := range o.Tokens {
		if len(t.Secret) < MinTokenLength {
			return nil, fmt.Errorf("ops: the admin token %q has fewer than %d characters", t.Name, MinTokenLength)
		}
		s.tokens = append(s.tokens, hashedToken{t, sha256.Sum256([]byte(t.Secret))})
	}
	s.http = &http.Server{Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn)}
	return s, nil
}

// Serve answers until Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown finishes what is in flight.
func (s *Server) Shutdown(ctx context.Context) error {
	if s.Live != nil {
		s.Live.Close() // who watches would be in flight for ever
	}
	return s.http.Shutdown(ctx)
}

func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, map[string]string{"status": "ok"}) })
	m.HandleFunc("GET /readyz", s.readyz)
	m.Handle("GET /metrics", promhttp.HandlerFor(s.Registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	m.HandleFunc("GET /debug/pprof/", s.allow(Viewer, plain(pprof.Index)))
	m.HandleFunc("GET /debug/pprof/profile", s.allow(Viewer, plain(pprof.Profile)))
	m.HandleFunc("GET /debug/pprof/symbol", s.allow(Viewer, plain(pprof.Symbol)))
	m.HandleFunc("GET /debug/pprof/trace", s.allow(Viewer, plain(pprof.Trace)))

	m.HandleFunc("GET /admin/v1/sales", s.allow(Viewer, s.listSales))
	m.HandleFunc("GET /admin/v1/sales/{sale}", s.allow(Viewer, s.getSale))
	m.HandleFunc("PUT /admin/v1/sales/{sale}", s.allow(Owner, s.putSale))
	m.HandleFunc("POST /admin/v1/sales/{sale}/{move}", s.allow(Operator, s.moveSale))
	m.HandleFunc("POST /admin/v1/sales/{sale}/stock", s.allow(Operator, s.addStock))
	m.HandleFunc("POST /admin/v1/sales/{sale}/stock/move", s.allow(Operator, s.moveStock))
	m.HandleFunc("GET /admin/v1/sales/{sale}/shards", s.allow(Viewer, s.getShards))
	m.HandleFunc("GET /admin/v1/sales/{sale}/holds", s.allow(Viewer, s.listHolds))
	m.HandleFunc("POST /admin/v1/sales/{sale}/import", s.allow(Owner, s.importSale))
	m.HandleFunc("POST /admin/v1/sales/{sale}/holds/extend", s.allow(Operator, s.extendHolds))
	m.HandleFunc("GET /admin/v1/sales/{sale}/orders", s.allow(Viewer, s.listOrders))
	m.HandleFunc("GET /admin/v1/orders/{id}", s.allow(Viewer, s.getOrder))
	m.HandleFunc("POST /admin/v1/reservations/{id}/release", s.allow(Operator, s.releaseHold))
	m.HandleFunc("GET /admin/v1/breakers", s.allow(Viewer, s.listBreakers))
	m.HandleFunc("POST /admin/v1/breakers/{name}/{verb}", s.allow(Operator, s.setBreaker))
	s.paymentRoutes(m)
	s.truthRoutes(m)
	m.HandleFunc("GET /admin/v1/dead-letters", s.allow(Viewer, s.listDead))
	m.HandleFunc("POST /admin/v1/dead-letters/{id}/retry", s.allow(Operator, s.retryDead))
	m.HandleFunc("POST /admin/v1/dead-letters/{id}/drop", s.allow(Operator, s.dropDead))
	s.gateRoutes(m)
	m.HandleFunc("GET /admin/v1/sales/{sale}/queue", s.allow(Viewer, s.getQueue))
	m.HandleFunc("POST /admin/v1/sales/{sale}/queue", s.allow(Operator, s.steerQueue))
	s.buyerRoutes(m)
	s.liveRoutes(m)
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, engine.E(engine.CodeNotFound, "no such path: %s", r.URL.Path))
	})
	return s.recovered(m)
}

type actorKey struct{}

// allow checks the bearer token's role and notes the actor.
func (s *Server) allow(need Role, next func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := s.bearer(r)
		if err == nil && who.Role < need {
			err = engine.E(engine.CodeForbidden, "this needs the role %s; %s has %s", need, who.Name, who.Role)
		}
		if err != nil {
			s.turnAway(r, err)
			if engine.CodeOf(err) == engine.CodeUnauthenticated {
				w.Header().Set("WWW-Authenticate", `Bearer realm="flashsale admin"`)
			}
			s.fail(w, r, err)
			return
		}
		if err := next(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, who.Name))); err != nil {
			s.fail(w, r, err)
		}
	}
}

// turnAway counts who may not, and logs from where somebody came with a token that nobody has.
func (s *Server) turnAway(r *http.Request, err error) {
	code := engine.CodeOf(err)
	if code != engine.CodeUnauthenticated && code != engine.CodeForbidden {
		return // nobody could say who they are
	}
	s.refused.WithLabelValues(string(code)).Inc()
	if r.Header.Get("Authorization") != "" {
		s.Log.WarnContext(r.Context(), "an admin request was refused", "from", r.RemoteAddr, "method", r.Method, "path", r.URL.Path, "code", code, "why", err.Error())
	}
}

// reasoned refuses an act for which the audit log would have no reason.
func reasoned(reason string, most int, say string) error {
	if strings.TrimSpace(reason) == "" || len(reason) > most {
		return engine.E(engine.CodeInvalidRequest, "reason: say %s, in 1 to %d bytes", say, most).With("field", "reason")
	}
	return nil
}

// bearer compares against every token in constant time, and then asks who else is known.
func (s *Server) bearer(r *http.Request) (Token, error) {
	secret, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return Token{}, engine.E(engine.CodeUnauthenticated, "send an admin token: Authorization: Bearer <token>")
	}
	sum := sha256.Sum256([]byte(secret))
	var found Token
	for _, t := range s.tokens {
		if subtle.ConstantTimeCompare(sum[:], t.sum[:]) == 1 {
			found = t.Token
		}
	}
	switch {
	case found.Role != 0:
		return found, nil
	case s.Staff != nil && strings.Count(secret, ".") == 2: // a JWT's form
		return s.Staff.Who(r.Context(), secret)
	}
	return Token{}, engine.E(engine.CodeUnauthenticated, "this admin token is not known")
}

func actor(r *http.Request) string { a, _ := r.Context().Value(actorKey{}).(string); return a }

func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.guard(w.Header())
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic value, compared as net/http does
				s.fail(w, r, fmt.Errorf("panic: %v", p))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// guard tells browsers and caches what they may do with an answer: nothing.
func (s *Server) guard(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'") // pprof's index has styles of its own
	if s.Secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		s.fail(w, r, engine.Wrap(err, engine.CodeUnavailable, "not ready: %v", err))
		return
	}
	reply(w, 200, map[string]string{"status": "ready"})
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problem.Of(err)
	if p.Status >= 500 {
		s.Log.ErrorContext(r.Context(), "admin request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	w.Header().Set("Content-Type", problem.ContentType)
	if after := p.RetryAfter(); after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(after))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(p.Document(""), '\n')) //nolint:gosec // JSON under its own content type, with nosniff
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func plain(h http.HandlerFunc) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error { h(w, r); return nil }
}
