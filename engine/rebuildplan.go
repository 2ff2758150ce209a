package engine

import (
	"slices"
	"time"
)

// rebuildPlan is what a shard will hold after its rebuild: all orders, then
// unfinished payments, then the holds that the gate remembers, the oldest first,
// each as far as there are units.
type rebuildPlan struct {
	room  map[uint16]int64 // units left of each SKU; nil: only the gate knows
	known map[nonceKey]bool

	sold []Hold
	soft []Hold                 // paying ones before held ones, the oldest of each first
	mute []Hold                 // paying ones that do not know their lines
	ends map[nonceKey]time.Time // the gate's deadlines: an operator may have set later ones than the terms do

	accepted, paying, kept, lost int
}

// nonceKey is what the gate tells a buyer's holds apart by.
type nonceKey struct {
	BuyerKey
	Nonce
}

func newRebuildPlan(s *Sale) *rebuildPlan {
	p := &rebuildPlan{known: map[nonceKey]bool{}, ends: map[nonceKey]time.Time{}}
	if s.Shards <= 1 { // else it depends on transfers
		p.room = make(map[uint16]int64, len(s.Items))
		for _, it := range s.Items {
			p.room[it.No] = it.Stock
		}
	}
	return p
}

// live takes what the record knows: accepted ones first, then paying ones.
func (p *rebuildPlan) live(h Hold) {
	key := nonceKey{h.ID.Buyer, h.ID.Nonce}
	switch {
	case h.State == Accepted:
		p.fit(h.Lines, true)
		p.sold = append(p.sold, h)
		p.accepted++
	case len(h.Lines) == 0:
		p.mute = append(p.mute, h)
		return // the gate may remember what it was for
	case p.known[key]: // a second attempt of the reservation
		return
	case !p.fit(h.Lines, false):
		p.lost++
	default:
		p.soft = append(p.soft, h)
		p.paying++
	}
	p.known[key] = true
}

// remains takes a hold that the gate remembers. What the record knows of it
// counts for more: it may have been paid since.
func (p *rebuildPlan) remains(h Hold) {
	key := nonceKey{h.ID.Buyer, h.ID.Nonce}
	p.ends[key] = h.ExpiresAt
	if p.known[key] {
		return
	}
	p.known[key] = true
	if !p.fit(h.Lines, false) {
		p.lost++
		return
	}
	if i := slices.IndexFunc(p.mute, func(m Hold) bool { return m.ID == h.ID }); i >= 0 {
		m := p.mute[i]
		m.Lines = h.Lines
		p.soft = slices.Insert(p.soft, p.paying, m)
		p.paying++
		return
	}
	h.State = Held
	p.soft = append(p.soft, h)
	p.kept++
}

// close counts the payments whose units nobody knows any more: their money goes back.
func (p *rebuildPlan) close() {
	for _, m := range p.mute {
		if !p.known[nonceKey{m.ID.Buyer, m.ID.Nonce}] {
			p.lost++
		}
	}
}

// fit takes the units of every line, or of none; forced, it takes them anyway.
func (p *rebuildPlan) fit(lines []Line, forced bool) bool {
	if p.room == nil {
		return true
	}
	for _, l := range lines {
		if !forced && p.room[l.No] < int64(l.Quantity) {
			return false
		}
	}
	for _, l := range lines {
		p.room[l.No] -= int64(l.Quantity)
	}
	return true
}

// drop gives up the newest n of what is not sold. False: there is none.
func (p *rebuildPlan) drop(n int) bool {
	if len(p.soft) == 0 {
		return false
	}
	for range min(n, len(p.soft)) {
		if p.soft[len(p.soft)-1].State == Paying {
			p.paying--
		} else {
			p.kept--
		}
		p.soft = p.soft[:len(p.soft)-1]
		p.lost++
	}
	return true
}

func (p *rebuildPlan) holds() []Hold {
	out := slices.Concat(p.sold, p.soft)
	for i := range out {
		if h := &out[i]; h.State == Paying {
			h.OwnEnd = p.ends[nonceKey{h.ID.Buyer, h.ID.Nonce}]
		}
	}
	return out
}
