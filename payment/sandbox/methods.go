package sandbox

// Method is what a payment method makes the sandbox do.
type Method struct {
	DeclineCode string // declines with it: at once, or in the end if there is an action or processing before
	Action      bool   // asks the buyer to go to the sandbox's page
	Processing  bool   // stays processing for Config.ProcessingFor, then settles
	Slow        bool   // answers after Config.SlowFor
	Fault       Kind   // what becomes of the request or its answer
	Does        string // one sentence for people
}

// Methods are the payment methods that exist. Those that begin with pm_card_
// are called as Stripe calls its test cards.
var Methods = methods()

func methods() map[string]Method {
	m := map[string]Method{
		"pm_card_authenticationRequired":                                {Action: true, Does: "asks for 3-D Secure, then approves"},
		"pm_card_threeDSecureRequired":                                  {Action: true, Does: "asks for 3-D Secure, then approves"},
		"pm_card_threeDSecure2Required":                                 {Action: true, Does: "asks for 3-D Secure, then approves"},
		"pm_card_authenticationRequiredChargeDeclinedInsufficientFunds": {Action: true, DeclineCode: "insufficient_funds", Does: "asks for 3-D Secure, then declines for want of money"},
		"pm_sandbox_slow":                                               {Slow: true, Does: "approves, late"},
		"pm_sandbox_processing":                                         {Processing: true, Does: "is processing for a while, then approves"},
		"pm_sandbox_processingDeclined":                                 {Processing: true, DeclineCode: "generic_decline", Does: "is processing for a while, then declines"},
		"pm_sandbox_timeoutBeforeCharge":                                {Fault: TimeoutBefore, Does: "never answers and does nothing"},
		"pm_sandbox_timeoutAfterCharge":                                 {Fault: TimeoutAfter, Does: "approves and never says so"},
		"pm_sandbox_error":                                              {Fault: ErrorBefore, Does: "answers 500 and does nothing"},
		"pm_sandbox_errorAfterCharge":                                   {Fault: ErrorAfter, Does: "approves and answers 500"},
		"pm_sandbox_rateLimit":                                          {Fault: RateLimit, Does: "answers 429 and does nothing"},
		"pm_sandbox_outage":                                             {Fault: Outage, Does: "answers 503 and does nothing"},
	}
	for _, brand := range []string{"visa", "visa_debit", "mastercard", "mastercard_debit", "mastercard_prepaid", "amex", "discover", "diners", "jcb", "unionpay"} {
		m["pm_card_"+brand] = Method{Does: "approves"}
	}
	for name, code := range map[string]string{
		"":                      "generic_decline",
		"InsufficientFunds":     "insufficient_funds",
		"LostCard":              "lost_card",
		"StolenCard":            "stolen_card",
		"ExpiredCard":           "expired_card",
		"IncorrectCvc":          "incorrect_cvc",
		"ProcessingError":       "processing_error",
		"Fraudulent":            "fraudulent",
		"VelocityLimitExceeded": "card_velocity_exceeded",
	} {
		// Both spellings are in use: with the brand and without.
		m["pm_card_chargeDeclined"+name] = Method{DeclineCode: code, Does: "declines: " + code}
		m["pm_card_visa_chargeDeclined"+name] = Method{DeclineCode: code, Does: "declines: " + code}
	}
	m["pm_card_radarBlock"] = Method{DeclineCode: "fraudulent", Does: "declines: fraudulent"}
	m["pm_card_chargeCustomerFail"] = Method{DeclineCode: "generic_decline", Does: "declines: generic_decline"}
	return m
}

// authenticationFailed is the decline of a buyer who did not do what was asked.
const authenticationFailed = "authentication_failed"

// declined is the problem of a card that said no. The codes that Stripe gives
// the rank of an error code of their own have it here too.
func declined(code string) *Problem {
	p := &Problem{Type: "card_error", Code: "card_declined", DeclineCode: code, Message: "the card was declined: " + code}
	switch code {
	case "expired_card", "incorrect_cvc", "processing_error", "authentication_required":
		p.Code = code
	case authenticationFailed:
		p.Type, p.Code = "invalid_request_error", "payment_intent_authentication_failure"
		p.Message = "the buyer failed to authenticate; try another payment method"
	}
	return p
}
