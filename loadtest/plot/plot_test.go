package plot

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

func TestTicksAreRoundAndCoverTheRange(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		n      int
		out    bool
		want   string
	}{
		{0, 100, 5, true, "[0 20 40 60 80 100]"},
		{0, 101, 5, true, "[0 50 100 150]"},
		{0, 28_600, 5, true, "[0 10000 20000 30000]"},
		{0, 1_000_000, 5, true, "[0 200000 400000 600000 800000 1e+06]"},
		{-70, 330, 8, false, "[-50 0 50 100 150 200 250 300]"},
		{0, 0.3, 3, true, "[0 0.1 0.2 0.30000000000000004]"},
		{0, 0, 4, true, "[0]"},
	} {
		if got := fmt.Sprint(ticks(c.lo, c.hi, c.n, c.out)); got != c.want {
			t.Errorf("%v to %v: %s, want %s", c.lo, c.hi, got, c.want)
		}
	}
}

func TestLabelsAreShort(t *testing.T) {
	for x, want := range map[float64]string{0: "0", 0.5: "0.5", 999: "999", 1000: "1k", 1500: "1.5k", 200_000: "200k", 1e6: "1M", 2.5e9: "2.5G", -50: "-50"} {
		if got := short(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
}

const goodput = `{"title":"Goodput against <offered> load","x":"offered, requests/s","panels":[{"y":"answered well, requests/s",
	"lines":[{"name":"engine","dots":true,"points":[[0,0],[1000,1000],[2000,1500]]},{"name":"all that is offered","dashed":true,"points":[[0,0],[2000,2000]]}],
	"marks":[{"name":"peak","at":1000}]}]}`

func TestAFigureFromJSONIsDrawnToScale(t *testing.T) {
	var f Figure
	if err := json.Unmarshal([]byte(goodput), &f); err != nil {
		t.Fatal(err)
	}
	raw, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	svg := string(raw)
	// The axis ends at 2,000 in both directions: half of it is the middle.
	bottom := 34 + between + plain
	middle := fmt.Sprintf(`<circle class="c0" cx="%.1f" cy="%.1f" r="3.2"/>`, (left+usual-right)/2, bottom-plain/2)
	for _, want := range []string{middle, fmt.Sprintf(`d="M%.1f %.1fL%.1f %.1f"`, left, bottom, usual-right, bottom-plain), `class="l s1 d"`, "Goodput against &lt;offered&gt; load",
		">offered, requests/s<", ">all that is offered<", ">peak<", ">1.5k<", "prefers-color-scheme:dark"} {
		if !strings.Contains(svg, want) {
			t.Errorf("%s is missing in\n%s", want, svg)
		}
	}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestALineIsInterruptedWhereNothingIsKnown(t *testing.T) {
	got := pieces([]Point{{0, math.NaN()}, {1, 1}, {2, 2}, {3, math.NaN()}, {4, 4}})
	if fmt.Sprint(got) != "[[[1 1] [2 2]] [[4 4]]]" {
		t.Error(got)
	}
}

func TestThinningKeepsWhatCanBeSeen(t *testing.T) {
	var px [][2]float64
	for i := range 1000 { // a slow bend, then flat
		px = append(px, [2]float64{float64(i), 100 * math.Sin(min(float64(i), 500)/500)})
	}
	thinned := thin(px)
	if len(thinned) > 400 || thinned[len(thinned)-1] != px[999] {
		t.Errorf("%d points are left", len(thinned))
	}
	for _, v := range px {
		i := 1
		for thinned[i][0] < v[0] {
			i++
		}
		a, b := thinned[i-1], thinned[i]
		if off := math.Abs(a[1] + (b[1]-a[1])*(v[0]-a[0])/(b[0]-a[0]) - v[1]); off > 0.7 {
			t.Fatalf("at %v the line is %v off", v, off)
		}
	}
}

func TestTheSameBandHasTheSameColour(t *testing.T) {
	f := Figure{Title: "t", Panels: []Panel{{Y: "what binds", Bands: []Band{{Name: "ramp", From: 0, To: 1}, {Name: "stock", From: 1, To: 5}, {Name: "ramp", From: 5, To: 6}}}}}
	svg, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(svg), `class="b c0"`); n != 3 { // two bands and the legend
		t.Errorf("%d of the first colour, want 3\n%s", n, svg)
	}
}

func TestWhatCannotBeDrawnIsRefused(t *testing.T) {
	line := func(p ...Point) Figure {
		return Figure{Title: "t", Panels: []Panel{{Lines: []Line{{Name: "l", Points: p}}}}}
	}
	for name, f := range map[string]Figure{"nothing": {Title: "t"}, "an empty panel": {Panels: []Panel{{}}}, "one x": line(Point{1, 1}),
		"infinity": line(Point{0, 0}, Point{1, math.Inf(1)}), "below zero": line(Point{0, 0}, Point{1, -1})} {
		if _, err := f.SVG(); err == nil {
			t.Errorf("%s: drawn", name)
		}
	}
}

func TestALineKeepsItsColourFromPanelToPanel(t *testing.T) {
	line := func(name string) Line { return Line{Name: name, Points: []Point{{0, 0}, {1, 1}}} }
	f := Figure{Title: "t", Panels: []Panel{{Lines: []Line{line("joined"), line("front")}}, {Lines: []Line{line("front"), line("sold")}}}}
	svg, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	for class, want := range map[string]int{"l s0": 2, "l s1": 4, "l s2": 2} { // each with its legend
		if n := strings.Count(string(svg), `"`+class+`"`); n != want {
			t.Errorf("%s: %d times, want %d", class, n, want)
		}
	}
}

func TestALogarithmicAxisGoesByPowersOfTen(t *testing.T) {
	p := Panel{Y: "ms", Log: true, Lines: []Line{{Name: "p99", Points: []Point{{0, 0}, {1, 3}, {2, 1500}}}}}
	at, scale := p.axis(200)
	if fmt.Sprint(at) != "[1 10 100 1000 10000]" || scale(1) != 0 || math.Abs(scale(100)-0.5) > 1e-9 || scale(10_000) != 1 || scale(0) != 0 {
		t.Errorf("%v: %v %v %v %v", at, scale(1), scale(100), scale(10_000), scale(0))
	}
}

func TestANarrowFigureKeepsItsWordsInside(t *testing.T) {
	p := Panel{Y: "answers per second", Marks: []Mark{{"pre-sale", 0}, {"the sale opens", 0.5}, {"a long word at the end", 99}}}
	for i, n := range []string{"held", "sold out", "told to wait", "no answer at all", "another kind"} {
		p.Lines = append(p.Lines, Line{Name: n, Colour: 8 - i, Points: []Point{{0, 1}, {100, 2}}})
	}
	svg, err := Figure{Title: "t", Width: 390, Inline: true, X: "s", Panels: []Panel{p}}.SVG()
	if err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	lines := map[string]float64{} // y → where the last word ends
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok || e.Name.Local != "text" {
			continue
		}
		var v struct {
			X      float64 `xml:"x,attr"`
			Y      string  `xml:"y,attr"`
			Anchor string  `xml:"text-anchor,attr"`
			Text   string  `xml:",chardata"`
		}
		if err := d.DecodeElement(&v, &e); err != nil {
			t.Fatal(err)
		}
		from := v.X
		if long := float64(len(v.Text)) * perLetter; v.Anchor == "end" {
			from -= long
		} else if v.Anchor == "middle" {
			from -= long / 2
		}
		if from < 0 || from+float64(len(v.Text))*perLetter > 390 {
			t.Errorf("%q goes from %.0f to %.0f of 390", v.Text, from, from+float64(len(v.Text))*perLetter)
		}
		if strings.Contains("pre-sale the sale opens a long word at the end", v.Text) {
			if from < lines[v.Y] {
				t.Errorf("%q covers what is before it", v.Text)
			}
			lines[v.Y] = from + float64(len(v.Text))*perLetter
		}
	}
	if !strings.Contains(string(svg), `class="l s7"`) || strings.Contains(string(svg), `class="page" `) {
		t.Errorf("%s", svg)
	}
}
