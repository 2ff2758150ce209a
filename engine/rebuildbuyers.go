package engine

import (
	"context"
	"errors"
	"time"
)

// What buyers see of a gate that was lost.

const (
	usualRebuild  = 2 * time.Second // before there was one
	leastComeBack = time.Second
	mostComeBack  = 5 * time.Second
)

// frozen adds to the refusal of a frozen gate when to come back, and has this
// node read the sale anew: the shard may be open again under another lease.
func (e *Engine) frozen(s *Sale, b BuyerKey, err error) error {
	var x *Error
	if !errors.As(err, &x) || x.Code != CodeGateFrozen {
		return err
	}
	if e.Stale != nil {
		e.Stale(s.No)
	}
	told := *x
	return told.After(s.Repair(s.Home(b)).ComeBack(e.Clock.Now()))
}

// ComeBack estimates when a shard will be open again: as long as it took the last
// time, less what has passed. One that takes longer is expected to need half as
// long again as it has taken.
func (r Repair) ComeBack(now time.Time) time.Duration {
	left := r.Took
	if left <= 0 {
		left = usualRebuild
	}
	if !r.Frozen.IsZero() {
		passed := now.Sub(r.Frozen)
		left = max(left-passed, passed/2)
	}
	return min(max(left, leastComeBack), mostComeBack)
}

// strayFor is for how long after a new epoch was granted a node that has not heard
// of it, and is still connected to the server that was replaced, may give holds there.
const strayFor = time.Minute

// lost says of a reservation that the gate does not know and that has no order
// whether it was there once: it is older than the epoch of its shard, whose
// rebuild could not keep it, or hardly younger. As long as a payment of it lives
// that is not certain: its event may be on its way, or its hold be made anew.
// One whose time was over before the gate was open again has not been lost by it.
func (e *Engine) lost(ctx context.Context, s *Sale, id ReservationID, err error) error {
	if CodeOf(err) != CodeNotFound || !e.before(s, id) {
		return err
	}
	switch _, orderErr := e.Orders.Order(ctx, id); {
	case orderErr == nil:
		return err
	case CodeOf(orderErr) != CodeNotFound:
		return orderErr
	}
	attempts, listErr := e.Attempts.OfReservation(ctx, id)
	if listErr != nil {
		return listErr
	}
	for _, a := range attempts {
		if a.lives() {
			return stillEnding()
		}
	}
	if r := s.Repair(s.Home(id.Buyer)); !id.CreatedAt().Add(min(s.HoldTTL, s.HoldCap)).After(later(r.Granted, r.Opened)) {
		return E(CodeReservationExpired, "the time of reservation %s was over before the gate of sale %q was open again; reserve again. You are not charged", id, s.ID)
	}
	return E(CodeReservationLost, "reservation %s was lost when the gate of sale %q was rebuilt; reserve again. You are not charged", id, s.ID)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// stillEnding is the answer while nobody can know what becomes of a payment.
func stillEnding() error {
	return Wrap(ErrUnknown, CodeUnavailable, "the hold is gone, and its payment is being ended").After(leastComeBack)
}

// before says whether an older gate than the shard's may have given a hold.
func (e *Engine) before(s *Sale, id ReservationID) bool {
	granted := s.Repair(s.Home(id.Buyer)).Granted
	return !granted.IsZero() && id.CreatedAt().Before(granted.Add(strayFor))
}

// lives says that an attempt may be, or become, the payment of an order.
func (a Attempt) lives() bool { return endOf(a) == nil && a.Parked != Unsent }
