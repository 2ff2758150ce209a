package api

import (
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// tokenCache remembers verified tokens until they expire, so that the usual
// request costs one hash and no signature check. It keeps SHA-256 names, not
// tokens: nothing in it can be replayed, and nobody can make two tokens share
// an entry.
//
// It is a table of places in groups of one cache line. A token's name says which
// group it is in. Reading takes no lock; of two writers to one place, one is
// forgotten, which costs a signature check and nothing more.
type tokenCache struct {
	places []atomic.Pointer[verified]
	groups uint64 // a power of two of them
}

const groupSize = 8

type tokenName [sha256.Size]byte

type verified struct {
	name tokenName
	bearer
	until int64 // Unix seconds: the token's exp
}

func newTokenCache(size int) *tokenCache {
	groups := uint64(1)
	for 2*groups*groupSize <= uint64(max(0, size)) {
		groups *= 2
	}
	return &tokenCache{places: make([]atomic.Pointer[verified], groups*groupSize), groups: groups}
}

func nameToken(token []byte) tokenName { return sha256.Sum256(token) }

func (c *tokenCache) group(n *tokenName) []atomic.Pointer[verified] {
	at := binary.LittleEndian.Uint64(n[:]) & (c.groups - 1) * groupSize
	return c.places[at : at+groupSize]
}

func (c *tokenCache) get(n *tokenName, now time.Time) (bearer, bool) {
	group := c.group(n)
	for i := range group {
		if v := group[i].Load(); v != nil && v.name == *n {
			return v.bearer, now.Unix() < v.until
		}
	}
	return bearer{}, false
}

// put remembers a token: in a free place of its group, or in that of one which has
// expired, or of any.
func (c *tokenCache) put(n *tokenName, who bearer, exp, now time.Time) {
	if exp.Unix() <= now.Unix() {
		return // valid by leeway only
	}
	group := c.group(n)
	at := int(n[8] % groupSize)
	for i := range group {
		v := group[i].Load()
		if v == nil || v.name == *n {
			at = i
			break
		}
		if now.Unix() >= v.until {
			at = i
		}
	}
	group[at].Store(&verified{*n, who, exp.Unix()})
}

func (c *tokenCache) len() (n int) {
	for i := range c.places {
		if c.places[i].Load() != nil {
			n++
		}
	}
	return n
}
