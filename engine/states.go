package engine

import (
	"slices"
	"sort"
)

// ReservationState is where a buyer's claim on some units stands.
// docs/states.md draws the table below, and a test compares the two and the
// SQL CHECK constraints with it.
type ReservationState string

// Reservation states. Held and paying units are soft; accepted and confirmed
// ones are sold.
const (
	Held      ReservationState = "held"      // units set aside until the hold's deadline
	Paying    ReservationState = "paying"    // a payment attempt is under way; the clock alone may not end it
	Accepted  ReservationState = "accepted"  // paid and claimed at the gate; on its way to the record
	Confirmed ReservationState = "confirmed" // committed in the record: an order
	Released  ReservationState = "released"  // given back by the buyer, or declined with no time left
	Expired   ReservationState = "expired"   // the clock ended a held one
	Refused   ReservationState = "refused"   // the record's last guard said no; the money is voided
)

// ReservationMoves is the one table of reservation transitions.
var ReservationMoves = map[ReservationState][]ReservationState{
	Held:      {Paying, Released, Expired},
	Paying:    {Accepted, Held, Released},
	Accepted:  {Confirmed, Refused},
	Confirmed: {},
	Released:  {},
	Expired:   {},
	Refused:   {},
}

// PaymentState is where one payment attempt stands.
type PaymentState string

// Payment states. Unknown is a state of its own: the answer never came.
const (
	PaymentNone        PaymentState = "none"
	PaymentAuthorising PaymentState = "authorising"
	PaymentAuthorised  PaymentState = "authorised"
	PaymentCaptured    PaymentState = "captured"
	PaymentDeclined    PaymentState = "declined"
	PaymentUnknown     PaymentState = "unknown"
	PaymentNeedsAction PaymentState = "action_required" // the buyer has to do something at the provider: 3-D Secure
	PaymentVoided      PaymentState = "voided"
	PaymentRefunded    PaymentState = "refunded"
)

// PaymentMoves is the one table of payment transitions. An attempt that was
// certainly never sent ends as voided: there is nothing at the provider.
var PaymentMoves = map[PaymentState][]PaymentState{
	PaymentNone:        {PaymentAuthorising},
	PaymentAuthorising: {PaymentAuthorised, PaymentDeclined, PaymentUnknown, PaymentNeedsAction, PaymentVoided},
	PaymentUnknown:     {PaymentAuthorised, PaymentDeclined, PaymentNeedsAction, PaymentVoided},
	PaymentNeedsAction: {PaymentAuthorised, PaymentDeclined, PaymentUnknown, PaymentVoided},
	PaymentAuthorised:  {PaymentCaptured, PaymentVoided},
	PaymentCaptured:    {PaymentRefunded},
	PaymentDeclined:    {},
	PaymentVoided:      {},
	PaymentRefunded:    {},
}

// SaleState is where a sale stands.
type SaleState string

// Sale states.
const (
	SaleDraft    SaleState = "draft"    // terms may change; nothing is at the gate
	SaleArmed    SaleState = "armed"    // stock is at the gate; opens by the clock at opens_at, or by hand
	SaleOpen     SaleState = "open"     // buyers may reserve
	SalePaused   SaleState = "paused"   // no new holds; payments go on
	SaleDraining SaleState = "draining" // no new holds, ever; payments go on
	SaleClosed   SaleState = "closed"   // over
)

// SaleMoves is the one table of sale transitions.
var SaleMoves = map[SaleState][]SaleState{
	SaleDraft:    {SaleArmed, SaleClosed},
	SaleArmed:    {SaleOpen, SaleDraining},
	SaleOpen:     {SalePaused, SaleDraining},
	SalePaused:   {SaleOpen, SaleDraining},
	SaleDraining: {SaleClosed},
	SaleClosed:   {},
}

// CanMove says whether a table lets from become to.
func CanMove[S ~string](moves map[S][]S, from, to S) bool { return slices.Contains(moves[from], to) }

// Final says whether a state of a table has no way out.
func Final[S ~string](moves map[S][]S, s S) bool { next, ok := moves[s]; return ok && len(next) == 0 }

// Path gives the moves that lead from one state to another, the shortest way;
// nil if there is none. A record that has missed some words of a provider is
// brought up to date by it, step by step.
func Path[S ~string](moves map[S][]S, from, to S) []S {
	way := map[S][]S{from: {}}
	for queue := []S{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == to {
			return way[at]
		}
		for _, next := range moves[at] {
			if _, seen := way[next]; !seen {
				way[next] = append(slices.Clone(way[at]), next)
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// States lists a table's states in a stable order.
func States[S ~string](moves map[S][]S) []S {
	out := make([]S, 0, len(moves))
	for s := range moves {
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out
}
