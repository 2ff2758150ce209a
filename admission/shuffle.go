package admission

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math/bits"
)

// Seed decides the order of a pre-queue. It is drawn from a cryptographic source
// before the sale is armed, committed to in public, and published at the opening.
type Seed [32]byte

// shuffleName keeps the commitment apart from every other use of SHA-256, and
// names the version of the algorithm. docs/waiting-room.md spells it for others.
const shuffleName = "flashsale/shuffle/v1"

// Commitment is what is published before anybody can know the seed:
// hex(SHA-256("flashsale/shuffle/v1" || sale id || seed)). The seed has a fixed
// length, so no two pairs of sale and seed give the same bytes.
func Commitment(saleID string, seed Seed) string {
	h := sha256.New()
	h.Write([]byte(shuffleName))
	h.Write([]byte(saleID))
	h.Write(seed[:])
	return hex.EncodeToString(h.Sum(nil))
}

// rounds of the Feistel network. Four make a pseudo-random permutation of a large
// domain; small ones need more to mix.
const rounds = 10

// MaxWaiters bounds the tickets of a sale: a half of the network has at most 16 bits.
const MaxWaiters = 1 << 32

// Shuffle is a pseudo-random permutation of [0, n) under a seed, computed place by
// place: nothing is stored per waiter, and whoever knows seed and n can check any
// place. It serves one goroutine at a time.
type Shuffle struct {
	n    uint64
	half uint // bits of one half
	mask uint32
	mac  hash.Hash
	in   [1 + 8 + 4]byte // round, n, half
	sum  [sha256.Size]byte
}

// NewShuffle makes the permutation of n tickets; n is at most MaxWaiters.
func NewShuffle(seed Seed, n uint64) *Shuffle {
	width := uint(2) // the smallest even number of bits that covers n
	if n > 1 {
		width = max(2, (uint(bits.Len64(n-1))+1)&^1)
	}
	s := &Shuffle{n: n, half: width / 2, mac: hmac.New(sha256.New, seed[:])}
	s.mask = 1<<s.half - 1
	binary.BigEndian.PutUint64(s.in[1:], n)
	return s
}

// Place gives the place of a ticket. Who joined after n was fixed stays where they
// are: the first come is the first served.
func (s *Shuffle) Place(ticket uint64) uint64 {
	if ticket >= s.n {
		return ticket
	}
	// The network permutes a power of four that is at least n. Walking its cycle from
	// a number below n until the next one below n permutes [0, n) itself.
	x := s.network(ticket)
	for x >= s.n {
		x = s.network(x)
	}
	return x
}

// Ticket is the reverse: whose a place is.
func (s *Shuffle) Ticket(place uint64) uint64 {
	if place >= s.n {
		return place
	}
	x := s.reverse(place)
	for x >= s.n {
		x = s.reverse(x)
	}
	return x
}

func (s *Shuffle) network(x uint64) uint64 {
	left, right := uint32(x>>s.half)&s.mask, uint32(x)&s.mask
	for r := range byte(rounds) {
		left, right = right, left^s.round(r, right)
	}
	return uint64(left)<<s.half | uint64(right)
}

func (s *Shuffle) reverse(x uint64) uint64 {
	left, right := uint32(x>>s.half)&s.mask, uint32(x)&s.mask
	for r := rounds - 1; r >= 0; r-- {
		left, right = right^s.round(byte(r), left), left
	}
	return uint64(left)<<s.half | uint64(right)
}

// round is the first four bytes of HMAC-SHA256(seed, round || n || half), cut to a half.
// With n in it, even who knows the seed cannot tell before the opening which tickets will
// be good ones: one more buyer makes another order altogether.
func (s *Shuffle) round(r byte, half uint32) uint32 {
	s.in[0] = r
	binary.BigEndian.PutUint32(s.in[9:], half)
	s.mac.Reset()
	s.mac.Write(s.in[:])
	return binary.BigEndian.Uint32(s.mac.Sum(s.sum[:0])) & s.mask
}
