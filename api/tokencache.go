package api

import (
	"crypto/sha256"
	"sync"
	"time"
)

// tokenCache remembers verified tokens until they expire, so that the usual
// request costs one hash and no signature check. It keeps SHA-256 names, not
// tokens: nothing in it can be replayed, and nobody can make two tokens share
// an entry. It is split in shards so that cores do not queue for one lock.
type tokenCache struct {
	shards   [64]tokenShard
	perShard int
}

type tokenShard struct {
	mu sync.RWMutex
	m  map[tokenName]verified
}

type tokenName [sha256.Size]byte

type verified struct {
	bearer
	until int64 // Unix seconds: the token's exp
}

func newTokenCache(size int) *tokenCache {
	c := &tokenCache{}
	c.perShard = max(1, size/len(c.shards))
	for i := range c.shards {
		c.shards[i].m = map[tokenName]verified{}
	}
	return c
}

func nameToken(token []byte) tokenName { return sha256.Sum256(token) }

func (c *tokenCache) shard(n tokenName) *tokenShard { return &c.shards[int(n[0])%len(c.shards)] }

func (c *tokenCache) get(n tokenName, now time.Time) (bearer, bool) {
	s := c.shard(n)
	s.mu.RLock()
	v, ok := s.m[n]
	s.mu.RUnlock()
	return v.bearer, ok && now.Unix() < v.until
}

// put remembers a token. A full shard gives up some that have expired, else any
// one: losing an entry costs a signature check, nothing more.
func (c *tokenCache) put(n tokenName, who bearer, exp, now time.Time) {
	if exp.Unix() <= now.Unix() {
		return // valid by leeway only
	}
	s := c.shard(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.m) >= c.perShard {
		const look = 16
		looked := 0
		for old, v := range s.m { // Go's map order begins anywhere
			if now.Unix() >= v.until {
				delete(s.m, old)
			}
			if looked++; looked == look {
				break
			}
		}
		for old := range s.m {
			if len(s.m) < c.perShard {
				break
			}
			delete(s.m, old)
		}
	}
	s.m[n] = verified{who, exp.Unix()}
}

func (c *tokenCache) len() int {
	n := 0
	for i := range c.shards {
		c.shards[i].mu.RLock()
		n += len(c.shards[i].m)
		c.shards[i].mu.RUnlock()
	}
	return n
}
