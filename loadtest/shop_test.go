package loadtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(asWorker); how != "" {
		os.Exit(workAs(how))
	}
	// fasthttp's cleaner of idle connections has no stop; it ends by itself a
	// few seconds after its last connection is closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"))
}

const secret = "a secret that the storefront and the engine share"

// shop is a small engine that keeps design's contract, until a test tells it
// not to: script answers a request instead, if it returns true.
type shop struct {
	t      *testing.T
	script func(w http.ResponseWriter, r *request) bool

	mu       sync.Mutex
	stock    int
	limit    int // of units that a buyer may hold; 0: none
	requests []*request
	holds    map[string]*request // reservation id → who asked, for what
	byKey    map[string]string   // Idempotency-Key → reservation id
	times    map[string]int      // request → how often it came
}

type request struct {
	method, path, buyer, key, prefer string
	admission                        string
	at                               time.Time
	nth                              int // how many requests with this method, path and key came, this one included
	sku                              string
	quantity                         int
	method2pay                       string
}

func newShop(t *testing.T, stock int) *shop {
	return &shop{t: t, stock: stock, holds: map[string]*request{}, byKey: map[string]string{}, times: map[string]int{}}
}

func (s *shop) ServeHTTP(w http.ResponseWriter, h *http.Request) {
	r := s.take(h)
	if s.script != nil && s.script(w, r) {
		return
	}
	switch {
	case strings.HasSuffix(r.path, "/reservations"):
		s.reserve(w, r)
	case r.path == "/v1/sales/demo":
		answerWith(w, 200, map[string]any{"id": "demo", "state": "open"})
	case r.method == http.MethodDelete:
		answerWith(w, 200, map[string]any{"id": strings.Split(r.path, "/")[3], "state": "released"})
	case strings.HasSuffix(r.path, "/checkout"):
		id := strings.Split(r.path, "/")[3]
		s.order(w, 201, id)
	case strings.HasPrefix(r.path, "/v1/orders/ord_"):
		s.order(w, 200, "rsv_"+strings.TrimPrefix(r.path, "/v1/orders/ord_"))
	default:
		problem(w, 404, "not_found", "")
	}
}

// take reads a request, checks what each must carry, and remembers it.
func (s *shop) take(h *http.Request) *request {
	r := &request{method: h.Method, path: h.URL.Path, key: h.Header.Get("Idempotency-Key"), prefer: h.Header.Get("Prefer"), admission: h.Header.Get("Admission-Token"), at: time.Now()}
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(strings.TrimPrefix(h.Header.Get("Authorization"), "Bearer "), &claims,
		func(*jwt.Token) (any, error) { return []byte(secret), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithAudience("flashsale"), jwt.WithExpirationRequired())
	if err != nil {
		s.t.Errorf("%s %s: token: %v", r.method, r.path, err)
	}
	r.buyer = claims.Subject
	if r.method == http.MethodPost && !strings.HasSuffix(r.path, "/queue") {
		if r.key == "" || h.Header.Get("Content-Type") != "application/json" {
			s.t.Errorf("%s %s: key %q, content type %q", r.method, r.path, r.key, h.Header.Get("Content-Type"))
		}
		var body struct {
			Lines         []line
			PaymentMethod string `json:"payment_method"`
			Contact       struct{ Email string }
		}
		d := json.NewDecoder(h.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&body); err != nil {
			s.t.Errorf("%s %s: body: %v", r.method, r.path, err)
		}
		if len(body.Lines) == 1 {
			r.sku, r.quantity = body.Lines[0].SKU, body.Lines[0].Quantity
		}
		r.method2pay = body.PaymentMethod
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	same := strings.Join([]string{r.method, r.path, r.key, r.buyer}, " ")
	s.times[same]++
	r.nth = s.times[same]
	s.requests = append(s.requests, r)
	return r
}

func (s *shop) reserve(w http.ResponseWriter, r *request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, again := s.byKey[r.key]
	if !again {
		if s.limit > 0 && s.units(r.buyer)+r.quantity > s.limit {
			problem(w, 409, "buyer_limit", "")
			return
		}
		if s.stock < r.quantity {
			problem(w, 409, "sold_out", "")
			return
		}
		s.stock -= r.quantity
		id = fmt.Sprintf("rsv_%d", len(s.holds)+1)
		s.byKey[r.key], s.holds[id] = id, r
	}
	answerWith(w, 201, map[string]any{"id": id, "sale": "demo", "buyer": r.buyer, "state": "held",
		"lines": []line{{r.sku, r.quantity}}, "seq": len(s.holds)})
}

// units is what a buyer holds. The caller holds the lock.
func (s *shop) units(buyer string) (n int) {
	for _, r := range s.holds {
		if r.buyer == buyer {
			n += r.quantity
		}
	}
	return n
}

func (s *shop) order(w http.ResponseWriter, status int, reservation string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.holds[reservation]
	if !ok {
		problem(w, 404, "not_found", "")
		return
	}
	answerWith(w, status, map[string]any{"id": "ord_" + strings.TrimPrefix(reservation, "rsv_"), "reservation": reservation,
		"sale": "demo", "buyer": r.buyer, "state": "confirmed", "lines": []line{{r.sku, r.quantity}}})
}

// state answers a poll with a reservation in some state.
func (s *shop) state(w http.ResponseWriter, reservation, state, order string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.holds[reservation]
	body := map[string]any{"id": reservation, "buyer": r.buyer, "state": state, "lines": []line{{r.sku, r.quantity}}}
	if order != "" {
		body["order"] = order
	}
	answerWith(w, 200, body)
}

// seen gives the requests whose path ends so.
func (s *shop) seen(suffix string) (out []*request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.HasSuffix(r.path, suffix) {
			out = append(out, r)
		}
	}
	return out
}

func answerWith(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func problem(w http.ResponseWriter, status int, code, retryAfter string) {
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	answerWith(w, status, map[string]any{"code": code, "status": status})
}

// inProcess carries calls to a handler without sockets, so that a test can run
// on synctest's clock, where a second takes no time and is exactly a second.
type inProcess struct{ http.Handler }

func (p inProcess) send(c call) answer {
	var body io.Reader
	if c.body != nil {
		body = strings.NewReader(string(c.body))
	}
	r := httptest.NewRequest(c.method, "http://shop.test"+c.path, body)
	r.Header.Set("Authorization", "Bearer "+c.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", c.key)
	r.Header.Set("Prefer", c.prefer)
	r.Header.Set("Admission-Token", c.admission)
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return read(w.Code, w.Body.Bytes(), w.Header().Get("Retry-After"), w.Header().Get("Location"))
}

func (inProcess) close() {}

// crowd gives the settings that most tests share: ten buyers at once.
func crowd() Config {
	return Config{API: "http://shop.test", Sale: "demo", SKUs: []string{"tee"}, BuyerKey: []byte(secret), Buyers: 10, Seed: 1}
}

// late has every answer come so much later.
func late(t *testing.T, d time.Duration) func(http.ResponseWriter, *request) bool {
	return func(http.ResponseWriter, *request) bool {
		sleepUntil(t.Context(), time.Now().Add(d))
		return false
	}
}
