package reservation

import (
	"encoding/binary"

	"github.com/dchest/siphash"

	"github.com/flashsale-engine/flashsale/engine"
)

// Hasher derives buyer keys and nonces by SipHash-2-4 under the sale's secret:
// whoever does not know it can neither find a buyer at the gate nor aim for a
// collision. Use the zero value.
type Hasher struct{}

var _ engine.Hasher = Hasher{}

// Buyer implements engine.Hasher.
func (Hasher) Buyer(s *engine.Sale, buyer string) (k engine.BuyerKey) {
	binary.BigEndian.PutUint64(k[:], hash(s, 'b', buyer, ""))
	return k
}

// Nonce implements engine.Hasher.
func (Hasher) Nonce(s *engine.Sale, buyer, idempotencyKey string) (n engine.Nonce) {
	binary.BigEndian.PutUint64(n[:], hash(s, 'n', buyer, idempotencyKey))
	return n
}

// hash keeps purposes and parts apart: a, "bc" is not ab, "c".
func hash(s *engine.Sale, purpose byte, a, b string) uint64 {
	var room [128]byte
	in := append(room[:0], purpose)
	in = binary.AppendUvarint(in, uint64(len(a)))
	in = append(in, a...)
	in = append(in, b...)
	return siphash.Hash(binary.LittleEndian.Uint64(s.Secret[:8]), binary.LittleEndian.Uint64(s.Secret[8:]), in)
}
