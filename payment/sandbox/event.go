package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
)

// APIVersion is the version of Stripe's API whose shapes the sandbox speaks.
// Stripe's own client refuses events of another one.
const APIVersion = "2026-03-25.dahlia"

// event is something that happened to a payment, as a webhook tells it.
type event struct {
	id      string
	kind    string // payment_intent.succeeded and so on
	created int64
	intent  *Intent // as it was right after
}

// eventsOf names what happened between two states of a payment.
func eventsOf(before, after *Intent) (kinds []string) {
	was, refunds := Status(""), 0
	if before != nil {
		was, refunds = before.Status, len(before.Refunds)
	}
	if after.Status != was {
		switch after.Status {
		case Authorised:
			kinds = append(kinds, "payment_intent.amount_capturable_updated")
		case Captured:
			kinds = append(kinds, "payment_intent.succeeded")
		case NeedsAction:
			kinds = append(kinds, "payment_intent.requires_action")
		case Processing:
			kinds = append(kinds, "payment_intent.processing")
		case Cancelled:
			kinds = append(kinds, "payment_intent.canceled")
		case Declined:
			if after.LastPaymentError != nil {
				kinds = append(kinds, "payment_intent.payment_failed")
			}
		}
	} else if after.Status == Declined && before.LastPaymentError != after.LastPaymentError {
		kinds = append(kinds, "payment_intent.payment_failed") // declined once more
	}
	if len(after.Refunds) > refunds {
		kinds = append(kinds, "charge.refunded")
	}
	return kinds
}

// body writes the event as Stripe does. As there, the object of charge.refunded
// is the charge, which carries the payment's metadata.
func (e *event) body(version string) []byte {
	var object any = stripeIntent(e.intent, nil)
	if e.kind == "charge.refunded" {
		object = stripeCharge(e.intent)
	}
	b, _ := json.Marshal(map[string]any{ // plain fields: cannot fail
		"id": e.id, "object": "event", "type": e.kind, "api_version": version, "created": e.created, "livemode": false,
		"pending_webhooks": 1, "request": map[string]any{"id": nil, "idempotency_key": nil}, "data": map[string]any{"object": object},
	})
	return b
}

// sign gives the Stripe-Signature header.
func sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
