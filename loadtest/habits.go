package loadtest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// The habits of kinds of buyers.
const (
	browserLooks  = 3               // at most, at the sale's page
	browserWants  = 0.1             // of browsers, who then buy
	browserThinks = time.Second     // between two looks, on average
	retrierTries  = 4               // reservations or payments, the first included
	retrierSulks  = time.Second     // between them, on average
	goodCard      = "pm_card_visa"  // that a retrier has, too
	botTries      = 20              // of which none waits for anything but its answer
	queueLook     = 1 * time.Second // between two looks of a waiter
)

// leave walks away from a hold without a word.
func (v *visit) leave(context.Context) End { return Abandoned }

// browse looks at the sale's page.
func (v *visit) browse(ctx context.Context) End {
	a, ok := v.insist(ctx, call{step: StepBrowse, method: http.MethodGet, path: "/v1/sales/" + url.PathEscape(v.cfg.Sale)})
	switch {
	case !ok:
		return Unfinished
	case a.status != http.StatusOK:
		return v.failed(StepBrowse, a)
	}
	v.tally.latency(StepBrowse, v.due, time.Since(v.due))
	v.tries++
	if v.tries < browserLooks && v.rng.Float64() < 0.5 {
		if !v.pause(ctx, browserThinks) {
			return Unfinished
		}
		return again
	}
	v.tries = 0
	if a.body.State != string(engine.SaleOpen) || v.rng.Float64() >= browserWants {
		return Browsed
	}
	v.due = time.Now()
	return goesOn
}

// pause lets a buyer think, for a time that is drawn, and makes the next step due then.
func (v *visit) pause(ctx context.Context, mean time.Duration) bool {
	v.due = time.Now().Add(time.Duration(v.rng.ExpFloat64() * float64(mean)))
	return sleepUntil(ctx, v.due)
}

// comeAgain is the impatience of a retrier: after a decline they pay with another card,
// after any other no they reserve anew.
func (v *visit) comeAgain(ctx context.Context) End {
	was := v.end
	if v.tries++; v.tries >= retrierTries {
		return was
	}
	if !v.pause(ctx, retrierSulks) {
		return Unfinished
	}
	if was == Declined {
		v.method = goodCard
		return goesOn
	}
	return again
}

// twin is the same buyer at the same moment, whose requests go beside this one's.
func (v *visit) twin(stream uint64) *visit {
	t := *v
	t.rng = dice(v.cfg.Seed^stream, uint64(v.n)) // a source of random numbers serves one at a time
	return &t
}

// both does something and, beside it, the same for the twin.
func (v *visit) both(t *visit, do func(*visit) End) (mine, theirs End) {
	done := make(chan End, 1)
	go func() { done <- do(t) }()
	mine = do(v)
	return mine, <-done
}

// reserveTwice clicks twice. One key is one reservation.
func (v *visit) reserveTwice(ctx context.Context) End {
	t := v.twin(1)
	t.unbooked = true
	mine, theirs := v.both(t, func(v *visit) End { return v.reserve(ctx) })
	switch {
	case mine == isHeld && theirs == isHeld && v.reservation != t.reservation:
		v.tally.wrong("arrival %d clicked twice and one key gave reservations %s and %s", v.n, v.reservation, t.reservation)
	case mine != isHeld && theirs == isHeld: // nothing had been left for the click that came first
		v.reservation = t.reservation
		v.tally.held(v.reservation, v.n, v.sku, v.cfg.Quantity)
		return isHeld
	}
	return mine
}

// payTwice clicks twice. One key is one payment.
func (v *visit) payTwice(ctx context.Context) End {
	t := v.twin(2)
	mine, theirs := v.both(t, func(v *visit) End { return v.checkout(ctx) })
	if mine == Declined && theirs == Confirmed || mine == Confirmed && theirs == Declined {
		v.tally.wrong("arrival %d clicked twice, and one key's payment was both confirmed and declined", v.n)
	}
	return v.better(t, mine, theirs)
}

// reserveInTabs asks in two tabs. Whether both may hold units is the buyer's limit; the
// second tab's, if there are any, are given back.
func (v *visit) reserveInTabs(ctx context.Context) End {
	t := v.twin(3)
	t.tab = "-tab2"
	mine, theirs := v.both(t, func(v *visit) End { return v.reserve(ctx) })
	if mine == isHeld && theirs == isHeld {
		if limit := v.cfg.Limit; limit > 0 && 2*v.cfg.Quantity > limit {
			v.tally.wrong("arrival %d holds %d units by two tabs, %s and %s; the limit is %d", v.n, 2*v.cfg.Quantity, v.reservation, t.reservation, limit)
		}
		return v.giveBack(ctx, t.reservation)
	}
	if theirs == isHeld {
		v.reservation = t.reservation
		return isHeld
	}
	return mine
}

// giveBack releases what the other tab holds.
func (v *visit) giveBack(ctx context.Context, reservation string) End {
	a, ok := v.insist(ctx, call{step: StepRelease, method: http.MethodDelete, path: "/v1/reservations/" + url.PathEscape(reservation)})
	switch {
	case !ok:
		return Unfinished
	case a.status == http.StatusOK, a.code == string(engine.CodeReservationExpired), a.code == string(engine.CodeReservationLost):
		return isHeld
	}
	return v.failed(StepRelease, a)
}

// payInTabs pays for one reservation in two tabs. One of them wins.
func (v *visit) payInTabs(ctx context.Context) End {
	t := v.twin(4)
	t.tab = "-tab2"
	mine, theirs := v.both(t, func(v *visit) End { return v.checkout(ctx) })
	return v.better(t, mine, theirs)
}

// better is the end of two payments of one reservation: an order if there is one,
// which is the same order if both have it.
func (v *visit) better(t *visit, mine, theirs End) End {
	switch {
	case mine == Confirmed && theirs == Confirmed && v.bought.order != t.bought.order:
		v.tally.wrong("arrival %d paid twice for reservation %s and has orders %s and %s", v.n, v.reservation, v.bought.order, t.bought.order)
	case mine != Confirmed && (theirs == Confirmed || theirs == Pending):
		*v = *t
		return theirs
	}
	return mine
}

// hammer asks again and again without a pause, under a new key each time.
func (v *visit) hammer(context.Context) End {
	for try := range botTries {
		a := v.once(v.reserveCall(StepBot, fmt.Sprintf("%s-%d", v.key(StepBot), try)))
		end := v.reserved(StepBot, a)
		switch {
		case end == isHeld:
			v.due = time.Now()
			return end
		case try < botTries-1:
		case end == Failed && a.transient():
			return TurnedAway
		case end == Failed:
			return v.failed(StepBot, a)
		default:
			return end
		}
	}
	return TurnedAway
}

// queue waits in the sale's waiting room until it is the buyer's turn.
func (v *visit) queue(ctx context.Context) End {
	room := "/v1/sales/" + url.PathEscape(v.cfg.Sale) + "/queue"
	patience := time.Now().Add(v.cfg.QueueFor)
	for {
		a, ok := v.insist(ctx, call{step: StepQueue, method: http.MethodPost, path: room})
		switch {
		case !ok:
			return Unfinished
		case a.status != http.StatusOK && a.status != http.StatusCreated || a.body.Ticket == nil:
			return v.failed(StepQueue, a)
		case a.body.Token != "":
			v.tally.latency(StepQueue, v.due, time.Since(v.due)) // from the arrival to the admission
			v.admission, v.due = a.body.Token, time.Now()
			return goesOn
		}
		for ticket := *a.body.Ticket; a.body.State != "reached"; {
			if time.Now().After(patience) {
				return Waiting
			}
			look := time.Now().Add(queueLook + time.Duration(v.rng.Int64N(int64(queueLook)/4)))
			if !sleepUntil(ctx, look) {
				return Unfinished
			}
			a, ok = v.insist(ctx, call{step: StepQueue, method: http.MethodGet, path: fmt.Sprintf("%s/%d", room, ticket)})
			switch {
			case !ok:
				return Unfinished
			case a.status != http.StatusOK:
				return v.failed(StepQueue, a)
			case a.body.State == "unreachable", a.body.State == "closed": // told at once that there will be nothing left
				v.tally.soldOut(v.sku)
				return SoldOut
			case a.body.State == "passed":
				return Waiting
			}
		}
	}
}
