package plot

import (
	"fmt"
	"math"
)

// Figure is panels, one below the other, over one x axis.
type Figure struct {
	Title  string  `json:"title"`
	Width  float64 `json:"width,omitempty"`  // in pixels; default 820
	Inline bool    `json:"inline,omitempty"` // a part of a page, which shows the title: only those who can't see it are told
	Note   string  `json:"note,omitempty"`   // a line below the title
	X      string  `json:"x"`                // what the x axis shows, with its unit
	Panels []Panel `json:"panels"`
}

// Panel is lines over one y axis, which begins at zero. A panel of bands only is a
// strip without one.
type Panel struct {
	Y      string  `json:"y"`
	Log    bool    `json:"log,omitempty"`    // the y axis is logarithmic, and begins at a power of ten
	Height float64 `json:"height,omitempty"` // in pixels; default 200, of a strip 22
	Lines  []Line  `json:"lines,omitempty"`
	Bands  []Band  `json:"bands,omitempty"`
	Marks  []Mark  `json:"marks,omitempty"`
}

// Line is one line. A point whose y is not a number interrupts it.
type Line struct {
	Name   string  `json:"name"`
	Points []Point `json:"points"`
	Dashed bool    `json:"dashed,omitempty"`
	Dots   bool    `json:"dots,omitempty"` // points that were measured one by one
	Filled bool    `json:"filled,omitempty"`
	Colour int     `json:"colour,omitempty"` // of the palette, from 1; default: the next one
}

// Point is x and y.
type Point [2]float64

// Band says what held from one x to another. The same name has the same colour.
type Band struct {
	Name   string  `json:"name"`
	From   float64 `json:"from"`
	To     float64 `json:"to"`
	Colour int     `json:"colour,omitempty"` // of the palette, from 1; default: the next one
}

// Mark is a vertical line with a word at its top.
type Mark struct {
	Name string  `json:"name"`
	At   float64 `json:"at"`
}

// check refuses what cannot be drawn, and gives the range of x.
func (f Figure) check() (lo, hi float64, err error) {
	lo, hi = math.Inf(1), math.Inf(-1)
	see := func(x float64) { lo, hi = min(lo, x), max(hi, x) }
	for i, p := range f.Panels {
		if len(p.Lines) == 0 && len(p.Bands) == 0 {
			return 0, 0, fmt.Errorf("plot: panel %d of %q shows nothing", i, f.Title)
		}
		for _, l := range p.Lines {
			for _, at := range l.Points {
				see(at[0])
				if math.IsNaN(at[0]) || math.IsInf(at[0], 0) || math.IsInf(at[1], 0) || at[1] < 0 {
					return 0, 0, fmt.Errorf("plot: line %q cannot go through %v", l.Name, at)
				}
			}
		}
		for _, b := range p.Bands {
			see(b.From)
			see(b.To)
		}
	}
	if !(lo < hi) {
		return 0, 0, fmt.Errorf("plot: %q needs two different x at least", f.Title)
	}
	return lo, hi, nil
}

// top is the greatest y of a panel.
func (p Panel) top() (y float64) {
	for _, l := range p.Lines {
		for _, at := range l.Points {
			if at[1] > y {
				y = at[1]
			}
		}
	}
	return y
}

// decades are the power of ten at or below a panel's least y above zero, and the one
// at or above its greatest.
func (p Panel) decades() (lo, hi float64) {
	lo = math.Inf(1)
	for _, l := range p.Lines {
		for _, at := range l.Points {
			if at[1] > 0 {
				lo = min(lo, at[1])
			}
		}
	}
	if math.IsInf(lo, 1) {
		return 1, 10
	}
	lo = math.Pow(10, math.Floor(math.Log10(lo)+1e-9))
	return lo, max(math.Pow(10, math.Ceil(math.Log10(p.top())-1e-9)), 10*lo)
}

// ticks divides lo to hi by steps of 1, 2 or 5 times a power of ten, into about n.
// The last one may be beyond hi only if out is set: an axis that ends with a tick.
func ticks(lo, hi float64, n int, out bool) (at []float64) {
	raw := (hi - lo) / float64(n)
	if raw <= 0 {
		raw = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, f := range []float64{1, 2, 5, 10} {
		if f*step >= raw*0.999 {
			step *= f
			break
		}
	}
	first := math.Ceil(lo/step-1e-9) + 0 // no minus zero
	for i := first; ; i++ {
		x := i * step
		beyond := x > hi+step*1e-9
		if beyond && !out {
			return at
		}
		at = append(at, x)
		if beyond || out && x >= hi-step*1e-9 {
			return at
		}
	}
}

// short writes a tick as people do: 1.5k, 200k, 1M.
func short(x float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if math.Abs(x) >= u.size {
			return fmt.Sprintf("%.4g%s", x/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.4g", x)
}
