package load

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// book counts a good end: by when it came for the rate, and in the open loop by
// when it was due for the latency.
func (r *runner) book(c *conn, good int, now time.Duration) {
	begin, end := r.spec.Lead, r.spec.Lead+r.spec.Window
	inside := now >= begin && now < end
	if inside {
		r.res.Good += uint64(good)
	}
	if r.spec.Rate > 0 {
		inside = c.due >= begin && c.due < end
	}
	if inside && c.step == 1 {
		_ = r.second.RecordValue(min((now - c.sent).Microseconds(), longest.Microseconds()))
	}
	if inside {
		_ = r.latency.RecordValue(min((now - c.due).Microseconds(), longest.Microseconds()))
	}
}

var lineMark = []byte(`"state":"held"`)

// judge says how many good ends an answer is worth, and notes what is wrong.
func (r *runner) judge(c *conn, a answer) int {
	want, text := r.spec.Status, r.spec.Text
	if c.step == 1 {
		want, text = 200, ""
		if r.spec.Kind == Purchase {
			want = 201
		}
	}
	worth := 1
	ok := a.status == want && (text == "" || bytes.Contains(a.body, []byte(text)))
	switch {
	case ok && r.spec.Kind == Script:
		worth = a.good
		ok = a.good == r.spec.granted(c.n)
	case ok && r.spec.Kind == Batch:
		worth = bytes.Count(a.body, lineMark)
		ok = worth == r.spec.Depth
	}
	if ok {
		return worth
	}
	if slices.Contains(r.spec.Allow, a.status) && a.status != want {
		return 0
	}
	if r.res.Bad++; len(r.res.Wrong) < 3 {
		r.res.Wrong = append(r.res.Wrong, fmt.Sprintf("%d: %s", a.status, clip(a.body)))
	}
	return 0
}

func (r *runner) finish() {
	r.res.Seconds = r.spec.Window.Seconds()
	r.res.Rate = float64(r.res.Good) / r.res.Seconds
	r.res.Open = len(r.conns) - len(r.free)
	r.res.Next = r.spec.Next + r.n*uint64(max(1, r.spec.Depth))
	r.res.Answers = map[string]uint64{}
	for status, n := range r.counts {
		r.res.Answers[strconv.Itoa(status)] = n
	}
	r.res.Latency, r.res.Second, r.res.Lateness = Summary(r.latency), Summary(r.second), Summary(r.late)
}

func clip(b []byte) []byte { return b[:min(len(b), 300)] }
