package history

import (
	"slices"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// view is a hold as somebody who looks at it sees it. The zero view is no hold.
type view struct {
	state    engine.ReservationState
	fence    engine.Fence
	attempts int
	seq      uint64
	expires  int64 // what ExpiresAt says, Unix milliseconds
}

func viewOf(h engine.Hold) view {
	return view{state: h.State, fence: h.Fence, attempts: h.Attempts, seq: h.Seq, expires: h.ExpiresAt.UnixMilli()}
}

// verdict is what a move on a hold must come to.
type verdict uint8

const (
	refused verdict = iota // by the code
	changes                // into next
	repeats                // the hold as it is
)

// judge is the table of moves once more, written from docs/states.md and the
// comments of engine.Gate: what an operation does to a hold, whatever Lua thinks.
// When a payment is returned, whether the hold is held again or released is a
// matter of time: the caller tells by due.
func judge(k Kind, v view, f engine.Fence, maxAttempts int, due bool) (verdict, engine.Code, view) {
	mine := v.fence == f
	gone := func() (verdict, engine.Code, view) {
		if v.state == engine.Expired {
			return refused, engine.CodeReservationExpired, v
		}
		return refused, engine.CodeReservationReleased, v
	}
	next := v
	switch k {
	case Begin:
		switch v.state {
		case engine.Accepted, engine.Paying:
			if mine {
				return repeats, "", v
			}
			if v.state == engine.Accepted {
				return refused, engine.CodeAlreadyPaid, v
			}
			return refused, engine.CodeAttemptInProgress, v
		case engine.Held:
			next.state = engine.Paying
			if !mine {
				if v.attempts == maxAttempts {
					return refused, engine.CodeAttemptsExhausted, v
				}
				next.fence = f
				next.attempts++
			}
			return changes, "", next
		}
		return gone()
	case Claim:
		switch {
		case v.state == engine.Accepted && mine:
			return repeats, "", v
		case v.state == engine.Accepted:
			return refused, engine.CodeAlreadyPaid, v
		case v.state == engine.Paying && mine:
			next.state = engine.Accepted
			return changes, "", next
		case v.state == engine.Paying || v.state == engine.Held:
			return refused, engine.CodeAttemptInProgress, v
		}
		return gone()
	case Return:
		if v.state != engine.Paying || !mine {
			return repeats, "", v
		}
		next.state = engine.Held
		if due {
			next.state = engine.Released
		}
		return changes, "", next
	case Release:
		switch v.state {
		case engine.Paying:
			return refused, engine.CodePaymentInProgress, v
		case engine.Accepted:
			return refused, engine.CodeAlreadyPaid, v
		case engine.Held:
			next.state = engine.Released
			return changes, "", next
		}
		return repeats, "", v
	case Find:
		return repeats, "", v
	}
	return refused, engine.CodeInternal, v
}

// cart sums lines by SKU and sorts them, as an answer must show them.
func cart(in []engine.Line) (out []engine.Line, units int) {
	for _, l := range in {
		units += l.Quantity
		if i := slices.IndexFunc(out, func(o engine.Line) bool { return o.No == l.No }); i >= 0 {
			out[i].Quantity += l.Quantity
		} else {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b engine.Line) int { return int(a.No) - int(b.No) })
	return out, units
}

func live(s engine.ReservationState) bool {
	return s == engine.Held || s == engine.Paying || s == engine.Accepted
}

// column is where a SKU's counters put the units of a state.
func column(c *engine.Counters, s engine.ReservationState) *int64 {
	switch s {
	case engine.Held:
		return &c.Held
	case engine.Paying:
		return &c.Paying
	case engine.Accepted:
		return &c.Sold
	}
	return &c.Available
}

func ms(d time.Duration) int64 { return d.Milliseconds() }
