package capacity

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench"
)

// Held out of the fit are the largest loads of each ladder: they are predicted.
const (
	heldConnections = 2
	heldRates       = 2
	heldPurchases   = 1
)

const resamples = 400

// Fit makes a model of what was climbed. A rung's figure is the median of its turns;
// an interval is the middle 95% of 400 fits to turns drawn with replacement, whole
// turns, because what slows one rung down slows its neighbours down, too.
func Fit(c bench.Climbed, seed uint64) (Model, error) {
	all := make([]int, c.Ladder.Turns)
	for i := range all {
		all[i] = i
	}
	scale, spread, by := worthScaling(c)
	m, err := fitTurns(c, all, scale)
	if err != nil {
		return m, err
	}
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a bootstrap that can be repeated
	drawn := map[string][]float64{}
	missed := make([][]float64, len(m.Tested))
	for range resamples {
		turns := make([]int, len(all))
		for i := range turns {
			turns[i] = dice.IntN(len(all))
		}
		b, err := fitTurns(c, turns, scale)
		if err != nil {
			continue // such a draw says nothing; Fit of all turns said that there is a model
		}
		for name, e := range b.estimates() {
			drawn[name] = append(drawn[name], e.Value)
		}
		for i, t := range b.Tested {
			missed[i] = append(missed[i], t.Error)
		}
	}
	for name, e := range m.estimates() {
		e.Low, e.High = middle(drawn[name], e.Value)
	}
	for i := range m.Tested {
		m.Tested[i].Low, m.Tested[i].High = middle(missed[i], m.Tested[i].Error)
	}
	m.Version, m.Measured = Version, time.Now().UTC().Format(time.DateOnly)
	m.Machine, m.Versions = c.Machine, c.Versions
	m.Settings.Turns, m.Settings.Window, m.Settings.Provider = c.Ladder.Turns, c.Ladder.Window.Seconds(), c.Ladder.Provider.Seconds()
	m.Settings.Spread, m.Settings.SpreadBy, m.Settings.Scaled = spread, by, scale
	m.Settings.Took, m.Settings.Resample = c.Took, len(drawn["lambda"])
	return m, m.check()
}

// middle is the middle 95% of values, and at least v itself.
func middle(values []float64, v float64) (lo, hi float64) {
	if len(values) == 0 {
		return v, v
	}
	slices.Sort(values)
	at := func(q float64) float64 { return values[int(q*float64(len(values)-1)+0.5)] }
	return min(v, at(0.025)), max(v, at(0.975))
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// ladder is a kind's rungs as medians of turns, the smallest step first.
type ladder []rung

type rung struct {
	step   float64
	rungs  []bench.Rung
	weight []float64 // the machine's speed then, by its median
}

// of is the median of a figure that gets smaller on a faster machine, such as seconds.
func (r rung) of(f func(bench.Rung) float64) float64 { return r.scaled(f, 1) }

// rate is that of one that gets greater.
func (r rung) rate(f func(bench.Rung) float64) float64 { return r.scaled(f, -1) }

// plain is that of one that does not depend on the speed.
func (r rung) plain(f func(bench.Rung) float64) float64 { return r.scaled(f, 0) }

func (r rung) scaled(f func(bench.Rung) float64, power int) float64 {
	var out []float64
	for i, one := range r.rungs {
		v := f(one)
		switch power {
		case 1:
			v *= r.weight[i]
		case -1:
			v /= r.weight[i]
		}
		out = append(out, v)
	}
	return median(out)
}

// climbed sorts what was measured in some turns, which may occur twice.
func climbed(c bench.Climbed, turns []int, scale bool) map[bench.RungKind]ladder {
	var speeds []float64
	for _, r := range c.Rungs {
		speeds = append(speeds, r.Speed)
	}
	usual := median(speeds)
	byStep := map[bench.RungKind]map[float64]*rung{}
	for _, t := range turns {
		for _, r := range c.Rungs {
			if r.Turn != t {
				continue
			}
			if byStep[r.Kind] == nil {
				byStep[r.Kind] = map[float64]*rung{}
			}
			at := byStep[r.Kind][r.Step]
			if at == nil {
				at = &rung{step: r.Step}
				byStep[r.Kind][r.Step] = at
			}
			weight := 1.0
			if scale {
				weight = usual / r.Speed
			}
			at.rungs, at.weight = append(at.rungs, r), append(at.weight, weight)
		}
	}
	out := map[bench.RungKind]ladder{}
	for kind, steps := range byStep {
		for _, step := range slices.Sorted(maps.Keys(steps)) {
			out[kind] = append(out[kind], *steps[step])
		}
	}
	return out
}

// worthScaling says whether the reference beside a rung tells how fast the machine was in
// it: then a rung's turns lie closer together once they are scaled by it. A machine that
// changes within a second is another one beside the rung than in it.
func worthScaling(c bench.Climbed) (scale bool, spread, by float64) {
	apart := func(scale bool) float64 {
		var all []float64
		var turns []int
		for t := range c.Ladder.Turns {
			turns = append(turns, t)
		}
		for kind, l := range climbed(c, turns, scale) {
			if kind == bench.Gate || kind == bench.GateAOF {
				continue // no node in it
			}
			for _, r := range l {
				var v []float64
				for i, one := range r.rungs {
					v = append(v, perEnd(bench.PartAPI)(one)*r.weight[i])
				}
				lo, hi := bounds(v)
				all = append(all, (hi-lo)/median(v))
			}
		}
		sum := 0.0
		for _, v := range all {
			sum += v
		}
		return sum / max(1, float64(len(all)))
	}
	spread, by = apart(false), apart(true)
	return by < spread, spread, by
}

// split gives the rungs that are fitted, and those that are held out.
func (l ladder) split(held int) (fit, out ladder, err error) {
	if len(l) <= held+1 {
		return nil, nil, fmt.Errorf("%w: %d rungs, of which %d are held out", errNoFit, len(l), held)
	}
	return l[:len(l)-held], l[len(l)-held:], nil
}

func (l ladder) last() rung { return l[len(l)-1] }
