package engine

import "time"

// DeadLetter is an event of the stream that could not become an order, as the
// record keeps it.
type DeadLetter struct {
	ID          int64      `json:"id"`
	At          time.Time  `json:"at"`
	Partition   int32      `json:"partition"`
	Offset      int64      `json:"offset"`
	Reason      string     `json:"reason"`
	Detail      string     `json:"detail"`
	Sale        string     `json:"sale,omitempty"`
	Reservation string     `json:"reservation,omitempty"` // "": none can be read from it
	State       string     `json:"state"`
	Accepted    bool       `json:"accepted"` // a payment attempt of the reservation is on record: a buyer waits for it
	Ordered     bool       `json:"ordered"`  // the reservation has an order all the same
	Tries       int        `json:"tries"`    // by operators
	SettledAt   *time.Time `json:"settled_at,omitempty"`
	SettledBy   string     `json:"settled_by,omitempty"`
	SettledWhy  string     `json:"settled_why,omitempty"` // why it was dropped, or what the retry made of it
}

// States of a dead letter.
const (
	DeadLetterOpen    = "open"
	DeadLetterRetried = "retried" // it has become an order
	DeadLetterDropped = "dropped" // somebody said why it never will
)

// DeadLetterFilter chooses among dead letters; "" is any.
type DeadLetterFilter struct {
	Sale, Reason, State string
	ID                  int64 // not 0: this one
	Limit               int
}

// What a retry made, or would make, of a dead letter.
const (
	RetryConfirmed = "confirmed" // an order
	RetryRefused   = "refused"   // an order that the stock does not cover: its money is voided
	RetryRepeated  = "repeated"  // the reservation had its order already
	RetryDead      = "dead"      // it cannot become an order now either
	RetrySettled   = "settled"   // nothing: it had been retried or dropped before
)

// Retried is what became of one dead letter.
type Retried struct {
	Did    string     `json:"did"`
	Detail string     `json:"detail,omitempty"`
	Order  string     `json:"order,omitempty"`
	Letter DeadLetter `json:"letter"`
}

// DeadReservation is an accepted reservation without an order, whose event is a
// dead letter.
type DeadReservation struct {
	ID      ReservationID
	Letter  int64
	Reason  string
	Dropped bool // an operator has said why it will have no order
}
