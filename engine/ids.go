package engine

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"
)

// BuyerKey is a keyed 64-bit hash of the buyer's id, under the sale's own
// secret. It names the buyer's record at the gate, so that the gate neither
// stores nor shows buyer ids.
type BuyerKey [8]byte

// Nonce tells a buyer's reservations apart. It is the keyed hash of the
// request's Idempotency-Key, so that a repeated request finds its own hold.
type Nonce [8]byte

// Fence names one payment attempt of a reservation at the gate: only the
// attempt that moved the hold to paying may claim or return it.
type Fence [8]byte

// Barred is the fence of a hold that was taken away from attempt f to cancel it.
func (f Fence) Barred() Fence {
	for i := range f {
		f[i] = ^f[i]
	}
	return f
}

// ReservationID finds a reservation without any look-up: which sale, when,
// whose, which. It is 25 bytes and sorts by sale and time, which keeps the
// record's primary key local. One life of a hold has one id: a key that is
// reused after its hold was forgotten makes another created time, so another id.
type ReservationID struct {
	Sale    uint32 // the sale's number
	Created int64  // milliseconds since the Unix epoch, by the gate's clock
	Buyer   BuyerKey
	Nonce   Nonce
}

// IDSize is the length of a reservation id in bytes.
const IDSize = 25

const (
	reservationPrefix = "rsv_"
	orderPrefix       = "ord_"
	attemptPrefix     = "pay_"
)

var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// Bytes gives the id's 25 bytes.
func (id ReservationID) Bytes() []byte {
	var b [IDSize]byte
	id.put(&b)
	return b[:]
}

func (id ReservationID) put(b *[IDSize]byte) {
	binary.BigEndian.PutUint32(b[0:], id.Sale)
	c := uint64(id.Created - TimeZero)
	b[4], b[5], b[6], b[7], b[8] = byte(c>>32), byte(c>>24), byte(c>>16), byte(c>>8), byte(c)
	copy(b[9:], id.Buyer[:])
	copy(b[17:], id.Nonce[:])
}

// TimeZero is the zero of every five-byte time: 2025-01-01T00:00:00Z in Unix
// milliseconds. Five bytes from there reach the year 2059.
const TimeZero int64 = 1735689600000

// ReservationIDFromBytes is the inverse of Bytes.
func ReservationIDFromBytes(b []byte) (ReservationID, bool) {
	if len(b) != IDSize {
		return ReservationID{}, false
	}
	id := ReservationID{
		Sale:    binary.BigEndian.Uint32(b),
		Created: TimeZero + (int64(b[4])<<32 | int64(b[5])<<24 | int64(b[6])<<16 | int64(b[7])<<8 | int64(b[8])),
	}
	copy(id.Buyer[:], b[9:])
	copy(id.Nonce[:], b[17:])
	return id, true
}

// String gives the public form, rsv_ and 40 characters.
func (id ReservationID) String() string { return reservationPrefix + id.text() }

// Append adds the public form to b.
func (id ReservationID) Append(b []byte) []byte {
	var raw [IDSize]byte
	id.put(&raw)
	return idText.AppendEncode(append(b, reservationPrefix...), raw[:])
}

// Order gives the public id of the reservation's order: there is at most one,
// and its id follows from the reservation's, so no crash can make a second.
func (id ReservationID) Order() string { return orderPrefix + id.text() }

// CreatedAt is when the gate made the hold.
func (id ReservationID) CreatedAt() time.Time { return time.UnixMilli(id.Created).UTC() }

func (id ReservationID) text() string {
	var b [IDSize]byte
	id.put(&b)
	return idText.EncodeToString(b[:])
}

// ParseReservationID reads the public form of a reservation's id.
func ParseReservationID(s string) (ReservationID, bool) { return parseID(s, reservationPrefix) }

// ParseOrderID reads the public form of an order's id and gives its reservation.
func ParseOrderID(s string) (ReservationID, bool) { return parseID(s, orderPrefix) }

func parseID(s, prefix string) (ReservationID, bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) != idText.EncodedLen(IDSize) {
		return ReservationID{}, false
	}
	b, err := idText.DecodeString(rest)
	if err != nil {
		return ReservationID{}, false
	}
	return ReservationIDFromBytes(b)
}

// AttemptID names one payment attempt: a hash of the reservation and of the
// checkout's Idempotency-Key, so a repeated checkout is the same attempt on any
// node. It is the idempotency key that the provider sees.
type AttemptID [16]byte

// NewAttemptID derives the attempt of a checkout. Its first eight bytes are the
// fence that the gate keeps.
func NewAttemptID(id ReservationID, idempotencyKey string) AttemptID {
	h := sha256.New()
	h.Write(id.Bytes())
	h.Write([]byte(idempotencyKey))
	var a AttemptID
	copy(a[:], h.Sum(nil))
	return a
}

// Fence gives the part of the attempt's id that the gate keeps.
func (a AttemptID) Fence() (f Fence) { copy(f[:], a[:]); return f }

// String gives the public form, pay_ and 32 hexadecimal digits.
func (a AttemptID) String() string { return attemptPrefix + hex.EncodeToString(a[:]) }

// ParseAttemptID reads the public form.
func ParseAttemptID(s string) (AttemptID, bool) {
	var a AttemptID
	rest, ok := strings.CutPrefix(s, attemptPrefix)
	if !ok || len(rest) != 2*len(a) {
		return a, false
	}
	_, err := hex.Decode(a[:], []byte(rest))
	return a, err == nil
}
