package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

const ratio = "ratio"

// tracedBy are the nodes that are compared: one that traces nothing, one as it is by
// default once spans have anywhere to go, and one that traces all it can.
var tracedBy = []string{"product", "product-sampled", "product-traced"}

var tracingValues = []value{
	{"trace_sampled_rate", ratio, "accepted reservations/s, --trace-sample and --trace-most as by default / without traces"},
	{"trace_sampled_cpu", ratio, "the server's CPU per reservation, likewise"},
	{"trace_all_rate", ratio, "accepted reservations/s, every request traced / without traces"},
	{"trace_all_cpu", ratio, "the server's CPU per reservation, likewise"},
}

// tracing compares them in turns, who begins changing from turn to turn: what is looked for
// is less than what the machine changes its speed by within seconds. A figure is the
// median of the turns' ratios.
func tracing(ctx context.Context, w *world, _ values) (values, error) {
	all := map[string][]float64{}
	for turn := range 2 * turns {
		rate, cpu := map[string]float64{}, map[string]float64{}
		for i := range tracedBy {
			name := tracedBy[(turn+i)%len(tracedBy)]
			if turn%2 == 1 { // and the way round
				name = tracedBy[(turn+len(tracedBy)-i)%len(tracedBy)]
			}
			r, us, err := w.reserveFor(ctx, name, w.cfg.short())
			if err != nil {
				return nil, err
			}
			rate[name], cpu[name] = r.Rate, us.server
		}
		for short, name := range map[string]string{"trace_sampled": tracedBy[1], "trace_all": tracedBy[2]} {
			all[short+"_rate"] = append(all[short+"_rate"], rate[name]/rate[tracedBy[0]])
			all[short+"_cpu"] = append(all[short+"_cpu"], cpu[name]/cpu[tracedBy[0]])
		}
	}
	out := values{}
	for name, ratios := range all {
		out[name] = spread(ratios).Median
	}
	for _, name := range tracedBy[1:] {
		if f, err := os.Stat(w.servers[name].spans); err != nil || f.Size() == 0 {
			return nil, errors.Join(fmt.Errorf("bench: %s has traced nothing", name), err)
		}
	}
	return out, nil
}

// traceInto gives a node's flags for traces, and where they go.
func (w *world) traceInto(s *server, name string) ([]string, error) {
	dir, err := os.MkdirTemp("", "flashsale-bench-")
	if err != nil {
		return nil, err
	}
	w.atEnd(func() { _ = os.RemoveAll(dir) })
	s.spans = filepath.Join(dir, "spans.jsonl")
	flags := []string{"--trace-file", s.spans}
	if name == "product-traced" {
		flags = append(flags, "--trace-sample", "1", "--trace-most", fmt.Sprint(math.MaxInt32))
	}
	return flags, nil
}
