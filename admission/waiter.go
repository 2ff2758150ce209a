package admission

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Standing is where a buyer stands.
type Standing int

// Where a buyer may stand.
const (
	Outside  Standing = iota // has no ticket
	Waiting                  // the front has not reached the place
	Reached                  // it has: Claim
	Admitted                 // claimed, and the admission may be used
	Lapsed                   // did not claim in time; may join again, at the end
	Spent                    // the admission's time is over; may join again, at the end
)

// String names the standing.
func (s Standing) String() string {
	return [...]string{"outside", "waiting", "reached", "admitted", "lapsed", "spent"}[s]
}

// Ticket is a buyer's.
type Ticket struct {
	Number   uint64
	Place    int64 // -1 before the opening
	Standing Standing
	New      bool      // this call gave it out
	Expires  time.Time // of an admission: until when it may be used; of one that lapsed: when it did
}

// Token makes the right to reserve of an admitted buyer's ticket.
func (t Ticket) Token(r Room, b engine.BuyerKey) Token {
	return Token{Sale: r.Sale, Epoch: uint32(r.Epoch), Buyer: b, Ticket: uint32(t.Number), Expires: t.Expires}
}

// What the scripts answer; see lua/claim.lua and lua/leave.lua.
const (
	answerClosed  = -1
	answerChanged = -2 // the caller believed wrongly: look again
	answerNone    = 0
	answerYes     = 1
	answerKept    = 2
	answerLapsed  = 3
	answerSpent   = 4
)

// mostLooks bounds how often an operation is tried on a ticket that changes
// meanwhile: by another tab, or by the opening.
const mostLooks = 5

func changing() error {
	return engine.E(engine.CodeOverloaded, "the ticket changes faster than it can be read").After(retryAfter)
}

func closed() *engine.Error { return engine.E(engine.CodeSaleNotOpen, "the waiting room is closed") }

// Join gives a buyer a ticket: always the same, until it has lapsed or been given
// back, or its admission is over. Then they get another, at the end.
func (q *Queue) Join(ctx context.Context, r Room, b engine.BuyerKey) (Ticket, error) {
	for range mostLooks {
		t, n, err := q.read(ctx, r, b, "join")
		if err != nil || t.Standing != Reached && t.Standing != Admitted {
			return t, err
		}
		// It may have lapsed, which takes the log to know.
		again, err := q.rejoin(ctx, r, b, t, n)
		if err != nil {
			return t, err
		}
		if again.Standing != Outside {
			return again, nil
		}
	}
	return Ticket{}, changing()
}

// read gives the buyer's ticket as far as it can be known without the log, and the N
// that its place is of.
func (q *Queue) read(ctx context.Context, r Room, b engine.BuyerKey, how string) (Ticket, int64, error) {
	a, err := q.ask(ctx, r, joinScript, keysOf(r).of(b), b[:], how)
	if err != nil {
		return Ticket{}, 0, err
	}
	return q.ticket(ctx, r, a)
}

// ticket reads the answer of join.lua and rejoin.lua.
func (q *Queue) ticket(ctx context.Context, r Room, a reply) (t Ticket, n int64, err error) {
	var p parts
	f := p.want(a, 3)
	answer, number, claimed := p.number(f[0]), p.text(f[1]), p.number(f[2])
	switch {
	case p.err != nil:
		return t, 0, p.err
	case answer == answerClosed:
		return t, 0, closed()
	case answer == answerChanged:
		return t, 0, nil
	}
	if t.Number, err = strconv.ParseUint(number, 10, 64); err != nil {
		return t, 0, garbled(number)
	}
	t.New, t.Place, t.Standing = answer == answerYes, -1, Waiting
	if a.n >= 0 {
		if t.Place, err = q.place(ctx, r, a.n, t.Number); err != nil {
			return t, 0, err
		}
	}
	switch {
	case claimed > 0:
		t.Standing = Admitted
	case t.Place >= 0 && t.Place < a.front:
		t.Standing = Reached
	}
	return t, a.n, nil
}

// Claim admits a buyer whose place has been reached and whose lease is not over.
// Repeating it gives the same admission. Where they stand is in the ticket.
func (q *Queue) Claim(ctx context.Context, r Room, b engine.BuyerKey) (Ticket, error) {
	for range mostLooks {
		t, n, err := q.read(ctx, r, b, "look")
		if err != nil || t.Standing == Outside || t.Standing == Waiting {
			return t, err
		}
		if t, err = q.claim(ctx, r, b, t, n); !errors.Is(err, errChanged) {
			return t, err
		}
	}
	return Ticket{}, changing()
}

// errChanged says that a ticket is not what its caller believed.
var errChanged = errors.New("admission: the ticket has changed")

// claim claims a ticket that was just read.
func (q *Queue) claim(ctx context.Context, r Room, b engine.BuyerKey, t Ticket, n int64) (Ticket, error) {
	a, err := q.ask(ctx, r, claimScript, keysOf(r).of(b), b[:], t.Number, t.Place, n)
	if err != nil {
		return t, err
	}
	var p parts
	f := p.want(a, 3)
	answer, at, use := p.number(f[0]), p.number(f[1]), p.number(f[2])
	if p.err != nil {
		return t, p.err
	}
	switch answer {
	case answerChanged:
		return t, errChanged
	case answerClosed:
		return t, closed()
	case answerYes:
		t.Standing, t.Expires = Admitted, time.UnixMilli(at+use).UTC()
	case answerSpent:
		t.Standing, t.Expires = Spent, time.UnixMilli(at+use).UTC()
	case answerLapsed:
		t.Standing, t.Expires = Lapsed, time.UnixMilli(at).UTC()
	case answerNone:
		t.Standing = Waiting
	default:
		return t, garbled(fmt.Sprint(answer))
	}
	return t, nil
}

// Enter is Join and, for whom it is due, Claim: what a buyer's page asks for again and
// again. Who waits costs one call.
func (q *Queue) Enter(ctx context.Context, r Room, b engine.BuyerKey) (Ticket, error) {
	for range mostLooks {
		t, n, err := q.read(ctx, r, b, "join")
		if err != nil || t.Standing != Reached && t.Standing != Admitted {
			return t, err
		}
		isNew := t.New // given out to a place that the front has passed already
		switch t, err = q.claim(ctx, r, b, t, n); {
		case errors.Is(err, errChanged):
			continue
		case err != nil || t.Standing != Lapsed && t.Standing != Spent:
			t.New = isNew
			return t, err
		}
		if t, err = q.rejoin(ctx, r, b, t, n); err != nil || t.Standing == Waiting {
			return t, err
		}
	}
	return Ticket{}, changing()
}

// rejoin gives a ticket at the end to a buyer whose own is over. The ticket as it is: it
// is not; without a place of any kind: it has changed.
func (q *Queue) rejoin(ctx context.Context, r Room, b engine.BuyerKey, t Ticket, n int64) (Ticket, error) {
	a, err := q.ask(ctx, r, rejoinScript, keysOf(r).of(b), b[:], t.Number, t.Place, n)
	if err != nil {
		return t, err
	}
	again, _, err := q.ticket(ctx, r, a)
	return again, err
}

// Leave gives a buyer's ticket back, and says where they stand then: Outside;
// Admitted, if they claimed, which is not undone; or Lapsed, if it was too late for
// giving back.
func (q *Queue) Leave(ctx context.Context, r Room, b engine.BuyerKey) (Standing, error) {
	for range mostLooks {
		t, n, err := q.read(ctx, r, b, "look")
		if err != nil || t.Standing == Outside {
			return Outside, err
		}
		a, err := q.ask(ctx, r, leaveScript, keysOf(r).of(b), b[:], t.Number, t.Place, n)
		if err != nil {
			return t.Standing, err
		}
		var p parts
		switch answer := p.number(p.want(a, 1)[0]); {
		case p.err != nil:
			return t.Standing, p.err
		case answer == answerNone || answer == answerYes:
			return Outside, nil
		case answer == answerKept:
			return Admitted, nil
		case answer == answerLapsed:
			return Lapsed, nil
		}
	}
	return Outside, changing()
}
