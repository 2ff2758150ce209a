package reservation

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// kind is what an operation does; the values are the script's.
type kind byte

const (
	opHold    kind = 0
	opBegin   kind = 201
	opClaim   kind = 202
	opReturn  kind = 203
	opRelease kind = 204
	opBar     kind = 205
	opExtend  kind = 206
)

var kinds = map[kind]string{opHold: "hold", opBegin: "begin_payment", opClaim: "claim", opReturn: "return", opRelease: "release", opBar: "bar", opExtend: "extend"}

// op is one operation on its way through a lane.
type op struct {
	kind  kind
	sale  uint32
	lease engine.GateLease
	buyer engine.BuyerKey
	nonce engine.Nonce
	lines []engine.Line // of a hold
	body  []byte        // as lua/hold.lua and lua/moves.lua take it
	room  [bodyRoom]byte

	stage  atomic.Int32
	done   chan struct{}   // filled once answered
	until  context.Context // when it has ended before the operation is sent, it is not sent
	span   telemetry.Span  // of its request's trace
	group  *group          // whose answer it is, if not one caller's
	index  int             // in the group
	later  later           // who hears the answer, if nobody waits for it
	answer answer
	err    error
}

// bodyRoom fits the body of a hold of the most lines.
const bodyRoom = 11 + engine.MaxLines*lineSize

// pool keeps operations whose callers have their answers: a crowd's every hold
// would leave an operation, a body and a channel to the collector.
var pool = sync.Pool{New: func() any { return &op{done: make(chan struct{}, 1)} }}

// free hands an operation back. Only its caller may, and only once it has the
// answer: one who left early leaves it to the lane, which still writes to it.
func (o *op) free() {
	*o = op{done: o.done}
	pool.Put(o)
}

// The stages of an op: whoever moves it out of queued owns what happens next.
const (
	queued int32 = iota
	sent
	abandoned
)

// answer is what the script said to one operation.
type answer struct {
	hold    engine.Hold
	entryID string // of a claim
	refusal int64  // below 0; then hold has nothing but the Seq after which it was judged
}

// refused gives the engine's error for a refusal. What depends on the decisions
// before it carries their number, so that a checker can put it in its place.
func (a *answer) refused() error {
	err := refuse(a.refusal)
	var e *engine.Error
	if (a.refusal == refSoldOut || a.refusal == refBuyerLimit) && errors.As(err, &e) {
		return e.With("seq", a.hold.Seq)
	}
	return err
}

// The refusals of the script.
const (
	refSoldOut    = -1
	refBuyerLimit = -2
	refNotOpen    = -3
	refNotFound   = -4
	refExpired    = -5
	refReleased   = -6
	refAttempt    = -7
	refPaid       = -8
	refExhausted  = -9
	refPaying     = -10
	refAgain      = -11 // the call's budget ended before its search for stock
)

func newOp(k kind, s *engine.Sale, b engine.BuyerKey, n engine.Nonce) *op {
	o := pool.Get().(*op)
	o.kind, o.sale, o.lease, o.buyer, o.nonce = k, s.No, s.Lease(shardOf(s, b)), b, n
	o.body = o.room[:0]
	return o
}

// holdOp makes the operation of a hold. Its body is the record that a new buyer
// gets, but for the times; the script trusts its sums, so they are made here only.
func holdOp(s *engine.Sale, r engine.HoldRequest) (*op, error) {
	lines, err := normal(r.Lines)
	if err != nil {
		return nil, err
	}
	units := 0
	for _, l := range lines {
		units += l.Quantity
	}
	if units > engine.MaxQuantity {
		return nil, refuse(refBuyerLimit)
	}
	o := newOp(opHold, s, r.Buyer, r.Nonce)
	o.lines = lines
	o.body = append(o.body, byte(units))
	o.body = append(o.body, r.Nonce[:]...)
	o.body = append(o.body, byte(stateHeld<<5|len(lines)-1), 0)
	for _, l := range lines {
		o.body = append(o.body, byte(l.No>>8), byte(l.No), byte(l.Quantity))
	}
	return o, nil
}

// moveOp makes the operation on a hold that exists.
func moveOp(k kind, s *engine.Sale, id engine.ReservationID, f *engine.Fence, event []byte) *op {
	o := newOp(k, s, id.Buyer, id.Nonce)
	o.body = append(o.body, byte(k))
	o.body = append(o.body, id.Nonce[:]...)
	o.body = appendTime5(o.body, id.Created-engine.TimeZero)
	var fence engine.Fence
	if f != nil {
		fence = *f
	}
	o.body = append(o.body, fence[:]...)
	size := len(event)
	o.body = append(o.body, byte(size>>16), byte(size>>8), byte(size))
	o.body = append(o.body, event...)
	return o
}

// untilFence is a time as it travels where other moves have their fence.
func untilFence(until time.Time) (f engine.Fence) {
	copy(f[:], appendTime5(nil, until.UnixMilli()-engine.TimeZero))
	return f
}

// normal gives lines sorted by number, each SKU once. Sale.Cart gives them so.
func normal(in []engine.Line) ([]engine.Line, error) {
	if isNormal(in) {
		return in, nil
	}
	out := make([]engine.Line, 0, len(in))
	for _, l := range in {
		if l.Quantity < 1 || l.Quantity > engine.MaxQuantity {
			return nil, engine.E(engine.CodeInvalidRequest, "lines: %d units of SKU %d", l.Quantity, l.No)
		}
		i := len(out)
		for i > 0 && out[i-1].No > l.No {
			i--
		}
		if i > 0 && out[i-1].No == l.No {
			out[i-1].Quantity += l.Quantity
			continue
		}
		out = append(out, engine.Line{})
		copy(out[i+1:], out[i:])
		out[i] = l
	}
	if len(out) == 0 || len(out) > engine.MaxLines {
		return nil, engine.E(engine.CodeInvalidRequest, "lines: a cart has 1 to %d SKUs, not %d", engine.MaxLines, len(out))
	}
	return out, nil
}

func isNormal(in []engine.Line) bool {
	for i, l := range in {
		if l.Quantity < 1 || l.Quantity > engine.MaxQuantity || i > 0 && in[i-1].No >= l.No {
			return false
		}
	}
	return len(in) > 0 && len(in) <= engine.MaxLines
}
