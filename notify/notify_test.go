package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/outside"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key = "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef01234567"))

// shelf is a Source in memory; its leases never end by themselves.
type shelf struct {
	mu      sync.Mutex
	due     map[engine.ReservationID]Notice
	taken   map[engine.ReservationID]Notice
	done    []engine.ReservationID
	puts    []time.Duration
	lose    bool // Delivered fails once
	unready int  // Want fails as often
}

func (s *shelf) Want(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unready--; s.unready >= 0 {
		return errors.New("away")
	}
	return nil
}

func (s *shelf) Due(_ context.Context, limit int, _ time.Duration) (out []Notice, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range s.due {
		if len(out) == limit {
			break
		}
		n.Tries++
		out = append(out, n)
		s.taken[id] = n
		delete(s.due, id)
	}
	return out, nil
}

func (s *shelf) Delivered(_ context.Context, ids []engine.ReservationID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lose {
		s.lose = false
		for _, id := range ids {
			s.due[id] = s.taken[id] // as if the lease had ended
		}
		return errors.New("away")
	}
	s.done = append(s.done, ids...)
	return nil
}

func (s *shelf) Later(_ context.Context, id engine.ReservationID, in time.Duration, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts = append(s.puts, in)
	s.due[id] = s.taken[id]
	return nil
}

func (s *shelf) Pending(context.Context) (int64, time.Time, error) { return 0, time.Now(), nil }
func (s *shelf) Forget(context.Context, time.Duration, int) error  { return nil }
func (s *shelf) look(f func())                                     { s.mu.Lock(); defer s.mu.Unlock(); f() }

func shelve(n int) *shelf {
	s := &shelf{due: map[engine.ReservationID]Notice{}, taken: map[engine.ReservationID]Notice{}}
	for i := range n {
		id := engine.ReservationID{Sale: 1, Created: engine.TimeZero + int64(i)}
		s.due[id] = Notice{Order: engine.Order{ID: id, SaleID: "drop", Buyer: "ann", State: engine.Confirmed,
			Total: engine.Money{Amount: 4999, Currency: "USD"}, PlacedAt: time.Unix(1700000000, 0)}}
	}
	return s
}

// storefront answers as told and keeps what it was sent, by webhook-id.
func storefront(t *testing.T, answer func(n int) int) (string, func() map[string][]string) {
	t.Helper()
	var mu sync.Mutex
	calls, got := 0, map[string][]string{}
	secret, err := ParseSecret(key)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		at, _ := strconv.ParseInt(r.Header.Get("webhook-timestamp"), 10, 64)
		id := r.Header.Get("webhook-id")
		if !slices.Contains(strings.Fields(r.Header.Get("webhook-signature")), Sign([]Secret{secret}, id, time.Unix(at, 0), body)) {
			t.Errorf("a signature that does not hold: %v", r.Header)
		}
		mu.Lock()
		calls++
		status := answer(calls)
		if status == 200 {
			got[id] = append(got[id], string(body))
		}
		mu.Unlock()
		w.WriteHeader(status)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() map[string][]string { mu.Lock(); defer mu.Unlock(); return got }
}

// run sends until the shelf is empty.
func run(t *testing.T, s *shelf, url string, b *outside.Board, want int) {
	t.Helper()
	secret, err := ParseSecret(key)
	if err != nil {
		t.Fatal(err)
	}
	sender, err := New(Config{URL: url, Secrets: []Secret{[]byte("another, for rotation, 24+"), secret}, Source: s, Every: time.Millisecond, Board: b})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- sender.Run(ctx) }()
	deadline := time.After(time.Minute)
	for done := 0; done < want; {
		select {
		case <-deadline:
			t.Fatalf("%d of %d were delivered in time", done, want)
		case <-time.After(time.Millisecond):
			s.look(func() { done = len(s.done) })
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestEveryNoticeArrivesWhateverFails(t *testing.T) {
	s := shelve(100)
	s.lose, s.unready = true, 3
	url, got := storefront(t, func(n int) int {
		if n%7 == 0 {
			return 500
		}
		return 200
	})
	run(t, s, url, nil, 100)
	if len(got()) != 100 {
		t.Fatalf("%d arrived", len(got()))
	}
	for id, bodies := range got() {
		if !strings.HasPrefix(id, "msg_") || len(slices.Compact(bodies)) != 1 {
			t.Fatalf("%s: not the same in every delivery: %v", id, bodies)
		}
		var m struct {
			Type string
			Data struct{ ID, State string }
		}
		if err := json.Unmarshal([]byte(bodies[0]), &m); err != nil || m.Type != "order.confirmed" || "ord_"+id[4:] != m.Data.ID || strings.Contains(bodies[0], "example.org") {
			t.Fatalf("%s, %v", bodies[0], err)
		}
	}
	s.look(func() {
		for _, wait := range s.puts {
			if wait < time.Second || wait > time.Minute {
				t.Errorf("put off by %s", wait)
			}
		}
	})
}

func TestAStorefrontThatIsAwayIsToldWhenItIsBack(t *testing.T) {
	b, err := outside.NewBoard(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := shelve(20)
	url, got := storefront(t, func(n int) int {
		if n <= 12 {
			return 503
		}
		return 200
	})
	// The breaker opens meanwhile; an operator who knows better closes it.
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for d := b.Find("notify"); ; d = b.Find("notify") {
			if d != nil && d.State() == "open" {
				d.Force(outside.Closed)
				return
			}
			select {
			case <-t.Context().Done():
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	run(t, s, url, b, 20)
	<-closed
	if len(got()) != 20 {
		t.Fatalf("%d arrived", len(got()))
	}
}

func TestTheSignatureIsThatOfStandardWebhooks(t *testing.T) {
	// The example of the specification's reference libraries.
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign([]Secret{secret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Fatal(got)
	}
	for _, s := range []string{"", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!"} {
		if _, err := ParseSecret(s); err == nil {
			t.Errorf("%q is a secret", s)
		}
	}
}

func TestSendersSettingsAreChecked(t *testing.T) {
	good := Config{URL: "https://shop.example/hook", Secrets: []Secret{[]byte(key)}, Source: shelve(0)}
	for says, spoil := range map[string]func(*Config){
		"https://host/path": func(c *Config) { c.URL = "shop" },
		"without a secret":  func(c *Config) { c.Secrets = nil },
		"needs a Source":    func(c *Config) { c.Source = nil },
		"MaxBackoff":        func(c *Config) { c.MaxBackoff = time.Millisecond },
		"Concurrency":       func(c *Config) { c.Concurrency = -1 },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestTheStorefrontIsToldWhereTheGoodsGo(t *testing.T) {
	o := engine.Order{State: engine.Confirmed, Contact: engine.Contact{Email: "ann@example.org", Address: engine.Address{Line1: "1 Main St", City: "Cork", Country: "IE"}}}
	for want, c := range map[string]engine.Contact{
		`"contact":{"address":{"line1":"1 Main St","city":"Cork","country":"IE"},"email":"ann@example.org"}`: o.Contact,
		`"contact":{"lost":"erased"}`: {Lost: engine.ContactErased},
	} {
		o.Contact = c
		if m, err := of(Notice{Order: o}); err != nil || !strings.Contains(string(m.body), want) {
			t.Errorf("%s, %v", m.body, err)
		}
	}
	o.Contact = engine.Contact{}
	if m, err := of(Notice{Order: o}); err != nil || strings.Contains(string(m.body), "contact") {
		t.Errorf("%s, %v", m.body, err)
	}
}
