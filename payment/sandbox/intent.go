package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// Status is where an intent stands, in Stripe's words.
type Status string

// The statuses an intent can have here.
const (
	Processing Status = "processing"
	Authorised Status = "requires_capture"
	Declined   Status = "requires_payment_method" // last_payment_error says why; final for its key
	Captured   Status = "succeeded"               // refunded says whether it was given back
	Cancelled  Status = "canceled"
)

// Intent is one payment. A stored *Intent is never changed, only replaced.
type Intent struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	AmountReceived     int64             `json:"amount_received"`
	AmountRefunded     int64             `json:"amount_refunded"`
	Refunded           bool              `json:"refunded"` // a refund of 0 shows too
	Currency           string            `json:"currency"` // lower case
	Status             Status            `json:"status"`
	PaymentMethod      string            `json:"payment_method"`
	CaptureMethod      string            `json:"capture_method"`
	Metadata           map[string]string `json:"metadata"`
	Created            int64             `json:"created"` // Unix seconds
	CancellationReason string            `json:"cancellation_reason,omitempty"`
	LastPaymentError   *Problem          `json:"last_payment_error,omitempty"`
}

// Attempt is the name under which the buyer's side knows the payment.
func (in *Intent) Attempt() string { return in.Metadata["attempt"] }

// Problem is the error member of an answer.
type Problem struct {
	Type          string  `json:"type"`
	Code          string  `json:"code,omitempty"`
	DeclineCode   string  `json:"decline_code,omitempty"`
	Message       string  `json:"message"`
	Param         string  `json:"param,omitempty"`
	PaymentIntent *Intent `json:"payment_intent,omitempty"`
}

// params are the body of a create.
type params struct {
	Amount        *int64            `json:"amount"`
	Currency      string            `json:"currency"`
	PaymentMethod string            `json:"payment_method"`
	CaptureMethod string            `json:"capture_method"`
	Confirm       bool              `json:"confirm"`
	Metadata      map[string]string `json:"metadata"`
}

// Limits of a create.
const (
	maxBody   = 64 << 10
	maxAmount = 1_000_000_000_000_000 // minor units
	maxKey    = 255                   // bytes of an Idempotency-Key or an attempt
)

// check says what is wrong with p, or nil. Free goods are sold too: 0 is an amount.
func (p *params) check() *Problem {
	bad := func(param, code, message string) *Problem {
		return &Problem{Type: "invalid_request_error", Code: code, Param: param, Message: message}
	}
	switch {
	case p.Amount == nil || *p.Amount < 0 || *p.Amount > maxAmount:
		return bad("amount", "parameter_invalid_integer", "amount must be given in minor units, 0 to 1000000000000000")
	case !isCurrency(p.Currency):
		return bad("currency", "parameter_invalid", "currency must have three letters, such as usd")
	case p.CaptureMethod != "manual":
		return bad("capture_method", "parameter_invalid", `capture_method must be "manual": the sandbox never captures by itself`)
	case !p.Confirm:
		return bad("confirm", "parameter_invalid", "confirm must be true: the sandbox authorises at once")
	case len(p.Metadata) > 50:
		return bad("metadata", "parameter_invalid", "metadata may have at most 50 entries")
	}
	for k, v := range p.Metadata {
		if k == "" || len(k) > 40 || len(v) > 500 {
			return bad("metadata", "parameter_invalid", "metadata names have 1 to 40 bytes, values at most 500")
		}
	}
	if len(p.Metadata["attempt"]) > maxKey {
		return bad("metadata", "parameter_invalid", "metadata.attempt may have at most 255 bytes")
	}
	if _, ok := Methods[p.PaymentMethod]; !ok {
		return bad("payment_method", "resource_missing", "no such payment_method; try pm_card_visa")
	}
	return nil
}

func isCurrency(s string) bool {
	if len(s) != 3 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) < 0
}

// fingerprint is equal for equal parameters, however they were spaced and ordered.
func (p *params) fingerprint() string {
	b, _ := json.Marshal(p) // a struct of plain fields: cannot fail, and maps come out sorted
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Method is what a payment method makes the sandbox do.
type Method struct {
	DeclineCode string // declines with it
	Slow        bool   // answers after Config.SlowFor
	Hang        bool   // authorises, then leaves the request unanswered
	Fail        bool   // answers 500 and does nothing
	Processing  bool   // stays processing for Config.ProcessingFor, then authorises
	Does        string // one sentence for people
}

// Methods are the payment methods that exist.
var Methods = map[string]Method{
	"pm_card_visa":                            {Does: "approves"},
	"pm_card_chargeDeclined":                  {DeclineCode: "generic_decline", Does: "declines"},
	"pm_card_chargeDeclinedInsufficientFunds": {DeclineCode: "insufficient_funds", Does: "declines for want of money"},
	"pm_card_authenticationRequired":          {DeclineCode: "authentication_required", Does: "declines and asks for 3-D Secure; the flow itself is not built yet"},
	"pm_sandbox_slow":                         {Slow: true, Does: "approves, late"},
	"pm_sandbox_timeoutAfterCharge":           {Hang: true, Does: "approves and never says so"},
	"pm_sandbox_error":                        {Fail: true, Does: "answers 500 and does nothing"},
	"pm_sandbox_processing":                   {Processing: true, Does: "is processing for a while, then approves"},
}
