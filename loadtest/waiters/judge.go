package waiters

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/rest"
)

// judge sums the run up, and lists everything that is not as it must be.
func (r *run) judge(ctx context.Context) (Report, error) {
	out := r.report()
	fail := func(format string, args ...any) { out.Reasons = append(out.Reasons, fmt.Sprintf(format, args...)) }
	for _, w := range r.wrong {
		fail("%s", w)
	}
	if more := r.wrongs - len(r.wrong); more > 0 {
		fail("and %d more contradictions", more)
	}
	r.judgePlaces(ctx, &out, fail)
	r.judgeOrder(&out, fail)
	r.judgeGlances(fail)
	r.judgeHonesty(&out, fail)
	r.judgeBooks(ctx, &out, fail)
	out.Pass = len(out.Reasons) == 0
	return out, ctx.Err()
}

// slack is what clocks, answers on their way and the crowd's own lateness may take.
const slack = time.Second

// judgeOrder: nobody was admitted before the front had passed their place, or after
// their lease, and nobody was refused in between.
func (r *run) judgeOrder(out *Report, fail func(string, ...any)) {
	slices.SortFunc(r.claims, func(a, b claim) int { return a.got.Compare(b.got) })
	admitted := map[int64]bool{}
	for _, c := range r.claims {
		if c.admitted && admitted[c.ticket] {
			continue // the same admission again, for which there is no hurry
		}
		admitted[c.ticket] = admitted[c.ticket] || c.admitted
		notBefore, by, reached := r.timeline.reached(c.place)
		after, known := r.timeline.first(func(m moment) bool { return m.Now.After(c.got) })
		switch {
		case c.admitted && known && after.Front <= c.place:
			fail("place %d was admitted before the front, which was at %d afterwards", c.place, after.Front)
		case c.admitted && reached && c.sent.After(by.Add(r.cfg.Lease+slack)):
			fail("place %d was admitted %s after it was reached; the lease is %s", c.place, c.sent.Sub(by), r.cfg.Lease)
		case !c.admitted && !c.early && c.got.Before(notBefore.Add(r.cfg.Lease)):
			fail("place %d came %s after it was reached, which is within the lease, and was not admitted", c.place, c.sent.Sub(notBefore))
		}
		if c.admitted {
			out.Fairness.Admissions++
		} else if c.early {
			out.Fairness.TurnedAway++
		}
	}
	// First come, first served: no smaller ticket of the late ones was asked for only
	// after a greater one had been handed out.
	slices.SortFunc(r.lates, func(a, b lateJoin) int { return int(a.ticket - b.ticket) })
	var latest time.Time
	for i, l := range r.lates {
		if i > 0 && l.ticket == r.lates[i-1].ticket {
			fail("ticket %d was given to two", l.ticket)
		}
		if l.got.Before(latest) {
			fail("ticket %d was handed out before a smaller one was asked for", l.ticket)
		}
		if l.sent.After(latest) {
			latest = l.sent
		}
	}
	out.Fairness.LateJoiners = len(r.lates)
}

// judgeGlances: what waiters read about their tickets agrees with the front.
func (r *run) judgeGlances(fail func(string, ...any)) {
	for _, g := range r.glances {
		least, most := r.timeline.fronts(g.at)
		switch {
		case (g.state == "reached" || g.state == "passed") && g.place >= most,
			(g.state == "waiting" || g.state == "unreachable") && g.place < least:
			fail("place %d was said to be %s while the front was between %d and %d", g.place, g.state, least, most)
		}
	}
}

// judgeBooks: as many units were sold as there are, or somebody can say why not, and
// the engine's own books say the same.
func (r *run) judgeBooks(ctx context.Context, out *Report, fail func(string, ...any)) {
	end := r.timeline[len(r.timeline)-1]
	if n := int64(len(r.confirmed)); n != end.Sold || n != r.ends[bought] {
		fail("%d orders were confirmed to %d buyers, and the gate has sold %d", n, r.ends[bought], end.Sold)
	}
	if end.Sold > int64(r.cfg.Units) {
		fail("OVERSOLD: %d of %d units", end.Sold, r.cfg.Units)
	}
	if end.Sold < int64(r.cfg.Units) && end.Front < end.Joined {
		fail("%d units are left (%d held), and %d places have not been called", int64(r.cfg.Units)-end.Sold, end.Held+end.Paying, end.Joined-end.Front)
	}
	var raw json.RawMessage
	if err := rest.JSON(ctx, http.MethodGet, r.e.admin+"/admin/v1/verify?settle=20s", adminToken, nil, &raw); err != nil {
		fail("verify: %v", err)
		return
	}
	if err := json.Unmarshal(raw, &out.Verify); err != nil {
		fail("verify: %v", err)
		return
	}
	if v := out.Verify; !v.Clean() {
		fail("verify: OVERSOLD %d · LOST %d · DRIFT %d · UNPAID %d", v.Oversold, v.Lost, v.Drift, v.Unpaid)
	} else if v.Checked.Orders != end.Sold {
		fail("verify saw %d units in orders, and the gate has sold %d", v.Checked.Orders, end.Sold)
	}
}
