package engine

import "context"

// The final answers of a checkout (an order, a decline, a refused order) are
// kept nowhere as such. They follow from the attempt's row and the order's, which
// are kept for good, so a key that comes again gives the same status and body
// for as long as the record lives, on any node, and costs no memory.

// atConfirmation is the payment's state in a checkout's answer. It is captured a
// moment later; an answer that followed it would not be the same when repeated.
// Reading the order tells how it stands now.
const atConfirmation = PaymentAuthorised

// answeredBefore answers a checkout that the gate refused. The refusal is about
// the hold as it is now; if this key has had a final answer, that is given again.
func (e *Engine) answeredBefore(ctx context.Context, r CheckoutRequest, id AttemptID, refusal error) (CheckoutResult, error) {
	switch CodeOf(refusal) {
	case CodeNotFound, CodeReservationExpired, CodeReservationReleased, CodeAttemptInProgress, CodeAlreadyPaid, CodeAttemptsExhausted:
	default:
		return CheckoutResult{}, refusal // the gate itself cannot say
	}
	a, err := e.Attempts.Find(ctx, id)
	switch {
	case CodeOf(err) == CodeNotFound:
		return e.paidOtherwise(ctx, r, refusal)
	case err != nil:
		return CheckoutResult{}, err
	case a.Method != r.Method || !a.Contact.same(r.Contact):
		return CheckoutResult{}, E(CodeKeyReused, "this Idempotency-Key began a payment with another payment method or contact")
	}
	// The order first: its payment may have been refunded since.
	o, err := e.Orders.Order(ctx, r.ID)
	switch {
	case err == nil && o.Attempt == id && o.State == Refused:
		return CheckoutResult{}, refused(o.Reason, true)
	case err == nil && o.Attempt == id:
		o.Payment = atConfirmation
		return CheckoutResult{Order: &o, Replayed: true}, nil
	case err != nil && CodeOf(err) != CodeNotFound:
		return CheckoutResult{}, err
	}
	if no := endOf(a); no != nil {
		return CheckoutResult{}, no
	}
	switch CodeOf(refusal) {
	case CodeNotFound, CodeReservationExpired, CodeReservationReleased:
		if a.Parked != Unsent {
			// The payment lives: if the gate is lost before it ends, its hold is made anew
			// and may become an order. So this key has no final answer yet.
			return CheckoutResult{}, stillEnding()
		}
	}
	return CheckoutResult{}, refusal
}

// paidOtherwise finds the order of a hold that the gate has forgotten.
func (e *Engine) paidOtherwise(ctx context.Context, r CheckoutRequest, refusal error) (CheckoutResult, error) {
	if CodeOf(refusal) != CodeNotFound {
		return CheckoutResult{}, refusal
	}
	_, err := e.Orders.Order(ctx, r.ID)
	switch {
	case CodeOf(err) == CodeNotFound:
		return CheckoutResult{}, refusal
	case err != nil:
		return CheckoutResult{}, err
	}
	return CheckoutResult{}, E(CodeAlreadyPaid, "reservation %s is paid already: order %s", r.ID, r.ID.Order()).With("order", r.ID.Order())
}

// endOf gives the answer to the key of an attempt that ended without an order;
// nil: it has not ended.
func endOf(a Attempt) error {
	switch {
	case a.State == PaymentDeclined:
		return declined(a.Reason, true)
	case a.State == PaymentVoided, a.State == PaymentRefunded, a.State == PaymentCaptured && a.Refund != "":
		return cancelled(a.Reason, true)
	}
	return nil
}

func declined(reason string, again bool) error {
	x := E(CodePaymentDeclined, "the payment was declined (%s)", reason).With("decline_code", reason)
	x.Replayed = again
	return x
}

// The reasons on record of attempts that ended without an order.
const (
	reasonNeverSent  = "never_sent"    // no provider has seen it
	reasonQueueEnded = "queue_timeout" // nor has one come back in time
	reasonCapReached = "cap_reached"   // no final word within the hold's cap
	reasonHoldGone   = "hold_gone"     // the units were gone when the money came
	reasonReclaimed  = "reclaimed"     // they had gone, and were taken again
	reasonProvider   = "payment_ended" // the provider ended it by itself
	declineCancelled = "payment_cancelled"
)

// whatHappened tells the buyer of a cancelled payment how it was.
var whatHappened = map[string]string{
	reasonNeverSent:  "it was never sent to the payment provider",
	reasonQueueEnded: "the payment provider was away until there was no time left",
	reasonCapReached: "it was not completed in time",
}

// cancelled is the answer to an attempt that the engine or the provider ended.
func cancelled(reason string, again bool) error {
	if reason == reasonHoldGone {
		x := E(CodeReservationExpired, "the units were gone when the payment succeeded; it is cancelled and you are not charged").With("reason", reason)
		x.Replayed = again
		return x
	}
	how, known := whatHappened[reason]
	if !known {
		how = "it was cancelled before it became an order"
	}
	x := E(CodePaymentDeclined, "the payment is cancelled: %s. No money is taken. To pay for a hold that lasts, send a new Idempotency-Key", how).
		With("decline_code", declineCancelled).With("reason", reason)
	x.Replayed = again
	return x
}

func refused(reason string, again bool) error {
	x := E(CodeOrderRefused, "the order was refused (%s); the payment is voided", reason).With("reason", reason)
	x.Replayed = again
	return x
}
