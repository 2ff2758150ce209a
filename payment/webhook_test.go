package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

const secret, newSecret = "whsec_0123456789abcdef", "whsec_fedcba9876543210"

func sign(secret string, at time.Time, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

func TestAWebhookIsBelievedOnlyUnderASignatureOfOursAndInTime(t *testing.T) {
	a := attempt("pm_card_visa", "a")
	body := `{"id":"evt_1","type":"payment_intent.amount_capturable_updated","created":1700000000,"data":{"object":{"metadata":{"attempt":"` + a.ID.String() + `"}}}}`
	now := time.Now()
	good := sign(secret, now, body)
	_, sum, _ := strings.Cut(good, ",v1=")
	for name, c := range map[string]struct {
		body, signature string
		code            engine.Code
	}{
		"signed":                            {body, good, ""},
		"signed with the next secret":       {body, sign(newSecret, now, body), ""},
		"one of several signatures is ours": {body, "v0=00," + strings.Replace(good, ",v1=", ",v1=00ff,v1=", 1), ""},
		"a little early":                    {body, sign(secret, now.Add(4*time.Minute), body), ""},
		"another's secret":                  {body, sign("whsec_another_secret_", now, body), engine.CodeInvalidRequest},
		"another body":                      {strings.Replace(body, "evt_1", "evt_2", 1), good, engine.CodeInvalidRequest},
		"too old":                           {body, sign(secret, now.Add(-6*time.Minute), body), engine.CodeInvalidRequest},
		"from the future":                   {body, sign(secret, now.Add(6*time.Minute), body), engine.CodeInvalidRequest},
		"an old one with a new time":        {body, fmt.Sprintf("t=%d,v1=%s", now.Unix()+1, sum), engine.CodeInvalidRequest},
		"no signature":                      {body, "", engine.CodeInvalidRequest},
		"no time":                           {body, "v1=" + sum, engine.CodeInvalidRequest},
		"signed nonsense":                   {"[]", sign(secret, now, "[]"), engine.CodeInvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := stripeStubbed(t, StripeConfig{Webhooks: WebhookConfig{Secrets: []string{secret, newSecret}}})
			e, err := s.Event([]byte(c.body), c.signature)
			if engine.CodeOf(err) != c.code {
				t.Fatal(err)
			}
			want := engine.ProviderEvent{Provider: "stripe", ID: "evt_1", Type: "payment_intent.amount_capturable_updated", Attempt: a.ID, At: time.Unix(1700000000, 0).UTC()}
			if err == nil && e != want {
				t.Fatalf("%+v", e)
			}
		})
	}
}

func TestTheRouterHandsAWebhookToItsProvider(t *testing.T) {
	box, err := NewSandbox(SandboxConfig{URL: "http://127.0.0.1:1", Webhooks: WebhookConfig{Secrets: []string{secret}}})
	if err != nil {
		t.Fatal(err)
	}
	deaf, err := NewSandbox(SandboxConfig{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	body := `{"id":"evt_1","type":"ping","data":{"object":{}}}`
	header := func(name string) string {
		return map[string]string{SignatureHeader: sign(secret, time.Now(), body)}[name]
	}
	for p, c := range map[Provider]struct {
		to   string
		code engine.Code
	}{box: {"sandbox", ""}, deaf: {"sandbox", engine.CodeNotFound}, &named{name: "a"}: {"a", engine.CodeNotFound}} {
		g, err := NewGuard(p, GuardConfig{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewRouter(RouterConfig{Guards: []*Guard{g}})
		if err != nil {
			t.Fatal(err)
		}
		if e, err := r.Event(c.to, []byte(body), header); engine.CodeOf(err) != c.code || err == nil && (e.ID != "evt_1" || e.Attempt != engine.AttemptID{}) {
			t.Errorf("%s: %+v, %v", c.to, e, err)
		}
		if _, err := r.Event("nobody", []byte(body), header); engine.CodeOf(err) != engine.CodeNotFound {
			t.Error(err)
		}
	}
}

func FuzzNoSignatureBreaksTheVerifier(f *testing.F) {
	f.Add("t=1,v1=00", "{}")
	f.Add("t=,v1=,v1", "")
	c := WebhookConfig{Secrets: []string{secret}}
	f.Fuzz(func(t *testing.T, header, body string) {
		if _, err := c.event("x", []byte(body), header); err == nil {
			t.Fatal("a forgery was believed")
		}
	})
}
