package limit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Rule is how much there is of a limit; the zero one has no end.
type Rule struct {
	Most   int
	Window time.Duration
}

// Rules are those of every limit.
type Rules [engine.LimitCount]Rule

// Defaults are limits that a storefront's ordinary buyers do not meet.
func Defaults() Rules {
	return Rules{
		engine.LimitBuyer:     {60, 10 * time.Second},
		engine.LimitHolder:    {120, 10 * time.Second},
		engine.LimitIP:        {2000, 10 * time.Second}, // a mobile carrier's address has thousands behind it
		engine.LimitNet:       {300, 10 * time.Second},
		engine.LimitMethod:    {20, 10 * time.Minute},
		engine.LimitUnpaid:    {8, time.Hour},
		engine.LimitUnpaidIP:  {4000, time.Hour},
		engine.LimitUnpaidNet: {200, time.Hour},
		engine.LimitSuspect:   {2, time.Minute},
	}
}

// Limits of the limits.
const (
	mostRequests = 1_000_000
	mostWindow   = 24 * time.Hour
)

// Parse changes a rule: NAME=MOST/WINDOW, as buyer=60/10s, or NAME=off.
func (r *Rules) Parse(text string) error {
	name, what, ok := strings.Cut(text, "=")
	l := slices.Index(engine.LimitNames(), strings.TrimSpace(name))
	if !ok || l < 0 {
		return fmt.Errorf("%q: want NAME=MOST/WINDOW, such as buyer=60/10s, where NAME is one of %s", text, strings.Join(engine.LimitNames(), ", "))
	}
	if what = strings.TrimSpace(what); what == "off" {
		r[l] = Rule{}
		return nil
	}
	number, window, ok := strings.Cut(what, "/")
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if !ok || err != nil || n < 1 || n > mostRequests {
		return fmt.Errorf("%q: want a number from 1 to %d before the slash, or %s=off", text, mostRequests, name)
	}
	w, err := time.ParseDuration(strings.TrimSpace(window))
	if err != nil || w < time.Second || w > mostWindow {
		return fmt.Errorf("%q: want a window from 1s to %s after the slash", text, mostWindow)
	}
	r[l] = Rule{n, w}
	return nil
}

// pace is a rule as it is reckoned with, in nanoseconds. Both are whole
// microseconds, so that Redis reckons with the same numbers.
type pace struct {
	each  int64 // until one comes back; 0: no limit
	burst int64 // each × Most
	free  int64 // each × what a node gives without asking
}

func (r Rule) pace(share float64) pace {
	if r.Most == 0 {
		return pace{}
	}
	each := max(1, r.Window.Microseconds()/int64(r.Most)) * 1000
	return pace{each: each, burst: each * int64(r.Most), free: each * int64(share*float64(r.Most))}
}

// quota says how a limit stands when its bucket is full in used nanoseconds.
func (p pace) quota(v engine.QuotaVerdict, l engine.Limit, used int64) engine.Quota {
	q := engine.Quota{Verdict: v, Limit: l, Most: int(p.burst / p.each), Window: time.Duration(p.burst), Reset: time.Duration(max(0, used))}
	q.Left = int(max(0, p.burst-used) / p.each)
	if v == engine.Beyond {
		q.After = time.Duration(max(1, used+p.each-p.burst))
	}
	return q
}
