package engine

import (
	"fmt"
)

// wrongNow lists what must not be, at any step.
func (s *sim) wrongNow() (wrong []string) {
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if stock := s.sale.Items[0].Stock; s.sold > stock {
		note("oversold: %d of %d", s.sold, stock)
	}
	for id, m := range s.money {
		if m != PaymentCaptured {
			continue
		}
		if o, ordered := s.orders[s.tries[id].Reservation]; !ordered || o.State != Confirmed || o.Attempt != id {
			note("attempt %s was captured, and its order is %+v", id, o)
		}
	}
	for _, m := range append(s.reached[:], s.current) {
		if !m.stock.Conserved() && m.epoch > 0 {
			note("units at %s: %+v", m.name, m.stock)
		}
	}
	return wrong
}

// recovered ends what is left, undisturbed, and lists what is wrong then.
func (s *sim) recovered() (wrong []string) {
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	s.calm, s.async = true, false
	s.heal()
	s.deliver()
	s.write()
	if err := s.recover(s.engine()); err != nil {
		note("recovery: %v", err)
	}
	if !s.stock.Conserved() || s.stock.Held+s.stock.Paying > 0 {
		note("units: %+v", s.stock)
	}
	if s.stock.Sold != s.sold {
		note("%d units are ordered: %+v", s.sold, s.stock)
	}
	if s.refused > 0 {
		note("%d accepted reservations met the last guard", s.refused)
	}
	for id, m := range s.money {
		a := s.tries[id]
		o, ordered := s.orders[a.Reservation]
		ordered = ordered && o.Attempt == id && o.State == Confirmed
		if ordered != (m == PaymentCaptured) || !ordered && m != PaymentVoided && m != PaymentDeclined && m != PaymentRefunded {
			note("attempt %s: order %v, money %s at %s; record: %+v; gate: %+v", id, ordered, m, s.seenBy[id], *a, s.holds[a.Reservation])
		}
	}
	for _, a := range s.tries {
		if a.State != PaymentCaptured && !Final(PaymentMoves, a.State) {
			note("attempt %s has not ended: %s", a.ID, a.State)
		}
	}
	for _, v := range s.visits {
		wrong = append(wrong, v.strange...)
		for _, id := range v.lost {
			if o, ordered := s.orders[id]; ordered && o.State == Confirmed || s.count.Lost == 0 {
				note("%s was told that %s was lost, in %d losses; order %+v", v.buyer, id, s.count.Lost, o)
			}
		}
		for _, t := range v.told {
			o, ordered := s.orders[t.id]
			ordered = ordered && o.Attempt == NewAttemptID(t.id, t.key) && o.State == Confirmed
			if ordered != (t.code == "") {
				note("%s was told %q about %s; ordered: %v", v.buyer, t.code, t.key, ordered)
			}
		}
	}
	return wrong
}
