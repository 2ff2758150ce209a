package plot

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strings"
)

// Sizes, in pixels.
const (
	usual     = 820.0 // a figure's width
	left      = 62.0
	right     = 24.0
	plain     = 200.0 // a panel's height
	strip     = 22.0  // of bands alone
	between   = 46.0  // panels: a legend fits in
	legendRow = 17.0
	perLetter = 6.6 // of the legend's letters, about
)

// The colours of lines and bands in their order, on a light page and on a dark one.
var (
	light = []string{"#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#1b7c83", "#9a6700", "#59636e"}
	dark  = []string{"#58a6ff", "#f0883e", "#3fb950", "#bc8cff", "#ff7b72", "#39c5cf", "#d29922", "#9198a1"}
)

const style = `text{font:12px -apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}.t{font-size:16px;font-weight:600}.m{fill:#59636e}` +
	`.page{fill:#fff}.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#59636e;stroke-width:1}.mark{stroke:#59636e;stroke-width:1;stroke-dasharray:2 3}` +
	`.l{fill:none;stroke-width:2;stroke-linejoin:round}.d{stroke-dasharray:6 4}.f{fill-opacity:.13}.b{fill-opacity:.75}`

const styleDark = `text{fill:#e6edf3}.m{fill:#9198a1}.page{fill:#0d1117}.grid{stroke:#30363d}.axis{stroke:#9198a1}.mark{stroke:#9198a1}`

type canvas struct {
	bytes.Buffer
	width  float64
	lo, hi float64        // of x
	colour map[string]int // of what has a name: the same in every panel
}

func (c *canvas) add(format string, args ...any) { fmt.Fprintf(c, format+"\n", args...) }

// x gives the pixel of an x.
func (c *canvas) x(v float64) float64 { return left + (v-c.lo)/(c.hi-c.lo)*(c.width-left-right) }

// SVG draws the figure.
func (f Figure) SVG() ([]byte, error) {
	lo, hi, err := f.check()
	if err != nil {
		return nil, err
	}
	c := &canvas{width: f.Width, lo: lo, hi: hi, colour: f.colours()}
	if c.width == 0 {
		c.width = usual
	}
	y := 34.0
	if f.Inline {
		y = -20
	}
	if f.Note != "" {
		y += 18
	}
	var tops []float64
	for _, p := range f.Panels {
		y += c.room(p)
		tops = append(tops, y)
		y += p.height()
	}
	height := y + 44
	c.add(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img">`, c.width, height, c.width, height)
	c.add("<title>%s</title>", html.EscapeString(f.Title))
	c.add("<style>%s%s@media (prefers-color-scheme:dark){%s%s}</style>", style, colours(light), styleDark, colours(dark))
	if !f.Inline {
		c.add(`<rect class="page" width="%.0f" height="%.0f"/>`, c.width, height)
		c.text(left-46, 28, "t", "start", f.Title)
	}
	if f.Note != "" {
		c.text(left-46, 48, "m", "start", f.Note)
	}
	for i, p := range f.Panels {
		c.panel(p, tops[i], i == len(f.Panels)-1)
	}
	c.text((left+c.width-right)/2, height-8, "m", "middle", f.X)
	c.add("</svg>")
	return c.Bytes(), nil
}

// colours gives each name its own: the one that it asks for, or the next.
func (f Figure) colours() map[string]int {
	out := map[string]int{}
	ask := func(name string, colour int) {
		if _, has := out[name]; !has && colour > 0 {
			out[name] = (colour - 1) % len(light)
		}
	}
	for _, p := range f.Panels {
		for _, l := range p.Lines {
			ask(l.Name, l.Colour)
		}
		for _, b := range p.Bands {
			ask(b.Name, b.Colour)
		}
	}
	for _, p := range f.Panels {
		for _, n := range p.names() {
			if _, has := out[n]; !has {
				out[n] = len(out) % len(light)
			}
		}
	}
	return out
}

func colours(of []string) string {
	var s strings.Builder
	for i, v := range of {
		fmt.Fprintf(&s, ".s%d{stroke:%s}.c%d{fill:%s}", i, v, i, v)
	}
	return s.String()
}

func (p Panel) height() float64 {
	switch {
	case p.Height > 0:
		return p.Height
	case len(p.Lines) == 0:
		return strip
	}
	return plain
}

func (c *canvas) text(x, y float64, class, anchor, s string) {
	c.add(`<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, class, x, y, anchor, html.EscapeString(s))
}

func (c *canvas) rule(class string, x1, y1, x2, y2 float64) {
	c.add(`<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

// panel draws one, whose upper edge is at top.
func (c *canvas) panel(p Panel, top float64, last bool) {
	h := p.height()
	bottom := top + h
	c.text(left-46, top-14-(c.room(p)-between), "", "start", p.Y)
	xs := ticks(c.lo, c.hi, int(c.width/82), false)
	if len(p.Lines) > 0 {
		ys, scale := p.axis(h)
		at := func(v float64) float64 { return bottom - scale(v)*h }
		for _, v := range ys {
			c.rule("grid", left, at(v), c.width-right, at(v))
			c.text(left-8, at(v)+4, "m", "end", short(v))
		}
		for _, x := range xs {
			c.rule("grid", c.x(x), top, c.x(x), bottom)
		}
		for _, l := range p.Lines {
			c.line(l, at, bottom)
		}
		c.rule("axis", left, bottom, c.width-right, bottom)
	}
	for _, b := range p.Bands {
		c.add(`<rect class="b c%d" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, c.colour[b.Name], c.x(b.From), top, max(c.x(b.To)-c.x(b.From), 0.5), h)
	}
	c.marks(p.Marks, top, bottom)
	if last {
		for _, x := range xs {
			c.text(c.x(x), bottom+17, "m", "middle", short(x))
		}
	}
	c.legend(p, top)
}

// axis gives the ticks of y, and where between bottom and top, 0 and 1, a value is.
func (p Panel) axis(h float64) (at []float64, scale func(float64) float64) {
	if !p.Log {
		at = ticks(0, p.top(), max(2, int(h/40)), true)
		most := max(at[len(at)-1], math.SmallestNonzeroFloat64)
		return at, func(v float64) float64 { return v / most }
	}
	lo, hi := p.decades()
	for v := lo; v <= hi*1.001; v *= 10 {
		at = append(at, v)
	}
	return at, func(v float64) float64 { return max(math.Log10(max(v, lo)/lo)/math.Log10(hi/lo), 0) }
}

func dashes(l Line) string {
	if l.Dashed {
		return " d"
	}
	return ""
}

// line draws a line, in pieces if it is interrupted.
func (c *canvas) line(l Line, at func(float64) float64, base float64) {
	colour := c.colour[l.Name]
	for _, piece := range pieces(l.Points) {
		px := make([][2]float64, len(piece))
		for i, v := range piece {
			px[i] = [2]float64{c.x(v[0]), at(v[1])}
		}
		if l.Dots {
			for _, v := range px {
				c.add(`<circle class="c%d" cx="%.1f" cy="%.1f" r="3.2"/>`, colour, v[0], v[1])
			}
		}
		px = thin(px)
		var s strings.Builder
		for i, v := range px {
			fmt.Fprintf(&s, "%c%.1f %.1f", "LM"[max(0, 1-i)], v[0], v[1])
		}
		if l.Filled {
			c.add(`<path class="f c%d" d="%sL%.1f %.1fL%.1f %.1fZ"/>`, colour, s.String(), px[len(px)-1][0], base, px[0][0], base)
		}
		c.add(`<path class="l s%d%s" d="%s"/>`, colour, dashes(l), s.String())
	}
}

func pieces(all []Point) (out [][]Point) {
	var piece []Point
	for _, at := range all {
		if !math.IsNaN(at[1]) {
			piece = append(piece, at)
			continue
		}
		if len(piece) > 0 {
			out = append(out, piece)
		}
		piece = nil
	}
	if len(piece) > 0 {
		out = append(out, piece)
	}
	return out
}

// thin leaves out points that are less than half a pixel off the line between the
// last one that was kept and the next: nobody sees them, and a run has thousands.
func thin(px [][2]float64) (out [][2]float64) {
	for i, v := range px {
		if i == 0 || i == len(px)-1 || !straight(out[len(out)-1], v, px[i+1]) {
			out = append(out, v)
		}
	}
	return out
}

func straight(a, b, c [2]float64) bool {
	if c[0]-a[0] > 4 || c[0] == a[0] { // small steps, or a slow bend would vanish
		return b[1] == a[1] && b[1] == c[1]
	}
	return math.Abs(a[1]+(c[1]-a[1])*(b[0]-a[0])/(c[0]-a[0])-b[1]) < 0.5
}
