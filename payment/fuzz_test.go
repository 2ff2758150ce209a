package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// FuzzASignedWebhookIsAnEventOrRefused: a body that a provider did sign is either an
// event with an id and a type, or refused; what says it was signed long ago never is.
func FuzzASignedWebhookIsAnEventOrRefused(f *testing.F) {
	f.Add([]byte(`{"id":"evt_1","type":"payment_intent.succeeded","created":1,"data":{"object":{"metadata":{"attempt":"x"}}}}`), int64(0))
	f.Add([]byte(`{"id":"evt_1","type":""}`), int64(-600))
	f.Add([]byte(`{"id":1}`), int64(600))
	c := WebhookConfig{Secrets: []string{"another-secret-of-tests", secret}}
	f.Fuzz(func(t *testing.T, body []byte, ago int64) {
		at := time.Now().Unix() - ago%100_000
		mac := hmac.New(sha256.New, []byte(secret))
		fmt.Fprintf(mac, "%d.", at)
		mac.Write(body)
		header := fmt.Sprintf("t=%d,v1=00,v1=%s", at, hex.EncodeToString(mac.Sum(nil)))
		e, err := c.event("stripe", body, header)
		var in struct{ ID, Type string }
		good := json.Unmarshal(body, &in) == nil && in.ID != "" && in.Type != ""
		if err == nil && (!good || e.ID != in.ID || e.Type != in.Type || e.Provider != "stripe") {
			t.Fatalf("%q became %+v", body, e)
		}
		if age := time.Since(time.Unix(at, 0)).Abs(); err == nil && age > WebhookTolerance+time.Second {
			t.Fatalf("signed %s ago, and believed", age)
		}
	})
}

// canned answers every request alike.
type canned struct {
	status int
	body   string
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: c.status, Status: fmt.Sprint(c.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(c.body))}, nil
}

// FuzzNoAnswerOfStripeMakesMoney: whatever comes back, a payment has a state, and an
// answer that is none is never one.
func FuzzNoAnswerOfStripeMakesMoney(f *testing.F) {
	f.Add(200, `{"id":"pi_1","object":"payment_intent","status":"requires_capture","amount":4999,"currency":"usd","amount_capturable":4999}`)
	f.Add(200, `{"id":"pi_1","object":"payment_intent","status":"requires_action","next_action":{"type":"redirect_to_url","redirect_to_url":{"url":"https://x"}}}`)
	f.Add(402, `{"error":{"type":"card_error","code":"card_declined","decline_code":"x","payment_intent":{"id":"pi_1","object":"payment_intent","status":"requires_payment_method"}}}`)
	f.Add(500, `{"id":"pi_1","object":"payment_intent","status":"requires_capture"}`)
	f.Add(200, `[]`)
	f.Add(171, `{"id":"pi_1","object":"payment_intent","status":"requires_capture","amount":4999,"currency":"usd","amount_capturable":4999}`)
	s, err := NewStripe(StripeConfig{URL: "http://127.0.0.1:1", Key: "sk_test_x", ReturnURL: "https://shop.example/"})
	if err != nil {
		f.Fatal(err)
	}
	a := engine.Attempt{ID: engine.AttemptID{1}, Method: "pm_card_visa", Amount: engine.Money{Amount: 4999, Currency: "USD"}}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 {
			return
		}
		s.http.Transport = noting{canned{status, body}, ""}
		p, err := s.Authorise(t.Context(), a)
		if err == nil && p.State == "" || status/100 != 2 && err == nil && p.State == engine.PaymentAuthorised {
			t.Fatalf("%d %q became %+v", status, body, p)
		}
		if v := verdict(err); v != "answered" && v != "unknown" && v != "not taken" {
			t.Fatal(v)
		}
		if p.State == engine.PaymentAuthorised && !strings.Contains(body, "requires_capture") && !strings.Contains(body, `\u`) {
			t.Fatalf("%q became %+v", body, p)
		}
	})
}

func FuzzARouteMeansWhatItSays(f *testing.F) {
	for _, s := range []string{"stripe", "stripe currency=EUR,USD bps=290", "sandbox method=pm_* min=1 max=2 fixed=3", "x min=-1", "x currency="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRule(s)
		if err != nil {
			return
		}
		if r.Provider == "" || r.Min < 0 || r.Max < 0 || r.Fixed < 0 || r.BasisPoints < 0 || !strings.HasPrefix(strings.Join(strings.Fields(s), " "), r.Provider) {
			t.Fatalf("%q became %+v", s, r)
		}
	})
}
