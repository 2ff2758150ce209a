package engine

import (
	"context"
	"errors"
	"time"
)

// CheckoutRequest asks to pay for a reservation.
type CheckoutRequest struct {
	Buyer          string
	ID             ReservationID
	IdempotencyKey string
	Method         string // the provider's token of a payment method
	Email          string
	Wait           time.Duration // how long to wait for the commit; see WaitSet
	WaitSet        bool          // the client stated Wait; else the default applies
	Traceparent    string
}

// CheckoutResult is an order, or word that one is on its way.
type CheckoutResult struct {
	Order       *Order      // set when confirmed: committed in the record
	Reservation Reservation // set when Pending
	Pending     bool        // paid, or perhaps paid: poll the reservation
	Replayed    bool
}

// Checkout turns a held reservation into an order. Read it from top to bottom:
// fence the hold, note the attempt, authorise the money, claim the stock, hand
// the event over, wait for the record. A crash after any line leaves something
// that Resolve, the relay or a repeated request brings to an end; the money is
// captured only after the record has committed the order.
func (e *Engine) Checkout(ctx context.Context, r CheckoutRequest) (CheckoutResult, error) {
	s, err := e.owned(ctx, r.Buyer, r.ID)
	if err != nil {
		return CheckoutResult{}, err
	}
	// From here on a client that hangs up changes nothing: what is begun is ended.
	work := context.WithoutCancel(ctx)

	attempt := Attempt{ID: NewAttemptID(r.ID, r.IdempotencyKey), Reservation: r.ID, Buyer: r.Buyer, Method: r.Method, Email: r.Email, State: PaymentAuthorising}
	hold, err := e.Gate.BeginPayment(work, s, r.ID, attempt.ID.Fence())
	if err != nil {
		return e.paidBefore(work, r, err)
	}
	_, attempt.Amount = s.Price(hold.Lines)

	attempt, err = e.begin(work, s, hold, attempt, r)
	if err != nil {
		return CheckoutResult{}, err
	}
	wait, cancel := e.Outcomes.Expect(r.ID)
	defer cancel()

	if hold.State == Paying {
		paid, err := e.authorise(work, s, attempt)
		if err != nil {
			return e.pendingIfUnknown(s, r.Buyer, hold, err)
		}
		entry, err := e.claim(work, s, hold, attempt, paid, r.Traceparent)
		if err != nil {
			return e.pendingIfUnknown(s, r.Buyer, hold, err)
		}
		hold.State = Accepted
		if err := e.Stream.Publish(work, entry); err != nil {
			// The outbox has it: the relay publishes it, and the wait below may
			// still see the outcome.
			e.Log.WarnContext(ctx, "publish failed; the relay will", "reservation", r.ID.String(), "err", err)
		}
	}
	return e.await(ctx, s, r, hold, wait)
}

// begin notes the attempt durably, or takes up the one that this
// Idempotency-Key began before.
func (e *Engine) begin(ctx context.Context, s *Sale, h Hold, want Attempt, r CheckoutRequest) (Attempt, error) {
	a, err := e.Attempts.Begin(ctx, want, e.lease())
	if err != nil {
		// The provider was never called. The hold stays paying under this fence;
		// the same key takes it up again, and Resolve frees it otherwise.
		return a, err
	}
	if a.Fresh {
		return a, nil
	}
	if a.Method != r.Method || a.Email != r.Email {
		return a, E(CodeKeyReused, "this Idempotency-Key began a payment with another payment method or contact")
	}
	if h.State == Accepted {
		return a, nil // claimed already: only the record's word is missing
	}
	switch a.State {
	case PaymentDeclined:
		return a, e.ended(ctx, s, a, declined(a.Reason))
	case PaymentVoided, PaymentRefunded:
		return a, e.ended(ctx, s, a, declined("payment_cancelled"))
	case PaymentCaptured:
		return a, nil
	}
	if live, err := e.Attempts.Resume(ctx, a.ID, e.lease()); err == nil {
		live.Fresh = false
		return live, nil
	} else if CodeOf(err) != CodeAttemptInProgress {
		return a, err
	}
	if _, err := e.Orders.Order(ctx, a.Reservation); err == nil {
		return a, nil // finished meanwhile: the caller reads the outcome
	}
	return a, E(CodeAttemptInProgress, "this payment is under way").After(time.Second)
}

// ended gives the hold back to the buyer after an attempt that ended without money.
func (e *Engine) ended(ctx context.Context, s *Sale, a Attempt, because error) error {
	if _, err := e.Gate.Return(ctx, s, a.Reservation, a.ID.Fence()); err != nil {
		// Unreturned, it stays paying until Resolve returns it.
		e.Log.Warn("return after an ended payment failed; it will be resolved", "reservation", a.Reservation.String(), "err", err)
	}
	return because
}

func declined(reason string) error {
	return E(CodePaymentDeclined, "the payment was declined (%s)", reason).With("decline_code", reason)
}

// authorise asks the provider for the money. Its error is final for this
// request: declined, certainly not taken, or unknown.
func (e *Engine) authorise(ctx context.Context, s *Sale, a Attempt) (Payment, error) {
	p, err := e.Payments.Authorise(ctx, a)
	switch {
	case errors.Is(err, ErrUnknown):
		e.note(ctx, a, Payment{State: PaymentUnknown}, "no answer")
		return p, err
	case err != nil:
		// Certainly not taken: the buyer may try again with the same key.
		e.note(ctx, a, Payment{State: a.State}, "not sent")
		return p, e.ended(ctx, s, a, err)
	}
	switch p.State {
	case PaymentAuthorised, PaymentCaptured:
		return p, nil
	case PaymentDeclined, PaymentVoided:
		reason := p.DeclineCode
		if reason == "" {
			reason = "payment_cancelled"
		}
		e.note(ctx, a, p, reason)
		return p, e.ended(ctx, s, a, declined(reason))
	}
	e.note(ctx, a, Payment{State: PaymentUnknown, Provider: p.Provider, Ref: p.Ref}, "processing")
	return p, Wrap(ErrUnknown, CodeUnavailable, "the provider is still processing the payment")
}

// claim takes the units for good and puts the event into the outbox. If the
// hold is gone the money goes back: nobody is charged for stock that is not there.
func (e *Engine) claim(ctx context.Context, s *Sale, h Hold, a Attempt, p Payment, traceparent string) (OutboxEntry, error) {
	lines, total := s.Price(h.Lines)
	event, err := e.Stream.Encode(AcceptedEvent{
		ID: h.ID, SaleID: s.ID, Buyer: a.Buyer, Email: a.Email, Lines: lines, Total: total,
		Attempt: a.ID, Provider: p.Provider, ProviderRef: p.Ref, ReplyTo: e.Outcomes.Node(), Traceparent: traceparent,
	})
	if err != nil {
		return OutboxEntry{}, err
	}
	_, entry, err := e.Gate.Claim(ctx, s, h.ID, a.ID.Fence(), event)
	switch CodeOf(err) {
	case "":
		return entry, nil
	case CodeNotFound, CodeReservationExpired, CodeReservationReleased, CodeAttemptInProgress, CodeAlreadyPaid:
		e.void(ctx, a, p, string(CodeOf(err)))
		return entry, E(CodeReservationExpired, "the hold was gone when the payment succeeded; the payment is voided and you were not charged")
	}
	// Frozen, away or unknown: the money is authorised and the claim may have
	// happened. Resolve repeats it.
	e.note(ctx, a, p, "claim unanswered")
	return entry, Wrap(ErrUnknown, CodeUnavailable, "the claim has no answer yet: %v", err)
}

// void gives an authorisation back and notes it. What fails here is unfinished,
// and Resolve ends it.
func (e *Engine) void(ctx context.Context, a Attempt, p Payment, reason string) bool {
	a.ProviderRef = p.Ref
	v, err := e.Payments.Void(ctx, a)
	if err != nil {
		e.Log.Warn("void failed; it will be resolved", "attempt", a.ID.String(), "err", err)
		if p.State != "" {
			e.note(ctx, a, p, "void unanswered")
		}
		return false
	}
	e.note(ctx, a, v, reason)
	return v.State == PaymentVoided || v.State == PaymentDeclined || v.State == PaymentRefunded
}

// note records what became of an attempt. A failure costs a look-up later.
func (e *Engine) note(ctx context.Context, a Attempt, p Payment, reason string) {
	if err := e.Attempts.Note(ctx, a.ID, p, reason); err != nil {
		e.Log.Warn("payment note failed; it will be resolved", "attempt", a.ID.String(), "state", p.State, "err", err)
	}
}

// pendingIfUnknown turns "no answer" into a pending result and passes refusals on.
func (e *Engine) pendingIfUnknown(s *Sale, buyer string, h Hold, err error) (CheckoutResult, error) {
	if !errors.Is(err, ErrUnknown) {
		return CheckoutResult{}, err
	}
	return CheckoutResult{Pending: true, Reservation: e.view(s, buyer, h)}, nil
}

// await waits for the record's word as long as the client wishes.
func (e *Engine) await(ctx context.Context, s *Sale, r CheckoutRequest, h Hold, wait func(context.Context) (Outcome, error)) (CheckoutResult, error) {
	d := e.DefaultWait
	if r.WaitSet {
		d = min(r.Wait, e.MaxWait)
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	o, err := wait(ctx)
	if err != nil {
		return CheckoutResult{Pending: true, Reservation: e.view(s, r.Buyer, h), Replayed: h.Replayed}, nil
	}
	if o.State == Refused {
		return CheckoutResult{}, refused(o.Reason)
	}
	lines, total := s.Price(h.Lines)
	return CheckoutResult{Replayed: h.Replayed, Order: &Order{
		ID: r.ID, SaleID: s.ID, Buyer: r.Buyer, State: o.State, Lines: lines, Total: total, Email: r.Email,
		Provider: o.Provider, Payment: o.Payment, PlacedAt: o.PlacedAt, Seq: h.Seq, Epoch: s.Epoch,
	}}, nil
}

func refused(reason string) error {
	return E(CodeOrderRefused, "the order was refused (%s); the payment is voided", reason).With("reason", reason)
}

// paidBefore answers a checkout that the gate refused: if the gate has
// forgotten the hold, or another node finished it, the record may know the order.
func (e *Engine) paidBefore(ctx context.Context, r CheckoutRequest, refusal error) (CheckoutResult, error) {
	if CodeOf(refusal) != CodeNotFound {
		return CheckoutResult{}, refusal
	}
	o, err := e.Orders.Order(ctx, r.ID)
	if err != nil {
		return CheckoutResult{}, refusal
	}
	if o.Attempt != NewAttemptID(r.ID, r.IdempotencyKey) {
		return CheckoutResult{}, E(CodeAlreadyPaid, "reservation %s is paid already: order %s", r.ID, r.ID.Order()).With("order", r.ID.Order())
	}
	if o.State == Refused {
		return CheckoutResult{}, refused(o.Reason)
	}
	return CheckoutResult{Order: &o, Replayed: true}, nil
}
