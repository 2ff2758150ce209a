package page

import (
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/flashsale-engine/flashsale/loadtest"
	"github.com/flashsale-engine/flashsale/loadtest/plot"
)

// The palette of package plot, by what a colour stands for here.
const (
	blue = iota + 1
	orange
	green
	purple
	red
	teal
	yellow
	grey
)

// Figure is a picture twice, for wide windows and for phones, and a sentence about it.
type Figure struct {
	Title, Says  string
	Wide, Narrow template.HTML
}

const (
	wide   = 1060
	narrow = 390
)

func draw(title, says string, panels ...plot.Panel) (Figure, error) {
	f := plot.Figure{Title: title, Inline: true, X: "seconds since T0"}
	for _, p := range panels {
		p.Lines = slices.DeleteFunc(p.Lines, func(l plot.Line) bool { return len(l.Points) < 2 }) // nothing to see in a moment
		if len(p.Lines) == 1 && !strings.Contains(p.Y, p.Lines[0].Name) {
			p.Y += ": " + p.Lines[0].Name // where there is no legend
		}
		if len(p.Lines) > 0 || len(p.Bands) > 0 {
			f.Panels = append(f.Panels, p)
		}
	}
	out := Figure{Title: title, Says: says}
	if len(f.Panels) == 0 {
		return out, nil
	}
	for width, into := range map[float64]*template.HTML{wide: &out.Wide, narrow: &out.Narrow} {
		f.Width = width
		svg, err := f.SVG()
		if err != nil {
			return out, err
		}
		*into = template.HTML(svg) //nolint:gosec // drawn here, and every word in it escaped
	}
	return out, nil
}

// figures are all that a report has data for.
func figures(r loadtest.Report) (out []Figure, err error) {
	for _, f := range []func(loadtest.Report) (Figure, error){crowd, reservations, checkouts, latency, units, engine} {
		got, err := f(r)
		if err != nil {
			return nil, err
		}
		if got.Wide != "" {
			out = append(out, got)
		}
	}
	return out, nil
}

// line draws one value of each second.
func line(name string, colour int, r loadtest.Report, of func(loadtest.Second) float64) plot.Line {
	l := plot.Line{Name: name, Colour: colour}
	for _, s := range r.Series {
		l.Points = append(l.Points, plot.Point{middle(r, s), of(s)})
	}
	return l
}

// middle is where a second is drawn.
func middle(r loadtest.Report, s loadtest.Second) float64 {
	return float64(s.At) + float64(max(r.Every, 1))/2
}

// perSecond makes a count of a report's second a rate.
func perSecond(r loadtest.Report, n int64) float64 { return float64(n) / max(float64(r.Every), 1) }

func marks(r loadtest.Report) (out []plot.Mark) {
	from := 0.0
	for _, p := range r.Phases {
		out = append(out, plot.Mark{Name: p.Name, At: from})
		from = p.Until
	}
	for _, m := range r.Marks {
		out = append(out, plot.Mark{Name: m.Name, At: m.At})
	}
	slices.SortStableFunc(out, func(a, b plot.Mark) int { return int(1000 * (a.At - b.At)) })
	return out
}

func crowd(r loadtest.Report) (Figure, error) {
	came := line("came", blue, r, func(s loadtest.Second) float64 { return perSecond(r, s.Due) })
	came.Filled = true
	if len(came.Points) < 2 {
		return Figure{}, nil
	}
	asked := plot.Line{Name: "asked for", Colour: grey, Dashed: true}
	for _, p := range r.Curve {
		asked.Points = append(asked.Points, plot.Point{p.At, p.Rate})
	}
	dropped := line("dropped", red, r, func(s loadtest.Second) float64 { return perSecond(r, s.Dropped) })
	arrivals := plot.Panel{Y: "buyers per second", Height: 230, Lines: []plot.Line{came}, Marks: marks(r)}
	if len(asked.Points) > 0 {
		arrivals.Lines = append(arrivals.Lines, asked)
	}
	if r.Dropped > 0 {
		arrivals.Lines = append(arrivals.Lines, dropped)
	}
	inside := plot.Line{Name: "buyers on their way", Colour: purple, Filled: true}
	for _, m := range r.Timeline {
		inside.Points = append(inside.Points, plot.Point{float64(m.Second), float64(m.InFlight)})
	}
	there := plot.Panel{Y: "buyers on their way", Height: 90}
	if len(inside.Points) > 1 {
		there.Lines = append(there.Lines, inside)
	}
	return draw("Who came", "Arrivals by when they were due, as drawn from the curve. Nobody waits for anybody: an arrival that the generator cannot carry is dropped, and fails the run.", arrivals, there)
}

// answered draws how often an answer came that one of the words tells, each second.
func answered(r loadtest.Report, name string, colour int, is func(step, rest string) bool) (plot.Line, bool) {
	seen := false
	l := line(name, colour, r, func(s loadtest.Second) float64 {
		var n int64
		for what, count := range s.Answers {
			step, rest, _ := strings.Cut(what, " ")
			if is(step, rest) {
				n += count
			}
		}
		seen = seen || n > 0
		return perSecond(r, n)
	})
	return l, seen
}

// classes are answers that mean the same to a buyer.
type class struct {
	name   string
	colour int
	words  []string // how the answer begins
}

func classes(r loadtest.Report, steps []string, all []class) (lines []plot.Line) {
	for i, c := range all {
		l, seen := answered(r, c.name, c.colour, func(step, rest string) bool {
			if !slices.Contains(steps, step) {
				return false
			}
			for j, other := range all { // the first that fits
				for _, w := range other.words {
					if strings.HasPrefix(rest, w) {
						return i == j
					}
				}
			}
			return false
		})
		if seen {
			l.Filled = i == 0
			lines = append(lines, l)
		}
	}
	return lines
}

var noAnswer = class{"no answer", red, []string{"timeout", "no_connection", "unreachable", "broken"}}

func reservations(r loadtest.Report) (Figure, error) {
	all := []class{{"held", green, []string{"20"}}, {"sold out", orange, []string{"409 sold_out"}}, {"buyer's limit", purple, []string{"409 buyer_limit"}},
		{"told to wait", yellow, []string{"429", "503", "409 sale_not_open", "403"}}, noAnswer, {"other", grey, []string{""}}}
	return draw("Do I get one?", "Answers to reservations in each second, by what they said. Bots ask twenty times as often and have a picture of their own.",
		plot.Panel{Y: "answers per second", Height: 230, Lines: classes(r, []string{"reserve"}, all), Marks: marks(r)},
		plot.Panel{Y: "to bots", Height: 90, Lines: classes(r, []string{"bot"}, all)})
}

func checkouts(r loadtest.Report) (Figure, error) {
	return draw("Is it mine?", "Answers to payments in each second. Pending ones are asked about until there is an answer; those are counted as polls say so.",
		plot.Panel{Y: "answers per second", Height: 200, Marks: marks(r), Lines: classes(r, []string{"checkout", "poll"}, []class{{"an order", green, []string{"201", "200 confirmed"}},
			{"declined", orange, []string{"402"}}, {"pending", blue, []string{"202"}}, {"provider away", red, []string{"503"}}, {"too late", purple, []string{"409 reservation_expired", "410"}}, noAnswer})})
}

func latency(r loadtest.Report) (Figure, error) {
	panel := func(y string, step loadtest.Step) plot.Panel {
		p := plot.Panel{Y: y, Height: 200, Log: true, Marks: marks(r)}
		for _, q := range []struct {
			name   string
			colour int
			of     func(loadtest.Latency) float64
		}{{"p50", green, func(l loadtest.Latency) float64 { return l.P50 }}, {"p99", orange, func(l loadtest.Latency) float64 { return l.P99 }}, {"p99.9", red, func(l loadtest.Latency) float64 { return l.P999 }}} {
			l, seen := plot.Line{Name: q.name, Colour: q.colour}, false
			for _, s := range r.Series {
				for _, at := range s.Latency {
					if at.Step == step {
						seen = true
						l.Points = append(l.Points, plot.Point{middle(r, s), q.of(at)})
					}
				}
			}
			if seen {
				p.Lines = append(p.Lines, l)
			}
		}
		return p
	}
	checkout := panel("checkout, ms", loadtest.StepCheckout)
	checkout.Marks = nil
	return draw("How long did that take?", "From when a buyer meant to act to the last answer, retries and waits included, in the second in which it was due. The scale is logarithmic.",
		panel("reserve, ms", loadtest.StepReserve), checkout)
}

func units(r loadtest.Report) (Figure, error) {
	left := plot.Panel{Y: "units that can be had", Height: 220, Marks: marks(r)}
	names := map[string]bool{}
	for _, s := range r.Samples {
		for sku := range s.Units {
			names[sku] = true
		}
	}
	var sums [3]plot.Line
	for i, name := range []string{"sold", "held", "being paid"} {
		sums[i] = plot.Line{Name: name, Colour: []int{green, blue, purple}[i]}
	}
	for i, sku := range slices.Sorted(maps.Keys(names)) {
		l := plot.Line{Name: sku, Colour: i%8 + 1, Filled: true}
		for _, s := range r.Samples {
			if u, ok := s.Units[sku]; ok {
				l.Points = append(l.Points, plot.Point{s.At, float64(max(u.Available, 0))})
			}
		}
		left.Lines = append(left.Lines, l)
	}
	for _, s := range r.Samples {
		var all loadtest.Units
		for _, u := range s.Units {
			all.Sold, all.Held, all.Paying = all.Sold+u.Sold, all.Held+u.Held, all.Paying+u.Paying
		}
		if len(s.Units) > 0 {
			for i, n := range []int64{all.Sold, all.Held, all.Paying} {
				sums[i].Points = append(sums[i].Points, plot.Point{s.At, float64(n)})
			}
		}
	}
	if len(r.Samples) < 2 || len(left.Lines) == 0 {
		return Figure{}, nil
	}
	return draw("The stock burns down", "Where the units are, as the gate says. Those that were held and not paid for come back.", left, plot.Panel{Y: "units of all SKUs", Height: 150, Lines: sums[:]})
}

// engine draws what the engine says of itself.
func engine(r loadtest.Report) (Figure, error) {
	if len(r.Samples) < 2 {
		return Figure{}, nil
	}
	panels := breakers(r)
	panels = append(panels,
		sampled(r, "events on their way into the record", 110, func(s loadtest.Sample) map[string]float64 { return s.Lag }),
		sampled(r, "processor cores in use", 150, func(s loadtest.Sample) map[string]float64 { return s.CPU }),
		sampled(r, "memory, MiB", 90, func(s loadtest.Sample) map[string]float64 { return s.Memory }))
	panels[len(panels)-3].Marks = marks(r) // below the strips
	return draw("Behind the counter", "Circuit breakers as callers meet them, what waits between a claim and the record, and what it costs.", panels...)
}

func sampled(r loadtest.Report, y string, height float64, of func(loadtest.Sample) map[string]float64) plot.Panel {
	names := map[string]bool{}
	for _, s := range r.Samples {
		for name := range of(s) {
			names[name] = true
		}
	}
	p := plot.Panel{Y: y, Height: height}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		l := plot.Line{Name: name}
		for _, s := range r.Samples {
			if v, ok := of(s)[name]; ok {
				l.Points = append(l.Points, plot.Point{s.At, max(v, 0)})
			}
		}
		p.Lines = append(p.Lines, l)
	}
	return p
}

// breakers draws a strip for each that was not always closed, and for those of payment.
func breakers(r loadtest.Report) (out []plot.Panel) {
	strips := map[string][]plot.Band{}
	eventful := map[string]bool{}
	for i, s := range r.Samples[:len(r.Samples)-1] {
		to := r.Samples[i+1].At
		for name, state := range s.Breakers {
			eventful[name] = eventful[name] || state != "closed" || strings.HasPrefix(name, "payment")
			strip := strips[name]
			if n := len(strip); n > 0 && strip[n-1].Name == state && strip[n-1].To == s.At {
				strip[n-1].To = to
				continue
			}
			strips[name] = append(strip, plot.Band{Name: state, From: s.At, To: to, Colour: map[string]int{"closed": green, "half-open": yellow, "open": red}[state]})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(strips)) {
		if eventful[name] {
			out = append(out, plot.Panel{Y: fmt.Sprintf("breaker %s", name), Bands: strips[name]})
		}
	}
	return out
}
