package payment

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestWhatStripeSaysOfAPayment(t *testing.T) {
	for name, c := range map[string]struct {
		method  string
		state   engine.PaymentState
		decline string
		action  string
	}{
		"a good card is authorised":       {"pm_card_visa", engine.PaymentAuthorised, "", ""},
		"an empty card is declined":       {"pm_card_chargeDeclinedInsufficientFunds", engine.PaymentDeclined, "insufficient_funds", ""},
		"3-D Secure is the buyer's to do": {"pm_card_authenticationRequired", engine.PaymentNeedsAction, "", "https://bank.example/3ds"},
		"an unknown card is declined":     {"pm_none", engine.PaymentDeclined, "invalid_payment_method", ""},
		"a processing payment is unknown": {"pm_processing", engine.PaymentUnknown, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := stripeStubbed(t, StripeConfig{})
			a := attempt(c.method, name)
			for range 2 { // again with the same key: the same word
				got, err := s.Authorise(t.Context(), a)
				if err != nil || got.State != c.state || got.DeclineCode != c.decline || got.Provider != "stripe" || got.Action.URL != c.action {
					t.Fatalf("%+v, %v", got, err)
				}
				if c.action != "" && got.Action.Type != "redirect_to_url" {
					t.Fatalf("%+v", got.Action)
				}
				if got.Amount != a.Amount && c.decline == "" {
					t.Fatalf("amount %+v", got.Amount)
				}
			}
		})
	}
}

func TestTheLifeOfAPaymentAtStripe(t *testing.T) {
	s, b := stripeStubbed(t, StripeConfig{})
	ctx := t.Context()
	want := func(what string, state engine.PaymentState) func(engine.Payment, error) {
		return func(got engine.Payment, err error) {
			t.Helper()
			if err != nil || got.State != state {
				t.Fatalf("%s: %+v, %v", what, got, err)
			}
		}
	}
	a, c, d := attempt("pm_card_visa", "a"), attempt("pm_card_visa", "c"), attempt("pm_card_visa", "d")
	d.BegunAt = time.Now().Add(-time.Hour)
	if _, err := s.Lookup(ctx, d); !neverSeen(err) {
		t.Fatalf("look-up of nothing: %v", err)
	}
	if _, err := s.Capture(ctx, d); verdict(err) != "not taken" || !errors.Is(err, ErrRejected) {
		t.Fatalf("capture of nothing: %v", err)
	}
	want("authorise", engine.PaymentAuthorised)(s.Authorise(ctx, a))
	want("look up", engine.PaymentAuthorised)(s.Lookup(ctx, a))
	want("capture without a reference", engine.PaymentCaptured)(s.Capture(ctx, a))
	want("capture again", engine.PaymentCaptured)(s.Capture(ctx, a))
	want("void of captured money gives none back", engine.PaymentCaptured)(s.Void(ctx, a))
	want("refund", engine.PaymentRefunded)(s.Refund(ctx, a))
	want("refund again", engine.PaymentRefunded)(s.Refund(ctx, a))
	a.ProviderRef = "pi_1"
	want("look up by reference", engine.PaymentRefunded)(s.Lookup(ctx, a))

	want("authorise", engine.PaymentAuthorised)(s.Authorise(ctx, c))
	c.ProviderRef = "pi_2"
	want("void", engine.PaymentVoided)(s.Void(ctx, c))
	want("void again", engine.PaymentVoided)(s.Void(ctx, c))
	want("capture of a voided one", engine.PaymentVoided)(s.Capture(ctx, c))
	want("authorise again under the key of a voided one", engine.PaymentVoided)(s.Authorise(ctx, c))

	seen := map[engine.AttemptID]engine.PaymentState{}
	if err := s.Payments(ctx, func(id engine.AttemptID, p engine.Payment) error { seen[id] = p.State; return nil }); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(seen, map[engine.AttemptID]engine.PaymentState{a.ID: engine.PaymentRefunded, c.ID: engine.PaymentVoided}) {
		t.Fatal(seen)
	}
	for _, call := range b.calls {
		if strings.Contains(call, "//") {
			t.Error(call)
		}
	}
}

func TestAVoidWithoutAReferenceNeverTrustsTheSearch(t *testing.T) {
	young, old, ancient := time.Now(), time.Now().Add(-time.Hour), time.Now().Add(-30*time.Hour)
	const visa = "pm_card_visa"
	for name, c := range map[string]struct {
		method string
		before func(t *testing.T, s *Stripe, b *stripeStub, a engine.Attempt)
		begun  time.Time
		unseen bool
		state  engine.PaymentState
		books  map[string]int
	}{
		"what was never seen is barred":                                          {visa, nil, young, true, engine.PaymentVoided, map[string]int{"canceled": 1}},
		"what was authorised is found by its key and cancelled":                  {visa, authorised, young, true, engine.PaymentVoided, map[string]int{"canceled": 1}},
		"what needs action is cancelled too":                                     {"pm_card_authenticationRequired", authorised, young, true, engine.PaymentVoided, map[string]int{"canceled": 1}},
		"what was declined is cancelled too":                                     {"pm_declined", authorised, young, true, engine.PaymentVoided, map[string]int{"canceled": 1}},
		"what is being processed cannot be cancelled yet":                        {"pm_processing", authorised, young, true, engine.PaymentUnknown, map[string]int{"processing": 1}},
		"a payment behind a remembered fault is unknown while the index may lag": {"pm_fault", authorised, young, true, engine.PaymentUnknown, map[string]int{"requires_capture": 1}},
		"and is found by the index later":                                        {"pm_fault", authorised, old, false, engine.PaymentVoided, map[string]int{"canceled": 1}},
		"a key that Stripe has forgotten does not hide one":                      {visa, forgotten, ancient, false, engine.PaymentVoided, map[string]int{"canceled": 2}},
		"nor if nobody knows how old the attempt is":                             {visa, forgotten, time.Time{}, false, engine.PaymentVoided, map[string]int{"canceled": 2}},
		"captured money is reported and not given back":                          {visa, captured, young, true, engine.PaymentCaptured, map[string]int{"succeeded": 1}},
		"a key in use by a request under way decides nothing":                    {visa, working, young, true, engine.PaymentUnknown, map[string]int{}},
	} {
		t.Run(name, func(t *testing.T) {
			s, b := stripeStubbed(t, StripeConfig{})
			a := attempt(c.method, name)
			a.BegunAt = c.begun
			if c.before != nil {
				c.before(t, s, b, a)
			}
			b.set(func() { b.unseen = c.unseen })
			for range 2 {
				got, err := s.Void(t.Context(), a)
				if err != nil || got.State != c.state {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			if got := b.states(); !maps.Equal(got, c.books) {
				t.Fatalf("books: %v", got)
			}
			if c.state != engine.PaymentVoided {
				return
			}
			if p, err := s.Authorise(t.Context(), a); err == nil && p.State != engine.PaymentVoided {
				t.Fatalf("a late authorisation: %+v", p)
			}
			if got := b.states(); got["requires_capture"] != 0 {
				t.Fatalf("books: %v", got)
			}
		})
	}
}

func authorised(t *testing.T, s *Stripe, _ *stripeStub, a engine.Attempt) {
	_, _ = s.Authorise(t.Context(), a) // whatever comes of it
}

func captured(t *testing.T, s *Stripe, b *stripeStub, a engine.Attempt) {
	authorised(t, s, b, a)
	if p, err := s.Capture(t.Context(), a); err != nil || p.State != engine.PaymentCaptured {
		t.Fatalf("%+v, %v", p, err)
	}
}

func forgotten(t *testing.T, s *Stripe, b *stripeStub, a engine.Attempt) {
	authorised(t, s, b, a)
	b.set(func() { b.keys = map[string]*stubAnswer{} })
}

func working(_ *testing.T, _ *Stripe, b *stripeStub, _ engine.Attempt) {
	b.set(func() {
		b.front = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			w.WriteHeader(409)
			_, _ = io.WriteString(w, `{"error":{"type":"invalid_request_error","code":"idempotency_key_in_use","message":"in use"}}`)
			return true
		}
	})
}

func TestWhatTheSearchDoesNotShowIsUnknownUntilItMust(t *testing.T) {
	s, b := stripeStubbed(t, StripeConfig{SearchSettled: time.Minute})
	a := attempt("pm_card_visa", "a")
	if p, err := s.Authorise(t.Context(), a); err != nil || p.State != engine.PaymentAuthorised {
		t.Fatal(p, err)
	}
	b.set(func() { b.unseen = true })
	for _, begun := range []time.Time{{}, time.Now()} {
		a.BegunAt = begun
		if p, err := s.Lookup(t.Context(), a); err != nil || p.State != engine.PaymentUnknown {
			t.Fatalf("begun %s: %+v, %v", begun, p, err)
		}
	}
	b.set(func() { b.unseen = false })
	if p, err := s.Lookup(t.Context(), a); err != nil || p.State != engine.PaymentAuthorised || p.Ref != "pi_1" {
		t.Fatalf("%+v, %v", p, err)
	}
}

func TestAnswersOfStripeThatAreNoneAreClassifiedByWhatTheyProve(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
		after  time.Duration
	}{
		"500 is unknown":                   {500, `{"error":{"type":"api_error","message":"x"}}`, "unknown", 0},
		"502 of a proxy is unknown":        {502, `<html>`, "unknown", 0},
		"503 is unknown":                   {503, `{"error":{"type":"api_error","message":"x"}}`, "unknown", 0},
		"429 is not taken":                 {429, `{"error":{"type":"invalid_request_error","code":"rate_limit","message":"x"}}`, "not taken", 7 * time.Second},
		"a lock's 429 is not taken":        {429, `{"error":{"type":"invalid_request_error","code":"lock_timeout","message":"x"}}`, "not taken", 7 * time.Second},
		"401 is not taken":                 {401, `{"error":{"type":"invalid_request_error","message":"x"}}`, "not taken", 0},
		"400 is not taken":                 {400, `{"error":{"type":"invalid_request_error","message":"x","param":"amount"}}`, "not taken", 0},
		"404 without a problem is unknown": {404, `nothing here`, "unknown", 0},
		"200 with nonsense is unknown":     {200, `<html>`, "unknown", 0},
		"200 with {} is unknown":           {200, `{}`, "unknown", 0},
		"another payment's key is unknown": {400, `{"error":{"type":"idempotency_error","message":"x"}}`, "unknown", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, b := stripeStubbed(t, StripeConfig{})
			b.front = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
				return true
			}
			_, err := s.Authorise(t.Context(), attempt("pm_card_visa", "a"))
			if verdict(err) != c.want || c.after > 0 && retryAfter(err) != c.after {
				t.Fatalf("%s after %s: %v", verdict(err), retryAfter(err), err)
			}
			if len(b.calls) != 1 {
				t.Fatalf("the library tried again by itself: %v", b.calls)
			}
		})
	}
	t.Run("nobody listens: not taken", func(t *testing.T) {
		s, err := NewStripe(StripeConfig{URL: "http://127.0.0.1:1", Key: "sk_test_x", ReturnURL: "https://shop.example/"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Authorise(t.Context(), attempt("pm_card_visa", "a")); verdict(err) != "not taken" {
			t.Fatal(err)
		}
	})
	t.Run("taken and cut off: unknown, and there is one payment", func(t *testing.T) {
		s, b := stripeStubbed(t, StripeConfig{})
		b.after = func(*http.Request) bool { return false }
		a := attempt("pm_card_visa", "a")
		if _, err := s.Authorise(t.Context(), a); verdict(err) != "unknown" {
			t.Fatal(err)
		}
		b.set(func() { b.after = nil })
		if p, err := s.Authorise(t.Context(), a); err != nil || p.State != engine.PaymentAuthorised || b.states()["requires_capture"] != 1 {
			t.Fatal(p, err, b.states())
		}
	})
	t.Run("written on a reused connection that died, then turned away: unknown", func(t *testing.T) {
		url, _ := raw(t, func(n int, c net.Conn, r *bufio.Reader) {
			read(r)
			if n == 1 {
				answer(c, "200 OK", okIntent)
				read(r) // taken, and never answered
				return
			}
			answer(c, "429 Too Many Requests", `{"error":{"type":"invalid_request_error","code":"rate_limit","message":"x"}}`)
		})
		s, err := NewStripe(StripeConfig{URL: url, Key: "sk_test_x", ReturnURL: "https://shop.example/"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		for i, want := range []string{"answered", "unknown"} {
			if _, err := s.Authorise(t.Context(), attempt("pm_card_visa", fmt.Sprint(i))); verdict(err) != want {
				t.Fatalf("%d: %v", i, err)
			}
		}
	})
	t.Run("no answer in time: unknown", func(t *testing.T) {
		s, b := stripeStubbed(t, StripeConfig{})
		ctx, over := context.WithCancel(t.Context()) // its time, once the request is there
		b.front = func(_ http.ResponseWriter, r *http.Request) bool { over(); <-r.Context().Done(); return true }
		if _, err := s.Authorise(ctx, attempt("pm_card_visa", "a")); verdict(err) != "unknown" {
			t.Fatal(err)
		}
	})
}

func TestStripesSettingsAreChecked(t *testing.T) {
	good := StripeConfig{Key: "sk_test_x", ReturnURL: "https://shop.example/"}
	for says, spoil := range map[string]func(*StripeConfig){
		"secret key is needed": func(c *StripeConfig) { c.Key = "" },
		"publishable":          func(c *StripeConfig) { c.Key = "pk_live_x" },
		"plain http only":      func(c *StripeConfig) { c.URL = "http://api.stripe.example" },
		"ReturnURL":            func(c *StripeConfig) { c.ReturnURL = "shop" },
		"MaxConns":             func(c *StripeConfig) { c.MaxConns = -1 },
		"webhook secret":       func(c *StripeConfig) { c.Webhooks.Secrets = []string{"short"} },
	} {
		c := good
		spoil(&c)
		if _, err := NewStripe(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}
