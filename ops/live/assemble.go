package live

import (
	"cmp"
	"slices"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

const (
	hottest    = 8
	mostAskers = 6
	mostEvents = 30
	mostSales  = 50 // that are shown, the newest
)

// snapshot puts together what has been read.
func (s *state) snapshot(now time.Time) *Live {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number++
	l := &Live{At: now.UTC(), Number: s.number, Node: s.src.Node, Proof: s.proof, Sales: []Sale{}, Funnel: s.funnel(), Steps: s.steps(),
		Needs: s.needs(), Pressure: s.pressure(), Buyers: []Asker{}, Silent: []Silence{}}
	if l.Proof.Findings == nil {
		l.Proof.Findings = []engine.Finding{}
	}
	for _, sale := range s.known() {
		l.Sales = append(l.Sales, s.sale(sale, l, now))
	}
	l.Headroom = s.headroom(l)
	if s.src.Askers != nil {
		l.Buyers = append(l.Buyers, s.src.Askers(mostAskers)...)
	}
	for _, at := range s.silent {
		if s.quiet(at, now) {
			l.Silent = append(l.Silent, *at)
		}
	}
	slices.SortFunc(l.Silent, func(a, b Silence) int { return cmp.Compare(a.Who, b.Who) })
	s.faults.look(l)
	l.Events = s.faults.with(s.acts)
	l.Point = s.point(l)
	if s.past = append(s.past, l.Point); len(s.past) > history {
		s.past = slices.Delete(s.past, 0, len(s.past)-history)
	}
	return l
}

// known lists the sales, the newest first, each as it is known last: a node hears of
// changes before it reads the record again.
func (s *state) known() []*engine.Sale {
	newest := map[string]*engine.Sale{}
	for _, list := range [][]*engine.Sale{s.sales, s.src.Active()} {
		for _, sale := range list {
			if was := newest[sale.ID]; was == nil || was.Version < sale.Version {
				newest[sale.ID] = sale
			}
		}
	}
	out := make([]*engine.Sale, 0, len(newest))
	for _, sale := range newest {
		out = append(out, sale)
	}
	slices.SortFunc(out, func(a, b *engine.Sale) int { return cmp.Compare(b.No, a.No) })
	return out[:min(len(out), mostSales)]
}

// sale needs mu.
func (s *state) sale(sale *engine.Sale, l *Live, now time.Time) Sale {
	v := Sale{Sale: sale.ID, Name: sale.Name, State: sale.State, Allowed: engine.SaleMoves[sale.State], Epoch: sale.Epoch, Shards: max(sale.Shards, 1), Gate: "absent",
		HoldTTL: sale.HoldTTL.Seconds(), HoldCap: sale.HoldCap.Seconds(), Limit: sale.PerBuyerLimit, SKUs: []SKU{}, SKUCount: len(sale.Items)}
	if v.Allowed == nil {
		v.Allowed = []engine.SaleState{}
	}
	v.OpensAt, v.ClosesAt = timeOrNone(sale.OpensAt), timeOrNone(sale.ClosesAt)
	g := s.gates[sale.ID]
	if sale.Epoch == 0 || g == nil {
		v.Binds, v.Because = binds(&v, l)
		return v
	}
	v.Gate = "live"
	switch {
	case engine.CodeOf(g.err) == engine.CodeGateFrozen:
		v.Gate, v.Why = "lost", g.err.Error()
	case g.err != nil && now.Sub(g.read) > silence:
		v.Gate, v.Why = "away", "the gate does not answer"
	}
	for shard := range v.Shards {
		if r := sale.Repair(shard); !r.Frozen.IsZero() {
			v.Gate, v.Why = "frozen", r.Reason
		}
	}
	if !g.read.IsZero() {
		v.ReadAt = timeOrNone(g.read.UTC())
		v.units(sale, g)
	}
	if g.room != nil && sale.Admission != nil {
		v.Room = roomOf(g.room, sale.Admission)
	}
	v.Binds, v.Because = binds(&v, l)
	return v
}

// units adds up what the gate has said, and how fast it changes.
func (v *Sale) units(sale *engine.Sale, g *gate) {
	u := &Units{Conserved: true}
	first, last := g.track, tracked{}
	var seconds float64
	if n := len(g.track); n > 1 {
		last = g.track[n-1]
		seconds = last.at.Sub(first[0].at).Seconds()
	}
	skus := make([]SKU, 0, len(g.counters))
	for i, c := range g.counters {
		u.Stock, u.Available, u.Held, u.Paying, u.Sold, u.InFlight = u.Stock+c.Stock, u.Available+c.Available, u.Held+c.Held, u.Paying+c.Paying, u.Sold+c.Sold, u.InFlight+c.InFlight
		u.Conserved = u.Conserved && c.Conserved()
		k := SKU{SKU: c.SKU, Stock: c.Stock, Available: c.Available, Held: c.Held, Paying: c.Paying, Sold: c.Sold}
		if it, ok := sale.ItemByNo(c.No); ok {
			k.SKU, k.Title = it.SKU, it.Title
		}
		if seconds > 0 && i < len(first[0].gone) && i < len(last.gone) {
			k.Rate = max(0, float64(last.gone[i]-first[0].gone[i])/seconds)
		}
		skus = append(skus, k)
	}
	v.Units = u
	slices.SortStableFunc(skus, func(a, b SKU) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(b.Stock-b.Available, a.Stock-a.Available))
	})
	v.SKUs = skus[:min(len(skus), hottest)]
	if seconds <= 0 {
		return
	}
	sold := max(0, float64(last.sold-first[0].sold)/seconds)
	took := 0.0
	for i := range last.gone {
		if i < len(first[0].gone) {
			took += float64(last.gone[i]-first[0].gone[i]) / seconds
		}
	}
	v.SellRate, v.TakeRate = &sold, &took
	if took > 0 && u.Available > 0 {
		eta := float64(u.Available) / took
		v.SoldOutIn = &eta
	}
}

func roomOf(v *engine.RoomView, a *engine.Admission) *Room {
	r := &Room{State: v.State, Rate: v.Rate, RateCap: a.RateCap, Paused: a.Paused, Limit: v.Limit, Front: v.Front, Joined: v.Joined,
		Waiting: max(0, v.Joined-v.Claimed-v.Left-v.Lapsed), Inside: v.Inside, Took: v.Took, Left: v.Left}
	if v.Reach >= 0 {
		r.Reach = &v.Reach
	}
	if v.Rate > 0 {
		half, most := float64(r.Waiting)*.5/v.Rate, float64(r.Waiting)*.95/v.Rate
		r.Wait50, r.Wait95 = &half, &most
	}
	return r
}

// binds says what limits a sale now.
func binds(v *Sale, l *Live) (what, because string) {
	switch {
	case v.State == engine.SaleDraft:
		return "draft", "not armed yet"
	case v.Gate == "frozen" || v.Gate == "lost" || v.Gate == "away":
		return "gate", "the gate is " + v.Gate
	case v.State != engine.SaleOpen:
		return string(v.State), "the sale is " + string(v.State)
	case v.Units != nil && v.Units.Available == 0 && v.Units.Held+v.Units.Paying > 0:
		return "holds", "all that is left is held or being paid"
	case v.Units != nil && v.Units.Available == 0:
		return "stock", "sold out"
	case v.Room != nil && v.Room.Limit != "" && v.Room.Limit != "none":
		return v.Room.Limit, "what holds the waiting room's front back"
	case over(l.Pressure.Overloaded, 0):
		return "node", "this node turns newcomers away: the gate's answers take longer than the target"
	case over(l.Pressure.Limited, 0):
		return "limits", "some come more often than one may"
	}
	for _, b := range l.Needs.Breakers {
		if b.State == "open" {
			return "payment", b.Name + " is open"
		}
	}
	return "demand", "everybody who asks is served"
}

func over(v *float64, least float64) bool { return v != nil && *v > least }

func timeOrNone(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// point needs mu.
func (s *state) point(l *Live) Point {
	p := Point{At: l.At, P99: map[string]float64{}, Waiting: map[string]float64{}, Rooms: map[string]float64{}, Left: map[string]float64{}}
	for _, st := range l.Funnel {
		switch st.Name {
		case stageAsked:
			p.Asked = st.Rate
			var refused float64
			for _, r := range st.Out {
				if r.Rate != nil {
					refused += *r.Rate
				}
			}
			if st.Rate != nil {
				p.Refused = &refused
			}
		case stageHeld:
			p.Held = st.Rate
		}
	}
	var sold float64
	for _, v := range l.Sales {
		if v.SellRate != nil {
			sold += *v.SellRate
			p.Sold = &sold
		}
		if v.Units != nil {
			p.Left[v.Sale] = float64(v.Units.Available)
		}
		if v.Room != nil {
			p.Waiting[v.Sale], p.Rooms[v.Sale] = float64(v.Room.Waiting), v.Room.Rate
		}
	}
	for _, st := range l.Steps {
		if st.P99 != nil {
			p.P99[st.Name] = *st.P99
		}
	}
	return p
}
