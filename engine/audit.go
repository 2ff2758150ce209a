package engine

import "context"

// RecordAudit reads the record for Verify.
type RecordAudit interface {
	// Totals gives every SKU of a sale as four places of the record tell it.
	Totals(ctx context.Context, saleNo uint32) ([]RecordTotals, error)
	// Missing gives those of ids that have no order, confirmed or refused.
	Missing(ctx context.Context, ids []ReservationID) ([]ReservationID, error)
	// Orphans gives orders that the ledger names and the orders table lacks.
	Orphans(ctx context.Context, saleNo uint32) ([]ReservationID, error)
	// Unpaid gives confirmed orders whose lines do not come to their total, or
	// without an authorised or captured payment of it, unless an operator had it
	// refunded; and captured payments without a confirmed order.
	Unpaid(ctx context.Context, saleNo uint32) ([]UnpaidOrder, error)
	// Money gives attempts whose movements in the money ledger do not come to the
	// payment's state and amount, and movements of attempts that are not there.
	Money(ctx context.Context, saleNo uint32) ([]UnpaidOrder, error)
	// Brief gives every SKU of all sales that are at the gate and not closed,
	// from sums that are kept up to date: it costs the same however many orders there are.
	Brief(ctx context.Context) ([]RecordBrief, error)
	// Standing says how the record sees attempts; those that it does not know
	// are left out.
	Standing(ctx context.Context, attempts []AttemptID) ([]Standing, error)
	// DeadLetters counts events that could not become orders and that nobody has
	// settled, per reason.
	DeadLetters(ctx context.Context) (map[string]int, error)
	// DeadReservations gives accepted reservations of a sale without an order
	// whose event is a dead letter, open or dropped.
	DeadReservations(ctx context.Context, saleNo uint32) ([]DeadReservation, error)
}

// RecordTotals are one SKU's units in the record.
type RecordTotals struct {
	No          uint16
	Stock       int64 // the SKU row
	Sold        int64 // the SKU row
	LedgerStock int64 // sum of the ledger's stock movements
	LedgerSold  int64 // sum of the ledger's sold movements
	Orders      int64 // sum over confirmed orders
	Refused     int64 // sum over refused orders

	RunningStock int64 // the ledger's running sums and what was added since
	RunningSold  int64
}

// RecordBrief is one SKU's units in the record, without counting its orders.
type RecordBrief struct {
	SaleNo       uint32
	No           uint16
	Stock        int64 // the SKU row
	Sold         int64 // the SKU row
	RunningStock int64 // the ledger's running sums and what was added since
	RunningSold  int64
	Refused      int64 // sum over refused orders
}

// UnpaidOrder is an order and its money that do not agree.
type UnpaidOrder struct {
	ID      ReservationID
	Attempt AttemptID
	Cause   FindingCause
	Reason  string
}

// Standing is how the record sees an attempt.
type Standing struct {
	ID      AttemptID
	State   PaymentState
	Amount  Money
	Ordered bool // a confirmed order was paid by it
	Owed    bool // its money goes back, or has gone back, on purpose
}

// StreamAudit tells how far the record has read the stream.
type StreamAudit interface {
	// Mark notes where the stream ends now.
	Mark(ctx context.Context) (Mark, error)
	// Left says how many places of the stream in front of a mark the record has not
	// read yet.
	Left(ctx context.Context, m Mark) (int64, error)
}

// Mark is the end of each partition of the stream at some moment.
type Mark map[int32]int64

// Books lists what the provider says of every payment it has taken for us.
type Books interface {
	// Payments visits all of them; visit's error ends the walk. It may return
	// CodeNotFound if the provider cannot list.
	Payments(ctx context.Context, visit func(AttemptID, Payment) error) error
}
