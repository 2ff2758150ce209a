package admission

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Token is the right to reserve that an admitted buyer carries. It is checked
// without a look-up: it names whom it is for, and a key of ours signed it.
type Token struct {
	Sale    uint32 // the sale's number
	Epoch   uint32 // the generation of the queue that admitted
	Buyer   engine.BuyerKey
	Ticket  uint32
	Expires time.Time // in whole milliseconds
}

// TokenID names the right itself, however often its token is issued: the same
// sale, generation, buyer and ticket give the same id. Used as the nonce of the
// reservation it makes a token good for one reservation by construction.
type TokenID [16]byte

// ID derives the token's id. It is not sent, since it follows from what is.
func (t Token) ID() (id TokenID) {
	var room [64]byte
	b := append(room[:0], "flashsale/admission/v1"...)
	b = binary.BigEndian.AppendUint32(b, t.Sale)
	b = binary.BigEndian.AppendUint32(b, t.Epoch)
	b = append(b, t.Buyer[:]...)
	b = binary.BigEndian.AppendUint32(b, t.Ticket)
	sum := sha256.Sum256(b)
	copy(id[:], sum[:])
	return id
}

// A token is "adm_" and base64url, without padding, of
//
//	version 1 | key id 1 | sale 4 | epoch 4 | buyer 8 | ticket 4 | expires 5 | signature 16
//
// big-endian; expires is in milliseconds since engine.TimeZero. The signature is
// the first half of HMAC-SHA256 over all before it.
const (
	tokenPrefix  = "adm_"
	tokenVersion = 1
	signedSize   = 1 + 1 + 4 + 4 + 8 + 4 + 5
	tokenSize    = signedSize + 16
	maxExpiry    = 1<<40 - 1
)

// Strict: a token has one spelling, or one could be told apart from itself.
var tokenText = base64.RawURLEncoding.Strict()

// Why a token is refused.
var (
	ErrTokenForm    = errors.New("admission: not an admission token")
	ErrTokenForged  = errors.New("admission: the token was not signed by a known key")
	ErrTokenExpired = errors.New("admission: the token has expired")
	ErrTokenOther   = errors.New("admission: the token is for another sale, generation or buyer")
)

// minKey is the least length of a signing key, in bytes.
const minKey = 16

// Keys sign and verify tokens. Several verify, one signs: to rotate, add the new key
// everywhere, then sign with it, then remove the old one once its tokens are over.
type Keys struct {
	signing byte
	macs    [256]*sync.Pool // by key id; nil: unknown
}

// NewKeys takes the keys by id, each of at least 16 random bytes, and the id of the
// one that signs.
func NewKeys(signing byte, keys map[byte][]byte) (*Keys, error) {
	k := &Keys{signing: signing}
	for id, key := range keys {
		if len(key) < minKey {
			return nil, fmt.Errorf("admission: key %d has %d bytes, at least %d are needed", id, len(key), minKey)
		}
		own := append([]byte(nil), key...)
		k.macs[id] = &sync.Pool{New: func() any { return &macer{h: hmac.New(sha256.New, own)} }}
	}
	if k.macs[signing] == nil {
		return nil, fmt.Errorf("admission: there is no key %d to sign with", signing)
	}
	return k, nil
}

// macer is a keyed hash with its room, kept because making one costs more than using it.
type macer struct {
	h   hash.Hash
	raw [tokenSize + 2]byte // two to spare: base64 counts in threes
	sum [sha256.Size]byte
}

// sign gives the signature of the first signedSize bytes of raw.
func (m *macer) sign() []byte {
	m.h.Reset()
	m.h.Write(m.raw[:signedSize])
	return m.h.Sum(m.sum[:0])[:tokenSize-signedSize]
}

// Sign makes the token's text.
func (k *Keys) Sign(t Token) (string, error) {
	expires := t.Expires.UnixMilli() - engine.TimeZero
	if expires < 0 || expires > maxExpiry {
		return "", fmt.Errorf("admission: a token cannot expire at %s", t.Expires)
	}
	pool := k.macs[k.signing]
	m := pool.Get().(*macer)
	defer pool.Put(m)
	b := append(m.raw[:0], tokenVersion, k.signing)
	b = binary.BigEndian.AppendUint32(b, t.Sale)
	b = binary.BigEndian.AppendUint32(b, t.Epoch)
	b = append(b, t.Buyer[:]...)
	b = binary.BigEndian.AppendUint32(b, t.Ticket)
	b = append(b, byte(expires>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(expires))
	b = append(b, m.sign()...)
	return tokenPrefix + tokenText.EncodeToString(b), nil
}

// Verify reads a token, and says whether it admits this buyer to this room now. One of
// an earlier generation does: who was admitted stays so when the room is lost.
// What it returns beside an error must not be relied on.
func (k *Keys) Verify(text string, room Room, buyer engine.BuyerKey, now time.Time) (Token, error) {
	t, err := k.read(text)
	switch {
	case err != nil:
		return Token{}, err
	case t.Sale != room.Sale || int64(t.Epoch) > room.Epoch || t.Buyer != buyer:
		return t, ErrTokenOther
	case !now.Before(t.Expires):
		return t, ErrTokenExpired
	}
	return t, nil
}

// read checks form and signature. The key id is read before it is trusted, so it
// chooses a key and nothing else.
func (k *Keys) read(text string) (t Token, err error) {
	body, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(body) != tokenText.EncodedLen(tokenSize) {
		return t, ErrTokenForm
	}
	var head [3]byte
	if _, err := tokenText.AppendDecode(head[:0], []byte(body[:4])); err != nil || head[0] != tokenVersion {
		return t, ErrTokenForm
	}
	pool := k.macs[head[1]]
	if pool == nil {
		return t, ErrTokenForged
	}
	m := pool.Get().(*macer)
	defer pool.Put(m)
	if n, err := tokenText.Decode(m.raw[:], []byte(body)); err != nil || n != tokenSize {
		return t, ErrTokenForm
	}
	if !hmac.Equal(m.sign(), m.raw[signedSize:tokenSize]) {
		return t, ErrTokenForged
	}
	b := m.raw[2:signedSize]
	t.Sale, t.Epoch = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	copy(t.Buyer[:], b[8:])
	t.Ticket = binary.BigEndian.Uint32(b[16:])
	t.Expires = time.UnixMilli(engine.TimeZero + (int64(b[20])<<32 | int64(binary.BigEndian.Uint32(b[21:])))).UTC()
	return t, nil
}
