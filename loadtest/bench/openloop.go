package bench

import (
	"context"
	"fmt"
	"math"
	"net/http"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
)

var shares = []int{50, 80} // percent of capacity

func latencyValues() (out []value) {
	for _, share := range shares {
		for _, who := range []string{"reserve", "plaintext"} {
			for _, q := range []string{"p50", "p99", "p999"} {
				out = append(out, value{fmt.Sprintf("%s_%s_at_%d", who, q, share), micros, fmt.Sprintf("latency from the due time at %d%% of reserve's rate, open loop", share)})
			}
		}
	}
	return out
}

// latency offers the engine, and the plaintext server, a part of what the engine can do.
func latency(ctx context.Context, w *world, got values) (values, error) {
	product, err := w.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	plain, err := w.get(ctx, string(peers.Plaintext))
	if err != nil {
		return nil, err
	}
	out := values{}
	for _, share := range shares {
		rate := got["reserve"] * float64(share) / 100
		r, _, err := w.reserveRun(ctx, product, func(s *load.Spec) { s.Rate = rate })
		if err != nil {
			return nil, err
		}
		spec := w.spec(plain, load.Reserve, []string{w.name()})
		spec.Status, spec.Rate = http.StatusOK, rate
		p, err := w.run(ctx, spec)
		if err != nil {
			return nil, err
		}
		for who, r := range map[string]load.Result{"reserve": r, "plaintext": p} {
			if float64(r.Late) > rate*spec.Window.Seconds()/4 {
				return nil, fmt.Errorf("%s at %.0f/s fell behind: %d requests still queued at the end", who, rate, r.Late)
			}
			for q, v := range map[string]float64{"p50": r.Latency.P50, "p99": r.Latency.P99, "p999": r.Latency.P999} {
				out[fmt.Sprintf("%s_%s_at_%d", who, q, share)] = v
			}
		}
	}
	return out, nil
}

// crowd is how many connections a crowd beyond capacity has. An arrival that
// finds none free is turned away by the generator, as a full network would.
const crowd = 5 * conns

func goodput(ctx context.Context, w *world, got values) (values, error) {
	s, err := w.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	out := values{"goodput_peak": got["reserve"]}
	for _, times := range []float64{1, 2, 5} {
		r, _, err := w.reserveRun(ctx, s, func(spec *load.Spec) {
			spec.Rate, spec.Conns, spec.TurnAway = times*got["reserve"], crowd, true
			spec.Allow = []int{http.StatusServiceUnavailable} // overloaded, said at once: not accepted, and no failure
		})
		if err != nil {
			return nil, err
		}
		out[fmt.Sprintf("goodput_at_%.0fx", times)] = r.Rate
		out["goodput_peak"] = math.Max(out["goodput_peak"], r.Rate)
	}
	return out, nil
}
