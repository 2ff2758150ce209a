package engine

import (
	"context"
	"errors"
)

// Resolve brings a paying reservation whose answer is overdue to an end by
// asking the provider, never by guessing. The gate lists such holds (the node
// that worked on them died, or the provider never answered) and lists them
// again until they are resolved, so doing nothing is always safe here.
func (e *Engine) Resolve(ctx context.Context, s *Sale, h Hold) error {
	a, err := e.Attempts.ByFence(ctx, h.ID, h.Fence)
	if CodeOf(err) == CodeNotFound {
		// No note, so the provider was never called for this fence: the node
		// died between the two. A node that is only slow and notes it now finds
		// its fence lost at the claim, and voids.
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
	s, err := e.Sales.SaleByNo(ctx, a.Reservation.Sale)
	if err != nil {
		return err
	}
	h, err := e.Reader.Find(ctx, s, a.Reservation)
	if CodeOf(err) == CodeNotFound {
		h, err = Hold{ID: a.Reservation, State: Released}, nil
	}
	if err != nil {
		return err
	}
	if h.State == Accepted && h.Fence == a.ID.Fence() {
		return nil // claimed: the outbox and the stream carry it to the record
	}
	return e.resolve(ctx, s, h, a)
}

func (e *Engine) resolve(ctx context.Context, s *Sale, h Hold, a Attempt) error {
	ours := h.State == Paying && h.Fence == a.ID.Fence()
	if Final(PaymentMoves, a.State) {
		if !ours {
			return nil
		}
		_, err := e.Gate.Return(ctx, s, h.ID, h.Fence) // died between the note and the return
		return err
	}
	a, err := e.Attempts.Resume(ctx, a.ID, e.lease())
	if err != nil {
		if CodeOf(err) == CodeAttemptInProgress {
			return nil // a node is working on it
		}
		return err
	}
	p, err := e.Payments.Lookup(ctx, a)
	switch {
	case CodeOf(err) == CodeNotFound:
		// It never reached the provider. Cancelling it there first makes sure
		// that a late one finds a closed door.
		return e.cancel(ctx, s, h, a, Payment{}, "never_sent")
	case err != nil:
		e.note(ctx, a, Payment{State: a.State}, "look-up failed")
		return err
	}
	switch p.State {
	case PaymentAuthorised, PaymentCaptured:
		if !ours {
			return e.cancel(ctx, s, h, a, p, "hold_gone")
		}
		entry, err := e.claim(ctx, s, h, a, p, "")
		if err != nil {
			return ignoreCode(err, CodeReservationExpired) // voided, and said so
		}
		return e.Stream.Publish(ctx, entry)
	case PaymentDeclined, PaymentVoided, PaymentRefunded:
		e.note(ctx, a, p, p.DeclineCode)
		if !ours {
			return nil
		}
		_, err := e.Gate.Return(ctx, s, h.ID, h.Fence)
		return err
	}
	if !ours || !e.Clock.Now().Before(h.ExpiresAt) {
		return e.cancel(ctx, s, h, a, p, "cap_reached")
	}
	e.note(ctx, a, Payment{State: PaymentUnknown, Provider: p.Provider, Ref: p.Ref}, "processing")
	return nil
}

// cancel ends the payment at the provider first and frees the units after.
func (e *Engine) cancel(ctx context.Context, s *Sale, h Hold, a Attempt, p Payment, reason string) error {
	if !e.void(ctx, a, p, reason) {
		return Wrap(ErrUnknown, CodePaymentUnavailable, "attempt %s could not be cancelled yet", a.ID)
	}
	if h.State != Paying || h.Fence != a.ID.Fence() {
		return nil
	}
	_, err := e.Gate.Return(ctx, s, h.ID, h.Fence)
	return err
}

func ignoreCode(err error, c Code) error {
	var x *Error
	if errors.As(err, &x) && x.Code == c && !errors.Is(err, ErrUnknown) {
		return nil
	}
	return err
}
