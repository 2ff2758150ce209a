package payment

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

// atTheBank is a sandbox, and how buyers who have done what the bank asked leave it.
func atTheBank(t *testing.T, back string) (p *Sandbox, press func(pay engine.Payment, button string) (status int, to string)) {
	t.Helper()
	s, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	if p, err = NewSandbox(SandboxConfig{URL: srv.URL, ReturnURL: back}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	browser := &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(browser.CloseIdleConnections)
	return p, func(pay engine.Payment, button string) (status int, to string) {
		t.Helper()
		page, err := url.Parse(pay.Action.URL) // of the name that the sandbox believes it has
		if err != nil || page.Path == "" {
			t.Fatalf("what to do is %+v: %v", pay.Action, err)
		}
		res, err := browser.Post(srv.URL+page.Path+"/"+button, "application/x-www-form-urlencoded", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		return res.StatusCode, res.Header.Get("Location")
	}
}

func TestBuyersComeBackFrom3DSecureToThePageThatWasSet(t *testing.T) {
	for button, says := range map[string]string{"complete": "succeeded", "fail": "failed"} {
		p, press := atTheBank(t, "https://shop.example/r/{reservation}?from=bank&again={reservation}")
		a := attempt("pm_card_authenticationRequired", button)
		pay, err := p.Authorise(t.Context(), a)
		if err != nil || pay.State != engine.PaymentNeedsAction {
			t.Fatalf("%+v, %v", pay, err)
		}
		status, page := press(pay, button)
		to, err := url.Parse(page)
		if status != http.StatusSeeOther || err != nil {
			t.Fatalf("%s: status %d, %v", button, status, err)
		}
		id := a.Reservation.String()
		q := to.Query()
		if to.Scheme != "https" || to.Host != "shop.example" || to.Path != "/r/"+id || q.Get("again") != id || q.Get("from") != "bank" || q.Get("redirect_status") != says || q.Get("payment_intent") == "" {
			t.Errorf("%s leads to %s", button, to)
		}
		if want := map[string]engine.PaymentState{"complete": engine.PaymentAuthorised, "fail": engine.PaymentDeclined}[button]; true {
			if got, err := p.Lookup(t.Context(), a); err != nil || got.State != want {
				t.Errorf("%s: the payment is %+v, %v", button, got, err)
			}
		}
	}
}

func TestWithoutAPageBuyersStayAtTheBank(t *testing.T) {
	p, press := atTheBank(t, "")
	pay, err := p.Authorise(t.Context(), attempt("pm_card_authenticationRequired", "k"))
	if err != nil || pay.State != engine.PaymentNeedsAction {
		t.Fatalf("%+v, %v", pay, err)
	}
	if status, to := press(pay, "complete"); status != http.StatusOK || to != "" {
		t.Errorf("status %d, to %q", status, to)
	}
}

func TestOnlyAPageOfTheWebIsOneToComeBackTo(t *testing.T) {
	for page, good := range map[string]bool{
		"https://shop.example/": true, "http://127.0.0.1:8088/shop/": true, "https://shop.example/r/{reservation}": true,
		"": false, "shop": false, "/done": false, "//shop.example/": false, "https:///done": false, "javascript:alert(1)": false, "javascript://shop.example/%0aalert(1)": false,
		"ftp://shop.example/": false, "data:text/html,x": false, "https://shop.example/%zz": false,
	} {
		if err := CheckReturnURL(page); (err == nil) != good {
			t.Errorf("%q: %v", page, err)
		}
		_, err := NewSandbox(SandboxConfig{URL: "http://127.0.0.1:1", ReturnURL: page})
		if page != "" && (err == nil) != good || err != nil && !strings.Contains(err.Error(), "to which buyers return") {
			t.Errorf("a sandbox client with %q: %v", page, err)
		}
	}
}
