package payment

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func attempt(method, key string) engine.Attempt {
	id := engine.ReservationID{Sale: 1, Created: engine.TimeZero + 1}
	return engine.Attempt{
		ID: engine.NewAttemptID(id, key), Reservation: id, Buyer: "b", Method: method,
		Amount: engine.Money{Amount: 4999, Currency: "USD"}, State: engine.PaymentAuthorising,
	}
}

func client(t testing.TB, url string) *Sandbox {
	t.Helper()
	c, err := NewSandbox(SandboxConfig{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// provider starts a sandbox, with a handler of the test's in front if it wants one.
func provider(t testing.TB, front func(http.Handler) http.Handler) (*Sandbox, *sandbox.Server) {
	t.Helper()
	s, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	h := s.Handler()
	if front != nil {
		h = front(h)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return client(t, srv.URL), s
}

func short(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestWhatTheSandboxSaysOfAPayment(t *testing.T) {
	for name, c := range map[string]struct {
		method  string
		state   engine.PaymentState
		decline string
	}{
		"a good card is authorised":          {"pm_card_visa", engine.PaymentAuthorised, ""},
		"a bad card is declined":             {"pm_card_chargeDeclined", engine.PaymentDeclined, "generic_decline"},
		"an empty card is declined":          {"pm_card_chargeDeclinedInsufficientFunds", engine.PaymentDeclined, "insufficient_funds"},
		"3-D Secure waits for the buyer":     {"pm_card_authenticationRequired", engine.PaymentNeedsAction, ""},
		"an unknown card is declined":        {"pm_none", engine.PaymentDeclined, "invalid_payment_method"},
		"a processing payment is unknown":    {"pm_sandbox_processing", engine.PaymentUnknown, ""},
		"a made-up token cannot break a URL": {"pm/../\"\n", engine.PaymentDeclined, "invalid_payment_method"},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := provider(t, nil)
			a := attempt(c.method, name)
			for range 2 { // again with the same key: the same word
				got, err := p.Authorise(t.Context(), a)
				if err != nil || got.State != c.state || got.DeclineCode != c.decline || got.Provider != "sandbox" {
					t.Fatalf("%+v, %v", got, err)
				}
				if got.Amount != a.Amount && c.decline == "" {
					t.Fatalf("amount %+v", got.Amount)
				}
			}
		})
	}
}

func TestTheLifeOfAPayment(t *testing.T) {
	p, _ := provider(t, nil)
	ctx := t.Context()
	want := func(what string, s engine.PaymentState) func(engine.Payment, error) {
		return func(got engine.Payment, err error) {
			t.Helper()
			if err != nil || got.State != s {
				t.Fatalf("%s: %+v, %v", what, got, err)
			}
		}
	}
	a, b, c := attempt("pm_card_visa", "a"), attempt("pm_card_visa", "b"), attempt("pm_card_visa", "c")

	if _, err := p.Lookup(ctx, a); engine.CodeOf(err) != engine.CodeNotFound || errors.Is(err, engine.ErrUnknown) {
		t.Fatalf("look-up of nothing: %v", err)
	}
	if _, err := p.Capture(ctx, a); engine.CodeOf(err) != engine.CodePaymentUnavailable || !errors.Is(err, ErrRejected) {
		t.Fatalf("capture of nothing: %v", err)
	}
	want("authorise", engine.PaymentAuthorised)(p.Authorise(ctx, a))
	want("look up", engine.PaymentAuthorised)(p.Lookup(ctx, a))
	want("capture without a reference", engine.PaymentCaptured)(p.Capture(ctx, a))
	want("capture again", engine.PaymentCaptured)(p.Capture(ctx, a))
	want("void of captured money gives none back", engine.PaymentCaptured)(p.Void(ctx, a))

	want("authorise", engine.PaymentAuthorised)(p.Authorise(ctx, b))
	want("void", engine.PaymentVoided)(p.Void(ctx, b))
	want("void again", engine.PaymentVoided)(p.Void(ctx, b))
	want("capture of a voided one", engine.PaymentVoided)(p.Capture(ctx, b))
	// The provider repeats its first answer, "authorised"; we must not believe it.
	want("authorise again under the key of a voided one", engine.PaymentVoided)(p.Authorise(ctx, b))

	want("void of what was never seen", engine.PaymentVoided)(p.Void(ctx, c))
	want("late authorise", engine.PaymentVoided)(p.Authorise(ctx, c))

	other := a
	other.Amount.Amount++
	if _, err := p.Authorise(ctx, other); !errors.Is(err, engine.ErrUnknown) || !errors.Is(err, ErrRejected) {
		t.Fatalf("same key, other amount: %v", err)
	}
}

func TestTheBooksListEveryPaymentOfOurs(t *testing.T) {
	p, s := provider(t, nil)
	want := map[engine.AttemptID]engine.PaymentState{}
	for i := range pageSize + 3 {
		a := attempt("pm_card_visa", fmt.Sprint(i))
		r := httptest.NewRequest("POST", "/v1/attempts/"+a.ID.String()+"/cancel", nil)
		s.Handler().ServeHTTP(httptest.NewRecorder(), r)
		want[a.ID] = engine.PaymentVoided
	}
	s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/attempts/somebody-else/cancel", nil))
	a := attempt("pm_card_visa", "paid")
	if _, err := p.Authorise(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	want[a.ID] = engine.PaymentAuthorised
	err := p.Payments(t.Context(), func(id engine.AttemptID, got engine.Payment) error {
		if want[id] != got.State {
			t.Errorf("%s: %s", id, got.State)
		}
		delete(want, id)
		return nil
	})
	if err != nil || len(want) != 0 {
		t.Fatalf("%d missing, %v", len(want), err)
	}
	stop := errors.New("stop")
	if err := p.Payments(t.Context(), func(engine.AttemptID, engine.Payment) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("visit's error: %v", err)
	}
}

// verdict is what an error says.
func verdict(err error) string {
	switch {
	case err == nil:
		return "answered"
	case errors.Is(err, engine.ErrUnknown) && engine.CodeOf(err) == engine.CodeUnavailable:
		return "unknown"
	case !errors.Is(err, engine.ErrUnknown) && engine.CodeOf(err) == engine.CodePaymentUnavailable:
		return "not taken"
	}
	return "unclassified: " + err.Error()
}

func TestAnAnswerThatIsNoneIsClassifiedByWhatItProves(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"500 is unknown":                          {500, `{"error":{"type":"api_error"}}`, "unknown"},
		"502 of a proxy is unknown":               {502, `<html>`, "unknown"},
		"503 of a proxy is unknown":               {503, `<html>`, "unknown"},
		"503 of the provider's outage is not":     {503, `{"error":{"type":"api_error","code":"outage"}}`, "not taken"},
		"503 with another word is unknown":        {503, `{"error":{"type":"api_error","code":"busy"}}`, "unknown"},
		"504 is unknown":                          {504, ``, "unknown"},
		"429 is not taken":                        {429, ``, "not taken"},
		"401 is not taken":                        {401, ``, "not taken"},
		"200 with broken JSON is unknown":         {200, `{"id":"pi_1","obj`, "unknown"},
		"200 with nothing is unknown":             {200, ``, "unknown"},
		"200 with another object is unknown":      {200, `{}`, "unknown"},
		"204 is unknown":                          {204, ``, "unknown"},
		"404 of a proxy is unknown":               {404, `not found`, "unknown"},
		"a redirect is unknown":                   {302, ``, "unknown"},
		"400 of the provider is not taken":        {400, `{"error":{"type":"invalid_request_error","param":"amount"}}`, "not taken"},
		"400 about the key is unknown":            {400, `{"error":{"type":"idempotency_error"}}`, "unknown"},
		"402 without the payment is still no":     {402, `{"error":{"type":"card_error","decline_code":"x"}}`, "answered"},
		"409 is an answer: it is being worked on": {409, `{"error":{"type":"invalid_request_error","code":"idempotency_key_in_use"}}`, "answered"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			t.Cleanup(srv.Close)
			p := client(t, srv.URL)
			got, err := p.Authorise(t.Context(), attempt("pm_card_visa", "k"))
			if verdict(err) != c.want {
				t.Fatalf("%s: %+v, %v", verdict(err), got, err)
			}
			if c.status == 429 && retryAfter(err) != 7*time.Second {
				t.Fatalf("retry after %s", retryAfter(err))
			}
			// A look-up reads: whatever goes wrong, it never makes anything unknown,
			// and only the provider's own word says that there is nothing.
			if _, err := p.Lookup(t.Context(), attempt("pm_card_visa", "k")); verdict(err) != "not taken" {
				t.Fatalf("look-up: %v", err)
			}
		})
	}
}

// raw serves connections by hand: serve gets the n-th one, from 1.
func raw(t *testing.T, serve func(n int, c net.Conn, r *bufio.Reader)) (url string, l net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(n, c, bufio.NewReader(c))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String(), l
}

func read(r *bufio.Reader) {
	if req, err := http.ReadRequest(r); err == nil {
		_, _ = io.Copy(io.Discard, req.Body)
	}
}

const okIntent = `{"id":"pi_1","object":"payment_intent","status":"requires_capture","amount":4999,"currency":"usd"}`

func answer(c net.Conn, status, body string) {
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

func TestWhereAConnectionBreaksDecidesWhatIsKnown(t *testing.T) {
	a := attempt("pm_card_visa", "k")
	t.Run("nobody listens: not taken", func(t *testing.T) {
		url, l := raw(t, func(int, net.Conn, *bufio.Reader) {})
		_ = l.Close()
		if _, err := client(t, url).Authorise(t.Context(), a); verdict(err) != "not taken" {
			t.Fatal(err)
		}
	})
	t.Run("no such host: not taken", func(t *testing.T) {
		if _, err := client(t, "http://sandbox.invalid:1").Authorise(t.Context(), a); verdict(err) != "not taken" {
			t.Fatal(err)
		}
	})
	t.Run("cut after the request was written: unknown", func(t *testing.T) {
		url, _ := raw(t, func(_ int, _ net.Conn, r *bufio.Reader) { read(r) })
		if _, err := client(t, url).Authorise(t.Context(), a); verdict(err) != "unknown" {
			t.Fatal(err)
		}
	})
	t.Run("cut in the answer: unknown", func(t *testing.T) {
		url, _ := raw(t, func(_ int, c net.Conn, r *bufio.Reader) {
			read(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
		})
		if _, err := client(t, url).Authorise(t.Context(), a); verdict(err) != "unknown" {
			t.Fatal(err)
		}
	})
	t.Run("no answer in time: unknown", func(t *testing.T) {
		ctx, over := context.WithCancel(t.Context()) // its time, once the request is there
		url, _ := raw(t, func(_ int, c net.Conn, r *bufio.Reader) { read(r); over(); _, _ = io.Copy(io.Discard, c) })
		if _, err := client(t, url).Authorise(ctx, a); verdict(err) != "unknown" {
			t.Fatal(err)
		}
	})
	t.Run("no connection in time: not taken", func(t *testing.T) {
		entered := make(chan struct{})
		url, _ := raw(t, func(_ int, c net.Conn, r *bufio.Reader) { read(r); close(entered); _, _ = io.Copy(io.Discard, c) })
		p, err := NewSandbox(SandboxConfig{URL: url, MaxConns: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		ctx, cancel := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { _, err := p.Authorise(ctx, a); first <- err }()
		<-entered
		_, err = p.Authorise(short(t), a)
		cancel()
		if verdict(err) != "not taken" {
			t.Error(err)
		}
		if err := <-first; verdict(err) != "unknown" {
			t.Error(err)
		}
	})
	t.Run("written on a reused connection that died, then nobody listens: unknown", func(t *testing.T) {
		var l net.Listener
		url, l := raw(t, func(_ int, c net.Conn, r *bufio.Reader) {
			read(r)
			answer(c, "200 OK", okIntent)
			read(r) // taken, and never answered
			_ = l.Close()
		})
		p := client(t, url)
		if _, err := p.Authorise(t.Context(), a); verdict(err) != "answered" {
			t.Fatal(err)
		}
		if _, err := p.Authorise(t.Context(), a); verdict(err) != "unknown" {
			t.Fatal(err)
		}
	})
	t.Run("written on a reused connection that died, then an outage: unknown", func(t *testing.T) {
		url, _ := raw(t, func(n int, c net.Conn, r *bufio.Reader) {
			read(r)
			if n == 1 {
				answer(c, "200 OK", okIntent)
				read(r)
				return
			}
			answer(c, "503 Service Unavailable", `{"error":{"type":"api_error","code":"outage"}}`)
		})
		p := client(t, url)
		if _, err := p.Authorise(t.Context(), a); verdict(err) != "answered" {
			t.Fatal(err)
		}
		if _, err := p.Authorise(t.Context(), a); verdict(err) != "unknown" {
			t.Fatal(err)
		}
	})
}

func TestAConnectionOnWhichNothingWasWrittenProvesThatNothingWasSent(t *testing.T) {
	ours, theirs := net.Pipe()
	_ = theirs.Close()
	c := &countedConn{Conn: ours}
	s := sending{conns: []sentOn{{conn: c}}}
	if n, err := c.Write([]byte("POST")); n != 0 || err == nil {
		t.Fatalf("%d, %v", n, err)
	}
	if s.failed(t.Context()) {
		t.Fatal("a write that failed whole was taken for one that left")
	}
	earlier := &countedConn{}
	earlier.wrote.Store(1)
	if s := (&sending{conns: []sentOn{{conn: earlier}, {conn: c}}}); !s.failed(t.Context()) || !s.before() {
		t.Fatal("what left on an earlier connection was forgotten")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if !s.failed(ctx) {
		t.Fatal("once we gave up, net/http's writer may still be at it")
	}
	if s.conns = append(s.conns, sentOn{}); !s.failed(t.Context()) {
		t.Fatal("a connection that is not counted proves nothing")
	}
}

func TestAReplayedAnswerWhosePaymentCannotBeReadIsUnknown(t *testing.T) {
	var down atomic.Bool
	p, _ := provider(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if down.Load() && r.Method == http.MethodGet {
				http.Error(w, "no", http.StatusInternalServerError)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	a := attempt("pm_card_visa", "k")
	if _, err := p.Authorise(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	down.Store(true)
	if _, err := p.Authorise(t.Context(), a); verdict(err) != "unknown" {
		t.Fatal(err)
	}
}

func TestTheClientWantsAURL(t *testing.T) {
	for _, u := range []string{"", "127.0.0.1:1", "ftp://x", "http://"} {
		if _, err := NewSandbox(SandboxConfig{URL: u}); err == nil || !strings.Contains(err.Error(), "http://host:port") {
			t.Errorf("%q: %v", u, err)
		}
	}
	if _, err := NewSandbox(SandboxConfig{URL: "http://x", MaxConns: -1}); err == nil {
		t.Error("MaxConns -1")
	}
}

func FuzzNoAnswerBreaksTheClient(f *testing.F) {
	f.Add(200, okIntent)
	f.Add(402, `{"error":{"type":"card_error","decline_code":"x","payment_intent":{"id":"p","object":"payment_intent","status":"requires_payment_method"}}}`)
	f.Add(400, `{"error":{"type":"invalid_request_error","payment_intent":null}}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		c := &Sandbox{}
		r := reply{status: status, body: []byte(body), problem: problemOf([]byte(body))}
		err := refusal(r, http.Header{}, false)
		var p engine.Payment
		if err == nil {
			p, err = c.payment(r)
		}
		if v := verdict(err); v != "answered" && v != "unknown" && v != "not taken" {
			t.Fatal(v)
		}
		if err == nil && p.State == "" {
			t.Fatalf("no state from %d %q", status, body)
		}
		if status >= 500 && err == nil {
			t.Fatalf("%d is no answer", status)
		}
	})
}

func TestAnActionOfTheSandboxIsReadWithItsURL(t *testing.T) {
	for body, want := range map[string]engine.Payment{
		`{"id":"p","object":"payment_intent","status":"requires_action","next_action":{"type":"redirect_to_url","redirect_to_url":{"url":"https://x"}}}`: {
			State: engine.PaymentNeedsAction, Provider: "sandbox", Ref: "p", Action: engine.NextAction{Type: "redirect_to_url", URL: "https://x"}},
		`{"id":"p","object":"payment_intent","status":"requires_action","next_action":{"type":"use_sdk"}}`: {State: engine.PaymentUnknown, Provider: "sandbox", Ref: "p"},
		`{"id":"p","object":"payment_intent","status":"requires_action"}`:                                  {State: engine.PaymentUnknown, Provider: "sandbox", Ref: "p"},
	} {
		if got, err := (&Sandbox{}).payment(reply{status: 200, body: []byte(body)}); err != nil || got != want {
			t.Errorf("%s: %+v, %v", body, got, err)
		}
	}
}
