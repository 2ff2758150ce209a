package sandbox

import "encoding/hex"

// How Stripe writes things down.

type stripePI struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Amount             int64             `json:"amount"`
	AmountCapturable   int64             `json:"amount_capturable"`
	AmountReceived     int64             `json:"amount_received"`
	CanceledAt         *int64            `json:"canceled_at"`
	CancellationReason *string           `json:"cancellation_reason"`
	CaptureMethod      string            `json:"capture_method"`
	ClientSecret       string            `json:"client_secret"`
	ConfirmationMethod string            `json:"confirmation_method"`
	Created            int64             `json:"created"`
	Currency           string            `json:"currency"`
	LastPaymentError   *stripeErr        `json:"last_payment_error"`
	LatestCharge       any               `json:"latest_charge"` // an id, or the charge if it was to be expanded
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	NextAction         *NextAction       `json:"next_action"`
	PaymentMethod      *string           `json:"payment_method"`
	PaymentMethodTypes []string          `json:"payment_method_types"`
	Status             Status            `json:"status"`
}

type stripeErr struct {
	Charge        string    `json:"charge,omitempty"`
	Code          string    `json:"code,omitempty"`
	DeclineCode   string    `json:"decline_code,omitempty"`
	Message       string    `json:"message"`
	Param         string    `json:"param,omitempty"`
	PaymentIntent *stripePI `json:"payment_intent,omitempty"`
	Type          string    `json:"type"`
}

type stripeCh struct {
	ID             string            `json:"id"`
	Object         string            `json:"object"`
	Amount         int64             `json:"amount"`
	AmountCaptured int64             `json:"amount_captured"`
	AmountRefunded int64             `json:"amount_refunded"`
	Captured       bool              `json:"captured"`
	Created        int64             `json:"created"`
	Currency       string            `json:"currency"`
	FailureCode    *string           `json:"failure_code"`
	Livemode       bool              `json:"livemode"`
	Metadata       map[string]string `json:"metadata"`
	Paid           bool              `json:"paid"`
	PaymentIntent  string            `json:"payment_intent"`
	PaymentMethod  string            `json:"payment_method"`
	Refunded       bool              `json:"refunded"`
	Status         string            `json:"status"`
	Disputed       bool              `json:"disputed"`
}

type stripeRe struct {
	ID            string            `json:"id"`
	Object        string            `json:"object"`
	Amount        int64             `json:"amount"`
	Charge        string            `json:"charge"`
	Created       int64             `json:"created"`
	Currency      string            `json:"currency"`
	Metadata      map[string]string `json:"metadata"`
	PaymentIntent string            `json:"payment_intent"`
	Reason        *string           `json:"reason"`
	Status        string            `json:"status"`
}

func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func (in *Intent) clientSecret() string {
	d := digest([]byte(in.ID))
	return in.ID + "_secret_" + hex.EncodeToString(d[:8])
}

func (in *Intent) chargeID() string { return "ch_" + in.ID[len("pi_"):] }

// charged says whether the card was ever asked.
func (in *Intent) charged() bool {
	return in.AmountAuthorised > 0 || in.Status == Authorised || in.Status == Captured || in.LastPaymentError != nil
}

var cardOnly = []string{"card"}

func stripeIntent(in *Intent, f form) *stripePI {
	v := &stripePI{
		ID: in.ID, Object: "payment_intent", Amount: in.Amount, AmountReceived: in.AmountReceived, CanceledAt: orNull(in.CanceledAt),
		CancellationReason: orNull(in.CancellationReason), CaptureMethod: in.CaptureMethod, ClientSecret: in.clientSecret(), ConfirmationMethod: "automatic",
		Created: in.Created, Currency: in.Currency, Metadata: in.Metadata, NextAction: in.NextAction, PaymentMethod: orNull(in.PaymentMethod),
		PaymentMethodTypes: cardOnly, Status: in.Status,
	}
	if in.Status == Authorised {
		v.AmountCapturable = in.AmountAuthorised
	}
	if in.Status == Declined {
		v.PaymentMethod = nil // another one is wanted
	}
	if in.LastPaymentError != nil {
		v.LastPaymentError = stripeError(in.LastPaymentError, nil)
	}
	if in.charged() {
		v.LatestCharge = in.chargeID()
		if f.expands("latest_charge") {
			v.LatestCharge = stripeCharge(in)
		}
	}
	return v
}

// stripeError leaves out the codes that Stripe does not know.
func stripeError(p *Problem, in *Intent) *stripeErr {
	v := &stripeErr{Code: p.Code, DeclineCode: p.DeclineCode, Message: p.Message, Param: p.Param, Type: p.Type}
	if p.DeclineCode == authenticationFailed {
		v.DeclineCode = ""
	}
	if p.Type == "api_error" {
		v.Code = ""
	}
	if in != nil {
		v.PaymentIntent = stripeIntent(in, nil)
		if p.Type == "card_error" {
			v.Charge = in.chargeID()
		}
	}
	return v
}

func stripeCharge(in *Intent) *stripeCh {
	v := &stripeCh{
		ID: in.chargeID(), Object: "charge", Amount: in.Amount, AmountCaptured: in.AmountReceived, AmountRefunded: in.AmountRefunded, Captured: in.Status == Captured,
		Created: in.Created, Currency: in.Currency, Metadata: in.Metadata, Paid: true, PaymentIntent: in.ID, PaymentMethod: in.PaymentMethod, Refunded: in.Refunded, Status: "succeeded",
	}
	switch {
	case in.Status == Cancelled && in.AmountAuthorised > 0: // Stripe shows a reversed authorisation as a refund
		v.AmountRefunded, v.Refunded = in.AmountAuthorised, true
	case in.LastPaymentError != nil:
		v.Paid, v.Status, v.FailureCode = false, "failed", orNull(in.LastPaymentError.Code)
	}
	return v
}

func stripeRefundOf(in *Intent, id string) *stripeRe {
	for _, r := range in.Refunds {
		if r.ID == id {
			return stripeRefundView(in, r)
		}
	}
	return nil
}

func stripeRefundView(in *Intent, r Refund) *stripeRe {
	v := &stripeRe{ID: r.ID, Object: "refund", Amount: r.Amount, Charge: in.chargeID(), Created: r.Created, Currency: in.Currency,
		Metadata: r.Metadata, PaymentIntent: in.ID, Reason: orNull(r.Reason), Status: "succeeded"}
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	return v
}
