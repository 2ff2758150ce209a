package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

const (
	captured = "captured order_confirmed"
	broke    = "pm_card_chargeDeclinedInsufficientFunds"
	secure   = "pm_card_authenticationRequired"
)

var answerRows = []row{
	{name: "approved", hold: "confirmed", order: true, payments: captured, books: "succeeded",
		play: func(_ *testing.T, c *customer) {
			first := c.told(c.pay("k1", "pm_card_visa"), 201, "")
			c.again(first, "k1", "pm_card_visa")
			c.told(c.pay("k2", "pm_card_visa"), 409, "already_paid")
			c.told(c.pay("k1", "pm_card_mastercard"), 422, "idempotency_key_reused")
		}},
	{name: "declined", hold: "held", payments: "declined insufficient_funds", books: "requires_payment_method",
		play: func(t *testing.T, c *customer) {
			first := c.told(c.pay("k1", broke), 402, "payment_declined")
			if first.text("decline_code") != "insufficient_funds" {
				t.Errorf("told %s", first.Raw)
			}
			c.again(first, "k1", broke)
			if got := c.p.reservation(c.tok, c.id).at(t, "expires_at"); !got.Equal(c.until) {
				t.Errorf("the hold's deadline was %s and is %s", c.until, got)
			}
		}},
	{name: "declined, and another card", hold: "confirmed", order: true, payments: "declined lost_card, " + captured, books: "requires_payment_method, succeeded",
		play: func(_ *testing.T, c *customer) {
			first := c.told(c.pay("k1", "pm_card_chargeDeclinedLostCard"), 402, "payment_declined")
			c.told(c.pay("k2", "pm_card_visa"), 201, "")
			c.again(first, "k1", "pm_card_chargeDeclinedLostCard")
		}},
	{name: "declined until the attempts are used up", hold: "held",
		payments: strings.TrimSuffix(strings.Repeat("declined generic_decline, ", 5), ", "), books: strings.TrimSuffix(strings.Repeat("requires_payment_method, ", 5), ", "),
		play: func(_ *testing.T, c *customer) {
			for i := range 5 {
				c.told(c.pay(fmt.Sprint("k", i), "pm_card_chargeDeclined"), 402, "payment_declined")
			}
			c.told(c.pay("k6", "pm_card_visa"), 409, "attempts_exhausted")
		}},
}

var unknownRows = []row{
	{name: "time-out after the charge", hold: "confirmed", order: true, payments: captured, books: "succeeded",
		play: func(_ *testing.T, c *customer) {
			c.pending(c.pay("k1", "pm_sandbox_timeoutAfterCharge"))
			if got := c.pay("k2", "pm_card_visa"); got.Status != 409 { // by now its event may have made it an order
				c.t.Errorf("another card: %d %s", got.Status, got.Raw)
			}
			c.becomes("confirmed")
			c.told(c.pay("k1", "pm_sandbox_timeoutAfterCharge"), 201, "")
		}},
	{name: "time-out before the charge", hold: "held", payments: "voided never_sent", books: "", // its tombstone knows no reservation
		play: func(t *testing.T, c *customer) {
			c.pending(c.pay("k1", "pm_sandbox_timeoutBeforeCharge"))
			c.told(c.pay("k2", "pm_card_visa"), 409, "attempt_in_progress")
			c.becomes("held")
			if in := c.intent("k1"); in.Status != sandbox.Cancelled {
				t.Errorf("the hold is free, and a late charge would find the payment %s", in.Status)
			}
			c.told(c.pay("k1", "pm_sandbox_timeoutBeforeCharge"), 402, "payment_declined")
		}},
	{name: "5xx after the charge", hold: "confirmed", order: true, payments: captured, books: "succeeded",
		play: func(_ *testing.T, c *customer) {
			c.pending(c.pay("k1", "pm_sandbox_errorAfterCharge"))
			c.becomes("confirmed")
		}},
	{name: "processing, then approved", hold: "confirmed", order: true, payments: captured, books: "succeeded",
		play: func(_ *testing.T, c *customer) {
			c.pending(c.pay("k1", "pm_sandbox_processing"))
			c.told(c.pay("k2", "pm_card_visa"), 409, "attempt_in_progress")
			c.resolve("k1", "approved")
			c.becomes("confirmed")
		}},
	{name: "processing, then declined", hold: "held", payments: "declined generic_decline", books: "requires_payment_method",
		play: func(_ *testing.T, c *customer) {
			c.pending(c.pay("k1", "pm_sandbox_processing"))
			c.resolve("k1", "declined")
			c.becomes("held")
			c.told(c.pay("k1", "pm_sandbox_processing"), 402, "payment_declined")
		}},
}

// act sends the buyer to the bank's page, as far as a program can.
func (c *customer) act(first reply, what string) {
	c.t.Helper()
	next, _ := first.Body["next_action"].(map[string]any)
	url, _ := next["url"].(string)
	if next["type"] != "redirect_to_url" || !strings.HasPrefix(url, c.box.URL()) {
		c.t.Fatalf("what to do is %v", next)
	}
	send("POST", url+"/"+what, "", "", "", "Accept", "application/json").must(c.t, 200)
}

var actionRows = []row{
	{name: "needs action, and the buyer does it", hold: "confirmed", order: true, payments: captured, books: "succeeded",
		play: func(t *testing.T, c *customer) {
			first := c.told(c.pay("k1", secure), 200, "")
			if got := first.at(t, "expires_at"); !got.After(c.until) {
				t.Errorf("the hold lasted until %s, and with the action until %s", c.until, got)
			}
			if again := c.told(c.pay("k1", secure), 200, ""); again.text("expires_at") != first.text("expires_at") {
				t.Errorf("extended twice: %s, then %s", first.text("expires_at"), again.text("expires_at"))
			}
			c.told(c.pay("k2", "pm_card_visa"), 409, "attempt_in_progress")
			c.told(send("DELETE", c.p.ready.API+"/v1/reservations/"+c.id, c.tok, "", ""), 409, "payment_in_progress")
			c.act(first, "complete")
			c.becomes("confirmed") // the event did it: nobody asks for a minute
			c.told(c.pay("k1", secure), 201, "")
		}},
	{name: "needs action, and the buyer fails it", hold: "held", payments: "declined authentication_failed", books: "requires_payment_method",
		play: func(_ *testing.T, c *customer) {
			c.act(c.told(c.pay("k1", secure), 200, ""), "fail")
			c.becomes("held")
			c.told(c.pay("k1", secure), 402, "payment_declined")
		}},
	{name: "needs action, and it is never done", sale: "short", hold: "released", payments: "voided cap_reached", books: "canceled",
		play: func(t *testing.T, c *customer) {
			first := c.told(c.pay("k1", secure), 200, "")
			c.told(c.p.reserve(token(t, "somebody-who-waits"), "short", "r"), 409, "sold_out")
			c.becomes("released")
			if in := c.intent("k1"); in.Status != sandbox.Cancelled || time.Now().Before(first.at(t, "expires_at")) {
				t.Errorf("the units were free while the payment was %s, at %s of %s", in.Status, time.Now(), first.text("expires_at"))
			}
			if got := c.told(c.pay("k1", secure), 402, "payment_declined"); got.text("reason") != "cap_reached" {
				t.Errorf("told %s", got.Raw)
			}
			page := first.Body["next_action"].(map[string]any)["url"].(string) // the buyer comes back from lunch
			if got := send("POST", page+"/complete", "", "", "", "Accept", "application/json"); got.Status == 200 {
				t.Errorf("a cancelled payment was completed: %s", got.Raw)
			}
			c.p.held(t, token(t, "somebody-else"), "short", "r")
		}},
}

// slowly starts a checkout at a provider that takes its time, and comes back
// when the payment is under way.
func (c *customer) slowly(key, method string) <-chan reply {
	c.t.Helper()
	c.next(sandbox.Fault{Op: sandbox.OpAuthorise, Fault: sandbox.Slow, DelayMS: 2500, Key: c.attempt(key).String()})
	first := make(chan reply, 1)
	go func() { first <- c.pay(key, method) }()
	c.becomes("paying")
	return first
}

var tabRows = []row{
	{name: "double click, same key", hold: "confirmed", order: true, payments: captured, books: "succeeded",
		play: func(_ *testing.T, c *customer) {
			first := c.slowly("k1", "pm_card_visa")
			c.told(c.pay("k1", "pm_card_visa"), 409, "attempt_in_progress")
			c.again(c.told(<-first, 201, ""), "k1", "pm_card_visa")
		}},
	{name: "two tabs, two keys", hold: "confirmed", order: true, payments: captured, books: "succeeded",
		play: func(_ *testing.T, c *customer) {
			first := c.slowly("k1", "pm_card_visa")
			c.told(c.pay("k2", "pm_card_mastercard"), 409, "attempt_in_progress")
			c.told(<-first, 201, "")
			c.told(c.pay("k2", "pm_card_mastercard"), 409, "already_paid")
		}},
}

var goneRows = []row{
	{name: "success after the hold is gone, and it can be had again", hold: "confirmed", order: true, payments: captured, books: "succeeded",
		play: func(t *testing.T, c *customer) {
			c.pending(c.pay("k1", "pm_sandbox_processing"))
			c.quiet("k1") // an event that finds the hold gone and the payment processing cancels it
			c.lose("k1")
			c.becomes("held")
			c.resolve("k1", "approved")
			c.becomes("confirmed")
			c.told(c.pay("k1", "pm_sandbox_processing"), 201, "")
		}},
	{name: "success after the hold is gone, to somebody else", sale: "last", hold: "released", payments: "voided hold_gone", books: "canceled",
		play: func(t *testing.T, c *customer) {
			first := c.slowly("k1", "pm_card_visa")
			c.lose("k1")
			send("DELETE", c.p.ready.API+"/v1/reservations/"+c.id, c.tok, "", "").must(t, 200)
			other := c.customer(t, "last", "the-next-in-line")
			got := c.told(<-first, 409, "reservation_expired")
			if got.text("reason") != "hold_gone" || !strings.Contains(got.Raw, "not charged") {
				t.Errorf("told %s", got.Raw)
			}
			c.again(got, "k1", "pm_card_visa")
			other.told(other.pay("k1", "pm_card_visa"), 201, "")
		}},
}

const authoriseBreaker = "/breakers/payment-sandbox-authorise/"

var breakerRows = []row{
	{name: "breaker open", alone: true, hold: "confirmed", order: true, payments: captured, books: "succeeded",
		play: func(t *testing.T, c *customer) {
			c.p.admin("POST", authoriseBreaker+"open", `{"reason":"the table's row"}`).must(t, 200)
			c.pending(c.pay("k1", "pm_card_visa")) // its hold outlives the queue
			if got := c.inBooks(); got != "" {
				t.Errorf("the provider was called: %s", got)
			}
			brief := c.customer(t, "brief", "somebody-with-little-time")    // and this one does not
			inTime := func() bool { return time.Now().Before(brief.until) } // else the machine was slow, and the hold is over
			got, state := brief.pay("k1", "pm_card_visa"), brief.state()
			if inTime() {
				brief.told(got, 503, string(engine.CodePaymentUnavailable))
				if got.Header.Get("Retry-After") == "" || state != "held" {
					t.Errorf("told to come back in %q s, and the hold is %s", got.Header.Get("Retry-After"), state)
				}
			}
			c.p.admin("POST", authoriseBreaker+"auto", `{"reason":"played"}`).must(t, 200)
			if got := brief.pay("k1", "pm_card_visa"); inTime() || got.Code != string(engine.CodeReservationExpired) {
				brief.told(got, 201, "")
			}
			c.becomes("confirmed")
		}},
}

var captureRows = []row{
	{name: "capture times out", hold: "confirmed", order: true, payments: captured, books: "succeeded",
		play: func(t *testing.T, c *customer) {
			c.next(sandbox.Fault{Op: sandbox.OpCapture, Fault: sandbox.TimeoutAfter, Count: 3, Key: c.attempt("k1").String() + ":capture"})
			order := c.told(c.pay("k1", "pm_card_visa"), 201, "").text("id")
			if got := send("GET", c.p.ready.API+"/v1/orders/"+order, c.tok, "", "").must(t, 200); got.text("state") != "confirmed" || !strings.Contains(got.Raw, `"authorised"`) {
				t.Errorf("while the capture has no answer, the order is %s", got.Raw)
			}
		}},
}

// heard says what the node answered to each delivery of an event, in turn.
func heard(list []sandbox.Delivery) (codes string) {
	for _, d := range list {
		codes += fmt.Sprint(d.Code, " ")
	}
	return strings.TrimSpace(codes)
}

var webhookRows = []row{
	{name: "forged, stale, replayed and untrue webhooks", hold: "held", payments: "declined authentication_failed", books: "requires_payment_method",
		play: func(t *testing.T, c *customer) {
			first := c.told(c.pay("k1", secure), 200, "")
			// Signed by the provider, and not true: the node asks, and hears so.
			for fault, codes := range map[sandbox.Kind]string{"": "200", sandbox.Forged: "400 200", sandbox.Stale: "400 200", sandbox.Duplicate: "200 200", sandbox.Late: "200"} {
				event, got := c.tell("k1", "payment_intent.amount_capturable_updated", fault)
				if heard(got) != codes {
					t.Errorf("%q: answered %s, not %s", fault, heard(got), codes)
				}
				eventually(t, "the event is acted on", func() (bool, string) {
					n := c.query("SELECT count(*) FROM provider_events WHERE id = $1 AND done_at IS NOT NULL", event)
					return n == 1, fmt.Sprint(n)
				})
			}
			for _, signature := range []string{"", "t=1,v1=00", fmt.Sprintf("t=%d,v1=%064d", time.Now().Unix(), 0)} {
				got := send("POST", c.p.ready.API+"/v1/webhooks/sandbox", "", "", `{"id":"evt_forged","type":"payment_intent.succeeded"}`, "Stripe-Signature", signature)
				c.told(got, http.StatusBadRequest, string(engine.CodeInvalidRequest))
			}
			if n := c.query("SELECT count(*) FROM provider_events WHERE id = 'evt_forged'"); n != 0 || c.state() != "paying" {
				t.Errorf("%d forged events were kept, the hold is %s", n, c.state())
			}
			c.act(first, "fail")
			c.becomes("held")
			c.tell("k1", "payment_intent.amount_capturable_updated", sandbox.OutOfOrder) // old news
			c.tell("k1", "payment_intent.succeeded", "")
		}},
}
