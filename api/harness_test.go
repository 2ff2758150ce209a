package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/valyala/fasthttp/fasthttputil"
	"go.uber.org/goleak"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
	"github.com/flashsale-engine/flashsale/engine"
)

func TestMain(m *testing.M) {
	openapi3filter.RegisterBodyDecoder("text/javascript", openapi3filter.RegisteredBodyDecoder("text/plain"))
	goleak.VerifyTestMain(m,
		// fasthttp keeps one clock for the Date header for as long as the process lives.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		// A worker pool's cleaner notices only every 10 s that its server has ended.
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

var (
	testSecret = []byte("0123456789abcdef0123456789abcdef")
	testSale   = &engine.Sale{No: 7, ID: "demo", Name: "Launch day", Currency: "USD", State: engine.SaleOpen, Epoch: 1,
		OpensAt: time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC), HoldTTL: 2 * time.Minute, PerBuyerLimit: 2,
		Items: []engine.Item{{No: 0, SKU: "SHOE-42", Title: "Trail shoe <42> & laces", UnitPrice: 12900, Stock: 100},
			{No: 1, SKU: "SHOE-43", Title: "Trail shoe 43", UnitPrice: 12900, Stock: 100},
			{No: 2, SKU: "SHOE-44", Title: "Trail shoe 44", UnitPrice: 12900, Stock: 100}}}
	testID = engine.ReservationID{Sale: 7, Created: engine.TimeZero + 1000, Buyer: engine.BuyerKey{1}, Nonce: engine.Nonce{2}}
)

const anyBuyer = "buyer-7"

// fake answers at the engine's seam. Unset functions answer the usual.
type fake struct {
	reserve  func(ctx context.Context, r engine.ReserveRequest) (engine.Reservation, error)
	read     func(buyer string, id engine.ReservationID) (engine.Reservation, error)
	release  func(buyer string, id engine.ReservationID) (engine.Reservation, error)
	checkout func(ctx context.Context, r engine.CheckoutRequest) (engine.CheckoutResult, error)
	order    func(buyer string, id engine.ReservationID) (engine.Order, error)
	view     func(sale string) (*engine.Sale, []engine.Counters, error)
	ready    func() error

	quick atomic.Int64 // how often it was asked by the quick way
}

func held(buyer string) engine.Reservation {
	lines, total := testSale.Price([]engine.Line{{No: 0, Quantity: 2}})
	return engine.Reservation{ID: testID, Sale: testSale, Buyer: buyer, State: engine.Held, Lines: lines, Total: total,
		ExpiresAt: time.Date(2026, 11, 27, 10, 2, 0, 417e6, time.FixedZone("CET", 3600)), Seq: 1831}
}

func paid(buyer string) engine.Order {
	lines, total := testSale.Price([]engine.Line{{No: 0, Quantity: 2}})
	return engine.Order{ID: testID, SaleID: "demo", Buyer: buyer, State: engine.Confirmed, Lines: lines, Total: total,
		Provider: "sandbox", Payment: engine.PaymentAuthorised, PlacedAt: time.Date(2026, 11, 27, 9, 0, 41, 220e6, time.UTC)}
}

func (f *fake) Reserve(ctx context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
	if f.reserve != nil {
		return f.reserve(ctx, r)
	}
	return held(r.Buyer), nil
}

// ReserveThen is Reserve, elsewhere. It keeps copies, as the request is not its own.
func (f *fake) ReserveThen(ctx context.Context, r engine.ReserveRequest, who engine.OnReserve) {
	f.quick.Add(1)
	r.IdempotencyKey, r.Admission = strings.Clone(r.IdempotencyKey), strings.Clone(r.Admission)
	r.Lines = slices.Clone(r.Lines)
	for i := range r.Lines {
		r.Lines[i].SKU = strings.Clone(r.Lines[i].SKU)
	}
	go func() {
		v, err := func() (v engine.Reservation, err error) {
			defer func() {
				if p := recover(); p != nil {
					err = engine.Wrap(fmt.Errorf("panic: %v", p), engine.CodeInternal, "")
				}
			}()
			return f.Reserve(ctx, r)
		}()
		who.Reserved(&v, err)
	}()
}

// ReserveAll asks for all at once and answers as answers come. A panic of one is
// its own once the others are through.
func (f *fake) ReserveAll(ctx context.Context, sale string, rs []engine.ReserveRequest, each func(int, *engine.Reservation, error), pause func()) {
	type told struct {
		i     int
		r     engine.Reservation
		err   error
		panic any
	}
	all := make(chan told, len(rs))
	for i, r := range rs {
		r.Sale = sale
		go func() {
			a := told{i: i}
			defer func() {
				a.panic = recover()
				all <- a
			}()
			a.r, a.err = f.Reserve(ctx, r)
		}()
	}
	var fault any
	for range rs {
		pause()
		a := <-all
		if a.panic != nil {
			fault = a.panic
			continue
		}
		each(a.i, &a.r, a.err)
	}
	if fault != nil {
		panic(fault)
	}
}

func (f *fake) Reservation(_ context.Context, buyer string, id engine.ReservationID) (engine.Reservation, error) {
	if f.read != nil {
		return f.read(buyer, id)
	}
	return held(buyer), nil
}

func (f *fake) Release(_ context.Context, buyer string, id engine.ReservationID) (engine.Reservation, error) {
	if f.release != nil {
		return f.release(buyer, id)
	}
	r := held(buyer)
	r.State, r.ExpiresAt = engine.Released, time.Time{}
	return r, nil
}

func (f *fake) Checkout(ctx context.Context, r engine.CheckoutRequest) (engine.CheckoutResult, error) {
	if f.checkout != nil {
		return f.checkout(ctx, r)
	}
	o := paid(r.Buyer)
	return engine.CheckoutResult{Order: &o}, nil
}

func (f *fake) Order(_ context.Context, buyer string, id engine.ReservationID) (engine.Order, error) {
	if f.order != nil {
		return f.order(buyer, id)
	}
	return paid(buyer), nil
}

func (f *fake) SaleView(_ context.Context, sale string) (*engine.Sale, []engine.Counters, error) {
	if f.view != nil {
		return f.view(sale)
	}
	if sale != "demo" {
		return nil, nil, engine.E(engine.CodeNotFound, "no sale %q", sale)
	}
	return testSale, []engine.Counters{{No: 0, Stock: 100, Available: 50}, {No: 1, Stock: 100, Available: 10}, {No: 2, Stock: 100}}, nil
}

func (f *fake) Ready(context.Context) error {
	if f.ready != nil {
		return f.ready()
	}
	return nil
}

// door is a running server and a client of it.
type door struct {
	t      *testing.T
	server *Server
	client *http.Client
	url    string
	addr   string      // over TCP
	tls    *tls.Config // a client's; nil: it is plain
	served chan error
	log    *logBook
	clock  *clock
}

// clock is the server's time; it stands still until a test moves it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func open(t *testing.T, f *fake, change ...func(*Options)) *door {
	t.Helper()
	ln := fasthttputil.NewInmemoryListener()
	return serve(t, f, ln, func(context.Context, string, string) (net.Conn, error) { return ln.Dial() }, change)
}

func openTCP(t *testing.T, f *fake, change ...func(*Options)) *door {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	d := serve(t, f, ln, nil, change)
	d.addr, d.url = ln.Addr().String(), "http://"+ln.Addr().String()
	if d.tls != nil {
		d.url = "https://" + d.addr
	}
	return d
}

func serve(t *testing.T, f *fake, ln net.Listener, dial func(context.Context, string, string) (net.Conn, error), change []func(*Options)) *door {
	t.Helper()
	key, err := HS256Key("", testSecret)
	must(t, err)
	d := &door{t: t, url: "http://door", served: make(chan error, 1), log: &logBook{}, clock: &clock{at: time.Now()}}
	o := Options{Engine: f, ReserveThen: f.ReserveThen, Views: f, Keys: []Key{key}, Now: d.clock.now, Log: slog.New(slog.NewTextHandler(d.log, nil))}
	for _, c := range change {
		c(&o)
	}
	if o.TLS != nil {
		d.tls = &tls.Config{InsecureSkipVerify: true}
	}
	d.server, err = New(o)
	must(t, err)
	d.server.names.keep("demo") // what was sold from is asked for the quick way
	go func() { d.served <- d.server.Serve(ln) }()
	transport := &http.Transport{DialContext: dial, TLSClientConfig: d.tls}
	d.client = &http.Client{Transport: &contractChecker{t: t, next: transport}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		ctx, done := context.WithTimeout(context.Background(), time.Minute)
		defer done()
		if err := d.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-d.served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return d
}

// token mints a buyer's token that outlives a test.
func token(t *testing.T, buyer string) string {
	t.Helper()
	tok, err := buyertoken.Mint(testSecret, buyer, "", time.Hour)
	must(t, err)
	return tok
}

type answer struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

type header map[string]string

// do sends a request with a buyer's token, a key and a JSON content type,
// unless h says otherwise; an empty value leaves a header out.
func (d *door) do(method, path, body string, h header) answer {
	d.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, d.url+path, in)
	must(d.t, err)
	req.Header.Set("Authorization", "Bearer "+token(d.t, anyBuyer))
	if method == http.MethodPost {
		req.Header.Set("Idempotency-Key", "key-1")
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range h {
		if req.Header.Del(k); v != "" {
			req.Header.Set(k, v)
		}
	}
	res, err := d.client.Do(req)
	must(d.t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	must(d.t, err)
	a := answer{status: res.StatusCode, header: res.Header, text: string(text)}
	if len(text) > 0 && !strings.HasPrefix(res.Header.Get("Content-Type"), "text/") {
		if err := json.Unmarshal(text, &a.body); err != nil {
			d.t.Fatalf("%s %s: answer is not a JSON object: %v: %s", method, path, err, text)
		}
	}
	return a
}

func (a answer) expect(t *testing.T, status int, code engine.Code) {
	t.Helper()
	got, _ := a.body["code"].(string)
	if a.status != status || got != string(code) {
		t.Fatalf("got %d %q, want %d %q: %s", a.status, got, status, code, a.text)
	}
	if code != "" && a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("a problem came as %q", a.header.Get("Content-Type"))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contract is openapi.yaml, and contractChecker holds every answer that a test
// gets against it.
var contract = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

type contractChecker struct {
	t    *testing.T
	next http.RoundTripper
}

func (c *contractChecker) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	router, err := contract()
	if err != nil {
		return nil, err
	}
	route, params, err := router.FindRoute(req)
	if err != nil {
		return res, nil // no such path or method in the contract; the test looks at the answer itself
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	_ = res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	in := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 res.StatusCode, Header: res.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	in.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(context.Background(), in); err != nil {
		c.t.Errorf("%s %s: the answer %d breaks the contract: %v\n%s", req.Method, req.URL.Path, res.StatusCode, err, body)
	}
	return res, nil
}
