package engine

import "time"

// Attempt is the durable note of one payment attempt. It is written before the
// provider is called, so that a crash at any later point leaves something to
// reconcile.
type Attempt struct {
	ID          AttemptID
	Reservation ReservationID
	Buyer       string
	Lines       []Line // what it pays for, so that its hold can be made anew; set when it is begun
	Shard       int    // which gave it the hold; set when it is begun
	Epoch       int64  // of that shard; set when it is begun
	Amount      Money
	Method      string  // the provider's token; never a card number
	Contact     Contact // set when it is begun, and by Begin and Find: nobody else needs it
	State       PaymentState
	Provider    string // chosen before it is called; "" in attempts that never got so far
	ProviderRef string
	Reason      string     // decline code, or why it was voided
	Action      NextAction // what the buyer has to do, in state action_required
	Parked      Parking    // set while it is certain that no provider has seen it
	Cancelled   string     // why somebody has begun to end it at the provider; "": nobody has
	Refund      string     // why its money goes back once it is captured; "": it does not
	BegunAt     time.Time  // when it was noted
	LeaseUntil  time.Time  // until then a node is working on it; it also tells this lease from a later one
	Traceparent string     // W3C trace context of the request that began it, if any
	Fresh       bool       // this call wrote it: nobody worked on it before
}

// Parking says of an attempt in state authorising that no provider has seen it,
// and nobody is sending it. Whoever takes it up clears that first, so a crash
// while it is being sent does not leave a false certainty.
type Parking string

// The ways to be parked.
const (
	NotParked Parking = ""       // it may have been sent
	Unsent    Parking = "unsent" // the buyer was told so and has the hold back; the same key sends it
	Queued    Parking = "queued" // the hold waits with it; Resolve sends it when the provider is back
)

// unsent says that no call of this attempt can have reached a provider before.
func (a Attempt) unsent() bool { return a.Fresh || a.Parked != NotParked }

// Score is what a fraud service thinks of an attempt.
type Score struct {
	Deny     bool
	Reason   string // for the log; buyers are told fraud_suspected
	Unscored bool   // there was no answer; the attempt goes on without one
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
	Attempt  AttemptID
	Provider string
	Payment  PaymentState
	Contact  Contact // set for its buyer and for the storefront's notice: nobody else needs it
	Reason   string  // why it was refused
	PlacedAt time.Time
	Seq      uint64
	Epoch    int64

	Traceparent string // of the payment that made it, for what is done for it later
}

// AcceptedEvent is the event of a reservation that is paid and claimed: everything
// the record needs to make the order. Its wire form and version are orders'.
type AcceptedEvent struct {
	ID          ReservationID
	SaleID      string
	Buyer       string
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

// Unresolved counts attempts that have not been brought to an end.
type Unresolved struct {
	State  PaymentState
	Parked Parking
	Count  int
	Oldest time.Duration
}
