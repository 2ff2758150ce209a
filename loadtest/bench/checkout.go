package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
)

const (
	providerTakes = 20 * time.Millisecond // the sandbox's latency, to every request
	checkoutRate  = 300                   // purchases per second, open loop: about a tenth of what `purchase` reaches
)

var checkoutValues = []value{
	{"checkout_p50", micros, "a checkout, from its request to the order, at 300 purchases/s and a provider that takes 20 ms"},
	{"checkout_p99", micros, "the same"},
	{"checkout_added_p50", micros, "of that beyond the provider's 20 ms: gate, attempt, HTTP to the provider, claim, Kafka's stand-in, the order's commit"},
	{"checkout_added_p99", micros, "the same"},
	{"checkout_provider_mean", micros, "the provider's answer as the engine's client met it: what it takes, the way there and back, two busy processors"},
	{"checkout_allocs", "", "objects that the node allocates per checkout, writing the order and capturing included, reserving not"},
	{"checkout_alloc_bytes", "bytes", "the same in bytes"},
}

// checkoutOverhead measures what a checkout costs beyond the provider's own
// latency. Two runs at the same rate, of reservations and of purchases: what the
// node allocates in the second and not in the first is the checkout's.
func checkoutOverhead(ctx context.Context, w *world, _ values) (out values, err error) {
	s, err := w.get(ctx, "product-all")
	if err != nil {
		return nil, err
	}
	if err := s.slowProvider(ctx, providerTakes); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.slowProvider(context.WithoutCancel(ctx), 0)) }()
	if _, err := w.metered(ctx, s, load.Purchase, time.Second); err != nil { // warm
		return nil, err
	}
	window := max(w.cfg.Window, 2*time.Second)
	holds, err := w.metered(ctx, s, load.Reserve, window)
	if err != nil {
		return nil, err
	}
	bought, err := w.metered(ctx, s, load.Purchase, window)
	if err != nil {
		return nil, err
	}
	fixed := float64(providerTakes.Microseconds())
	return values{
		"checkout_p50": bought.Second.P50, "checkout_p99": bought.Second.P99,
		"checkout_added_p50": bought.Second.P50 - fixed, "checkout_added_p99": bought.Second.P99 - fixed,
		"checkout_provider_mean": bought.provider,
		"checkout_allocs":        bought.objects - holds.objects, "checkout_alloc_bytes": bought.bytes - holds.bytes,
	}, nil
}

// metered is a run with what the node allocated per reservation, and how long
// the provider took on average.
type metered struct {
	load.Result
	objects, bytes, provider float64
}

func (w *world) metered(ctx context.Context, s *server, kind load.Kind, window time.Duration) (m metered, err error) {
	sales, err := w.open(ctx, s, 1, plenty, 1)
	if err != nil {
		return m, err
	}
	spec := w.spec(s, kind, sales)
	spec.Rate, spec.Window = checkoutRate, window
	before, err := s.meters(ctx)
	if err != nil {
		return m, err
	}
	if m.Result, err = w.run(ctx, spec); err != nil {
		return m, err
	}
	if err := s.allCaptured(ctx, 20*time.Millisecond); err != nil {
		return m, err
	}
	after, err := s.meters(ctx)
	if err != nil {
		return m, err
	}
	grown := func(name string) float64 { return after[name] - before[name] }
	n := float64(m.Steps[0])
	m.objects, m.bytes = grown(mallocs)/n, grown(mallocBytes)/n
	if calls := grown(providerTime + "_count"); calls > 0 {
		m.provider = grown(providerTime+"_sum") / calls * 1e6
	}
	if late := float64(m.Late); late > checkoutRate*window.Seconds()/4 {
		return m, fmt.Errorf("%s at %d/s fell behind: %.0f requests still queued at the end", kind, checkoutRate, late)
	}
	return m, nil
}

// allCaptured waits until every payment of the run is captured: the node's work
// for a checkout ends there.
func (s *server) allCaptured(ctx context.Context, every time.Duration) error {
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(every) {
		open, err := pgCount(ctx, s.pg, "SELECT count(*) FROM payments WHERE state <> 'captured'")
		switch {
		case err != nil || open == 0:
			return err
		case time.Now().After(deadline):
			return fmt.Errorf("%d payments are not captured 30 s after the last checkout", open)
		}
	}
}

// slowProvider has the sandbox take its time with every request.
func (s *server) slowProvider(ctx context.Context, takes time.Duration) error {
	body := strings.NewReader(`{"latency_ms":` + strconv.FormatInt(takes.Milliseconds(), 10) + `}`)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.box+"/control", body)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("the sandbox's control answers %d", res.StatusCode), err)
	}
	return nil
}

// The node's own metrics that are read.
const (
	mallocs      = "go_memstats_mallocs_total"
	mallocBytes  = "go_memstats_alloc_bytes_total"
	providerTime = "flashsale_dependency_call_duration_seconds"
)

// meters reads the node's metrics; of the histograms with labels, the
// authorisations' and the gate's decisions'.
func (p *process) meters(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprint(p.ready["admin"])+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	out := map[string]float64{}
	for lines := bufio.NewScanner(res.Body); ; {
		if !lines.Scan() {
			if out[mallocs] == 0 && lines.Err() == nil {
				return nil, fmt.Errorf("the node's metrics (status %d) do not have %s", res.StatusCode, mallocs)
			}
			return out, lines.Err()
		}
		series, text, _ := strings.Cut(lines.Text(), " ")
		name, labels, _ := strings.Cut(series, "{")
		if labels != "" && !strings.Contains(labels, `"authorise"`) && labels != `script="batch"}` {
			continue
		}
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			out[name] = v
		}
	}
}
