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
	Contact        Contact
	Wait           time.Duration // how long the client will wait for an end; see WaitSet
	WaitSet        bool          // the client stated Wait; else the default applies
	Traceparent    string
}

// CheckoutResult is an order, word that one is on its way, or what the buyer
// has to do first.
type CheckoutResult struct {
	Order       *Order      // set when confirmed: committed in the record
	Action      *NextAction // set when the provider waits for the buyer
	Reservation Reservation // set when Pending or Action
	Pending     bool        // paid, or perhaps paid, or waiting to be: poll the reservation
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
	e.paying.Add(1)
	defer e.paying.Add(-1)
	// From here on a client that hangs up changes nothing: what is begun is ended.
	work, began := context.WithoutCancel(ctx), e.Clock.Now()

	id := NewAttemptID(r.ID, r.IdempotencyKey)
	hold, err := e.Gate.BeginPayment(work, s, r.ID, id.Fence())
	if err != nil {
		res, err := e.answeredBefore(work, r, id, err)
		return res, e.lost(work, s, r.ID, e.frozen(s, r.ID.Buyer, err))
	}
	attempt, taken, err := e.begin(work, s, hold, e.attempt(s, hold, id, r))
	if err != nil {
		return CheckoutResult{}, e.frozen(s, r.ID.Buyer, err)
	}
	wait, cancel := e.Outcomes.Expect(r.ID)
	defer cancel()

	if hold.State == Paying && !taken {
		paid, err := e.authorise(work, s, hold, attempt)
		if err == nil && paid.State == PaymentNeedsAction {
			return e.needsAction(s, r, hold, paid.Action), nil
		}
		if err == nil {
			hold.State, err = Accepted, e.order(work, s, hold, attempt, paid)
		}
		if err != nil && !pending(err) {
			return CheckoutResult{}, err
		}
		if err != nil {
			hold.State = Paying
			if !r.WaitSet { // nothing says that it will end soon
				return CheckoutResult{Pending: true, Reservation: e.view(s, r.Buyer, hold)}, nil
			}
		}
	}
	return e.await(ctx, s, r, hold, began, wait)
}

func (e *Engine) attempt(s *Sale, h Hold, id AttemptID, r CheckoutRequest) Attempt {
	home := s.Home(r.ID.Buyer)
	a := Attempt{ID: id, Reservation: r.ID, Lines: h.Lines, Shard: home, Epoch: s.Lease(home).Epoch, Buyer: r.Buyer, Method: r.Method, Contact: r.Contact, State: PaymentAuthorising, Traceparent: r.Traceparent}
	_, a.Amount = s.Price(h.Lines)
	return a
}

// begin notes the attempt durably, with the provider that it is for, or takes
// up the one that this Idempotency-Key began before. taken says that the units
// are claimed: only the record's word is missing.
func (e *Engine) begin(ctx context.Context, s *Sale, h Hold, want Attempt) (a Attempt, taken bool, err error) {
	no := "" // a decline code, if nobody is to be asked for this money
	if h.State == Paying {
		want.Provider, no = e.vet(ctx, want)
	}
	a, err = e.Attempts.Begin(ctx, want, e.lease())
	switch {
	case err != nil:
		// The provider was never called. The hold stays paying under this fence;
		// the same key takes it up again, and Resolve frees it otherwise.
		return a, false, err
	case a.Fresh && no != "":
		return a, false, e.decline(ctx, s, a, Payment{State: PaymentDeclined, DeclineCode: no})
	case a.Fresh:
		return a, false, nil
	case a.Method != want.Method || !a.Contact.same(want.Contact):
		if h.State == Paying && !h.Replayed { // this very call made it so
			e.giveHold(ctx, s, a)
		}
		return a, false, E(CodeKeyReused, "this Idempotency-Key began a payment with another payment method or contact")
	case h.State == Accepted || a.State == PaymentCaptured && a.Refund == "":
		return a, true, nil
	}
	if end := endOf(a); end != nil {
		e.giveHold(ctx, s, a)
		return a, false, end
	}
	return e.takeUp(ctx, a)
}

// takeUp goes on with an attempt that nobody is working on.
func (e *Engine) takeUp(ctx context.Context, a Attempt) (Attempt, bool, error) {
	live, err := e.Attempts.Resume(ctx, a.ID, e.lease())
	if err == nil {
		live, err = e.place(ctx, live)
		return live, false, err
	}
	if CodeOf(err) != CodeAttemptInProgress {
		return live, false, err
	}
	if a.State == PaymentNeedsAction {
		a.LeaseUntil = time.Time{} // somebody is asking the provider; what is known will do
		return a, false, nil
	}
	if o, err := e.Orders.Order(ctx, a.Reservation); err == nil && o.Attempt == a.ID {
		return a, true, nil // finished meanwhile
	}
	return a, false, E(CodeAttemptInProgress, "this payment is under way").After(time.Second)
}

// vet chooses the provider for an attempt, or gives the code by which it is
// declined before any provider hears of it. If none can be chosen just now, the
// call that follows says so.
func (e *Engine) vet(ctx context.Context, a Attempt) (provider, no string) {
	if e.suspicious(ctx, a) {
		return "", "fraud_suspected"
	}
	provider, err := e.Payments.Choose(ctx, a)
	var x *Error
	if errors.As(err, &x) && x.Code == CodePaymentDeclined {
		code, _ := x.Fields["decline_code"].(string)
		return "", declineCode(Payment{DeclineCode: code})
	}
	if err != nil {
		e.Log.DebugContext(ctx, "no payment provider can be chosen", "attempt", a.ID.String(), "err", err)
	}
	return provider, ""
}

// suspicious asks what a fraud service thinks, if there is one.
func (e *Engine) suspicious(ctx context.Context, a Attempt) bool {
	if e.Score == nil {
		return false
	}
	score, err := e.Score(ctx, a)
	if err != nil || score.Unscored {
		e.Log.InfoContext(ctx, "a payment goes on unscored", "attempt", a.ID.String(), "err", err)
		return false
	}
	if score.Deny {
		e.Log.WarnContext(ctx, "a payment is refused for fraud", "attempt", a.ID.String(), "reason", score.Reason)
	}
	return score.Deny
}

// order claims the units and hands the event over.
func (e *Engine) order(ctx context.Context, s *Sale, h Hold, a Attempt, p Payment) error {
	entry, err := e.claim(ctx, s, h, a, p)
	if err != nil {
		return err
	}
	if err := e.Stream.Publish(ctx, entry); err != nil {
		// The outbox has it: the relay publishes it, and who waits may still see
		// the outcome.
		e.Log.WarnContext(ctx, "publish failed; the relay will", "reservation", h.ID.String(), "err", err)
	}
	return nil
}

func (e *Engine) needsAction(s *Sale, r CheckoutRequest, h Hold, act NextAction) CheckoutResult {
	v := e.view(s, r.Buyer, h)
	v.NextAction = &act
	return CheckoutResult{Action: &act, Reservation: v, Replayed: h.Replayed}
}

// errQueued is the pending end of a checkout whose payment waits for its provider.
var errQueued = errors.New("the payment is queued")

// pending says that an error is no end: the payment may have happened, or may yet.
func pending(err error) bool { return errors.Is(err, ErrUnknown) || errors.Is(err, errQueued) }

// await waits for the record's word as long as the client wishes: what it
// stated counts from the request's beginning, the default from here.
func (e *Engine) await(ctx context.Context, s *Sale, r CheckoutRequest, h Hold, began time.Time, wait func(context.Context) (Outcome, error)) (CheckoutResult, error) {
	d := e.DefaultWait
	if r.WaitSet {
		d = max(0, min(r.Wait, e.MaxWait)-e.Clock.Now().Sub(began))
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	o, err := wait(ctx)
	if err != nil {
		return CheckoutResult{Pending: true, Reservation: e.view(s, r.Buyer, h), Replayed: h.Replayed}, nil
	}
	if o.State == Refused {
		return CheckoutResult{}, refused(o.Reason, h.Replayed)
	}
	lines, total := s.Price(h.Lines)
	return CheckoutResult{Replayed: h.Replayed, Order: &Order{
		ID: r.ID, SaleID: s.ID, Buyer: r.Buyer, State: o.State, Lines: lines, Total: total,
		Provider: o.Provider, Payment: atConfirmation, PlacedAt: o.PlacedAt, Seq: h.Seq, Epoch: s.Lease(s.Home(r.ID.Buyer)).Epoch,
	}}, nil
}
