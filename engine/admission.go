package engine

import (
	"context"
	"crypto/rand"
	"time"
)

// Admission is a sale's waiting room: its terms, and what became of them. Like a
// *Sale it is immutable.
type Admission struct {
	Lease     time.Duration // how long a place that was reached may be claimed
	Use       time.Duration // how long an admission may be used, from the claim on
	StartRate float64       // places per second at the opening; 0: the default
	MaxRate   float64       // places per second, ever; 0: the default
	Answer    time.Duration // after which hardly anybody comes any more who was called; 0: the default

	Epoch   int64     // the room's generation; 0 before the sale is armed
	OpensAt time.Time // T0 of this generation; zero: when the sale is opened
	Seed    [32]byte  // draws the places, from the arming on; never leaves the engine before T0

	// The operator's word, at any time.
	RateCap float64 // places per second at most; 0: none
	Paused  bool    // nobody is called
}

// Limits of a waiting room's terms.
const (
	MinAdmissionLease = time.Second
	MaxAdmissionLease = time.Hour
	MaxAdmissionUse   = time.Hour
	MaxAdmissionRate  = 100_000 // places per second
	DefaultLease      = 30 * time.Second
	DefaultUse        = 2 * time.Minute
)

// Regather is how long a room that was lost after its opening gathers its buyers
// again before it opens: long enough for every page that polls to have come.
const Regather = 15 * time.Second

// Rooms makes waiting rooms.
type Rooms interface {
	// Arm makes the room of s.Admission's epoch, instead of what an arming of that epoch
	// may have left that was never committed; but not of one that somebody has joined.
	Arm(ctx context.Context, s *Sale) error
}

// Admissions judges admission tokens. It asks nobody.
type Admissions interface {
	// Admit gives the right that a token carries, if it admits this buyer to the sale
	// now: CodeAdmissionRequired, with the field reason. It keeps nothing of the token.
	Admit(s *Sale, b BuyerKey, token string) (Right, error)
	// Took hears that a right was used, for so many units. It must not block.
	Took(s *Sale, r Right, units int)
}

// Right is an admission: it may be used once.
type Right struct {
	ID    [16]byte // the same however often the token is issued
	Since int64    // when it was claimed, in milliseconds since the Unix epoch
}

// The reasons of CodeAdmissionRequired.
const (
	AdmissionMissing = "missing" // no token was sent
	AdmissionForged  = "forged"  // it is none of ours
	AdmissionExpired = "expired" // its time is over
	AdmissionOther   = "other"   // it is another buyer's, or for another sale
	AdmissionUsed    = "used"    // it has made a reservation, under another Idempotency-Key
)

// NotAdmitted is the refusal of a reservation that lacks a good token.
func NotAdmitted(s *Sale, reason, detail string) *Error {
	return E(CodeAdmissionRequired, "%s", detail).With("reason", reason).With("queue", "/v1/sales/"+s.ID+"/queue")
}

// admitted is where in a nonce the five bytes begin that name the admission, where there
// is one. The gate takes two nonces of one buyer that end alike for the same reservation.
const admitted = len(Nonce{}) - 5

// nonce names the reservation that a request makes. Where admission is demanded, it
// is the admission that names it, so that a token cannot make two; the rest tells
// whether the request is the one that used it.
func (e *Engine) nonce(s *Sale, b BuyerKey, r *ReserveRequest) (n Nonce, right Right, err error) {
	n = e.Hash.Nonce(s, r.Buyer, r.IdempotencyKey)
	if s.Admission == nil {
		return n, right, nil
	}
	if e.Admissions == nil {
		return n, right, E(CodeUnavailable, "this node has no waiting room")
	}
	right, err = e.Admissions.Admit(s, b, r.Admission)
	copy(n[admitted:], right.ID[:])
	return n, right, err
}

// took tells the waiting room that a reservation was made.
func (e *Engine) took(s *Sale, r Right, h *Hold) {
	if s.Admission == nil || e.Admissions == nil {
		return
	}
	units := 0
	for _, l := range h.Lines {
		units += l.Quantity
	}
	e.Admissions.Took(s, r, units)
}

func validateAdmission(a *Admission, bad func(field, format string, args ...any) error) error {
	switch {
	case a == nil:
		return nil
	case a.Lease < MinAdmissionLease || a.Lease > MaxAdmissionLease:
		return bad("admission.lease", "%s is not between %s and %s", a.Lease, MinAdmissionLease, MaxAdmissionLease)
	case a.Use < MinAdmissionLease || a.Use > MaxAdmissionUse:
		return bad("admission.use", "%s is not between %s and %s", a.Use, MinAdmissionLease, MaxAdmissionUse)
	case !(a.StartRate >= 0 && a.StartRate <= MaxAdmissionRate):
		return bad("admission.start_rate", "%g is not between 0 and %d places per second", a.StartRate, MaxAdmissionRate)
	case !(a.MaxRate >= 0 && a.MaxRate <= MaxAdmissionRate):
		return bad("admission.max_rate", "%g is not between 0 and %d places per second", a.MaxRate, MaxAdmissionRate)
	case a.Answer < 0 || a.Answer > a.Lease:
		return bad("admission.answer", "%s is not between 0 and the lease, %s", a.Answer, a.Lease)
	}
	return nil
}

// sameAdmission compares terms, not what became of them.
func sameAdmission(a, b *Admission) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Lease == b.Lease && a.Use == b.Use && a.StartRate == b.StartRate && a.MaxRate == b.MaxRate && a.Answer == b.Answer
}

// armRoom draws the seed of the room's next generation and makes it. It runs before the
// record commits: a room that the record does not know admits nobody, and is made anew.
func (l *Lifecycle) armRoom(ctx context.Context, s *Sale, opens time.Time) error {
	if l.Rooms == nil {
		return E(CodeUnavailable, "this node cannot make waiting rooms")
	}
	a := *s.Admission
	a.Epoch, a.OpensAt = a.Epoch+1, opens
	if _, err := rand.Read(a.Seed[:]); err != nil {
		return err
	}
	s.Admission = &a
	return l.Rooms.Arm(ctx, s)
}

// openRoom opens a room with its sale, unless the clock does it: when the sale is opened
// ahead of its time, or has none.
func openRoom(s *Sale, now time.Time, early bool) {
	if s.Admission == nil || !early && !s.Admission.OpensAt.IsZero() {
		return
	}
	a := *s.Admission
	a.OpensAt = now.Truncate(time.Millisecond)
	s.Admission = &a
}

// RemakeRoom makes a room anew of which epoch was lost, under the next one and with a
// seed of its own. Those who waited join again: before T0 nothing else is lost; after
// it they are shuffled anew, Regather later. Tokens stay good. Repeatable.
func (l *Lifecycle) RemakeRoom(ctx context.Context, id string, epoch int64) (*Sale, error) {
	return l.Store.Change(ctx, id, Act{Actor: "engine", Name: "waiting room lost"}, func(s *Sale) error {
		if s.Admission == nil || s.Admission.Epoch != epoch || s.State == SaleDraining || s.State == SaleClosed {
			return nil // it was somebody else's doing, or nobody needs it any more
		}
		opens, now := s.Admission.OpensAt, l.Clock.Now()
		if !opens.IsZero() && !opens.After(now) {
			opens = now.Add(Regather).Truncate(time.Millisecond)
		}
		return l.armRoom(ctx, s, opens)
	})
}

// SteerQueue is the operator's word on how fast people are called. A nil leaves it as it is.
func (l *Lifecycle) SteerQueue(ctx context.Context, id string, rateCap *float64, paused *bool, act Act) (*Sale, error) {
	act.Name = "queue"
	return l.Store.Change(ctx, id, act, func(s *Sale) error {
		if s.Admission == nil {
			return E(CodeNotFound, "sale %q has no waiting room", s.ID)
		}
		a := *s.Admission
		if rateCap != nil {
			if !(*rateCap >= 0 && *rateCap <= MaxAdmissionRate) {
				return E(CodeInvalidRequest, "rate_cap: %g is not between 0 and %d places per second", *rateCap, MaxAdmissionRate).With("field", "rate_cap")
			}
			a.RateCap = *rateCap
		}
		if paused != nil {
			a.Paused = *paused
		}
		s.Admission = &a
		return nil
	})
}

// RoomView is a waiting room's public document. It is shared: do not change it.
type RoomView struct {
	Sale       string
	State      string // armed, open or closed
	Commitment string
	Seed       string // hexadecimal; "" before T0
	N          int64  // tickets that were shuffled; -1 before T0
	OpensAt    time.Time
	OpenedAt   time.Time
	Front      int64
	Rate       float64 // places per second
	Reach      int64   // places from here on are beyond what stock can reach; -1: not known
	Limit      string  // what holds the front back
	Joined     int64
	Claimed    int64
	Left       int64
	Lapsed     int64
	Lease      time.Duration
	Now        time.Time

	Over int64 // below it, leases are over for certain

	// For operators; not part of the document.
	Inside int64  // buyers admitted who have taken none yet, and still may
	Took   int64  // admitted buyers who took units
	Units  int64  // that they took
	Gone   int64  // admitted buyers whose admission ended without
	Runner string // who moves the front
}

// The states of a ticket.
const (
	TicketWaiting     = "waiting"     // the front has not reached it
	TicketReached     = "reached"     // it has: its owner may claim
	TicketAdmitted    = "admitted"    // claimed
	TicketPassed      = "passed"      // the lease was over before anybody claimed it, unless somebody had
	TicketUnreachable = "unreachable" // waiting, and stock will hardly get there; units that come back may change that
	TicketClosed      = "closed"      // the room is closed
	TicketLeft        = "left"        // given back
)

// RoomTicket is a place in the queue, as its owner or anybody sees it.
type RoomTicket struct {
	Sale     string
	Number   uint64
	Place    int64 // -1 before T0
	State    string
	Position int64         // places before it; -1: not known
	Wait     time.Duration // an estimate; -1: not known
	Token    string        // of an admitted buyer
	Expires  time.Time     // of the token
	New      bool          // this call gave the ticket out
}
