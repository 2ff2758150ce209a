package waiters

import (
	"fmt"
	"math"

	"github.com/flashsale-engine/flashsale/loadtest/plot"
)

// Picture draws the run as an SVG.
func (r Report) Picture() ([]byte, error) {
	line := func(name string, of func(Moment) float64) plot.Line {
		l := plot.Line{Name: name}
		for _, m := range r.Timeline {
			l.Points = append(l.Points, plot.Point{m.At, of(m)})
		}
		return l
	}
	joined := line("joined", func(m Moment) float64 { return float64(m.Joined) })
	joined.Points = append([]plot.Point{{-r.JoinSeconds, 0}, {0, float64(r.Waiters)}}, joined.Points...)
	reach := line("reach: who is beyond it is told", func(m Moment) float64 {
		if m.Reach == nil {
			return math.NaN()
		}
		return float64(min(*m.Reach, m.Joined))
	})
	reach.Filled = true
	front := line("front", func(m Moment) float64 { return float64(m.Front) })
	marks := []plot.Mark{{Name: "opening", At: 0}}
	if r.SoldSeconds > 0 {
		marks = append(marks, plot.Mark{Name: "all sold", At: r.SoldSeconds})
	}
	held := line("held", func(m Moment) float64 { return float64(m.Held) })
	held.Dashed = true
	f := plot.Figure{Title: fmt.Sprintf("%s wait for %s units", thousands(r.Waiters), thousands(r.Units)),
		Note: fmt.Sprintf("flashsale loadtest crowd, seed %d: joins %s per second, %.1f bytes of Redis per waiter, all on one machine", r.Seed, thousands(int(r.JoinRate)), r.BytesPer),
		X:    "seconds since the opening",
		Panels: []plot.Panel{
			{Y: "tickets and places", Lines: []plot.Line{joined, reach, front}, Marks: marks},
			{Y: "places and units", Height: 280, Lines: []plot.Line{front, line("claimed", func(m Moment) float64 { return float64(m.Claimed) }), held, line("sold", func(m Moment) float64 { return float64(m.Sold) })}},
			{Y: "what held the front"}}}
	strip := &f.Panels[2]
	for i, m := range r.Timeline[:len(r.Timeline)-1] {
		to := r.Timeline[i+1].At
		if n := len(strip.Bands); n > 0 && strip.Bands[n-1].Name == named(m.Limit) {
			strip.Bands[n-1].To = to
			continue
		}
		strip.Bands = append(strip.Bands, plot.Band{Name: named(m.Limit), From: m.At, To: to})
	}
	return f.SVG()
}

func named(limit string) string {
	switch limit {
	case "", "none":
		return "nothing"
	}
	return limit
}

// thousands writes a number with commas.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
