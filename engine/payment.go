package engine

import "time"

// Attempt is the durable note of one payment attempt. It is written before the
// provider is called, so that a crash at any later point leaves something to
// reconcile.
type Attempt struct {
	ID          AttemptID
	Reservation ReservationID
	Buyer       string
	Amount      Money
	Method      string // the provider's token; never a card number
	Email       string
	State       PaymentState
	Provider    string
	ProviderRef string
	Reason      string    // decline code, or why it was voided
	LeaseUntil  time.Time // until then a node is working on it
	BegunAt     time.Time // when it was noted; zero if that is not known here
	Fresh       bool      // this call wrote it: nobody worked on it before
}

// Payment is what a provider says of an attempt.
type Payment struct {
	State       PaymentState // authorised, declined, captured, voided, refunded, action_required, unknown (still processing)
	Provider    string
	Ref         string // the provider's own id
	DeclineCode string
	Amount      Money
	Action      NextAction // set in state action_required
}

// NextAction is what the buyer has to do before the provider goes on.
type NextAction struct {
	Type string // "redirect_to_url"
	URL  string
}

// ProviderEvent is what a provider's webhook says, once its signature holds. It
// is a hint and not the truth: whoever acts on it asks the provider.
type ProviderEvent struct {
	Provider string
	ID       string    // the provider's, the same in every delivery of the event
	Type     string    // the provider's word for it
	Attempt  AttemptID // zero if the event is about none of ours
	At       time.Time // when the provider made it
}

// Order is the record of a paid reservation.
type Order struct {
	ID       ReservationID
	SaleID   string
	Buyer    string
	State    ReservationState // confirmed or refused
	Lines    []PricedLine
	Total    Money
	Email    string
	Attempt  AttemptID
	Provider string
	Payment  PaymentState
	Reason   string // why it was refused
	PlacedAt time.Time
	Seq      uint64
	Epoch    int64
}

// AcceptedEvent is the event of a reservation that is paid and claimed: everything
// the record needs to make the order. Its wire form and version are orders'.
type AcceptedEvent struct {
	ID          ReservationID
	SaleID      string
	Buyer       string
	Email       string
	Lines       []PricedLine
	Total       Money
	Attempt     AttemptID
	Provider    string
	ProviderRef string
	ReplyTo     string // the node that waits for the outcome
	Traceparent string // W3C trace context, if any
}

// OutboxEntry is an accepted event with what the claim's script added to it.
type OutboxEntry struct {
	Sale       uint32
	Shard      int
	EntryID    string // its place in the outbox
	Payload    []byte // the encoded AcceptedEvent
	ID         ReservationID
	Epoch      int64
	Seq        uint64
	AcceptedAt time.Time
}

// Outcome is the record's word on an accepted reservation.
type Outcome struct {
	ID       ReservationID
	State    ReservationState // confirmed or refused
	Provider string
	Payment  PaymentState
	Reason   string
	PlacedAt time.Time
}
