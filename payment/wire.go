package payment

import (
	"strings"

	"github.com/flashsale-engine/flashsale/engine"
)

// What the sandbox is asked, and its answers as far as they are read.

type wireOrder struct {
	Amount        int64     `json:"amount"`
	Currency      string    `json:"currency"`
	PaymentMethod string    `json:"payment_method"`
	CaptureMethod string    `json:"capture_method"`
	Confirm       bool      `json:"confirm"`
	ReturnURL     string    `json:"return_url,omitempty"`
	Metadata      wireNames `json:"metadata"`
}

// wireNames are what we call a payment; those of others may have none of them.
type wireNames struct {
	Attempt     string `json:"attempt"`
	Reservation string `json:"reservation"`
	Order       string `json:"order"`
}

type wireIntent struct {
	ID       string `json:"id"`
	Object   string `json:"object"`
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
	Status   string `json:"status"`
	Refunded bool   `json:"refunded"`
	Metadata struct {
		Attempt string `json:"attempt"`
	} `json:"metadata"`
	NextAction *struct {
		Type     string `json:"type"`
		Redirect *struct {
			URL string `json:"url"`
		} `json:"redirect_to_url"`
	} `json:"next_action"`
	LastError *struct {
		DeclineCode string `json:"decline_code"`
	} `json:"last_payment_error"`
}

type wireProblem struct {
	Type          string      `json:"type"`
	Code          string      `json:"code"`
	Param         string      `json:"param"`
	DeclineCode   string      `json:"decline_code"`
	Message       string      `json:"message"`
	PaymentIntent *wireIntent `json:"payment_intent"`
}

type wirePage struct {
	Object  string       `json:"object"`
	Data    []wireIntent `json:"data"`
	HasMore bool         `json:"has_more"`
}

// whole says whether this is an intent at all: {} is JSON too.
func (w *wireIntent) whole() bool {
	return w != nil && w.ID != "" && w.Object == "payment_intent" && w.Status != ""
}

// payment translates; a status that is not known here reads as unknown.
func (w *wireIntent) payment(provider string) engine.Payment {
	p := engine.Payment{
		State: engine.PaymentUnknown, Provider: provider, Ref: w.ID,
		Amount: engine.Money{Amount: w.Amount, Currency: strings.ToUpper(w.Currency)},
	}
	switch w.Status {
	case "requires_capture":
		p.State = engine.PaymentAuthorised
	case "requires_action":
		if w.NextAction != nil && w.NextAction.Redirect != nil && w.NextAction.Redirect.URL != "" { // else there is nothing to tell the buyer
			p.State, p.Action = engine.PaymentNeedsAction, engine.NextAction{Type: w.NextAction.Type, URL: w.NextAction.Redirect.URL}
		}
	case "succeeded":
		p.State = engine.PaymentCaptured
		if w.Refunded {
			p.State = engine.PaymentRefunded
		}
	case "canceled":
		p.State = engine.PaymentVoided
	case "requires_payment_method":
		if w.LastError != nil { // else nothing was tried yet
			p.State, p.DeclineCode = engine.PaymentDeclined, w.LastError.DeclineCode
		}
	}
	return p
}
