package engine

import (
	"context"
	"errors"
	"time"
)

// authorise asks the provider for the money. A payment that it gives is
// authorised, captured, or waits for the buyer. Its error is final for this
// request: declined, certainly not taken, queued, or unknown.
func (e *Engine) authorise(ctx context.Context, s *Sale, h Hold, a Attempt) (Payment, error) {
	if a.Cancelled != "" { // by a node that did not come to an end with it
		if err := e.cancel(ctx, s, h, a, Payment{}, a.Cancelled); err != nil {
			return Payment{}, err
		}
		return Payment{}, cancelled(a.Cancelled, false)
	}
	if a.State == PaymentNeedsAction {
		return e.poll(ctx, s, a)
	}
	p, err := e.Payments.Authorise(ctx, a)
	switch {
	case err == nil:
		return e.heard(ctx, s, a, p)
	case errors.Is(err, ErrUnknown):
		e.note(ctx, a, Payment{State: PaymentUnknown}, "no answer")
		return p, err
	case !a.unsent():
		// This call certainly did nothing. One before it may have.
		e.note(ctx, a, Payment{State: PaymentUnknown}, "no answer")
		return p, Wrap(errors.Join(ErrUnknown, err), CodeUnavailable, "an earlier call of this payment has no answer yet")
	}
	return p, e.park(ctx, s, h, a, err)
}

// place chooses a provider anew for an attempt that was parked: no provider has
// seen it, so it may go to one that is well now. Without certainty about what is
// noted nobody is called: what is looked up later must be where it was sent.
func (e *Engine) place(ctx context.Context, a Attempt) (Attempt, error) {
	if a.Parked == NotParked {
		return a, nil
	}
	was := a.Provider
	a.Provider = ""
	now, err := e.Payments.Choose(ctx, a)
	if a.Provider = was; err != nil || now == was {
		return a, nil
	}
	if err := e.Attempts.Reroute(ctx, a, now); err != nil {
		return a, Wrap(errors.Join(ErrUnknown, err), CodeUnavailable, "the payment's new provider could not be noted")
	}
	a.Provider = now
	return a, nil
}

// poll asks how a payment stands that waits for the buyer. Without an answer,
// what is on record is still what the buyer has to do.
func (e *Engine) poll(ctx context.Context, s *Sale, a Attempt) (Payment, error) {
	waiting := Payment{State: PaymentNeedsAction, Provider: a.Provider, Ref: a.ProviderRef, Action: a.Action}
	if a.LeaseUntil.IsZero() { // somebody else is asking
		return waiting, nil
	}
	p, err := e.Payments.Lookup(ctx, a)
	if err != nil {
		e.note(ctx, a, Payment{State: a.State}, "look-up failed")
		return waiting, nil
	}
	return e.heard(ctx, s, a, p)
}

// heard acts on a provider's word and notes what must outlive this request.
// Success is not noted here: the order's commit does, and until then a look-up tells.
func (e *Engine) heard(ctx context.Context, s *Sale, a Attempt, p Payment) (Payment, error) {
	switch p.State {
	case PaymentAuthorised, PaymentCaptured:
		return p, nil
	case PaymentDeclined, PaymentVoided, PaymentRefunded:
		return p, e.decline(ctx, s, a, p)
	case PaymentNeedsAction:
		// The buyer may be sent away only if everybody can find the attempt again.
		if err := e.Attempts.Note(ctx, a, p, "buyer"); err != nil {
			return p, Wrap(errors.Join(ErrUnknown, err), CodeUnavailable, "what the payment waits for could not be noted")
		}
		return p, nil
	}
	e.note(ctx, a, Payment{State: PaymentUnknown, Provider: p.Provider, Ref: p.Ref}, "processing")
	return p, Wrap(ErrUnknown, CodeUnavailable, "the provider is still processing the payment")
}

// decline notes the end of an attempt that takes no money, and gives the hold back.
func (e *Engine) decline(ctx context.Context, s *Sale, a Attempt, p Payment) error {
	reason, err := reasonProvider, error(nil)
	if p.State == PaymentDeclined {
		reason = declineCode(p)
		err = declined(reason, false)
	} else {
		err = cancelled(reason, false)
	}
	e.noteThrough(ctx, a, p, reason)
	e.giveHold(ctx, s, a)
	return err
}

func declineCode(p Payment) string {
	if p.DeclineCode == "" {
		return "generic_decline"
	}
	return p.DeclineCode
}

// park keeps an attempt that certainly reached no provider. If that is because
// the provider is away, and the hold outlives the wait, the attempt joins the
// queue and the hold stays with it; else the hold goes back to the buyer, who
// may try again with the same key.
func (e *Engine) park(ctx context.Context, s *Sale, h Hold, a Attempt, because error) error {
	var x *Error
	comesBack := errors.As(because, &x) && x.RetryAfter > 0 // else it may be this request that it refuses
	if e.MaxQueued > 0 && (comesBack || a.Parked == Queued) && e.outlives(h, because) {
		queued, err := e.Attempts.Park(ctx, a, Queued, e.MaxQueued)
		switch {
		case err != nil: // perhaps it is queued: Resolve finds out
			return Wrap(errors.Join(ErrUnknown, err), CodeUnavailable, "the payment could not be queued")
		case queued:
			return Wrap(errors.Join(errQueued, because), CodePaymentUnavailable, "the payment waits for its provider").After(retryAfter(because))
		}
	}
	switch ours, err := e.Attempts.Park(ctx, a, Unsent, 0); {
	case err != nil:
		e.Log.WarnContext(ctx, "payment note failed; it will be resolved", "attempt", a.ID.String(), "err", err)
	case !ours:
		return Wrap(errors.Join(ErrUnknown, because), CodeUnavailable, "another node has taken the payment up")
	}
	e.giveHold(ctx, s, a)
	return because
}

// outlives says whether a hold leaves time to send its payment when the provider
// is back, with a whole call's time to spare.
func (e *Engine) outlives(h Hold, because error) bool {
	return e.Clock.Now().Add(retryAfter(because) + e.PaymentTimeout + PaymentMargin).Before(h.ExpiresAt)
}

func retryAfter(err error) time.Duration {
	var x *Error
	if errors.As(err, &x) && x.RetryAfter > 0 {
		return x.RetryAfter
	}
	return time.Second
}

// claim takes the units for good and puts the event into the outbox.
func (e *Engine) claim(ctx context.Context, s *Sale, h Hold, a Attempt, p Payment) (OutboxEntry, error) {
	lines, total := s.Price(h.Lines)
	event, err := e.Stream.Encode(AcceptedEvent{
		ID: h.ID, SaleID: s.ID, Buyer: a.Buyer, Lines: lines, Total: total,
		Attempt: a.ID, Provider: p.Provider, ProviderRef: p.Ref, ReplyTo: e.Outcomes.Node(), Traceparent: a.Traceparent,
	})
	if err != nil {
		return OutboxEntry{}, err
	}
	_, entry, err := e.Gate.Claim(ctx, s, h.ID, a.ID.Fence(), event)
	switch CodeOf(err) {
	case "":
		return entry, nil
	case CodeNotFound, CodeReservationExpired, CodeReservationReleased, CodeAttemptInProgress, CodeAlreadyPaid:
		return e.reclaim(ctx, s, h, a, p, event, CodeOf(err))
	}
	return entry, e.unclaimed(ctx, a, p, e.frozen(s, h.ID.Buyer, err))
}

// unclaimed leaves a claim that has no answer to Resolve: the money is
// authorised and the claim may have happened.
func (e *Engine) unclaimed(ctx context.Context, a Attempt, p Payment, err error) error {
	e.note(ctx, a, p, "claim unanswered")
	return Wrap(errors.Join(ErrUnknown, err), CodeUnavailable, "the claim has no answer yet")
}

// reclaim is for money that came when the hold was no longer this attempt's. A
// hold that was given back to the buyer and still lasts is taken again; if the
// units are gone, so is the money: nobody is charged for stock that is not there.
func (e *Engine) reclaim(ctx context.Context, s *Sale, h Hold, a Attempt, p Payment, event []byte, because Code) (OutboxEntry, error) {
	if because == CodeAttemptInProgress {
		var entry OutboxEntry
		var err error
		a, entry, err = e.retake(ctx, s, h, a, event)
		switch CodeOf(err) {
		case "":
			e.note(ctx, a, Payment{State: PaymentAuthorised, Provider: p.Provider, Ref: p.Ref}, reasonReclaimed)
			return entry, nil
		case CodeNotFound, CodeReservationExpired, CodeReservationReleased, CodeAttemptInProgress, CodeAlreadyPaid, CodeAttemptsExhausted:
		default:
			return OutboxEntry{}, e.unclaimed(ctx, a, p, err)
		}
	}
	if _, err := e.giveBack(ctx, s, h, a, p, reasonHoldGone); err != nil {
		return OutboxEntry{}, err
	}
	return OutboxEntry{}, cancelled(reasonHoldGone, false)
}

// retake begins and claims a hold anew. The units first, the word that this
// money is still wanted after: who cancels it says so before taking them away.
func (e *Engine) retake(ctx context.Context, s *Sale, h Hold, a Attempt, event []byte) (Attempt, OutboxEntry, error) {
	if _, err := e.Gate.BeginPayment(ctx, s, h.ID, a.ID.Fence()); err != nil {
		return a, OutboxEntry{}, err
	}
	kept, err := e.Attempts.Keep(ctx, a, e.lease())
	if err != nil { // another node decides, or nobody can now
		if now, err := e.Attempts.Find(ctx, a.ID); err == nil && Final(PaymentMoves, now.State) {
			e.giveHold(ctx, s, a)
		}
		return a, OutboxEntry{}, Wrap(errors.Join(ErrUnknown, err), CodeUnavailable, "the payment is being resolved")
	}
	_, entry, err := e.Gate.Claim(ctx, s, h.ID, a.ID.Fence(), event)
	return kept, entry, err
}

// giveBack ends an attempt at the provider and notes it: an authorisation is
// voided, and captured money is owed, durably, and refunded by the payments
// role. Its error means that it is not certain yet; Resolve repeats it. A claim
// that was made by the attempt after all is left alone. It gives the hold as it
// is then.
func (e *Engine) giveBack(ctx context.Context, s *Sale, h Hold, a Attempt, p Payment, reason string) (Hold, error) {
	a, err := e.Attempts.Cancel(ctx, a, reason, e.lease())
	if err != nil {
		return h, Wrap(errors.Join(ErrUnknown, err), CodeUnavailable, "the payment is being resolved")
	}
	if h, err = e.bar(ctx, s, h, a); err != nil {
		return h, err
	}
	// And the record takes no event of it any more: one may still come that was
	// claimed from a gate that has been lost since.
	if err := e.Attempts.Bar(ctx, a); err != nil {
		return h, Wrap(errors.Join(ErrUnknown, err), CodeUnavailable, "the record does not let attempt %s end without an order", a.ID)
	}
	if p.Ref != "" {
		a.Provider, a.ProviderRef = p.Provider, p.Ref
	}
	return h, e.void(ctx, a, p, reason)
}

// bar makes sure that nobody claims the units for an attempt that is being
// cancelled: a node that was away and still has its money finds its fence lost.
func (e *Engine) bar(ctx context.Context, s *Sale, h Hold, a Attempt) (Hold, error) {
	now, err := e.Gate.Bar(ctx, s, h.ID, a.ID.Fence())
	switch {
	case err == nil && now.State == Accepted && now.Fence == a.ID.Fence():
		return now, Wrap(ErrUnknown, CodeUnavailable, "attempt %s has been claimed", a.ID)
	case err == nil:
		h = now
	case CodeOf(err) != CodeNotFound:
		return h, Wrap(errors.Join(ErrUnknown, err), CodeUnavailable, "the gate does not say whether the units are claimed")
	}
	return h, nil
}

// void gives an attempt's money back at the provider.
func (e *Engine) void(ctx context.Context, a Attempt, p Payment, reason string) error {
	v, err := e.Payments.Void(ctx, a)
	if err != nil {
		e.note(ctx, a, Payment{State: a.State, Provider: p.Provider, Ref: p.Ref}, "void unanswered")
		return Wrap(errors.Join(ErrUnknown, err), CodePaymentUnavailable, "attempt %s could not be cancelled yet", a.ID)
	}
	switch v.State {
	case PaymentVoided, PaymentDeclined, PaymentRefunded:
	case PaymentCaptured:
		if err := e.Attempts.Owe(ctx, a.ID, reason); err != nil {
			return Wrap(errors.Join(ErrUnknown, err), CodeUnavailable, "attempt %s is to be refunded, and that could not be noted", a.ID)
		}
	default:
		e.note(ctx, a, Payment{State: a.State}, "not voided yet")
		return Wrap(ErrUnknown, CodePaymentUnavailable, "attempt %s could not be cancelled yet", a.ID)
	}
	e.noteThrough(ctx, a, v, reason)
	return nil
}

// giveHold gives a hold back to the buyer, or to the stock, after an attempt
// that ended without money. Unreturned, it stays paying until Resolve returns it.
func (e *Engine) giveHold(ctx context.Context, s *Sale, a Attempt) {
	var err error
	if e.before(s, a.Reservation) {
		err = e.free(ctx, s, a.Reservation, a.ID.Fence(), a.ID)
	} else {
		_, err = e.Gate.Return(ctx, s, a.Reservation, a.ID.Fence())
	}
	if err != nil {
		e.Log.WarnContext(ctx, "return after an ended payment failed; it will be resolved", "reservation", a.Reservation.String(), "err", err)
	}
}

// note records what became of an attempt. A failure costs a look-up later.
func (e *Engine) note(ctx context.Context, a Attempt, p Payment, reason string) {
	if err := e.Attempts.Note(ctx, a, p, reason); err != nil {
		e.Log.WarnContext(ctx, "payment note failed; it will be resolved", "attempt", a.ID.String(), "state", p.State, "err", err)
	}
}

// noteThrough records a state that the provider reached by more than one move
// while the record did not look.
func (e *Engine) noteThrough(ctx context.Context, a Attempt, p Payment, reason string) {
	for _, via := range Path(PaymentMoves, a.State, p.State) {
		step := p
		step.State = via
		e.note(ctx, a, step, reason)
	}
}
