package reservation

import (
	"sync/atomic"

	"github.com/flashsale-engine/flashsale/engine"
)

// kind is what an operation does; the values are the script's.
type kind byte

const (
	opHold    kind = 0
	opBegin   kind = 201
	opClaim   kind = 202
	opReturn  kind = 203
	opRelease kind = 204
)

var kinds = map[kind]string{opHold: "hold", opBegin: "begin_payment", opClaim: "claim", opReturn: "return", opRelease: "release"}

// op is one operation on its way through a lane.
type op struct {
	kind  kind
	sale  uint32
	epoch int64
	buyer engine.BuyerKey
	nonce engine.Nonce
	lines []engine.Line // of a hold
	body  []byte        // as lua/hold.lua and lua/moves.lua take it

	stage  atomic.Int32
	done   chan struct{} // closed once answered
	answer answer
	err    error
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
	refusal int64  // below 0
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

func newOp(k kind, s *engine.Sale, b engine.BuyerKey, n engine.Nonce, body []byte) *op {
	return &op{kind: k, sale: s.No, epoch: s.Epoch, buyer: b, nonce: n, body: body, done: make(chan struct{})}
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
	b := make([]byte, 0, 11+len(lines)*lineSize)
	b = append(b, byte(units))
	b = append(b, r.Nonce[:]...)
	b = append(b, byte(stateHeld<<5|len(lines)-1), 0)
	for _, l := range lines {
		b = append(b, byte(l.No>>8), byte(l.No), byte(l.Quantity))
	}
	o := newOp(opHold, s, r.Buyer, r.Nonce, b)
	o.lines = lines
	return o, nil
}

// moveOp makes the operation on a hold that exists.
func moveOp(k kind, s *engine.Sale, id engine.ReservationID, f *engine.Fence, event []byte) *op {
	b := make([]byte, 0, 22+len(event))
	b = append(b, byte(k))
	b = append(b, id.Nonce[:]...)
	b = appendTime5(b, id.Created-engine.TimeZero)
	if f != nil {
		b = append(b, f[:]...)
	}
	return newOp(k, s, id.Buyer, id.Nonce, append(b, event...))
}

// normal gives lines sorted by number, each SKU once. Sale.Cart gives them so.
func normal(in []engine.Line) ([]engine.Line, error) {
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
