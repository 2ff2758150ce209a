package reservation

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

// roster is the set of buyers whom one shard of the gate has a record of, as of
// a moment. Too many names in it do no harm: such a request goes to the gate.
//
// It is read once (HSCAN), and kept complete for free by the density of seq: as
// long as each call finds the seq that the call before it left, nobody else has
// decided anything, and the records this node's own calls made are added here.
// When another node's decisions show as a gap, it is read again, for at most a
// small part of Redis' time.
type roster struct {
	asOf atomic.Int64 // it names everyone who had a record then; 0: never
	set  atomic.Pointer[keySet]

	mu       sync.Mutex
	through  uint64 // and everyone up to this seq
	low      uint64 // this node's last calls without a gap: everyone between
	high     uint64 // these two is named, too
	highAsOf int64
	reading  bool
	next     int64 // when it may be read again
}

const (
	rosterMost  = 1 << 20 // buyers; beyond that each refusal is the gate's own. 16 MB
	rosterShare = 25      // a reading of d is followed by this many d without one
	rosterChunk = 1000    // buyers per HSCAN call, about 0.2 ms of Redis
)

// has says whether a buyer may have a record. Zero cannot be told from nothing.
func (ro *roster) has(b engine.BuyerKey) bool {
	set, n := ro.set.Load(), buyerNumber(b)
	return set == nil || n == 0 || set.has(n)
}

// heard takes a call of this node: asked at a time, it found seq before and left
// seq after.
func (ro *roster) heard(ops []*op, asked int64, before, after uint64) {
	if ro.set.Load() == nil {
		return // nobody has asked for a roster: selling costs nothing more
	}
	ro.mu.Lock()
	defer ro.mu.Unlock()
	for _, o := range ops {
		if o.answer.refusal == 0 {
			ro.add(buyerNumber(o.buyer))
		}
	}
	switch {
	case before == ro.high:
		ro.high, ro.highAsOf = after, asked
	case after == ro.low: // two calls were in flight, and the later one was heard first
		ro.low = before
	default:
		ro.low, ro.high, ro.highAsOf = before, after, asked
	}
	if ro.low <= ro.through && ro.through <= ro.high && ro.asOf.Load() > 0 {
		ro.through = ro.high
		ro.asOf.Store(max(ro.asOf.Load(), ro.highAsOf))
	}
}

// follow sees to it that the roster will be of a time or later. If this node's calls
// have kept it complete so far, the next one will. Else it is read in the background,
// unless that is being done, was done just now, or is not worth it.
func (ro *roster) follow(k *soldOut, sk *saleKnowledge, shard int, when int64) {
	ro.mu.Lock()
	defer ro.mu.Unlock()
	if asOf := ro.asOf.Load(); asOf >= when || asOf > 0 && ro.through == ro.high {
		return
	}
	if ro.reading || k.now() < ro.next || !k.gate.enter() {
		return
	}
	ro.reading = true
	if ro.set.Load() == nil {
		ro.set.Store(newKeySet(1024))
	}
	go func() {
		defer k.gate.leave()
		ctx, done := context.WithTimeout(context.Background(), k.gate.opt.CallTimeout)
		defer done()
		began := k.now()
		seq, err := ro.read(ctx, k.gate, keysOf(sk.no, shard), sk.lease(shard))
		ended := k.now()
		ro.mu.Lock()
		defer ro.mu.Unlock()
		ro.reading, ro.next = false, ended+max((ended-began)*rosterShare, k.bound/4)
		if err != nil {
			ro.next = ended + time.Second.Microseconds()
			return
		}
		ro.through = seq
		asOf := began
		if ro.low <= seq && seq <= ro.high {
			ro.through, asOf = ro.high, max(began, ro.highAsOf)
		}
		ro.asOf.Store(max(ro.asOf.Load(), asOf))
	}()
}

// read adds everyone who has a record, and gives the seq that was reached before
// it began: HSCAN returns whatever is there from its beginning to its end.
func (ro *roster) read(ctx context.Context, g *Gate, k keys, l engine.GateLease) (uint64, error) {
	var text *redis.StringCmd
	if _, err := g.behind(ctx, k, l, g.client.Pipeline, func(p redis.Pipeliner) { text = p.HGet(ctx, k.sku, seqField) }); err != nil {
		return 0, err
	}
	seq, err := strconv.ParseUint(text.Val(), 10, 64)
	if err != nil {
		return 0, err
	}
	if n, err := g.client.HLen(ctx, k.buyers).Result(); err != nil || n > rosterMost {
		return 0, errRosterLong
	}
	for cursor := uint64(0); ; {
		found, next, err := g.client.HScan(ctx, k.buyers, cursor, "", rosterChunk).Result()
		if err != nil {
			return 0, err
		}
		ro.mu.Lock()
		for i := 0; i < len(found); i += 2 {
			if len(found[i]) == 8 {
				ro.add(buyerNumber(engine.BuyerKey([]byte(found[i]))))
			}
		}
		ro.mu.Unlock()
		if cursor = next; cursor == 0 {
			return seq, nil
		}
	}
}

type rosterError string

func (e rosterError) Error() string { return string(e) }

const errRosterLong = rosterError("reservation: too many buyers to know by name")

// add needs mu.
func (ro *roster) add(n uint64) {
	set := ro.set.Load()
	if n == 0 || set.has(n) {
		return
	}
	if 2*(set.n+1) > len(set.slots) {
		wider := newKeySet(2 * len(set.slots))
		for i := range set.slots {
			if old := set.slots[i].Load(); old != 0 {
				wider.add(old)
			}
		}
		wider.add(n)
		ro.set.Store(wider)
		return
	}
	set.add(n)
}

// keySet is an open hash table of keyed hashes, which need no hashing again. One
// writer adds; any number read meanwhile.
type keySet struct {
	slots []atomic.Uint64 // a power of two of them; 0 is empty
	n     int
}

func newKeySet(size int) *keySet { return &keySet{slots: make([]atomic.Uint64, size)} }

// scatter undoes what the names of one shard have in common.
func scatter(n uint64) uint64 { return (n * 0x9e3779b97f4a7c15) >> 24 }

func (s *keySet) has(n uint64) bool {
	for i := scatter(n); ; i++ {
		switch s.slots[i&uint64(len(s.slots)-1)].Load() {
		case n:
			return true
		case 0:
			return false
		}
	}
}

func (s *keySet) add(n uint64) {
	for i := scatter(n); ; i++ {
		if slot := &s.slots[i&uint64(len(s.slots)-1)]; slot.Load() == 0 {
			slot.Store(n)
			s.n++
			return
		}
	}
}
