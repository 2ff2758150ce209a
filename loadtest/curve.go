package loadtest

import (
	_ "embed"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Curve is how many buyers come per second, over time: straight lines between its
// points. Two points at the same second are a jump. Before the first and after the
// last nobody comes.
type Curve []Point

// Point is one of a curve's.
type Point struct {
	At   float64 `json:"at"`   // seconds after T0
	Rate float64 `json:"rate"` // arrivals per second
}

// blackFriday is a day from midnight to midnight, its highest peak being 1.
//
//go:embed curves/black-friday.csv
var blackFriday string

// Shapes are the curves that have names, the peak of each being 1 and its length 1.
var shapes = map[string]Curve{
	"flat": {{0, 1}, {1, 1}},
	"ramp": {{0, 0}, {1, 1}},
	// A few are early, all others come at T0, and what is left trickles in.
	"spike": {{0, 0.02}, {0.2, 0.05}, {0.2, 1}, {0.26, 1}, {0.34, 0.5}, {0.5, 0.2}, {0.75, 0.08}, {1, 0.04}},
	// A wave, and its echoes: who was refused comes again when they were told to, together.
	"retry-storm": {{0, 0.1}, {0.1, 0.1}, {0.1, 1}, {0.15, 1}, {0.15, 0.1}, {0.3, 0.1}, {0.3, 0.85}, {0.35, 0.85}, {0.35, 0.1}, {0.5, 0.1}, {0.5, 0.7}, {0.55, 0.7},
		{0.55, 0.1}, {0.7, 0.1}, {0.7, 0.5}, {0.75, 0.5}, {0.75, 0.1}, {0.9, 0.1}, {0.9, 0.3}, {0.95, 0.3}, {0.95, 0.1}, {1, 0.1}},
	"black-friday": parsed(blackFriday),
}

// ShapeNames are the names that Shape knows.
var ShapeNames = []string{"flat", "ramp", "spike", "black-friday", "retry-storm"}

// Shape gives a curve by its name, so long and with such a peak.
func Shape(name string, peak float64, length time.Duration) (Curve, error) {
	c, ok := shapes[name]
	if !ok {
		return nil, fmt.Errorf("loadtest: shape %q is none of %s", name, strings.Join(ShapeNames, ", "))
	}
	return c.Stretch(peak, length), nil
}

func parsed(table string) Curve {
	c, err := ReadCurve(strings.NewReader(table))
	if err != nil {
		panic(err) // a table of ours
	}
	return c
}

// ReadCurve reads a table with the header `seconds,rate`.
func ReadCurve(from io.Reader) (Curve, error) {
	r := csv.NewReader(from)
	r.TrimLeadingSpace, r.Comment, r.FieldsPerRecord = true, '#', 2
	head, err := r.Read()
	if err != nil || strings.TrimSpace(head[0]) != "seconds" || strings.TrimSpace(head[1]) != "rate" {
		return nil, errors.New("loadtest: a curve's first line must be seconds,rate")
	}
	var c Curve
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return c, c.check()
		}
		if err != nil {
			return nil, fmt.Errorf("loadtest: a curve: %w", err)
		}
		line, _ := r.FieldPos(0)
		at, err := strconv.ParseFloat(strings.TrimSpace(row[0]), 64)
		rate, err2 := strconv.ParseFloat(strings.TrimSpace(row[1]), 64)
		if errors.Join(err, err2) != nil {
			return nil, fmt.Errorf("loadtest: a curve's line %d, %q, is not two numbers", line, strings.Join(row, ","))
		}
		c = append(c, Point{at, rate})
	}
}

func (c Curve) check() error {
	for i, p := range c {
		switch {
		case math.IsNaN(p.At) || math.IsInf(p.At, 0) || math.IsNaN(p.Rate) || math.IsInf(p.Rate, 0) || p.At < 0 || p.Rate < 0:
			return fmt.Errorf("loadtest: a curve cannot go through %v per second at %v s", p.Rate, p.At)
		case i > 0 && p.At < c[i-1].At:
			return fmt.Errorf("loadtest: a curve goes back from %v s to %v s", c[i-1].At, p.At)
		}
	}
	if c.Arrivals() <= 0 {
		return errors.New("loadtest: nobody comes in this curve: it needs two points and a rate above 0")
	}
	return nil
}

// Length is from T0 to the last point.
func (c Curve) Length() time.Duration {
	if len(c) == 0 {
		return 0
	}
	return seconds(c[len(c)-1].At)
}

func seconds(s float64) time.Duration { return time.Duration(math.Round(s * float64(time.Second))) }

// Peak is the highest rate.
func (c Curve) Peak() (peak float64) {
	for _, p := range c {
		peak = max(peak, p.Rate)
	}
	return peak
}

// Arrivals is how many come in all, on average.
func (c Curve) Arrivals() (n float64) {
	for i := 1; i < len(c); i++ {
		n += c.piece(i)
	}
	return n
}

// piece is how many come between a point and the one before it.
func (c Curve) piece(i int) float64 {
	return (c[i].At - c[i-1].At) * (c[i].Rate + c[i-1].Rate) / 2
}

// Stretch gives the same curve with another peak and another length; 0 leaves it as it is.
func (c Curve) Stretch(peak float64, length time.Duration) Curve {
	out, high, long := slices.Clone(c), 1.0, 1.0
	if peak > 0 && c.Peak() > 0 {
		high = peak / c.Peak()
	}
	if length > 0 && c.Length() > 0 {
		long = length.Seconds() / c.Length().Seconds()
	}
	for i := range out {
		out[i].At *= long
		out[i].Rate *= high
	}
	return out
}

// Then gives the curve with another after it.
func (c Curve) Then(next Curve) Curve {
	out, end := slices.Clone(c), 0.0
	if len(c) > 0 {
		end = c[len(c)-1].At // and not Length, which is whole nanoseconds
	}
	for _, p := range next {
		out = append(out, Point{end + p.At, p.Rate})
	}
	return out
}

// times draws n arrivals, in order: a Poisson process conditioned on its count, so
// buyers are independent of each other, and there are bursts and lulls as in life.
func (c Curve) times(n int, rng *rand.Rand) []time.Duration {
	total := c.Arrivals()
	area := make([]float64, n) // how much of the curve is behind each arrival
	for i := range area {
		area[i] = rng.Float64() * total
	}
	slices.Sort(area)
	out, piece, before := make([]time.Duration, n), 1, 0.0
	for i, a := range area {
		for piece < len(c)-1 && a >= before+c.piece(piece) {
			before += c.piece(piece)
			piece++
		}
		from, to := c[piece-1], c[piece]
		width, rest := to.At-from.At, max(a-before, 0)
		x := 0.0
		if width > 0 && rest > 0 { // where the area from the piece's begin is the rest
			root := math.Sqrt(max(from.Rate*from.Rate+2*(to.Rate-from.Rate)*rest/width, 0))
			x = min(2*rest/(from.Rate+root), width)
		}
		out[i] = seconds(from.At + x)
	}
	return out
}
