package payment

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// SignatureHeader carries the signature of a webhook: t=SECONDS,v1=HEX[,v1=HEX…],
// the HMAC-SHA256 of "SECONDS.body". Stripe's scheme; the sandbox speaks it too.
const SignatureHeader = "Stripe-Signature"

// WebhookTolerance is how far a webhook's time may lie from ours by default.
const WebhookTolerance = 5 * time.Minute

// Events is a provider that sends webhooks.
type Events interface {
	// Event checks the signature over the raw body and reads the event.
	// CodeInvalidRequest: the signature is forged or too old, or it is no event.
	// CodeNotFound: no secret is set, so no webhook can be told from a forgery.
	Event(body []byte, signature string) (engine.ProviderEvent, error)
}

// WebhookConfig says how webhooks are verified.
type WebhookConfig struct {
	Secrets   []string      // any of them may have signed, so that they can be rotated
	Tolerance time.Duration // default WebhookTolerance
}

// MinWebhookSecret is the shortest webhook secret that is accepted, in bytes.
const MinWebhookSecret = 16

// Validate checks the secrets.
func (c WebhookConfig) Validate() error {
	for _, s := range c.Secrets {
		if len(s) < MinWebhookSecret {
			return engine.E(engine.CodeInvalidRequest, "a webhook secret has at least %d characters", MinWebhookSecret)
		}
	}
	if c.Tolerance < 0 {
		return engine.E(engine.CodeInvalidRequest, "the webhook tolerance %s must be positive", c.Tolerance)
	}
	return nil
}

// event verifies and reads a webhook. What a refusal says helps whoever set up
// the webhook, and nobody to forge one.
func (c WebhookConfig) event(provider string, body []byte, signature string) (engine.ProviderEvent, error) {
	none := engine.ProviderEvent{}
	if len(c.Secrets) == 0 {
		return none, engine.E(engine.CodeNotFound, "no webhooks are taken from %q: no secret is set", provider)
	}
	signed, ok := c.verify(body, signature)
	if !ok {
		return none, engine.E(engine.CodeInvalidRequest, "the webhook's %s does not match its body under any of our secrets", SignatureHeader)
	}
	or(&c.Tolerance, WebhookTolerance)
	if age := time.Since(signed); age > c.Tolerance || age < -c.Tolerance {
		return none, engine.E(engine.CodeInvalidRequest, "the webhook was signed %s ago; at most %s is accepted", age.Round(time.Second), c.Tolerance)
	}
	var in struct {
		ID      string `json:"id"`
		Type    string `json:"type"`
		Created int64  `json:"created"`
		Data    struct {
			Object struct {
				Metadata map[string]string `json:"metadata"`
			} `json:"object"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.ID == "" || in.Type == "" {
		return none, engine.E(engine.CodeInvalidRequest, "the webhook is signed, and it is no event with an id and a type")
	}
	e := engine.ProviderEvent{Provider: provider, ID: in.ID, Type: in.Type, At: time.Unix(in.Created, 0).UTC()}
	e.Attempt, _ = engine.ParseAttemptID(in.Data.Object.Metadata["attempt"])
	return e, nil
}

// verify gives the time under which any of the secrets signed the body.
func (c WebhookConfig) verify(body []byte, header string) (time.Time, bool) {
	var stamp string
	var sums [][]byte
	for _, part := range strings.Split(header, ",") {
		switch key, value, _ := strings.Cut(strings.TrimSpace(part), "="); key {
		case "t":
			stamp = value
		case "v1":
			if sum, err := hex.DecodeString(value); err == nil && len(sums) < 8 { // each costs an HMAC per secret
				sums = append(sums, sum)
			}
		}
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	ok := false
	for _, secret := range c.Secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(stamp + "."))
		mac.Write(body)
		want := mac.Sum(nil)
		for _, sum := range sums {
			ok = ok || hmac.Equal(want, sum)
		}
	}
	return time.Unix(seconds, 0), ok
}
