//go:build stripemock

package payment

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// stripe-mock knows every parameter of the API and nothing of its state: it
// refuses requests of a wrong shape. `make stripe-mock` builds it and runs this.
func TestOurRequestsHaveTheShapesThatStripeMockKnows(t *testing.T) {
	bin := os.Getenv("FLASHSALE_STRIPE_MOCK")
	if bin == "" {
		t.Fatal("FLASHSALE_STRIPE_MOCK names no stripe-mock: `make stripe-mock` builds one and runs this")
	}
	s, err := NewStripe(StripeConfig{URL: stripeMock(t, bin), Key: "sk_test_123", ReturnURL: "https://shop.example/{reservation}"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	a := attempt("pm_card_visa", "a")
	withRef := a
	withRef.ProviderRef = "pi_123"
	for name, do := range map[string]func() (engine.Payment, error){
		"authorise":                func() (engine.Payment, error) { return s.Authorise(t.Context(), a) },
		"look-up by reference":     func() (engine.Payment, error) { return s.Lookup(t.Context(), withRef) },
		"capture":                  func() (engine.Payment, error) { return s.Capture(t.Context(), withRef) },
		"void":                     func() (engine.Payment, error) { return s.Void(t.Context(), withRef) },
		"refund":                   func() (engine.Payment, error) { return s.Refund(t.Context(), withRef) },
		"void of an unseen one":    func() (engine.Payment, error) { b := a; b.BegunAt = time.Now(); return s.Void(t.Context(), b) },
		"the books, as far as one": func() (engine.Payment, error) { return engine.Payment{State: "read"}, s.Payments(t.Context(), nil) },
	} {
		if p, err := do(); err != nil || p.State == "" {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	// It answers a search with a payment of its own, which we do not take for ours.
	if _, err := s.Lookup(t.Context(), a); err == nil || errors.Is(err, ErrRejected) {
		t.Errorf("search: %v", err)
	}
}

// stripeMock starts stripe-mock on a free port and gives its URL.
func stripeMock(t *testing.T, bin string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), bin, "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, addr, ok := strings.Cut(lines.Text(), "HTTP at address: "); ok {
			go func() { _, _ = io.Copy(io.Discard, out) }() // it logs every request
			return "http://" + addr
		}
	}
	t.Fatal("stripe-mock ended without an address")
	return ""
}
