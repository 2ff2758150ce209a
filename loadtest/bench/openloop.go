package bench

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
)

var shares = []int{50, 80} // percent of capacity

func latencyValues() (out []value) {
	for _, share := range shares {
		for _, who := range []string{"reserve", "plaintext"} {
			for _, q := range []string{"p50", "p99", "p999"} {
				out = append(out, value{fmt.Sprintf("%s_%s_at_%d", who, q, share), micros, fmt.Sprintf("latency from the due time at %d%% of reserve's rate, open loop; median of 5 turns", share)})
			}
		}
	}
	return out
}

// turns is how often what is compared here takes turns within a round. A stall of
// the machine is a hundredth of a second in a window of one, so a p99 of one
// window is that of the machine; so is the better of two rates far apart.
const turns = 5

// short is a window of a turn.
func (c Config) short() time.Duration { return c.Window / 2 }

// latency offers the engine, and the plaintext server, a part of what the engine
// can do, in turns; a figure is the turns' median.
func latency(ctx context.Context, w *world, got values) (values, error) {
	product, err := w.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	plain, err := w.get(ctx, string(peers.Plaintext))
	if err != nil {
		return nil, err
	}
	all := map[string][]float64{}
	late := map[string]float64{} // shares of a window's requests
	for turn := range turns * len(shares) {
		share := shares[turn%len(shares)]
		rate := got["reserve"] * float64(share) / 100
		r, _, err := w.reserveRun(ctx, product, func(s *load.Spec) { s.Rate, s.Window = rate, w.cfg.short() })
		if err != nil {
			return nil, err
		}
		spec := w.spec(plain, load.Reserve, []string{w.name()})
		spec.Status, spec.Rate, spec.Window = http.StatusOK, rate, w.cfg.short()
		p, err := w.run(ctx, spec)
		if err != nil {
			return nil, err
		}
		for who, r := range map[string]load.Result{"reserve": r, "plaintext": p} {
			key := fmt.Sprintf("%s at %d%%", who, share)
			late[key] += float64(r.Late) / float64(max(1, r.Due)) / turns
			for q, v := range map[string]float64{"p50": r.Latency.P50, "p99": r.Latency.P99, "p999": r.Latency.P999} {
				name := fmt.Sprintf("%s_%s_at_%d", who, q, share)
				all[name] = append(all[name], v)
			}
		}
	}
	for key, share := range late {
		if share > 0.25 {
			return nil, fmt.Errorf("%s of %.0f/s fell behind: %.0f%% of the requests were still queued at the end", key, got["reserve"], 100*share)
		}
	}
	out := values{}
	for name, v := range all {
		out[name] = spread(v).Median
	}
	return out, nil
}

// crowd is how many connections a crowd beyond capacity has. An arrival that
// finds none free is turned away by the generator, as a full network would.
const crowd = 5 * conns

// offers are how many times what reserve reached a crowd asks for; 0: a closed loop.
var offers = []float64{0, 0.5, 1, 2, 5, 10}

func goodputValues() (out []value) {
	for _, o := range offers[1:] {
		out = append(out, value{fmt.Sprintf("goodput_at_%gx", o), perSecond, fmt.Sprintf("accepted when offered %g times what reserve reached, open loop", o)},
			value{fmt.Sprintf("admitted_p99_at_%gx", o), micros, "latency of the accepted from their due time; median of 5 turns"},
			value{fmt.Sprintf("overloaded_at_%gx", o), perSecond, "503 overloaded, said by the engine"})
	}
	return append(out, value{"goodput_closed", perSecond, "a closed loop of 256 connections between them"},
		value{"crowd_peak", perSecond, "the best of the loads, by the median of the rounds"}, value{"goodput_peak", perSecond, "the best of the loads and of the closed loop, by the median of the rounds"})
}

// settlePeaks says which load was the best. That is the one with the best median over all
// rounds, the same in each of them: the best of every round would be the luckiest, and
// what is compared with it would look worse the noisier the machine is.
func settlePeaks(rounds []values) {
	names := make([]string, 0, len(offers))
	for _, o := range offers[1:] {
		names = append(names, fmt.Sprintf("goodput_at_%gx", o))
	}
	for peak, of := range map[string][]string{"crowd_peak": names, "goodput_peak": append(names, "goodput_closed")} {
		best, most := "", 0.0
		for _, name := range of {
			if all := collect(rounds, func(got values) (float64, bool) { v, ok := got[name]; return v, ok }); len(all) > 0 {
				if m := spread(all).Median; m > most {
					best, most = name, m
				}
			}
		}
		for _, got := range rounds {
			if v, ok := got[best]; ok {
				got[peak] = v
			}
		}
	}
}

// goodput offers more and more, in turns; a rate is the turns' mean.
func goodput(ctx context.Context, w *world, got values) (values, error) {
	s, err := w.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	out := values{}
	p99 := map[float64][]float64{}
	rates := make([]float64, len(offers))
	for range turns {
		for i, times := range offers {
			r, _, err := w.reserveRun(ctx, s, func(spec *load.Spec) {
				spec.Window = w.cfg.short()
				if times > 0 {
					spec.Rate, spec.Conns, spec.TurnAway = times*got["reserve"], crowd, true
					spec.Allow = []int{http.StatusServiceUnavailable} // overloaded, said at once: not accepted, and no failure
				}
			})
			if err != nil {
				return nil, err
			}
			rates[i] += r.Rate / turns
			p99[times] = append(p99[times], r.Latency.P99)
			out[fmt.Sprintf("overloaded_at_%gx", times)] += float64(r.Answers[strconv.Itoa(http.StatusServiceUnavailable)]) / r.Seconds / turns
		}
	}
	for i, times := range offers {
		out[fmt.Sprintf("goodput_at_%gx", times)] = rates[i]
		out[fmt.Sprintf("admitted_p99_at_%gx", times)] = spread(p99[times]).Median
	}
	out["goodput_closed"] = out["goodput_at_0x"]
	for _, closed := range []string{"goodput_at_0x", "admitted_p99_at_0x", "overloaded_at_0x"} {
		delete(out, closed)
	}
	return out, nil
}
