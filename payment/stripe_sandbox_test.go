package payment

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

// The Stripe provider against the sandbox's Stripe face: two readings of one
// API, written apart from each other.
func TestTheStripeProviderUnderstandsTheSandboxesStripe(t *testing.T) {
	const secret = "whsec_a-secret-of-the-test"
	events := make(chan engine.ProviderEvent, 100)
	var stripe *Stripe
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		ev, err := stripe.Event(body, r.Header.Get(SignatureHeader))
		if err != nil {
			t.Errorf("an event is not believed: %v", err)
		}
		if _, err := stripe.Event(bytes.Replace(body, []byte("pi_"), []byte("pj_"), 1), r.Header.Get(SignatureHeader)); err == nil {
			t.Error("a changed event is believed")
		}
		events <- ev
		w.WriteHeader(http.StatusOK)
	}))
	defer hook.Close()
	box, err := sandbox.New(sandbox.Config{Webhooks: []sandbox.Webhook{{URL: hook.URL, Secret: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := box.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = box.Close() }()
	for _, path := range []string{"", "/stripe"} {
		stripe, err = NewStripe(StripeConfig{Key: "sk_test_sandbox", URL: box.URL() + path, ReturnURL: "https://shop.example/r/{reservation}",
			Webhooks: WebhookConfig{Secrets: []string{secret}, Tolerance: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		defer stripe.Close()
		ctx := t.Context()
		expect := func(what string, p engine.Payment, err error, want engine.PaymentState) engine.Payment {
			t.Helper()
			if err != nil || p.State != want || p.Provider != "stripe" {
				t.Fatalf("%s%s: %+v, %v", path, what, p, err)
			}
			return p
		}
		does := func(f func() (engine.Payment, error), what string, want engine.PaymentState) engine.Payment {
			t.Helper()
			p, err := f()
			return expect(what, p, err, want)
		}
		a := attempt("pm_card_visa", "paid"+path)
		for range 2 { // the second time under the same key
			p := does(func() (engine.Payment, error) { return stripe.Authorise(ctx, a) }, "authorise", engine.PaymentAuthorised)
			a.ProviderRef = p.Ref
		}
		does(func() (engine.Payment, error) { return stripe.Lookup(ctx, a) }, "look-up", engine.PaymentAuthorised)
		byName := a
		byName.ProviderRef = ""
		does(func() (engine.Payment, error) { return stripe.Lookup(ctx, byName) }, "look-up by metadata", engine.PaymentAuthorised)
		for range 2 {
			does(func() (engine.Payment, error) { return stripe.Capture(ctx, a) }, "capture", engine.PaymentCaptured)
		}
		for range 2 {
			does(func() (engine.Payment, error) { return stripe.Refund(ctx, a) }, "refund", engine.PaymentRefunded)
		}
		b := attempt("pm_card_visa", "void"+path)
		b.ProviderRef = does(func() (engine.Payment, error) { return stripe.Authorise(ctx, b) }, "authorise", engine.PaymentAuthorised).Ref
		for range 2 {
			does(func() (engine.Payment, error) { return stripe.Void(ctx, b) }, "void", engine.PaymentVoided)
		}
		c := attempt("pm_card_chargeDeclinedInsufficientFunds", "declined"+path)
		if p := does(func() (engine.Payment, error) { return stripe.Authorise(ctx, c) }, "declined", engine.PaymentDeclined); p.DeclineCode != "insufficient_funds" {
			t.Errorf("declined with %q", p.DeclineCode)
		}
		d := attempt("pm_card_authenticationRequired", "action"+path)
		p := does(func() (engine.Payment, error) { return stripe.Authorise(ctx, d) }, "3-D Secure", engine.PaymentNeedsAction)
		d.ProviderRef = p.Ref
		page := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		res, err := page.Post(p.Action.URL+"/complete", "application/x-www-form-urlencoded", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		does(func() (engine.Payment, error) { return stripe.Lookup(ctx, d) }, "after 3-D Secure", engine.PaymentAuthorised)
		// Voiding what was never seen bars it.
		e := attempt("pm_card_visa", "late"+path)
		does(func() (engine.Payment, error) { return stripe.Void(ctx, e) }, "void of what was never seen", engine.PaymentVoided)
		if p, err := stripe.Authorise(ctx, e); err == nil && p.State == engine.PaymentAuthorised {
			t.Errorf("an authorisation that comes after its void takes the money: %+v", p)
		}
		ours := map[engine.AttemptID]bool{}
		for len(ours) < 4 {
			select {
			case ev := <-events:
				ours[ev.Attempt] = true
			case <-time.After(time.Minute):
				t.Fatalf("events of %d attempts came", len(ours))
			}
		}
	}
	books, err := box.Books()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range books.Doubles {
		if d.By == "attempt" { // the reservation is the same on purpose
			t.Errorf("charged twice: %+v", d)
		}
	}
}
