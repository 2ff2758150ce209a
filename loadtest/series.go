package loadtest

import (
	"maps"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Second is what was due in one second of a run, or in a few of them if the run is
// long, and what was answered in it.
type Second struct {
	At      int              `json:"at"`                // seconds after T0, when it begins
	Due     int64            `json:"due"`               // arrivals
	Dropped int64            `json:"dropped,omitempty"` // of them
	Answers map[string]int64 `json:"answers,omitempty"` // that came in it, by "step status code"
	Latency []Latency        `json:"latency,omitempty"` // of the steps that were due in it, whenever their answers came
}

// maxSeconds bounds how many a run keeps: of a longer one, each of them is longer.
const maxSeconds = 1200

// charted are the steps whose latency is kept second by second.
var charted = []Step{StepReserve, StepCheckout}

// series is a run second by second. The tally's lock guards it.
type series struct {
	start time.Time
	width time.Duration
	cells map[int]*cell
}

type cell struct {
	due, dropped int64
	answers      map[Outcome]int64
	latencies    map[Step]*hdrhistogram.Histogram
}

func newSeries(start time.Time, length time.Duration) series {
	long := (length + maxSeconds*time.Second - 1) / (maxSeconds * time.Second)
	return series{start: start, width: max(long, 1) * time.Second, cells: map[int]*cell{}}
}

// at gives the cell of a moment.
func (s *series) at(t time.Time) *cell {
	return s.cell(int(max(t.Sub(s.start), 0) / s.width))
}

func (s *series) cell(i int) *cell {
	c := s.cells[i]
	if c == nil {
		c = &cell{answers: map[Outcome]int64{}, latencies: map[Step]*hdrhistogram.Histogram{}}
		s.cells[i] = c
	}
	return c
}

// latency keeps two digits: these are for pictures.
func (c *cell) latency(s Step, took time.Duration) {
	if !slices.Contains(charted, s) {
		return
	}
	h := c.latencies[s]
	if h == nil {
		h = hdrhistogram.New(1, maxLatency.Microseconds(), 2)
		c.latencies[s] = h
	}
	record(h, took)
}

// seconds gives them in order.
func (s *series) seconds() []Second {
	out := make([]Second, 0, len(s.cells))
	for _, i := range slices.Sorted(maps.Keys(s.cells)) {
		c := s.cells[i]
		v := Second{At: i * int(s.width/time.Second), Due: c.due, Dropped: c.dropped, Answers: map[string]int64{}}
		for o, n := range c.answers {
			v.Answers[o.String()] = n
		}
		for _, step := range charted {
			if h := c.latencies[step]; h != nil {
				v.Latency = append(v.Latency, summary(step, h))
			}
		}
		out = append(out, v)
	}
	return out
}

// record keeps what a histogram can hold; clamped, it cannot fail.
func record(h *hdrhistogram.Histogram, took time.Duration) {
	_ = h.RecordValue(min(max(took.Microseconds(), 0), maxLatency.Microseconds()))
}

// summary is a histogram in the figures that people know.
func summary(s Step, h *hdrhistogram.Histogram) Latency {
	q := h.ValueAtPercentilesSlice([]float64{50, 95, 99, 99.9})
	return Latency{s, h.TotalCount(), ms(q[0]), ms(q[1]), ms(q[2]), ms(q[3]), ms(h.Max())}
}
