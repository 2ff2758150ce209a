package page

import (
	"fmt"
	"io"

	"github.com/flashsale-engine/flashsale/loadtest"
	"github.com/flashsale-engine/flashsale/loadtest/plot"
)

type row struct{ Name, A, B, Change, Class string }

// Compare makes a page of two runs beside each other.
func Compare(w io.Writer, names [2]string, a, b loadtest.Report) error {
	var runs []tile
	for i, r := range []loadtest.Report{a, b} {
		runs = append(runs, tile{fmt.Sprintf("%c: %s", 'A'+i, names[i]), map[bool]string{true: "PASS", false: "FAIL"}[r.Pass], !r.Pass})
	}
	rows := []row{tell("buyers", a.Arrivals, b.Arrivals, 0), tell("confirmed orders", a.Confirmed, b.Confirmed, 1), tell("sold out", a.SoldOut, b.SoldOut, 0),
		tell("failed", a.Failed, b.Failed, -1), tell("dropped", a.Dropped, b.Dropped, -1), tell("retries", a.Retries, b.Retries, -1)}
	for _, l := range a.Latency {
		other := b.Of(l.Step)
		if other.Count == 0 {
			continue
		}
		for _, q := range []struct {
			name string
			a, b float64
		}{{"p50", l.P50, other.P50}, {"p99", l.P99, other.P99}, {"p99.9", l.P999, other.P999}} {
			change, class := judge(q.a, q.b, -1)
			rows = append(rows, row{fmt.Sprintf("%s %s", l.Step, q.name), millis(q.a), millis(q.b), change, class})
		}
	}
	pictures, err := overlays(a, b)
	if err != nil {
		return err
	}
	return pages.ExecuteTemplate(w, "compare", map[string]any{"Title": "Two runs compared", "Subtitle": "A: " + subtitle(a) + " B: " + subtitle(b), "Runs": runs, "Rows": rows, "Figures": pictures,
		"Foot": fmt.Sprintf("A is run %s of %s, B is run %s of %s. Made by flashsale loadtest compare.", a.Run, a.StartedAt.Format("2006-01-02 15:04:05 MST"), b.Run, b.StartedAt.Format("2006-01-02 15:04:05 MST"))})
}

func tell(name string, a, b int64, better int) row {
	change, class := judge(float64(a), float64(b), better)
	return row{name, count(a), count(b), change, class}
}

// judge says how far b is from a. better is 1 if more is better, -1 if less is, 0 if neither.
func judge(a, b float64, better int) (change, class string) {
	switch {
	case a == b:
		return "same", ""
	case a == 0:
		change = "from nothing"
	default:
		change = fmt.Sprintf("%+.0f %%", 100*(b-a)/a)
	}
	if d := (b - a) * float64(better); d > 0.1*a {
		return change, "good"
	} else if d < -0.1*a {
		return change, "bad"
	}
	return change, ""
}

func overlays(a, b loadtest.Report) (out []Figure, err error) {
	both := func(of func(r loadtest.Report, name string, colour int) plot.Line) (lines []plot.Line) {
		for i, r := range []loadtest.Report{a, b} {
			if l := of(r, string(rune('A'+i)), []int{blue, orange}[i]); len(l.Points) > 0 {
				lines = append(lines, l)
			}
		}
		return lines
	}
	came := both(func(r loadtest.Report, name string, colour int) plot.Line {
		return line(name, colour, r, func(s loadtest.Second) float64 { return perSecond(r, s.Due) })
	})
	orders := both(func(r loadtest.Report, name string, colour int) plot.Line {
		l := plot.Line{Name: name, Colour: colour}
		for _, m := range r.Timeline {
			l.Points = append(l.Points, plot.Point{float64(m.Second), float64(m.Confirmed)})
		}
		return l
	})
	slow := func(step loadtest.Step) []plot.Line {
		return both(func(r loadtest.Report, name string, colour int) plot.Line {
			l := plot.Line{Name: name, Colour: colour}
			for _, s := range r.Series {
				for _, at := range s.Latency {
					if at.Step == step {
						l.Points = append(l.Points, plot.Point{middle(r, s), at.P99})
					}
				}
			}
			return l
		})
	}
	for _, f := range []struct {
		title, says string
		panels      []plot.Panel
	}{
		{"Who came", "Arrivals by when they were due.", []plot.Panel{{Y: "buyers per second", Lines: came}}},
		{"Orders", "Confirmed orders so far.", []plot.Panel{{Y: "orders", Lines: orders}}},
		{"p99", "Of each second, from when a step was due. The scale is logarithmic.", []plot.Panel{{Y: "reserve, ms", Log: true, Lines: slow(loadtest.StepReserve)}, {Y: "checkout, ms", Log: true, Lines: slow(loadtest.StepCheckout)}}},
	} {
		got, err := draw(f.title, f.says, f.panels...)
		if err != nil {
			return nil, err
		}
		if got.Wide != "" {
			out = append(out, got)
		}
	}
	return out, nil
}
