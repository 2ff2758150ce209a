package reservation

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// The bytes of a buyer's record, as lua/record.lua writes them:
//
//	record  = units1 hold*
//	hold    = nonce8 meta1 index1 (sku2 quantity1)+ created5 deadline5 seqbase5 [payment]
//	payment = fence8 attempts1 review5
//	meta    = state*32 + (payment present)*16 + (lines-1)
const (
	stateHeld = iota + 1
	statePaying
	stateAccepted
	stateReleased
	stateExpired
)

const (
	metaPayment = 16
	lineSize    = 3
	paymentSize = 14
)

var states = [...]engine.ReservationState{
	stateHeld: engine.Held, statePaying: engine.Paying, stateAccepted: engine.Accepted,
	stateReleased: engine.Released, stateExpired: engine.Expired,
}

var errRecord = errors.New("reservation: a record does not decode")

// hold is one hold of a record. Times are milliseconds since engine.TimeZero.
type hold struct {
	nonce             engine.Nonce
	state             int
	lines             []engine.Line
	created, deadline int64
	seq               uint64
	payment           bool
	fence             engine.Fence
	attempts          int
	review            int64
}

// decodeHold reads one hold and gives what follows it.
func decodeHold(b []byte) (h hold, rest []byte, err error) {
	const front, tail = 10, 15
	if len(b) < front {
		return h, nil, errRecord
	}
	meta := b[8]
	n := int(meta%metaPayment) + 1
	h.state, h.payment = int(meta>>5), meta&metaPayment != 0
	size := front + n*lineSize + tail
	if h.payment {
		size += paymentSize
	}
	if len(b) < size || h.state < stateHeld || h.state > stateExpired {
		return h, nil, errRecord
	}
	copy(h.nonce[:], b)
	h.lines = make([]engine.Line, n)
	for i := range h.lines {
		l := b[front+i*lineSize:]
		h.lines[i] = engine.Line{No: binary.BigEndian.Uint16(l), Quantity: int(l[2])}
	}
	t := b[front+n*lineSize:]
	h.created, h.deadline, h.seq = time5(t), time5(t[5:]), uint64(time5(t[10:]))+uint64(b[9])
	if h.payment {
		p := t[tail:]
		copy(h.fence[:], p)
		h.attempts, h.review = int(p[8]), time5(p[9:])
	}
	return h, b[size:], nil
}

// decodeRecord reads a buyer's record: the units that count against the limit,
// and the holds.
func decodeRecord(b []byte) (units int, holds []hold, err error) {
	if len(b) == 0 {
		return 0, nil, errRecord
	}
	units, b = int(b[0]), b[1:]
	for len(b) > 0 {
		var h hold
		if h, b, err = decodeHold(b); err != nil {
			return 0, nil, err
		}
		holds = append(holds, h)
	}
	return units, holds, nil
}

// view gives a hold as the engine sees it; capMS is the sale's cap, in milliseconds.
func (h *hold) view(saleNo uint32, b engine.BuyerKey, capMS int64) engine.Hold {
	ends := h.deadline
	if h.state == statePaying {
		ends = h.created + capMS
	}
	return engine.Hold{
		ID:        engine.ReservationID{Sale: saleNo, Created: engine.TimeZero + h.created, Buyer: b, Nonce: h.nonce},
		State:     states[h.state],
		Lines:     h.lines,
		ExpiresAt: moment(ends),
		Seq:       h.seq,
		Attempts:  h.attempts,
		Fence:     h.fence,
	}
}

// moment turns a gate time into the engine's.
func moment(ms int64) time.Time { return time.UnixMilli(engine.TimeZero + ms).UTC() }

func time5(b []byte) int64 {
	_ = b[4]
	return int64(b[0])<<32 | int64(b[1])<<24 | int64(b[2])<<16 | int64(b[3])<<8 | int64(b[4])
}

func appendTime5(b []byte, ms int64) []byte {
	return append(b, byte(ms>>32), byte(ms>>24), byte(ms>>16), byte(ms>>8), byte(ms))
}
