package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTheSandboxKeepsItsBooksAndTellsItsWebhook(t *testing.T) {
	told := make(chan string, 10)
	shop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get("Stripe-Signature") }))
	t.Cleanup(shop.Close)
	dir := t.TempDir()
	args := []string{"sandbox", "--listen", "127.0.0.1:0", "--data-dir", dir, "--seed", "7", "--webhook", shop.URL, "--webhook-secret", "whsec_x"}
	p := start(t, args...)
	pay := func(p *proc, key string) reply {
		return send("POST", p.ready.Sandbox+"/stripe/v1/payment_intents", "sk_test_x", key, "amount=100&currency=usd&confirm=true&capture_method=manual&payment_method=pm_card_visa", "Content-Type", "application/x-www-form-urlencoded")
	}
	first := pay(p, "k").must(t, 200)
	if s := <-told; !strings.HasPrefix(s, "t=") || !strings.Contains(s, ",v1=") {
		t.Errorf("the signature is %q", s)
	}
	if c := send("GET", p.ready.Sandbox+"/control", "", "", "").must(t, 200); !strings.Contains(c.Raw, `"seed":7`) {
		t.Errorf("the seed is not in effect: %s", c.Raw)
	}
	if err := p.stop(); err != nil {
		t.Errorf("asked to stop: %v\n%s", err, p.stderr)
	}
	p = start(t, args...)
	if again := pay(p, "k").must(t, 200); again.Raw != first.Raw || again.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("it has forgotten: %s", again.Raw)
	}
	if books := send("GET", p.ready.Sandbox+"/books", "", "", "").must(t, 200); !strings.Contains(books.Raw, first.text("id")) {
		t.Errorf("its books are gone: %s", books.Raw)
	}
}

func TestASandboxThatCannotBeIsRefusedWithWhatIsWrong(t *testing.T) {
	for says, args := range map[string][]string{
		"webhook-secret": {"--webhook", "http://127.0.0.1:1/"},
		"webhook: not":   {"--webhook", "mailto:x", "--webhook-secret", "x"},
		"one of them":    {"--data-dir", "x", "--data-file", "y"},
		"public-url":     {"--public-url", "bank"},
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			if out, errs, status := command(t, append([]string{"sandbox", "--listen", "127.0.0.1:0"}, args...)...); status != exitUsage || !strings.Contains(errs, says) {
				t.Errorf("status %d\n%s%s", status, out, errs)
			}
		})
	}
}
