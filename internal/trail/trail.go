// Package trail remembers what this node has lately told buyers, so that support
// can say why one got the answer that they got. Refusals come by tens of thousands
// per second and are kept nowhere else: so it is a ring in memory, of a fixed size,
// and noting one costs some tens of nanoseconds and no allocation.
package trail

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Op is what a buyer asked for.
type Op uint8

// What buyers ask for.
const (
	Reserve Op = iota + 1
	Batch      // a line of a batch
	Checkout
	Release
)

var opNames = [...]string{Reserve: "reserve", Batch: "reserve (batch)", Checkout: "checkout", Release: "release"}

// Source is who decided.
type Source uint8

// Who decided.
const (
	Node      Source = iota + 1 // this node: the request, its limits, its queues, or a backend that was away
	Gate                        // the gate; Seq is its place there
	Knowledge                   // this node, from the gate's word that it is sold out, which is no older than --sold-out-for
	Provider                    // the payment provider, or the fraud score before it
	Record                      // the order writer
)

var sourceNames = [...]string{Node: "node", Gate: "gate", Knowledge: "node, by the gate's last word", Provider: "payment provider", Record: "record"}

// codes numbers the answers; 0 is "done".
var codes, codeOf = func() (list []engine.Code, of map[engine.Code]uint8) {
	for c := range engine.Codes {
		list = append(list, c)
	}
	slices.Sort(list)
	list = append([]engine.Code{""}, list...)
	of = make(map[engine.Code]uint8, len(list))
	for i, c := range list {
		of[c] = uint8(i)
	}
	return list, of
}()

// numberOf is codeOf, which takes longer than the rest, without a look for what a
// crowd is told.
func numberOf(c engine.Code) uint8 {
	switch c {
	case "":
		return 0
	case engine.CodeSoldOut:
		return soldOut
	}
	return codeOf[c]
}

var soldOut = codeOf[engine.CodeSoldOut]

// Noted is a decision as it is noted.
type Noted struct {
	Buyer     Buyer
	At        time.Time
	Op        Op
	Source    Source
	Status    int         // of HTTP
	Code      engine.Code // of a refusal; "" if it was none
	Sale, SKU uint32      // see Name; 0: none, or several
	Seq       uint64
	Epoch     int64 // of the gate's shard; 0: not known
	RequestID []byte
	Unproven  bool // the token was not verified
}

// entry is 64 bytes: a line of the processor's cache.
type entry struct {
	at        int64 // µs
	buyer     Buyer
	seq       uint64
	epoch     uint32
	sale, sku uint32
	status    uint16
	code      uint8
	who       uint8 // op, source and unproven
	idLen     uint8
	id        [23]byte
}

// shards is how many rings there are; a buyer's entries are in one of them. So
// nobody who asks without end pushes out more than a sixty-fourth of the others.
const shards = 64

type ring struct {
	mu      sync.Mutex
	next    uint64
	entries []entry
	_       [24]byte // a cache line of its own
}

// Trail is the ring. A nil one notes nothing.
type Trail struct {
	seed  maphash.Seed
	began time.Time
	rings [shards]ring

	askers askers
}

// Buyer is a buyer's name, hashed: names are not kept.
type Buyer uint64

// New gives a trail that remembers about this many decisions, 64 bytes each.
func New(size int, now time.Time) *Trail {
	t := &Trail{seed: maphash.MakeSeed(), began: now}
	for i := range t.rings {
		t.rings[i].entries = make([]entry, max(1, (size+shards-1)/shards))
	}
	return t
}

// Of hashes the name of a buyer who asks. Nothing of it is kept, but for who asks most
// while somebody wants to know: see Askers.
func (t *Trail) Of(buyer string) Buyer {
	if t == nil || buyer == "" {
		return 0
	}
	t.askers.note(buyer)
	return t.of(buyer)
}

func (t *Trail) of(buyer string) Buyer { return Buyer(maphash.String(t.seed, buyer)) }

// Name hashes the name of a sale or a SKU. Who knows which there are can tell
// which it was.
func (t *Trail) Name(s string) uint32 {
	if t == nil || s == "" {
		return 0
	}
	return uint32(maphash.String(t.seed, s))
}

// Note remembers a decision. One about nobody known is not noted.
func (t *Trail) Note(n *Noted) {
	if t == nil || n.Buyer == 0 {
		return
	}
	who := uint8(n.Op) | uint8(n.Source)<<3
	if n.Unproven {
		who |= 1 << 7
	}
	at, code := n.At.UnixMicro(), numberOf(n.Code)
	r := &t.rings[n.Buyer%shards]
	r.mu.Lock()
	e := &r.entries[r.next%uint64(len(r.entries))]
	e.at, e.buyer, e.seq, e.epoch, e.sale, e.sku = at, n.Buyer, n.Seq, uint32(n.Epoch), n.Sale, n.SKU
	e.status, e.code, e.who = uint16(n.Status), code, who
	e.idLen = uint8(copy(e.id[:], n.RequestID))
	r.next++
	r.mu.Unlock()
}

// Decision is one that a buyer met.
type Decision struct {
	At        time.Time   `json:"at"`
	Op        string      `json:"op"`
	Status    int         `json:"status"`
	Code      engine.Code `json:"code,omitempty"` // absent: it was granted
	Source    string      `json:"source"`
	Seq       uint64      `json:"seq,omitempty"`
	Epoch     int64       `json:"epoch,omitempty"`
	Sale, SKU uint32      `json:"-"`
	RequestID string      `json:"request_id"` // its first 23 bytes
	Unproven  bool        `json:"unproven,omitempty"`
}

// Decisions gives a buyer's, the oldest first, and since when they are complete:
// before that the node was not there, or has forgotten.
func (t *Trail) Decisions(buyer string) (out []Decision, since time.Time) {
	b := t.of(buyer)
	r := &t.rings[b%shards]
	r.mu.Lock()
	defer r.mu.Unlock()
	since = t.began
	n := uint64(len(r.entries))
	first := uint64(0)
	if r.next > n {
		first = r.next - n
		since = time.UnixMicro(r.entries[first%n].at)
	}
	for i := first; i < r.next; i++ {
		if e := &r.entries[i%n]; e.buyer == b {
			out = append(out, e.decision())
		}
	}
	return out, since.UTC()
}

func (e *entry) decision() Decision {
	return Decision{At: time.UnixMicro(e.at).UTC(), Op: opNames[e.who&7], Status: int(e.status), Code: codes[e.code], Source: sourceNames[e.who>>3&7],
		Seq: e.seq, Epoch: int64(e.epoch), Sale: e.sale, SKU: e.sku, RequestID: string(e.id[:e.idLen]), Unproven: e.who>>7 == 1}
}
