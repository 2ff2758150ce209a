package engine

import (
	"context"
	"time"
)

// Every method of every port may also return CodeUnavailable (it certainly did
// not happen, or reading failed) or an error that wraps ErrUnknown (it may have
// happened; repeat it: all writes are idempotent). Other codes are named.

// Sales gives snapshots of sales.
type Sales interface {
	// Sale finds one by name: CodeNotFound.
	Sale(ctx context.Context, id string) (*Sale, error)
	// SaleByNo finds one by number: CodeNotFound.
	SaleByNo(ctx context.Context, no uint32) (*Sale, error)
}

// HoldRequest asks the gate for units. Lines come from Sale.Cart.
type HoldRequest struct {
	Buyer BuyerKey
	Nonce Nonce
	Lines []Line
}

// Gate decides, atomically and by its own clock. Every method may return
// CodeGateFrozen (missing or other epoch) and CodeOverloaded.
type Gate interface {
	// Hold sets units aside. A known nonce gives the hold it made, in its
	// present state, with Replayed set, whatever the lines; so does one that
	// ends with the same five bytes, and the hold's id tells them apart. CodeSoldOut,
	// CodeBuyerLimit, CodeSaleNotOpen.
	Hold(ctx context.Context, s *Sale, r HoldRequest) (Hold, error)
	// HoldAll is Hold for several buyers at once. It calls each once for every
	// request, in any order, from one goroutine, and pause before it waits for
	// further answers. The *Hold is each's for the time of the call.
	HoldAll(ctx context.Context, s *Sale, rs []HoldRequest, each func(i int, h *Hold, err error), pause func())
	// BeginPayment moves held to paying for one attempt. The same attempt again
	// gives the hold with Replayed set: paying while it is under way, accepted
	// once claimed; after it was returned it begins again and is not counted
	// again. The hold comes back with ExpiresAt at its cap. CodeNotFound,
	// CodeReservationExpired, CodeReservationReleased, CodeAttemptInProgress
	// (another attempt pays), CodeAlreadyPaid (another attempt was claimed),
	// CodeAttemptsExhausted.
	BeginPayment(ctx context.Context, s *Sale, id ReservationID, f Fence) (Hold, error)
	// Claim moves paying to accepted and puts the event into the outbox, in one
	// step. Repeated, it gives the same answer with Replayed set and no new
	// entry. CodeNotFound, CodeReservationExpired, CodeReservationReleased,
	// CodeAlreadyPaid (by another attempt), CodeAttemptInProgress (the hold is
	// not paying under this fence, so the attempt has lost its claim to it).
	Claim(ctx context.Context, s *Sale, id ReservationID, f Fence, event []byte) (Hold, OutboxEntry, error)
	// Return ends an attempt without money: paying goes back to held if the
	// hold's own deadline lies ahead, else to released. Repeatable; a hold that
	// the fence does not hold is left alone and given as it is. CodeNotFound.
	Return(ctx context.Context, s *Sale, id ReservationID, f Fence) (Hold, error)
	// Bar takes a paying hold away from the attempt whose fence it carries,
	// before that attempt is cancelled: it stays paying, under f.Barred(), and f
	// can claim it no more. Repeatable; a hold that is not paying under f is left
	// alone and given as it is, an accepted one too. CodeNotFound.
	Bar(ctx context.Context, s *Sale, id ReservationID, f Fence) (Hold, error)
	// Release gives a held reservation back. Repeatable. CodeNotFound,
	// CodePaymentInProgress, CodeAlreadyPaid; an expired one is given as it is.
	Release(ctx context.Context, s *Sale, id ReservationID) (Hold, error)
}

// GateReader reads the gate without deciding anything.
type GateReader interface {
	// Find gives one hold: CodeNotFound. A held one past its deadline reads as expired.
	Find(ctx context.Context, s *Sale, id ReservationID) (Hold, error)
	// Counters gives every SKU's units, summed over shards, each shard read at
	// one instant, and units in flight between shards counted once.
	// CodeGateFrozen.
	Counters(ctx context.Context, s *Sale) ([]Counters, error)
	// Holds visits every hold that the gate remembers, in no order; it may
	// repeat or miss ones that change meanwhile. visit's error ends the walk.
	Holds(ctx context.Context, s *Sale, visit func(Hold) error) error
}

// GateControl is what operators and the clock do to the gate.
type GateControl interface {
	// Create makes a sale's keys, terms and stock included, once, when it is
	// armed. Keys that nobody has used since an earlier Create of the same epoch
	// are made anew. CodeGateFrozen if keys that were used, or of another epoch,
	// stand there.
	Create(ctx context.Context, s *Sale) error
	// Install brings the terms and state of keys that exist to those of s,
	// unless a later Version of the sale was installed before. It touches no
	// hold and no counter. CodeGateFrozen if the keys are gone, because making
	// them anew would forget holds and oversell, or if another epoch stands there.
	Install(ctx context.Context, s *Sale) error
	// SetStock brings a SKU's stock to an absolute number, so that a repeated
	// call changes nothing; nor does one with an earlier Version of the sale than
	// the gate has seen. CodeSoldOut if fewer units are available than would be
	// taken away. CodeGateFrozen.
	SetStock(ctx context.Context, s *Sale, item uint16, stock int64) error
	// Reap expires due holds and lists paying ones whose answer is overdue, at
	// most limit of both together; more says there is work left.
	Reap(ctx context.Context, s *Sale, limit int) (r Reaped, err error)
}

// GateHolds is what operators do to buyers' holds.
type GateHolds interface {
	// Extend has a held or paying hold live until a time, if its own deadline is
	// before that: it is never shortened. Repeatable; one that has ended, or that
	// lives as long, is given as it is, with Replayed set. CodeNotFound,
	// CodeGateFrozen.
	Extend(ctx context.Context, s *Sale, id ReservationID, until time.Time) (Hold, error)
	// Release is that of Gate.
	Release(ctx context.Context, s *Sale, id ReservationID) (Hold, error)
}

// GateShards is what concerns the shards of a sale among each other. Gate.Hold
// fetches units from other shards by itself before it says CodeSoldOut.
type GateShards interface {
	// Shards gives the counters of each shard, and the transfers between them.
	// CodeGateFrozen.
	Shards(ctx context.Context, s *Sale) (ShardView, error)
	// Transfer moves available units of a SKU from one shard to another: all of
	// them, or none with CodeSoldOut. After an error that wraps ErrUnknown they
	// may have left; Balance brings them home. CodeGateFrozen.
	Transfer(ctx context.Context, s *Sale, item uint16, from, to int, units int64) (Transfer, error)
	// Balance completes transfers that were left open, and then moves units from
	// rich shards to poor ones, at most limit times. CodeGateFrozen.
	Balance(ctx context.Context, s *Sale, limit int) (Balanced, error)
}

// GateRepair is how one shard of a gate that was lost comes back; the story is
// told in rebuild.go. A gate is lost when its server is not the one of the lease
// (it was restarted, or another was promoted: acknowledged writes may be
// missing), when its keys are gone, or when they are of another epoch.
type GateRepair interface {
	// Server names the server process that decides for a shard now, so that a
	// restart and a promotion have other names. CodeUnavailable if none answers.
	Server(ctx context.Context, s *Sale, shard int) (string, error)
	// Inspect says whether a shard still is what its lease says: nil, or
	// CodeGateFrozen with the field "lost" (server, terms, keys, epoch).
	Inspect(ctx context.Context, s *Sale, shard int) error
	// Freeze closes a shard, on whichever server decides for it now: nothing of
	// its lease's epoch or an older one is decided any more. Its holds and its
	// outbox stay. Repeatable. One that does not answer is frozen by its lease
	// alone, once that has changed.
	Freeze(ctx context.Context, s *Sale, shard int) error
	// Remains visits the live holds that a frozen shard still remembers, the
	// oldest first, each as held until its own deadline; none if its keys are
	// gone. Of those that are paying the record may know better: one that it does
	// not know was on its way to be paid, or back from it.
	Remains(ctx context.Context, s *Sale, shard int, visit func(Hold) error) error
	// Rebuild writes a frozen shard anew under lease l, of a higher epoch, with
	// exactly the holds it is given (accepted, paying, held) and, of each SKU,
	// the shard's allotment less what they take; what remained of transfers with
	// other shards is settled. The outbox stays. The last thing written opens
	// it. It is safe to call again after a crash, and does nothing with
	// CodeGateFrozen if the shard is of an epoch as high already, or on another
	// server than l says. CodeSoldOut if the holds take more than there is.
	Rebuild(ctx context.Context, s *Sale, shard int, l GateLease, holds []Hold) error
}

// Balanced is what one Balance did.
type Balanced struct {
	Completed int   // transfers that somebody had left open
	Transfers int   // new ones
	Units     int64 // that the new ones moved
}

// Reaped is what one Reap did.
type Reaped struct {
	Expired int
	Overdue []Hold // paying, to be resolved; each is listed again later until it is
	More    bool
}

// Attempts is the durable list of payment attempts.
//
// A lease is known by its end: the LeaseUntil that Begin, Resume or Keep gave.
// Methods that take an Attempt act for the lease that it carries, so that a node
// which was away for too long cannot undo what another one did meanwhile.
type Attempts interface {
	// Begin writes an attempt in state authorising under a lease, or gives the
	// one of that id that exists (Fresh unset). CodeGateFrozen if the record has
	// granted another epoch than the attempt's to the shard that gave the hold.
	Begin(ctx context.Context, a Attempt, lease time.Duration) (Attempt, error)
	// Find gives an attempt: CodeNotFound.
	Find(ctx context.Context, id AttemptID) (Attempt, error)
	// OfReservation gives all attempts of a reservation, the oldest first.
	OfReservation(ctx context.Context, id ReservationID) ([]Attempt, error)
	// ByFence finds the attempt that a hold's fence names: CodeNotFound.
	ByFence(ctx context.Context, id ReservationID, f Fence) (Attempt, error)
	// Resume takes the lease of an unfinished attempt (authorising, unknown,
	// action_required or authorised) whose lease is over, and gives it, with
	// Parked as it was; from then on it is not parked. CodeAttemptInProgress if
	// the lease is alive, CodeNotFound.
	Resume(ctx context.Context, id AttemptID, lease time.Duration) (Attempt, error)
	// Keep renews the lease before units are taken for money that came late.
	// CodeAttemptInProgress if somebody else has taken it, the attempt has ended,
	// or its end has begun.
	Keep(ctx context.Context, a Attempt, lease time.Duration) (Attempt, error)
	// Cancel renews the lease and notes that the attempt is to end at the provider,
	// before that is asked to: nobody takes units for it any more. The first
	// reason stays. CodeAttemptInProgress if somebody else has taken the lease, or
	// the attempt has ended.
	Cancel(ctx context.Context, a Attempt, reason string, lease time.Duration) (Attempt, error)
	// Bar notes that no event makes an order of an attempt any more, whichever
	// server's claim it may come from: after Gate.Bar and before the provider is
	// asked to void. Repeatable. CodeAlreadyPaid if there is an order of it.
	// CodeAttemptInProgress if somebody else has taken the lease, or it has ended.
	Bar(ctx context.Context, a Attempt) error
	// Note records what became of an attempt and ends its lease. A move that
	// PaymentMoves does not allow from the present state changes no state and
	// is no error; noting the present state again only ends the lease and
	// completes the provider's reference and the action.
	Note(ctx context.Context, a Attempt, p Payment, reason string) error
	// Park notes that no provider has seen an attempt in state authorising, and
	// ends its lease. It says false, and notes nothing, if the lease is another's
	// or if room attempts are queued already; only queueing needs room.
	Park(ctx context.Context, a Attempt, how Parking, room int) (bool, error)
	// Drop ends an attempt that is authorising and that no provider has seen, as
	// voided. It says false, and notes nothing, if the lease is another's: that
	// node may have sent it.
	Drop(ctx context.Context, a Attempt, reason string) (bool, error)
	// Reroute notes another provider before it is called instead of the one that
	// certainly saw nothing: only while the attempt is authorising, nothing was
	// noted of it, and the lease is alive. CodeAttemptInProgress otherwise.
	Reroute(ctx context.Context, a Attempt, provider string) error
	// Owe notes durably that an attempt's money goes back once it is captured.
	// The payments role refunds it. Repeatable; the first reason stays.
	Owe(ctx context.Context, id AttemptID, reason string) error
}

// Inbox keeps the events of payment providers until somebody has acted on them.
type Inbox interface {
	// Keep stores an event, once per provider and event id; again is true if it
	// was there already.
	Keep(ctx context.Context, ev ProviderEvent) (again bool, err error)
}

// Payments calls the payment provider: bulkhead, time-out and breaker are inside.
//
// An error that wraps ErrUnknown: the provider may have acted. CodePaymentUnavailable:
// it certainly has not. A decline is a Payment, not an error.
type Payments interface {
	// Choose names the provider that an attempt shall go to. It is noted with
	// the attempt before anybody is called. CodePaymentDeclined, with a
	// decline_code: no provider takes it. CodePaymentUnavailable: none can now.
	Choose(ctx context.Context, a Attempt) (provider string, err error)
	// Authorise reserves the money. The attempt's id is the idempotency key.
	Authorise(ctx context.Context, a Attempt) (Payment, error)
	// Capture takes authorised money. Repeatable.
	Capture(ctx context.Context, a Attempt) (Payment, error)
	// Void gives an authorisation back, whether or not the reference is known.
	// Repeatable; an attempt that the provider never saw is voided too.
	Void(ctx context.Context, a Attempt) (Payment, error)
	// Refund gives captured money back, all of it. Repeatable.
	Refund(ctx context.Context, a Attempt) (Payment, error)
	// Lookup asks what became of an attempt: CodeNotFound if the provider never saw it.
	Lookup(ctx context.Context, a Attempt) (Payment, error)
}

// Stream hands accepted events to the record.
type Stream interface {
	// Encode gives the event's wire form.
	Encode(a AcceptedEvent) ([]byte, error)
	// Publish returns when the stream has the event durably, and then takes it
	// out of the outbox. On an error it stays there for the relay.
	Publish(ctx context.Context, e OutboxEntry) error
}

// Outcomes tells a waiting node what the record decided.
type Outcomes interface {
	// Node is this node's reply address.
	Node() string
	// Expect registers interest before the event is published. wait returns the
	// outcome or ctx's error; cancel frees the registration.
	Expect(id ReservationID) (wait func(ctx context.Context) (Outcome, error), cancel func())
}

// Outbox is where claimed events wait until the stream has them.
type Outbox interface {
	// Pending lists entries of a sale at least minAge old, oldest first.
	Pending(ctx context.Context, s *Sale, minAge time.Duration, most int) ([]OutboxEntry, error)
	// Remove forgets entries. Repeatable.
	Remove(ctx context.Context, s *Sale, entries []OutboxEntry) error
}

// Notifier tells the nodes that wait for the record's word. A lost message
// costs a poll, nothing else.
type Notifier interface {
	Notify(ctx context.Context, node string, outcomes []Outcome) error
}

// Orders reads the record.
type Orders interface {
	// Order gives a committed order, confirmed or refused: CodeNotFound.
	Order(ctx context.Context, id ReservationID) (Order, error)
	// Contact gives what an order's buyer gave at checkout: CodeNotFound.
	Contact(ctx context.Context, o Order) (Contact, error)
}

// Hasher derives the gate's names from strangers' strings, under a sale's secret.
type Hasher interface {
	Buyer(s *Sale, buyer string) BuyerKey
	Nonce(s *Sale, buyer, idempotencyKey string) Nonce
}

// Clock is the time of this process. The gate judges deadlines by its own.
type Clock interface{ Now() time.Time }
