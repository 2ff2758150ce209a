package limit

import (
	"hash/maphash"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// table is a node's own count: groups of slots, each group with a lock of its own
// in two cache lines. A key's hash says which group it is in.
type table struct {
	groups []group
	mask   uint64
	seed   maphash.Seed // nobody outside can aim at a group
	paces  *[engine.LimitCount]pace
	shift  [engine.LimitCount]int
	pushed atomic.Uint64 // keys that gave way before their limit was full again
}

const groupSlots = 5

type group struct {
	mu    sync.Mutex
	slots [groupSlots]slot
}

// slot is one key. Times are nanoseconds since began, a clock that only goes forward.
type slot struct {
	key   uint64 // 0: nobody's
	full  int64  // when the bucket is full again; before now: it is
	owed  uint32 // requests let in here that Redis has not been told of
	limit engine.Limit
}

var began = time.Now()

func at(now time.Time) int64 { return int64(now.Sub(began)) }

// newTable makes room for at least that many keys, 26 bytes each or up to twice that.
func newTable(keys int, paces *[engine.LimitCount]pace) *table {
	n := uint64(1)
	for n*groupSlots < uint64(max(1, keys)) {
		n *= 2
	}
	t := &table{groups: make([]group, n), mask: n - 1, seed: maphash.MakeSeed(), paces: paces}
	for l, p := range paces {
		t.shift[l] = max(0, bits.Len64(uint64(p.burst))-20)
	}
	return t
}

// hash makes a key. What there is of somebody is in one group, whatever the limit: the
// second look at it finds it in the processor's cache.
func (t *table) hash(l engine.Limit, who, where string) uint64 {
	h := maphash.String(t.seed, who)
	key := h * (2*uint64(l) + 1)
	if where != "" {
		key ^= maphash.String(t.seed, where)
	}
	return max(1, key&^t.mask|h&t.mask) // never nobody's
}

// lock gives a key's slot, which it has from now on, and its group, locked.
func (t *table) lock(key uint64, l engine.Limit, now int64) (*group, *slot) {
	g := &t.groups[key&t.mask]
	g.mu.Lock()
	for i := range g.slots {
		if s := &g.slots[i]; s.key == key {
			if s.full <= now { // whole again: what happened before is of no interest
				s.full, s.owed = now, 0
			}
			return g, s
		}
	}
	s := t.least(g, now)
	*s = slot{key: key, full: now, limit: l}
	return g, s
}

// least gives the slot of a group that has used the smallest part of its limit, in
// about millionths: one that has used nothing is free.
func (t *table) least(g *group, now int64) (s *slot) {
	most := int64(math.MaxInt64)
	for i := range g.slots {
		one := &g.slots[i]
		part := max(0, one.full-now) >> t.shift[one.limit]
		if one.key != 0 && one.full > now {
			part++
		}
		if part < most {
			s, most = one, part
		}
	}
	if most > 0 {
		t.pushed.Add(1)
	}
	return s
}

// count lets a request in if this node may without asking.
func (t *table) count(key uint64, l engine.Limit, now int64) engine.Quota {
	p := &t.paces[l]
	g, s := t.lock(key, l, now)
	used := s.full - now
	if used+p.each <= p.free {
		s.full, s.owed = s.full+p.each, s.owed+1
		g.mu.Unlock()
		return engine.Quota{Limit: l}
	}
	g.mu.Unlock()
	if used+p.each > p.burst {
		return p.quota(engine.Beyond, l, used)
	}
	return p.quota(engine.Perhaps, l, used)
}

// alone is count up to the whole limit: Redis is away.
func (t *table) alone(key uint64, l engine.Limit, now int64) engine.Quota {
	p := &t.paces[l]
	g, s := t.lock(key, l, now)
	defer g.mu.Unlock()
	if s.full-now+p.each > p.burst {
		return p.quota(engine.Beyond, l, s.full-now)
	}
	s.full, s.owed = s.full+p.each, s.owed+1
	return p.quota(engine.Within, l, s.full-now)
}

// owes takes what Redis has to be told of a key: what was let in here and has not
// come back since.
func (t *table) owes(key uint64, l engine.Limit, now int64) (n int64) {
	g, s := t.lock(key, l, now)
	defer g.mu.Unlock()
	each := t.paces[l].each
	n, s.owed = min(int64(s.owed), (s.full-now+each-1)/each), 0
	return n
}

// owe is for what could not be told after all.
func (t *table) owe(key uint64, l engine.Limit, n, now int64) {
	g, s := t.lock(key, l, now)
	defer g.mu.Unlock()
	if s.full > now {
		s.owed += uint32(n)
	}
}

// learn takes Redis' word, and adds what Redis has not been told yet.
func (t *table) learn(key uint64, l engine.Limit, used, now int64) {
	p := &t.paces[l]
	g, s := t.lock(key, l, now)
	defer g.mu.Unlock()
	s.full = now + min(used+int64(s.owed)*p.each, p.burst)
}

// add counts what has happened, be it beyond the limit, or takes it back: n is 1 or
// -1. It says whether Redis has to hear of it now.
func (t *table) add(key uint64, l engine.Limit, n, now int64) bool {
	p := &t.paces[l]
	g, s := t.lock(key, l, now)
	defer g.mu.Unlock()
	s.full = max(now, min(s.full+n*p.each, now+p.burst))
	switch {
	case n > 0:
		s.owed++
		return s.full-now > p.free
	case s.owed > 0:
		s.owed--
		return false
	}
	return true
}

// used says how far a key has used its limit. It makes no place for it.
func (t *table) used(key uint64, l engine.Limit, now int64) engine.Quota {
	g, used := &t.groups[key&t.mask], int64(0)
	g.mu.Lock()
	for i := range g.slots {
		if g.slots[i].key == key {
			used = max(0, g.slots[i].full-now)
		}
	}
	g.mu.Unlock()
	p := &t.paces[l]
	if used+p.each > p.burst {
		return p.quota(engine.Beyond, l, used)
	}
	return engine.Quota{Limit: l}
}
