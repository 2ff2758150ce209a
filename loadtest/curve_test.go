package loadtest

import (
	"bytes"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Each shape is drawn as it looks: as many arrivals in each twentieth of it as its
// area says, in order, and none where there are none.
func TestArrivalsFollowTheirCurve(t *testing.T) {
	for _, name := range ShapeNames {
		t.Run(name, func(t *testing.T) {
			c, err := Shape(name, 1000, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if c.Length() != time.Minute || math.Abs(c.Peak()-1000) > 1e-6 {
				t.Fatalf("%v long, peak %v", c.Length(), c.Peak())
			}
			n := int(math.Round(c.Arrivals()))
			times := c.times(n, dice(7, 0))
			if len(times) != n || !slices.IsSorted(times) || times[0] < 0 || times[n-1] > c.Length() {
				t.Fatalf("%d times from %v to %v", len(times), times[0], times[n-1])
			}
			const parts = 20
			var got [parts]float64
			for _, at := range times {
				got[min(int(at.Seconds()/60*parts), parts-1)]++
			}
			for i := range got {
				want := c.between(float64(i)*60/parts, float64(i+1)*60/parts)
				if d := math.Abs(got[i] - want); d > 5*math.Sqrt(want)+1 { // five standard deviations of a Poisson count
					t.Errorf("part %d: %v arrivals, want about %.0f", i, got[i], want)
				}
			}
			again, other := c.times(n, dice(7, 0)), c.times(n, dice(8, 0))
			if !slices.Equal(times, again) || slices.Equal(times, other) {
				t.Error("the seed does not decide")
			}
		})
	}
}

// between is the area under the curve from one second to another, added up in thin slices.
func (c Curve) between(from, to float64) (n float64) {
	const slicesOf = 4000
	w := (to - from) / slicesOf
	for i := range slicesOf {
		x := from + (float64(i)+0.5)*w
		for j := 1; j < len(c); j++ {
			if a, b := c[j-1], c[j]; x >= a.At && x < b.At {
				n += w * (a.Rate + (b.Rate-a.Rate)*(x-a.At)/(b.At-a.At))
				break
			}
		}
	}
	return n
}

func TestArrivalsAreIndependentOfEachOther(t *testing.T) {
	c, _ := Shape("flat", 1000, 100*time.Second)
	times := c.times(100_000, dice(3, 0))
	var gaps, squares float64
	for i := 1; i < len(times); i++ {
		g := (times[i] - times[i-1]).Seconds()
		gaps, squares = gaps+g, squares+g*g
	}
	n := float64(len(times) - 1)
	mean := gaps / n
	if cv := math.Sqrt(squares/n-mean*mean) / mean; cv < 0.98 || cv > 1.02 { // of an exponential it is 1, of a metronome 0
		t.Errorf("gaps vary by %v of their mean", cv)
	}
}

func TestACurveIsReadFromATable(t *testing.T) {
	file, err := os.ReadFile("curves/black-friday.csv")
	if err != nil {
		t.Fatal(err)
	}
	day, err := ReadCurve(bytes.NewReader(file))
	if err != nil || day.Length() != 24*time.Hour || day.Peak() != 1 {
		t.Errorf("%v, %v long, peak %v", err, day.Length(), day.Peak())
	}
	c, err := ReadCurve(strings.NewReader("seconds, rate\n# quiet\n0, 1\n10,1\n10,5\n20,5\n"))
	if err != nil || c.Arrivals() != 60 {
		t.Errorf("%v, %v arrivals", err, c.Arrivals())
	}
	if s := c.Then(c.Stretch(10, 40*time.Second)); s.Length() != time.Minute || s.Arrivals() != 60+240 {
		t.Errorf("%v: %v arrivals", s, s.Arrivals())
	}
	for n := 1; n < 60; n++ { // a length that is no whole number of anything must not make the next one begin before it
		long := time.Duration(float64(40*time.Second) / float64(n))
		if s := day.Stretch(1, long).Then(c.Stretch(1, long)); s.check() != nil {
			t.Errorf("%v: %v", long, s.check())
		}
	}
	for why, table := range map[string]string{
		"first line":         "0,1\n1,1\n",
		"first line must":    "",
		"not two numbers":    "seconds,rate\n0,1\n1,many\n",
		"wrong number":       "seconds,rate\n0,1,2\n",
		"goes back":          "seconds,rate\n5,1\n1,1\n",
		"nobody comes":       "seconds,rate\n5,1\n",
		"cannot go through":  "seconds,rate\n0,1\n5,-1\n",
		"through +Inf per s": "seconds,rate\n0,1\n5,Inf\n",
	} {
		if _, err := ReadCurve(strings.NewReader(table)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", table, err, why)
		}
	}
	if _, err := Shape("bump", 1, time.Second); err == nil || !strings.Contains(err.Error(), "retry-storm") {
		t.Errorf("%v", err)
	}
}
