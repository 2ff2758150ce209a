package history

import (
	"container/heap"
	"fmt"
	"sort"

	"github.com/flashsale-engine/flashsale/engine"
)

// world is the exact sale, with its whole past: it can be asked what it looked
// like after any decision.
type world struct {
	sale        *engine.Sale
	maxAttempts int
	lives       map[key]*life
	buyers      map[engine.BuyerKey]*buyer
	skus        map[uint16]*sku
	clock       []int64 // after each place, the earliest that the gate's time can be
	due         deadlines
	shared      bool // what is available is not known
}

// life is one hold from its making on.
type life struct {
	created, deadline int64
	lines             []engine.Line
	units             int
	past              []past[view]
	isDue             bool // held, though the clock is past its deadline
}

type buyer struct{ past []past[int] } // units held, paying and sold

// sku is a SKU's counters, and what can be had of it: what is available and what
// is held and due, because whoever asks takes that back first.
type sku struct {
	past     []past[engine.Counters]
	sellable []past[int64]
}

// past is what something became at a place.
type past[T any] struct {
	place int
	is    T
}

// after gives the index of what holds after a place; -1: nothing yet.
func after[T any](p []past[T], place int) int {
	return sort.Search(len(p), func(i int) bool { return p[i].place > place }) - 1
}

func set[T any](p *[]past[T], place int, is T) {
	if n := len(*p); n > 0 && (*p)[n-1].place == place {
		(*p)[n-1].is = is
		return
	}
	*p = append(*p, past[T]{place, is})
}

func (l *life) now() view             { return l.past[len(l.past)-1].is }
func (s *sku) last() engine.Counters  { return s.past[len(s.past)-1].is }
func (s *sku) lastSellable() int64    { return s.sellable[len(s.sellable)-1].is }
func (b *buyer) unitsAfter(p int) int { return b.past[after(b.past, p)].is }

func newWorld(s *engine.Sale, maxAttempts, places int) *world {
	w := &world{
		sale: s, maxAttempts: maxAttempts, clock: make([]int64, places),
		lives: map[key]*life{}, buyers: map[engine.BuyerKey]*buyer{}, skus: map[uint16]*sku{},
	}
	for _, it := range s.Items {
		w.skus[it.No] = &sku{
			past:     []past[engine.Counters]{{0, engine.Counters{No: it.No, Available: it.Stock, Stock: it.Stock}}},
			sellable: []past[int64]{{0, it.Stock}},
		}
	}
	return w
}

// apply decides once more what was decided at a place, and compares.
func (w *world) apply(place int, d *decision) error {
	w.clock[place] = w.clock[place-1]
	told := viewOf(d.told)
	told.seq = uint64(place)
	if d.kind == Hold {
		return w.hold(place, d)
	}
	l := w.lives[d.key]
	if l == nil {
		return fmt.Errorf("there is no such hold yet")
	}
	if !sameLines(l.lines, d.told.Lines) || d.told.ID.Created != l.created {
		return fmt.Errorf("it was told as %+v and made as %v at %d", d.told, l.lines, l.created)
	}
	was := l.now()
	next := was
	if d.kind == Expiry {
		if was.state != engine.Held {
			return fmt.Errorf("a %s hold expired", was.state)
		}
		next.state, next.expires = engine.Expired, l.deadline
		w.clock[place] = max(w.clock[place], l.deadline)
	} else {
		is, code, n := judge(d.kind, was, d.op.Fence, w.maxAttempts, told.state == engine.Released)
		if is != changes {
			return fmt.Errorf("a %s hold cannot do that (%s)", was.state, code)
		}
		next = n
		switch {
		case d.kind == Begin:
			next.expires = l.created + ms(w.sale.HoldCap)
			if w.clock[place] >= l.deadline {
				return fmt.Errorf("it began to pay at %d or later and was due at %d", w.clock[place], l.deadline)
			}
		case next.state == engine.Held: // returned
			next.expires = l.deadline
			if w.clock[place] >= l.deadline {
				return fmt.Errorf("it was held again at %d or later and was due at %d", w.clock[place], l.deadline)
			}
		default: // ended now
			if next.expires = told.expires; told.expires < w.clock[place] {
				return fmt.Errorf("it ended at %d, after a decision at %d or later", told.expires, w.clock[place])
			}
			w.clock[place] = told.expires
			if d.kind == Return && told.expires < l.deadline {
				return fmt.Errorf("its payment was returned at %d, before it was due at %d, and it was released", told.expires, l.deadline)
			}
			if d.kind == Release && told.expires >= l.deadline {
				return fmt.Errorf("it was released at %d and had expired at %d", told.expires, l.deadline)
			}
		}
	}
	next.seq = uint64(place)
	if next != told {
		return fmt.Errorf("it was told as %+v and is %+v", told, next)
	}
	w.become(place, d.key.buyer, l, was.state, next)
	return nil
}

func (w *world) hold(place int, d *decision) error {
	lines, units := cart(d.op.Lines)
	if w.lives[d.key] != nil {
		return fmt.Errorf("the hold was made a second time")
	}
	l := &life{created: d.told.ID.Created, lines: lines, units: units}
	l.deadline = l.created + ms(w.sale.HoldTTL)
	if !sameLines(lines, d.told.Lines) {
		return fmt.Errorf("asked for %v, got %v", lines, d.told.Lines)
	}
	if l.created < w.clock[place] {
		return fmt.Errorf("it was made at %d, after a decision at %d or later", l.created, w.clock[place])
	}
	w.clock[place] = l.created
	v := view{state: engine.Held, seq: uint64(place), expires: l.deadline}
	told := viewOf(d.told)
	told.seq = uint64(place)
	if told != v {
		return fmt.Errorf("it was told as %+v and is %+v", told, v)
	}
	b := w.buyers[d.key.buyer]
	if b == nil {
		b = &buyer{past: []past[int]{{0, 0}}}
		w.buyers[d.key.buyer] = b
	}
	if has := b.unitsAfter(place); has+units > w.sale.PerBuyerLimit {
		return fmt.Errorf("the buyer has %d units, asked for %d and may have %d", has, units, w.sale.PerBuyerLimit)
	}
	for _, ln := range lines {
		s := w.skus[ln.No]
		if s == nil {
			return fmt.Errorf("the sale has no SKU %d", ln.No)
		}
		if a := s.last().Available; a < int64(ln.Quantity) && !w.shared {
			return fmt.Errorf("OVERSOLD: %d units of SKU %d were given, and %d were available", ln.Quantity, ln.No, a)
		}
	}
	w.lives[d.key] = l
	w.become(place, d.key.buyer, l, "", v)
	heap.Push(&w.due, l)
	return nil
}

// become moves a hold's units with its state, and lets the clock make due what
// it has passed.
func (w *world) become(place int, who engine.BuyerKey, l *life, from engine.ReservationState, v view) {
	l.past = append(l.past, past[view]{place, v})
	if live(from) != live(v.state) {
		b, n := w.buyers[who], l.units
		if live(from) {
			n = -n
		}
		set(&b.past, place, b.unitsAfter(place)+n)
	}
	wasDue := l.isDue
	l.isDue = false
	for _, ln := range l.lines {
		s, n := w.skus[ln.No], int64(ln.Quantity)
		c := s.last()
		*column(&c, from) -= n
		*column(&c, v.state) += n
		set(&s.past, place, c)
		can := s.lastSellable()
		switch {
		case from == "" && live(v.state):
			can -= n
		case !wasDue && live(from) && !live(v.state):
			can += n
		}
		set(&s.sellable, place, can)
	}
	for len(w.due) > 0 && w.due[0].deadline <= w.clock[place] {
		d := heap.Pop(&w.due).(*life)
		if d.now().state != engine.Held || d.isDue {
			continue // one that pays comes back before its deadline or not at all
		}
		d.isDue = true
		for _, ln := range d.lines {
			s := w.skus[ln.No]
			set(&s.sellable, place, s.lastSellable()+int64(ln.Quantity))
		}
	}
}

func sameCounters(a, b engine.Counters) bool { a.SKU, b.SKU = "", ""; return a == b }

func sameLines(a, b []engine.Line) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// deadlines is a heap of holds, the first due on top.
type deadlines []*life

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].deadline < d[j].deadline }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)        { *d = append(*d, x.(*life)) }
func (d *deadlines) Pop() any {
	old := *d
	l := old[len(old)-1]
	*d = old[:len(old)-1]
	return l
}
