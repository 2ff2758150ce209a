// Package peers holds what the benchmark compares with: a server that does
// nothing, and reservations the way they are usually written. Each way is
// written as a careful engineer would, and no more: same requests, same answers,
// tokens verified and remembered, JSON read and checked.
//
// It holds drivers of its own, as those who build it this way would; nothing of
// the engine imports it.
package peers

import (
	"context"
	"crypto/sha1" //nolint:gosec // how Redis names scripts
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/valyala/fasthttp"
)

// ScriptA is the script that a usual way calls per reservation.
//
//go:embed script_a.lua
var ScriptA string

// ScriptSHA is how Redis names ScriptA.
func ScriptSHA() string {
	sum := sha1.Sum([]byte(ScriptA)) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

// Limit and Life are what all ways grant a buyer.
const (
	Limit = 100
	Life  = 30 * time.Minute
)

// Kind names a server.
type Kind string

// The servers.
const (
	Plaintext   Kind = "plaintext"     // fasthttp answers 200 OK and reads nothing
	Naive       Kind = "naive"         // fasthttp, one EVALSHA of script A per request
	NetHTTP     Kind = "nethttp"       // net/http, the same
	PGForUpdate Kind = "pg-for-update" // fasthttp, SELECT … FOR UPDATE in a transaction per request
	PGUpdate    Kind = "pg-update"     // fasthttp, one UPDATE … RETURNING + INSERT statement per request
)

// Options of a server.
type Options struct {
	Kind     Kind
	Redis    string // URL
	Postgres string // URL
	Key      string // HS256 secret of the buyers' tokens
}

// hold is one request, read and authenticated.
type hold struct {
	id, sale, buyer, key, sku string
	quantity                  int
}

var (
	errSoldOut = errors.New("sold_out")
	errLimit   = errors.New("buyer_limit")
)

// store keeps reservations; it gives the deadline of a new one.
type store interface {
	reserve(ctx context.Context, h hold) (time.Time, error)
}

// Serve runs a server on l until ctx ends.
func Serve(ctx context.Context, o Options, l net.Listener) error {
	var s store
	var err error
	var end func()
	switch o.Kind {
	case Plaintext:
	case Naive, NetHTTP:
		s, end, err = newRedisStore(ctx, o.Redis)
	case PGForUpdate, PGUpdate:
		s, end, err = newPostgresStore(ctx, o.Postgres, o.Kind == PGForUpdate)
	default:
		err = fmt.Errorf("peers: no server %q", o.Kind)
	}
	if err != nil {
		return err
	}
	if end != nil {
		defer end()
	}
	if o.Kind == NetHTTP {
		return serveNetHTTP(ctx, o, s, l)
	}
	server := &fasthttp.Server{NoDefaultServerHeader: true, NoDefaultDate: true, Handler: plaintext}
	if s != nil {
		server.Handler = newFront(o.Key, s).fast
	}
	go func() {
		<-ctx.Done()
		_ = server.Shutdown()
	}()
	return server.Serve(l)
}

func plaintext(c *fasthttp.RequestCtx) {
	c.SetContentType("text/plain")
	c.SetBodyString("Hello, World!")
}

// front is what the ways share: who asks, for what, and the answer.
type front struct {
	store  store
	parser *jwt.Parser
	key    []byte
	seen   [64]seen // verified tokens, as the engine remembers them
	ids    atomic.Uint64
	run    string
}

type seen struct {
	mu sync.RWMutex
	m  map[string]claim
}

type claim struct {
	buyer string
	until int64
}

func newFront(key string, s store) *front {
	f := &front{store: s, key: []byte(key), parser: jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience("flashsale"), jwt.WithExpirationRequired()),
		run: fmt.Sprintf("%012x", time.Now().UnixNano()>>8)}
	for i := range f.seen {
		f.seen[i].m = map[string]claim{}
	}
	return f
}

func (f *front) buyer(auth string) (string, error) {
	token, ok := strings.CutPrefix(auth, "Bearer ")
	if !ok || token == "" {
		return "", errors.New("no token")
	}
	s := &f.seen[token[len(token)-1]&63]
	s.mu.RLock()
	c, ok := s.m[token]
	s.mu.RUnlock()
	if ok && time.Now().Unix() < c.until {
		return c.buyer, nil
	}
	var claims jwt.RegisteredClaims
	if _, err := f.parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return f.key, nil }); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m[strings.Clone(token)] = claim{claims.Subject, claims.ExpiresAt.Unix()}
	return claims.Subject, nil
}

type body struct {
	Lines []line `json:"lines"`
}

type line struct {
	SKU       string `json:"sku"`
	Quantity  int    `json:"quantity"`
	UnitPrice int64  `json:"unit_price,omitempty"`
}

type money struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

type reservation struct {
	ID        string `json:"id"`
	Sale      string `json:"sale"`
	Buyer     string `json:"buyer"`
	State     string `json:"state"`
	Lines     []line `json:"lines"`
	Total     money  `json:"total"`
	ExpiresAt string `json:"expires_at"`
}

type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   string `json:"code"`
}

// answer is the whole of a way but its transport.
func (f *front) answer(ctx context.Context, path, auth, key string, raw []byte) (int, any) {
	sale, ok := strings.CutSuffix(strings.TrimPrefix(path, "/v1/sales/"), "/reservations")
	if !ok || sale == "" {
		return refuse(404, "not_found")
	}
	buyer, err := f.buyer(auth)
	if err != nil {
		return refuse(401, "unauthenticated")
	}
	var b body
	if err := json.Unmarshal(raw, &b); err != nil || len(b.Lines) != 1 || b.Lines[0].SKU == "" || b.Lines[0].Quantity < 1 || b.Lines[0].Quantity > Limit {
		return refuse(400, "invalid_request")
	}
	if key == "" {
		return refuse(400, "idempotency_key_missing")
	}
	l := b.Lines[0]
	h := hold{id: fmt.Sprintf("rsv_%s%012x", f.run, f.ids.Add(1)), sale: sale, buyer: buyer, key: key, sku: l.SKU, quantity: l.Quantity}
	until, err := f.store.reserve(ctx, h)
	switch {
	case errors.Is(err, errSoldOut), errors.Is(err, errLimit):
		return refuse(409, err.Error())
	case err != nil:
		return refuse(503, "unavailable: "+err.Error())
	}
	l.UnitPrice = 1000
	return 201, reservation{ID: h.id, Sale: sale, Buyer: buyer, State: "held", Lines: []line{l}, Total: money{int64(l.Quantity) * 1000, "USD"}, ExpiresAt: until.UTC().Format(time.RFC3339)}
}

func refuse(status int, code string) (int, any) {
	return status, problem{Title: code, Status: status, Code: code}
}

func (f *front) fast(c *fasthttp.RequestCtx) {
	h := &c.Request.Header
	status, out := f.answer(c, string(c.Path()), string(h.Peek("Authorization")), string(h.Peek("Idempotency-Key")), c.PostBody())
	c.SetStatusCode(status)
	c.SetContentType("application/json")
	text, err := json.Marshal(out)
	if err != nil {
		c.SetStatusCode(500)
		return
	}
	c.SetBody(text)
}

func serveNetHTTP(ctx context.Context, o Options, s store, l net.Listener) error {
	f := newFront(o.Key, s)
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw := make([]byte, max(0, min(r.ContentLength, 16<<10)))
		if _, err := readFull(r, raw); err != nil {
			w.WriteHeader(400)
			return
		}
		status, out := f.answer(r.Context(), r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Idempotency-Key"), raw)
		text, err := json.Marshal(out)
		if err != nil {
			status = 500
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(text)
	})}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
