package sandbox

import (
	"net/url"
	"strconv"
	"strings"
)

// Status is where an intent stands, in Stripe's words.
type Status string

// The statuses an intent can have here.
const (
	Processing  Status = "processing"
	Authorised  Status = "requires_capture"
	Declined    Status = "requires_payment_method" // last_payment_error says why; without one, nothing was tried yet
	Unconfirmed Status = "requires_confirmation"
	NeedsAction Status = "requires_action" // next_action says what the buyer has to do
	Captured    Status = "succeeded"       // refunded says whether it was given back
	Cancelled   Status = "canceled"
)

// Intent is one payment. A stored *Intent is never changed, only replaced, so
// it may be read, and written down as an answer, without a lock.
type Intent struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	AmountAuthorised   int64             `json:"amount_authorised"` // what was reserved at some time, whatever became of it
	AmountReceived     int64             `json:"amount_received"`
	AmountRefunded     int64             `json:"amount_refunded"`
	Refunded           bool              `json:"refunded"` // all of it; a refund of 0 shows too
	Currency           string            `json:"currency"` // lower case
	Status             Status            `json:"status"`
	PaymentMethod      string            `json:"payment_method"`
	CaptureMethod      string            `json:"capture_method"`
	Metadata           map[string]string `json:"metadata"`
	Created            int64             `json:"created"` // Unix seconds
	CanceledAt         int64             `json:"canceled_at,omitempty"`
	CancellationReason string            `json:"cancellation_reason,omitempty"`
	LastPaymentError   *Problem          `json:"last_payment_error,omitempty"`
	NextAction         *NextAction       `json:"next_action,omitempty"`
	ReturnURL          string            `json:"return_url,omitempty"`
	Refunds            []Refund          `json:"refunds,omitempty"`
	SettlesAt          int64             `json:"settles_at,omitempty"`    // Unix ms at which processing ends by itself
	ThenDeclines       string            `json:"then_declines,omitempty"` // the decline code in which processing or the action ends
}

// Attempt is the name under which the buyer's side knows the payment.
func (in *Intent) Attempt() string { return in.Metadata["attempt"] }

// NextAction is what the buyer has to do: go to a page of the sandbox.
type NextAction struct {
	Type     string   `json:"type"`
	Redirect Redirect `json:"redirect_to_url"`
}

// Redirect is where the buyer goes, and where the page sends them afterwards.
type Redirect struct {
	URL       string `json:"url"`
	ReturnURL string `json:"return_url,omitempty"`
}

// Refund is captured money that was given back.
type Refund struct {
	ID       string            `json:"id"`
	Amount   int64             `json:"amount"`
	Created  int64             `json:"created"`
	Reason   string            `json:"reason,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Problem is the error member of an answer.
type Problem struct {
	Type          string  `json:"type"`
	Code          string  `json:"code,omitempty"`
	DeclineCode   string  `json:"decline_code,omitempty"`
	Message       string  `json:"message"`
	Param         string  `json:"param,omitempty"`
	PaymentIntent *Intent `json:"payment_intent,omitempty"`
}

// order is what a create asks for, whichever face it came through.
type order struct {
	Amount        *int64            `json:"amount"`
	Currency      string            `json:"currency"`
	PaymentMethod string            `json:"payment_method"`
	CaptureMethod string            `json:"capture_method"`
	Confirm       bool              `json:"confirm"`
	ReturnURL     string            `json:"return_url,omitempty"`
	Metadata      map[string]string `json:"metadata"`
}

// Limits of a create.
const (
	maxBody   = 64 << 10
	maxAmount = 1_000_000_000_000_000 // minor units
	maxKey    = 255                   // bytes of an Idempotency-Key or an attempt
)

func invalid(param, code, message string) *Problem {
	return &Problem{Type: "invalid_request_error", Code: code, Param: param, Message: message}
}

// check says what is wrong with p, or nil. Free goods are sold too: 0 is an amount.
func (p *order) check() *Problem {
	switch {
	case p.CaptureMethod != "manual":
		return invalid("capture_method", "parameter_invalid", `capture_method must be "manual": here the sandbox never captures by itself`)
	case !p.Confirm:
		return invalid("confirm", "parameter_invalid", "confirm must be true: here the sandbox authorises at once")
	}
	if bad := p.checkCommon(0); bad != nil {
		return bad
	}
	return checkMethod(p.PaymentMethod)
}

// checkCommon is what both faces ask of a create.
func (p *order) checkCommon(least int64) *Problem {
	switch {
	case p.Amount == nil || *p.Amount < least || *p.Amount > maxAmount:
		return invalid("amount", "parameter_invalid_integer", "amount must be given in minor units, "+string('0'+rune(least))+" to 1000000000000000")
	case !isCurrency(p.Currency):
		return invalid("currency", "parameter_invalid", "currency must have three letters, such as usd")
	case len(p.Metadata["attempt"]) > maxKey:
		return invalid("metadata", "parameter_invalid", "metadata.attempt may have at most 255 bytes")
	}
	if bad := checkReturnURL(p.ReturnURL); bad != nil {
		return bad
	}
	return checkMetadata(p.Metadata)
}

func checkMetadata(m map[string]string) *Problem {
	if len(m) > 50 {
		return invalid("metadata", "parameter_invalid", "metadata may have at most 50 entries")
	}
	for k, v := range m {
		if k == "" || len(k) > 40 || len(v) > 500 {
			return invalid("metadata", "parameter_invalid", "metadata names have 1 to 40 bytes, values at most 500")
		}
	}
	return nil
}

func checkMethod(name string) *Problem {
	if _, ok := Methods[name]; !ok {
		return invalid("payment_method", "resource_missing", "no such payment_method; try pm_card_visa")
	}
	return nil
}

// checkReturnURL keeps javascript: and the like off the page that links there.
func checkReturnURL(s string) *Problem {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || len(s) > 2048 {
		return invalid("return_url", "url_invalid", "return_url must be a URL of the form https://host/…")
	}
	return nil
}

func isCurrency(s string) bool {
	if len(s) != 3 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) < 0
}

// fingerprint is equal for equal parameters, however they were spaced and
// ordered.
func (p *order) fingerprint() fingerprint {
	buf := buffers.Get().(*[]byte)
	b := strconv.AppendInt((*buf)[:0], *p.Amount, 10)
	for _, s := range []string{p.Currency, p.PaymentMethod, p.CaptureMethod, strconv.FormatBool(p.Confirm), p.ReturnURL} {
		b = appendString(b, s)
	}
	*buf = appendMap(b, p.Metadata)
	f := digest(*buf)
	buffers.Put(buf)
	return f
}
