package history

import (
	"fmt"

	"github.com/flashsale-engine/flashsale/engine"
)

// find gives the first place from first to last after which the world gives an
// operation that changes nothing the answer that it got.
func (w *world) find(o *Op, first, last int) (int, error) {
	if o.After >= 0 {
		if int(o.After) < first || int(o.After) > last {
			return 0, fmt.Errorf("was judged after seq %d", o.After)
		}
		first, last = int(o.After), int(o.After)
	}
	switch {
	case o.Kind == Counters:
		return w.scan(first, last, o, w.counted)
	case o.Kind == Hold && o.Code != "":
		at, err := w.scan(first, last, o, w.refuses)
		if err != nil {
			err = fmt.Errorf("%w; %s", err, w.describe(o, first, last))
		}
		return at, err
	}
	l := w.lives[keyOf(o)]
	if l == nil || o.Created != 0 && l.created != o.Created {
		if o.Code == engine.CodeNotFound {
			return first, nil
		}
		return 0, fmt.Errorf("there never was such a hold, and it was answered %s%s", o.Code, o.Out.State)
	}
	for i := max(after(l.past, first), 0); i < len(l.past) && l.past[i].place <= last; i++ {
		at := max(first, l.past[i].place)
		if w.explains(o, l, l.past[i].is, at) {
			return at, nil
		}
	}
	return 0, fmt.Errorf("nothing explains its answer %q %+v", o.Code, o.Out)
}

// explains says whether a hold that looks like v gives an operation its answer.
func (w *world) explains(o *Op, l *life, v view, at int) bool {
	if o.Kind == Hold || o.Kind == Find {
		if o.Code != "" || !sameLines(l.lines, o.Out.Lines) || l.created != o.Out.ID.Created {
			return false
		}
		got := viewOf(o.Out)
		if o.Kind == Find && got.state == engine.Expired && v.state == engine.Held {
			got.state = engine.Held // due, and not yet settled
		} else if o.Kind == Find && got.state == engine.Held && l.deadline <= w.clock[at] {
			return false
		}
		return got == v
	}
	is, code, _ := judge(o.Kind, v, o.Fence, w.maxAttempts, false)
	switch is {
	case refused:
		return o.Code == code
	case repeats:
		return o.Code == "" && viewOf(o.Out) == v && sameLines(l.lines, o.Out.Lines)
	}
	return false
}

func (w *world) scan(first, last int, o *Op, ok func(*Op, int) bool) (int, error) {
	for at := first; at <= last; at++ {
		if ok(o, at) {
			return at, nil
		}
	}
	return 0, fmt.Errorf("nothing explains its answer %s", o.Code)
}

// refuses says whether a hold is refused by o's code after a place.
func (w *world) refuses(o *Op, at int) bool {
	if l := w.lives[keyOf(o)]; l != nil && after(l.past, at) >= 0 {
		return false // it would have been repeated
	}
	lines, units := cart(o.Lines)
	has := 0
	if b := w.buyers[o.Buyer]; b != nil {
		has = b.unitsAfter(at)
	}
	tooMany := has+units > w.sale.PerBuyerLimit
	if tooMany || o.Code != engine.CodeSoldOut {
		return tooMany && o.Code == engine.CodeBuyerLimit
	}
	if w.shared {
		return true
	}
	for _, ln := range lines {
		s := w.skus[ln.No]
		if s.sellable[after(s.sellable, at)].is < int64(ln.Quantity) {
			return true
		}
	}
	return false
}

// describe tells what a refused hold would have found, for people.
func (w *world) describe(o *Op, first, last int) string {
	text := "the buyer is new"
	if b := w.buyers[o.Buyer]; b != nil {
		text = fmt.Sprintf("the buyer has %d to %d units of %d", b.unitsAfter(first), b.unitsAfter(last), w.sale.PerBuyerLimit)
	}
	if l := w.lives[keyOf(o)]; l != nil {
		text += fmt.Sprintf("; this hold was made at seq %d", l.past[0].place)
	}
	lines, _ := cart(o.Lines)
	for _, ln := range lines {
		s := w.skus[ln.No]
		least := s.sellable[after(s.sellable, first)].is
		for at := first + 1; at <= last; at++ {
			least = min(least, s.sellable[after(s.sellable, at)].is)
		}
		text += fmt.Sprintf("; of SKU %d it wants %d, and %d or more could be had", ln.No, ln.Quantity, least)
	}
	return text
}

func (w *world) counted(o *Op, at int) bool {
	for _, got := range o.Counters {
		s := w.skus[got.No]
		if !sameCounters(got, s.past[after(s.past, at)].is) {
			return false
		}
	}
	return o.Code == ""
}
