package waiters

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Told is when those were told whom stock could not reach, of one band of places.
type Told struct {
	Beyond  float64 `json:"beyond"` // places from so many times the last reached one on
	Waiters int64   `json:"waiters"`
	Median  float64 `json:"median_s"` // from when it was true until the public document said so
	Max     float64 `json:"max_s"`
	Seen    float64 `json:"seen_max_s"`  // … and until the last of them looked
	Sold    float64 `json:"sold_untold"` // the share of units that was sold when a document was made that did not say so yet
	Bound   float64 `json:"bound"`       // the greatest such share that is allowed
	Never   int64   `json:"never"`
}

// bands are what is promised: who is so far beyond the last place that stock reached
// is told by every document that was made when more than so much of it was sold. In hindsight it was true all the time. Where
// there are few units there is little evidence before most of them are gone: see bound.
var bands = []struct{ beyond, sold float64 }{{3, 0.5}, {2, 0.75}, {1.5, 0.9}, {1, 1}}

// bound is a band's share, and what few units are allowed: their square root's worth.
func (c Config) bound(share float64) float64 {
	return min(1, share+3/math.Sqrt(float64(c.Units)))
}

// stale is how old the stock may be that a document was made by: a tick of the room's
// runner, a quarter second in the node's memory, and the ways between them.
const stale = time.Second

// mostWronged is how many of the places that were reached may have been told before
// that they would not be; and never fewer than leastWronged.
const (
	mostWronged  = 0.001
	leastWronged = 5
)

// judgeHonesty: whoever could not be served was told so in time, and hardly anybody
// was told so who then was called.
//
// In hindsight, stock reached as far as the front came. So of every place from there
// on it was true from the opening on, or from joining on, that stock can't reach it.
func (r *run) judgeHonesty(out *Report, fail func(string, ...any)) {
	t := r.timeline
	end := t[len(t)-1]
	out.Honesty.Reached = end.Front
	low := int64(math.MaxInt64)
	for _, m := range t {
		if m.Reach != nil {
			low = min(low, *m.Reach)
		}
	}
	out.Honesty.Wronged = max(end.Front-low, 0)
	if w := out.Honesty.Wronged; w > max(leastWronged, int64(mostWronged*float64(end.Front))) {
		fail("%d places of %d were reached after they had been told that they would not be", w, end.Front)
	}
	if end.Front >= end.Joined {
		return // nobody was left to tell
	}
	// From moment i on, nobody beyond upto[i] heard anything else any more.
	upto := make([]int64, len(t))
	most := int64(0)
	for i, m := range slices.Backward(t) {
		if m.Reach == nil {
			most = math.MaxInt64
		} else {
			most = max(most, *m.Reach)
		}
		upto[i] = most
	}
	joined := map[int64]time.Time{}
	for _, l := range r.lates {
		joined[l.ticket] = l.got
	}
	b := make([]Told, len(bands))
	delays := make([][]float64, len(bands))
	at := 0
	for place := end.Joined - 1; place >= end.Front; place-- { // the further, the sooner
		ticket := int64(r.shuffle.Ticket(uint64(place)))
		i := r.owner(ticket)
		if i < 0 || ticket < r.n && r.cfg.fate(i).leaves {
			continue
		}
		k := slices.IndexFunc(bands, func(b struct{ beyond, sold float64 }) bool { return float64(place) >= b.beyond*float64(end.Front) })
		for at < len(t) && upto[at] > place {
			at++
		}
		b[k].Waiters++
		if at == len(t) {
			b[k].Never++
			continue
		}
		since := r.marks.opened
		if at, ok := joined[ticket]; ok {
			since = at
		}
		delay := max(t[at].at.Sub(since).Seconds(), 0)
		delays[k] = append(delays[k], delay)
		b[k].Max = max(b[k].Max, delay)
		if at > 0 {
			b[k].Sold = max(b[k].Sold, float64(t.sold(t[at-1].Now.Add(-stale)))/float64(r.cfg.Units))
		}
		b[k].Seen = max(b[k].Seen, delay+r.cfg.fate(i).look.Seconds())
	}
	for k := range b {
		b[k].Beyond, b[k].Bound, b[k].Median = bands[k].beyond, r.cfg.bound(bands[k].sold), quantile(delays[k], 0.5)
		if b[k].Never > 0 {
			fail("%d waiters were never told that stock cannot reach them", b[k].Never)
		}
		if b[k].Sold > b[k].Bound {
			fail("of those from %g times the last place that was reached on, some were not told yet when %.0f%% of the units were sold; the bound is %.0f%%", b[k].Beyond, 100*b[k].Sold, 100*b[k].Bound)
		}
		out.Honesty.Seen = max(out.Honesty.Seen, b[k].Seen)
	}
	out.Honesty.Bands = b
	r.judgeLateHonesty(out, fail)
}

// judgeLateHonesty: who joined when their place was out of reach was told with the ticket.
func (r *run) judgeLateHonesty(out *Report, fail func(string, ...any)) {
	for _, l := range r.lates {
		sure := r.outOfReach(l)
		if l.state == "unreachable" {
			out.Honesty.AtTheDoor++
		} else if sure {
			fail("ticket %d was given out as %q when the document had said for two seconds that it is out of reach", l.ticket, l.state)
		}
	}
}

// outOfReach: every document of the two seconds before said so, and the one after it.
func (r *run) outOfReach(l lateJoin) bool {
	seen := 0
	for _, m := range r.timeline {
		if m.Now.Before(l.sent.Add(-2 * time.Second)) {
			continue
		}
		if m.Reach == nil || *m.Reach > l.ticket {
			return false
		}
		seen++
		if m.Now.After(l.got) {
			return seen > 2
		}
	}
	return false
}

// owner is whose a ticket is; -1: nobody's.
func (r *run) owner(ticket int64) int {
	if ticket >= int64(len(r.holder)) {
		return -1
	}
	return int(r.holder[ticket].Load()) - 1
}

func quantile(of []float64, q float64) float64 {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[int(q*float64(len(of)-1))]
}

func (t Told) String() string {
	return fmt.Sprintf("from %gx on: %d waiters, told after %.1f s (median), %.1f s (last), not yet when %.0f%% were sold (bound %.0f%%)", t.Beyond, t.Waiters, t.Median, t.Max, 100*t.Sold, 100*t.Bound)
}
