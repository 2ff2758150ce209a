package engine

import (
	"context"
	"errors"
)

// Step is what is to be done about an attempt that has not ended.
type Step string

// The steps, from the least to the most.
const (
	StepNothing Step = "nothing"         // it has ended
	StepLeave   Step = "leave it"        // the provider, the buyer or a node is at it
	StepReturn  Step = "return the hold" // the attempt has ended and its hold has not
	StepDrop    Step = "end it unsent"   // no provider has seen it, and it is too late to send it
	StepSend    Step = "send it"         // it waits for its provider and there is time
	StepEnd     Step = "note its end"    // the provider has ended it
	StepClaim   Step = "claim the units" // the money is there
	StepCancel  Step = "cancel it"       // at the provider first; then the units are free
)

// Plan is a step with what led to it.
type Plan struct {
	Step    Step
	Reason  string // goes on record
	Attempt Attempt
	Hold    Hold    // as the gate has it
	Payment Payment // as the provider has it; no state: it was not asked, or never saw it
}

// ours says that the hold is paying under this very attempt.
func (a Attempt) ours(h Hold) bool {
	return h.State == Paying && (h.Fence == a.ID.Fence() || a.barred(h))
}

// barred says that somebody has begun to cancel the attempt.
func (a Attempt) barred(h Hold) bool { return h.State == Paying && h.Fence == a.ID.Fence().Barred() }

// settledBy decides what can be decided without asking the provider.
func (e *Engine) settledBy(h Hold, a Attempt) (Step, string) {
	ended := Final(PaymentMoves, a.State) || a.State == PaymentCaptured
	switch {
	case ended && a.ours(h):
		return StepReturn, a.Reason // died between the note and the return
	case ended:
		return StepNothing, ""
	case a.Parked == NotParked || a.State != PaymentAuthorising:
		return "", ""
	case a.Parked == Queued && a.ours(h) && e.outlives(h, nil):
		return StepSend, ""
	case a.Parked == Queued && a.ours(h):
		return StepDrop, reasonQueueEnded
	case h.State == Held && h.Fence == a.ID.Fence():
		return StepLeave, "" // the buyer may send it again by the same key
	}
	return StepDrop, reasonNeverSent
}

// judge decides by the provider's word; seen is false if it never saw the attempt.
func (e *Engine) judge(h Hold, a Attempt, p Payment, seen bool) (Step, string) {
	switch {
	case !seen:
		// Cancelling it there first makes sure that a late one finds a closed door.
		return StepCancel, reasonNeverSent
	case p.State == PaymentDeclined:
		return StepEnd, declineCode(p)
	case p.State == PaymentVoided, p.State == PaymentRefunded:
		return StepEnd, reasonProvider
	case a.Refund != "":
		return StepCancel, a.Refund // it was begun
	case a.Cancelled != "":
		return StepCancel, a.Cancelled
	case p.State == PaymentAuthorised, p.State == PaymentCaptured:
		return StepClaim, ""
	case !a.ours(h):
		return StepCancel, reasonHoldGone
	case !e.Clock.Now().Before(h.ExpiresAt):
		return StepCancel, reasonCapReached
	}
	return StepLeave, ""
}

// Resolve brings a paying reservation whose answer is overdue to an end by
// asking the provider, never by guessing. The gate lists such holds (the node
// that worked on them died, or the provider never answered) and lists them
// again until they are resolved, so doing nothing is always safe here.
func (e *Engine) Resolve(ctx context.Context, s *Sale, h Hold) error {
	a, err := e.Attempts.ByFence(ctx, h.ID, h.Fence)
	if CodeOf(err) == CodeNotFound {
		// No note, so the provider was never called for this fence: the node
		// died between the two. A node that is only slow and notes it now finds
		// its fence lost at the claim.
		_, err = e.Gate.Return(ctx, s, h.ID, h.Fence)
		return err
	}
	if err != nil {
		return err
	}
	return e.resolve(ctx, s, h, a)
}

// ResolveAttempt does the same for an unfinished attempt that the record lists:
// the second net, for attempts whose hold the gate no longer lists.
func (e *Engine) ResolveAttempt(ctx context.Context, a Attempt) error {
	s, h, done, err := e.around(ctx, a)
	if done || err != nil {
		return err
	}
	return e.resolve(ctx, s, h, a)
}

// around finds the sale and the hold of an attempt. done: its order is made, or
// is on its way to the record.
func (e *Engine) around(ctx context.Context, a Attempt) (s *Sale, h Hold, done bool, err error) {
	switch o, err := e.Orders.Order(ctx, a.Reservation); {
	case err == nil && o.Attempt == a.ID:
		return nil, h, true, nil // capture and void are the payments role's
	case err != nil && CodeOf(err) != CodeNotFound:
		return nil, h, false, err
	}
	if s, err = e.Sales.SaleByNo(ctx, a.Reservation.Sale); err != nil {
		return nil, h, false, err
	}
	h, err = e.Reader.Find(ctx, s, a.Reservation)
	if CodeOf(err) == CodeNotFound {
		h, err = Hold{ID: a.Reservation, State: Released}, nil
	}
	return s, h, err == nil && h.State == Accepted && h.Fence == a.ID.Fence(), err
}

// Plan says what Resolve would do about an attempt now, and does nothing.
func (e *Engine) Plan(ctx context.Context, id AttemptID) (Plan, error) {
	a, err := e.Attempts.Find(ctx, id)
	if err != nil {
		return Plan{}, err
	}
	_, h, done, err := e.around(ctx, a)
	out := Plan{Attempt: a, Hold: h, Step: StepNothing}
	if done || err != nil {
		return out, err
	}
	if out.Step, out.Reason = e.settledBy(h, a); out.Step != "" {
		return out, nil
	}
	if e.Clock.Now().Before(a.LeaseUntil) {
		out.Step, out.Reason = StepLeave, "a node is working on it"
		return out, nil
	}
	out.Payment, err = e.Payments.Lookup(ctx, a)
	if err != nil && CodeOf(err) != CodeNotFound {
		return out, err
	}
	out.Step, out.Reason = e.judge(h, a, out.Payment, err == nil)
	return out, nil
}

func (e *Engine) resolve(ctx context.Context, s *Sale, h Hold, a Attempt) (err error) {
	ctx, end := e.resumed(ctx, a, "resolve")
	defer func() { end(err) }()
	if step, _ := e.settledBy(h, a); step == StepNothing || step == StepLeave {
		return nil
	} else if step == StepReturn {
		return e.release(ctx, s, h, a)
	}
	a, err = e.Attempts.Resume(ctx, a.ID, e.lease())
	if err != nil {
		return ignoreCode(err, CodeAttemptInProgress) // a node is working on it, or it has just ended
	}
	step, reason := e.settledBy(h, a)
	switch step {
	case StepSend:
		return e.send(ctx, s, h, a)
	case StepDrop:
		return e.drop(ctx, s, h, a, reason)
	case StepLeave: // parked since it was read
		_, err := e.Attempts.Park(ctx, a, a.Parked, e.MaxQueued)
		return err
	}
	p, err := e.Payments.Lookup(ctx, a)
	if err != nil && CodeOf(err) != CodeNotFound {
		e.note(ctx, a, Payment{State: a.State}, "look-up failed")
		return err
	}
	return e.do(ctx, s, h, a, p, err == nil)
}

// do takes the step that the provider's word asks for.
func (e *Engine) do(ctx context.Context, s *Sale, h Hold, a Attempt, p Payment, seen bool) error {
	step, reason := e.judge(h, a, p, seen)
	switch step {
	case StepClaim:
		if a.ours(h) || h.State == Held {
			return e.finish(ctx, s, h, a, p)
		}
		return e.cancel(ctx, s, h, a, p, reasonHoldGone)
	case StepEnd:
		return e.end(ctx, s, h, a, p, reason)
	case StepCancel:
		return e.cancel(ctx, s, h, a, p, reason)
	}
	if p.State != PaymentNeedsAction {
		p.State = PaymentUnknown
	}
	return e.Attempts.Note(ctx, a, p, "processing")
}

// finish claims the units and publishes the event. Money that finds no units
// has been given back, and said so.
func (e *Engine) finish(ctx context.Context, s *Sale, h Hold, a Attempt, p Payment) error {
	entry, err := e.claim(ctx, s, h, a, p)
	if err != nil {
		return ignoreCode(err, CodeReservationExpired)
	}
	return e.Stream.Publish(ctx, entry)
}

// send gives a queued attempt to its provider, late.
func (e *Engine) send(ctx context.Context, s *Sale, h Hold, a Attempt) error {
	a, err := e.place(ctx, a)
	if err != nil {
		return err
	}
	p, err := e.authorise(ctx, s, h, a)
	if errors.Is(err, errQueued) {
		return err // the provider is still away
	}
	if err != nil {
		return ignoreCode(err, CodePaymentDeclined)
	}
	if p.State == PaymentNeedsAction {
		return nil
	}
	return e.finish(ctx, s, h, a, p)
}

// drop ends an attempt that no provider has seen. That is certain only under the
// lease: whoever takes the attempt up later may send it.
func (e *Engine) drop(ctx context.Context, s *Sale, h Hold, a Attempt, reason string) error {
	ours, err := e.Attempts.Drop(ctx, a, reason)
	if err != nil || !ours {
		return err
	}
	return e.release(ctx, s, h, a)
}

// end notes an end that costs nobody money, and then frees the hold.
func (e *Engine) end(ctx context.Context, s *Sale, h Hold, a Attempt, p Payment, reason string) error {
	for _, via := range Path(PaymentMoves, a.State, p.State) {
		p.State = via
		if err := e.Attempts.Note(ctx, a, p, reason); err != nil {
			return err
		}
	}
	return e.release(ctx, s, h, a)
}

// cancel ends the payment at the provider first and frees the units after.
func (e *Engine) cancel(ctx context.Context, s *Sale, h Hold, a Attempt, p Payment, reason string) error {
	h, err := e.giveBack(ctx, s, h, a, p, reason)
	if err != nil {
		return err
	}
	return e.release(ctx, s, h, a)
}

// release frees the hold of an attempt that has ended.
func (e *Engine) release(ctx context.Context, s *Sale, h Hold, a Attempt) error {
	if !a.ours(h) {
		return nil
	}
	return e.free(ctx, s, h.ID, h.Fence, a.ID)
}

// free gives the units of an attempt that has ended back to the buyer or the stock.
// If the gate was lost since the hold was given, its old one may have sold them, to
// this attempt or to another one of the reservation, and the event may still be on
// its way: they stay as they are until every attempt has ended. If there is an
// order, the units are sold, and claimed again.
func (e *Engine) free(ctx context.Context, s *Sale, id ReservationID, f Fence, ended AttemptID) error {
	if e.before(s, id) {
		attempts, err := e.Attempts.OfReservation(ctx, id)
		if err != nil {
			return err
		}
		for _, a := range attempts {
			if a.ID != ended && a.lives() && a.State != PaymentCaptured { // then there is an order
				return nil // listed again
			}
		}
	}
	o, err := e.Orders.Order(ctx, id)
	switch {
	case err == nil && o.State == Confirmed:
		return e.sell(ctx, s, f, o)
	case err != nil && CodeOf(err) != CodeNotFound:
		return err
	}
	_, err = e.Gate.Return(ctx, s, id, f)
	return err
}

// sell claims the units of an order that the record has made already, under
// whichever fence the gate has them.
func (e *Engine) sell(ctx context.Context, s *Sale, f Fence, o Order) error {
	event, err := e.Stream.Encode(AcceptedEvent{
		ID: o.ID, SaleID: o.SaleID, Buyer: o.Buyer, Lines: o.Lines, Total: o.Total, Attempt: o.Attempt, Provider: o.Provider,
	})
	if err != nil {
		return err
	}
	_, entry, err := e.Gate.Claim(ctx, s, o.ID, f, event)
	if err != nil {
		return err
	}
	return e.Stream.Publish(ctx, entry)
}

func ignoreCode(err error, c Code) error {
	var x *Error
	if errors.As(err, &x) && x.Code == c && !errors.Is(err, ErrUnknown) {
		return nil
	}
	return err
}
