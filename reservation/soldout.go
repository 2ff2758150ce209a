package reservation

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// soldOut is what this node knows of SKUs that are gone, so that a crowd's "no"
// need not travel to Redis. It is a hint with a bound: it only ever repeats an
// answer that the gate would have given to this very request at some moment of
// the last bound (100 ms by default). docs/adr/009 has the reasoning. Two things
// must be known as of such a moment:
//
//   - a word: of this SKU fewer than q units were available. Only a refusal of
//     a cart of one line proves that; see learn.
//   - a roster, no older than the word, that lacks the buyer: the gate had no record
//     of them, so there was no hold that this request could be repeating, nor any that
//     its limit would count; see roster. Records stay, so there was none at the word's
//     moment either.
//
// Knowledge belongs to one version of one sale under one set of leases. Whatever this node
// sees of units coming back ends it at once; what other nodes do ends it within
// the bound. Reading it takes no lock and no allocation.
type soldOut struct {
	gate  *Gate
	bound int64 // microseconds; 0: know nothing
	now   func() int64
	known prometheus.Counter

	mu    sync.Mutex // writers of sales
	sales atomic.Pointer[map[uint32]*saleKnowledge]
}

type saleKnowledge struct {
	no      uint32
	epoch   int64
	version int64
	leases  []engine.GateLease
	items   []itemKnowledge // by SKU number
	rosters []*roster       // by shard
}

// itemKnowledge: what was true before after says nothing any more.
type itemKnowledge struct {
	words atomic.Pointer[words]
	after atomic.Int64
	probe atomic.Int64 // when a request was last sent through to look
}

// word: at some moment from asked to heard, fewer than q units were available.
// The zero word says nothing.
type word struct{ q, asked, heard int64 }

// words are the latest and the one before, which serves while the roster is
// older than the latest.
type words [2]word

// errKnownSoldOut is shared by all who hear it, and so must not be changed.
var errKnownSoldOut = refuse(refSoldOut)

func newSoldOut(g *Gate, bound time.Duration) *soldOut {
	began := time.Now()
	k := &soldOut{gate: g, bound: max(bound, 0).Microseconds(), now: func() int64 { return time.Since(began).Microseconds() + 1<<32 },
		known: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flashsale_gate_sold_out_known_total", Help: "Holds refused by what this node knew, without asking Redis.",
		})}
	k.sales.Store(&map[uint32]*saleKnowledge{})
	return k
}

// Hold implements engine.Gate. Who can be answered by what is known is.
func (g *Gate) Hold(ctx context.Context, s *engine.Sale, r engine.HoldRequest) (engine.Hold, error) {
	if g.soldOut.says(s, r.Buyer, r.Lines) {
		return engine.Hold{}, errKnownSoldOut
	}
	asked := g.soldOut.now()
	h, err := g.hold(ctx, s, r)
	if !h.Replayed {
		g.soldOut.learn(s, r.Lines, asked, err)
	}
	return h, err
}

// SoldOut implements engine.Knowledge.
func (g *Gate) SoldOut(s *engine.Sale, b engine.BuyerKey, l engine.Line) error {
	lines := [1]engine.Line{l}
	if g.soldOut.says(s, b, lines[:]) {
		return errKnownSoldOut
	}
	return nil
}

// of finds what is known of just this snapshot of a sale.
func (k *soldOut) of(s *engine.Sale) *saleKnowledge {
	sk := (*k.sales.Load())[s.No]
	if sk == nil || sk.epoch != s.Epoch || sk.version != s.Version || !slices.Equal(sk.leases, s.Leases) {
		return nil
	}
	return sk
}

// says answers a hold by knowledge. Lines are summed by SKU.
func (k *soldOut) says(s *engine.Sale, buyer engine.BuyerKey, lines []engine.Line) bool {
	if k.bound == 0 {
		return false
	}
	sk := k.of(s)
	if sk == nil {
		return false
	}
	units := 0
	for _, l := range lines {
		units += l.Quantity
	}
	if units > s.PerBuyerLimit {
		return false // the gate has another word for these
	}
	for _, l := range lines {
		if int(l.No) >= len(sk.items) {
			return false
		}
		it := &sk.items[l.No]
		ws := it.words.Load()
		if ws == nil {
			continue
		}
		now, after, roster := k.now(), it.after.Load(), sk.rosters[shardOf(s, buyer)]
		for _, w := range ws {
			if w.q == 0 || int64(l.Quantity) < w.q || w.asked <= after || now-w.asked >= k.bound || w.heard > roster.asOf.Load() {
				continue
			}
			// At a third of its life one request goes through and renews it, so that a
			// crowd does not meet the gate all at once when it ends.
			if probed := it.probe.Load(); now-ws[0].asked > k.bound/3 && now-probed > k.bound/3 && it.probe.CompareAndSwap(probed, now) {
				return false
			}
			if roster.has(buyer) {
				return false
			}
			k.known.Inc()
			return true
		}
	}
	return false
}

// learn takes what the gate said to a hold that was asked at a time.
func (k *soldOut) learn(s *engine.Sale, lines []engine.Line, asked int64, err error) {
	if k.bound == 0 {
		return
	}
	if err == nil { // units were there
		if sk := k.of(s); sk != nil {
			for _, l := range lines {
				if it := sk.item(l.No); it != nil && it.words.Load().contradictedBy(l.Quantity) {
					it.words.Store(nil)
				}
			}
		}
		return
	}
	if len(lines) != 1 || lines[0].Quantity > 0xff || engine.CodeOf(err) != engine.CodeSoldOut {
		return // of a cart of several lines it is not certain which one is short
	}
	sk := k.about(s)
	it := sk.item(lines[0].No)
	if it == nil {
		return
	}
	w := word{int64(lines[0].Quantity), asked, k.now()}
	for old := it.words.Load(); w.asked > it.after.Load(); old = it.words.Load() {
		var last word
		if old != nil && old[0].asked > it.after.Load() && w.heard-old[0].asked < k.bound {
			last = old[0]
		}
		// The latest is kept for a while even if no roster goes with it yet: one that is
		// being read may just be old enough.
		if last.q != 0 && (last.q < w.q || last.q == w.q && w.asked-last.asked <= k.bound/4) {
			break
		}
		if it.words.CompareAndSwap(old, &words{w, last}) {
			break
		}
	}
	for shard, ro := range sk.rosters {
		ro.follow(k, sk, shard, w.heard)
	}
}

// contradictedBy says whether a word is over because so many units were there.
func (ws *words) contradictedBy(units int) bool {
	return ws != nil && slices.ContainsFunc(ws[:], func(w word) bool { return w.q != 0 && int64(units) >= w.q })
}

// about gives the knowledge of a sale's snapshot, forgetting an older one's.
func (k *soldOut) about(s *engine.Sale) *saleKnowledge {
	if sk := k.of(s); sk != nil {
		return sk
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	all := *k.sales.Load()
	old := all[s.No]
	fresh := &saleKnowledge{no: s.No, epoch: s.Epoch, version: s.Version, leases: s.Leases, items: make([]itemKnowledge, len(s.Items)), rosters: make([]*roster, shardsOf(s))}
	if old != nil && (old.epoch > s.Epoch || old.epoch == s.Epoch && old.version > s.Version) {
		fresh.rosters = nil
		return fresh // a late word about what was: it teaches nobody
	}
	for i := range fresh.rosters {
		fresh.rosters[i] = &roster{}
	}
	next := make(map[uint32]*saleKnowledge, len(all)+1)
	for no, sk := range all {
		if no == s.No || len(all) < maxKnownSales {
			next[no] = sk
		}
	}
	next[s.No] = fresh
	k.sales.Store(&next)
	return fresh
}

func (sk *saleKnowledge) lease(shard int) engine.GateLease {
	return (&engine.Sale{Epoch: sk.epoch, Leases: sk.leases}).Lease(shard)
}

// maxKnownSales bounds memory; beyond it everything is learned anew.
const maxKnownSales = 1024

func (sk *saleKnowledge) item(no uint16) *itemKnowledge {
	if int(no) >= len(sk.items) {
		return nil
	}
	return &sk.items[no]
}

// returned ends what is known of lines whose units came back; nil: of all.
func (k *soldOut) returned(saleNo uint32, lines []engine.Line) {
	sk := (*k.sales.Load())[saleNo]
	if sk == nil {
		return
	}
	now := k.now()
	if lines == nil {
		for i := range sk.items {
			sk.items[i].end(now)
		}
	}
	for _, l := range lines {
		if it := sk.item(l.No); it != nil {
			it.end(now)
		}
	}
}

func (it *itemKnowledge) end(now int64) {
	for {
		was := it.after.Load()
		if was >= now || it.after.CompareAndSwap(was, now) {
			break
		}
	}
	it.words.Store(nil)
}

// changed ends all that is known of a sale: its terms, its stock or its gate.
func (k *soldOut) changed(saleNo uint32) { k.returned(saleNo, nil) }

// heard takes the gate's reply to one call: who has a record now, and whether
// anyone else decided anything since the last call.
func (k *soldOut) heard(saleNo uint32, shard int, l engine.GateLease, ops []*op, asked int64, d decided) {
	if k.bound == 0 {
		return
	}
	sk := (*k.sales.Load())[saleNo]
	if sk == nil || sk.lease(shard) != l {
		return
	}
	back := d.expired > 0
	seq := d.seqBefore + uint64(d.expired)
	for _, o := range ops {
		if o.answer.refusal == 0 && !o.answer.hold.Replayed {
			seq++
			if o.answer.hold.State == engine.Released {
				k.returned(saleNo, o.answer.hold.Lines)
			}
		}
	}
	if back { // whose units they were is not said
		k.returned(saleNo, nil)
	}
	if shard < len(sk.rosters) {
		sk.rosters[shard].heard(ops, asked, d.seqBefore, seq)
	}
}

// buyerNumber reads a buyer key as a number. Zero stands for an empty slot.
func buyerNumber(b engine.BuyerKey) uint64 { return binary.BigEndian.Uint64(b[:]) }
