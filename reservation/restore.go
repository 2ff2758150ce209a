package reservation

import (
	"cmp"
	"slices"

	"github.com/flashsale-engine/flashsale/engine"
)

// restored is a shard as it will be, spelled for Redis: what a rebuild writes.
type restored struct {
	buyers []any // buyer, record
	due    []any // entries of q1
	later  []any // those of q3, each with its score: due after the first hold that will be made
	review []any // entries of q2
	taken  map[uint16]engine.Counters
}

// logged is a buyer to look at, at a time.
type logged struct {
	at    int64
	buyer engine.BuyerKey
}

// restore spells holds as the records of a shard. now is the gate's; an answer to
// a payment is overdue after lease milliseconds from then.
func restore(s *engine.Sale, shard int, holds []engine.Hold, now, lease int64) (r restored, err error) {
	r.taken = make(map[uint16]engine.Counters, len(s.Items))
	for _, it := range s.Items {
		r.taken[it.No] = engine.Counters{}
	}
	all := slices.Clone(holds)
	slices.SortFunc(all, func(x, y engine.Hold) int {
		return cmp.Or(slices.Compare(x.ID.Buyer[:], y.ID.Buyer[:]), cmp.Compare(x.ID.Created, y.ID.Created), slices.Compare(x.ID.Nonce[:], y.ID.Nonce[:]))
	})
	var due, later, review []logged
	for from := 0; from < len(all); {
		buyer, units, record := all[from].ID.Buyer, 0, []byte{0}
		first := from
		for ; from < len(all) && all[from].ID.Buyer == buyer; from++ {
			h := &all[from]
			if from > first && h.ID == all[from-1].ID {
				return r, engine.E(engine.CodeInternal, "the hold %s is to be there twice", h.ID)
			}
			b, err := r.revive(s, shard, h, now+lease)
			if err != nil {
				return r, err
			}
			units += units1(h)
			record = b.append(record)
			if e := (logged{b.deadline, buyer}); b.state != stateAccepted && b.deadline > now+s.HoldTTL.Milliseconds() {
				later = append(later, e)
			} else if b.state != stateAccepted { // a paying one may be returned
				due = append(due, e)
			}
			if b.state == statePaying {
				review = append(review, logged{b.review, buyer})
			}
		}
		if units > 0xff {
			return r, engine.E(engine.CodeInternal, "buyer %x of sale %d has %d units, more than a record can say", buyer, s.No, units)
		}
		record[0] = byte(units)
		r.buyers = append(r.buyers, string(buyer[:]), record)
	}
	r.due, r.review = entries(due), entries(review)
	slices.SortFunc(later, func(x, y logged) int { return cmp.Or(cmp.Compare(x.at, y.at), slices.Compare(x.buyer[:], y.buyer[:])) })
	for _, l := range slices.Compact(later) {
		r.later = append(r.later, 0, append(appendTime5(nil, l.at), l.buyer[:]...))
	}
	return r, nil
}

func units1(h *engine.Hold) (n int) {
	for _, l := range h.Lines {
		n += l.Quantity
	}
	return n
}

// revive turns the engine's view of a hold back into the gate's, and counts it.
func (r *restored) revive(s *engine.Sale, shard int, h *engine.Hold, review int64) (hold, error) {
	out := hold{
		nonce: h.ID.Nonce, lines: h.Lines, created: h.ID.Created - engine.TimeZero, deadline: gateTime(h.ExpiresAt),
		fence: h.Fence, attempts: min(max(h.Attempts, 1), 0xff),
	}
	if h.ID.Sale != s.No || shardOf(s, h.ID.Buyer) != shard || !isNormal(h.Lines) || out.created <= 0 {
		return out, engine.E(engine.CodeInternal, "the hold %s with %v does not belong into shard %d of sale %d", h.ID, h.Lines, shard, s.No)
	}
	out.payment = h.Fence != engine.Fence{}
	switch h.State {
	case engine.Held:
		out.state = stateHeld
	case engine.Paying:
		// What it shows is its cap; its own deadline counts if it is returned.
		out.state, out.payment, out.review = statePaying, true, review
		if out.deadline = gateTime(h.OwnEnd); h.OwnEnd.IsZero() {
			out.deadline = out.created + min(s.HoldTTL, s.HoldCap).Milliseconds()
		}
	case engine.Accepted:
		out.state, out.payment = stateAccepted, true
	default:
		return out, engine.E(engine.CodeInternal, "the hold %s is %s: nothing of it is at the gate", h.ID, h.State)
	}
	for _, l := range h.Lines {
		c, ok := r.taken[l.No]
		if !ok {
			return out, engine.E(engine.CodeInternal, "the hold %s has a SKU %d, which the sale does not", h.ID, l.No)
		}
		q := int64(l.Quantity)
		switch out.state {
		case stateHeld:
			c.Held += q
		case statePaying:
			c.Paying += q
		default:
			c.Sold += q
		}
		r.taken[l.No] = c
	}
	return out, nil
}

// append spells a hold as decodeHold reads it. It is no decision of this epoch,
// so its seq is 0.
func (h *hold) append(b []byte) []byte {
	meta := byte(h.state<<5 | len(h.lines) - 1)
	if h.payment {
		meta |= metaPayment
	}
	b = append(append(b, h.nonce[:]...), meta, 0)
	for _, l := range h.lines {
		b = append(b, byte(l.No>>8), byte(l.No), byte(l.Quantity))
	}
	b = appendTime5(appendTime5(appendTime5(b, h.created), h.deadline), int64(h.seq))
	if h.payment {
		b = appendTime5(append(append(b, h.fence[:]...), byte(h.attempts)), h.review)
	}
	return b
}

// entryMost is how many buyers of the same millisecond share an entry of a log.
const entryMost = 256

func entries(of []logged) (out []any) {
	slices.SortStableFunc(of, func(x, y logged) int { return cmp.Compare(x.at, y.at) })
	for len(of) > 0 {
		n := 1
		for n < len(of) && n < entryMost && of[n].at == of[0].at {
			n++
		}
		e := appendTime5(make([]byte, 0, 5+8*n), of[0].at)
		for _, l := range of[:n] {
			e = append(e, l.buyer[:]...)
		}
		out, of = append(out, e), of[n:]
	}
	return out
}
