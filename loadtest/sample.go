package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Sample is one look at the engine during a run.
type Sample struct {
	At       float64            `json:"at"` // seconds after T0
	Units    map[string]Units   `json:"units,omitempty"`
	Lag      map[string]float64 `json:"lag,omitempty"`      // what waits on its way into the record, in events: "outbox", "stream"
	Breakers map[string]string  `json:"breakers,omitempty"` // what callers meet: closed, half-open, open
	CPU      map[string]float64 `json:"cpu,omitempty"`      // cores in use since the look before, by part
	Memory   map[string]float64 `json:"memory,omitempty"`   // MiB, by part
	Error    string             `json:"error,omitempty"`    // why there is less
}

// Units is where a SKU's units are.
type Units struct {
	Available int64 `json:"available"`
	Held      int64 `json:"held"`
	Paying    int64 `json:"paying"`
	Sold      int64 `json:"sold"`
}

// Watch looks at an engine by its admin listener. Get fetches one of its paths.
type Watch struct {
	Sale string
	Get  func(ctx context.Context, path string) (io.ReadCloser, error)
	CPU  func() map[string]time.Duration // processor time so far of what else runs here, by part; nil: of nothing
}

// watching looks once a second until ctx ends.
func (r *run) watching(ctx context.Context) {
	before, at := map[string]time.Duration{}, time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		s, used := r.cfg.Watch.look(ctx)
		now := time.Now()
		s.At = now.Sub(r.start).Seconds()
		s.CPU = map[string]float64{}
		for part, d := range used {
			if was, seen := before[part]; seen && d >= was {
				s.CPU[part] = (d - was).Seconds() / now.Sub(at).Seconds()
			}
		}
		before, at = used, now
		r.tally.sampled(s)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (t *tally) sampled(s Sample) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.samples) < 4*maxSeconds {
		t.samples = append(t.samples, s)
	}
}

// look asks for metrics and units, and for the processor time that each part has used.
func (w *Watch) look(ctx context.Context) (s Sample, used map[string]time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	used = map[string]time.Duration{}
	if w.CPU != nil {
		used = w.CPU()
	}
	if err := w.metrics(ctx, &s, used); err != nil {
		s.Error = err.Error()
	}
	if err := w.units(ctx, &s); err != nil {
		s.Error = err.Error()
	}
	return s, used
}

func (w *Watch) units(ctx context.Context, s *Sample) error {
	body, err := w.Get(ctx, "/admin/v1/sales/"+w.Sale)
	if err != nil {
		return err
	}
	defer body.Close()
	var v struct {
		Items []struct {
			SKU string `json:"sku"`
			Units
		} `json:"items"`
	}
	if err := json.NewDecoder(body).Decode(&v); err != nil {
		return fmt.Errorf("loadtest: the sale's units: %w", err)
	}
	s.Units = map[string]Units{}
	for _, it := range v.Items {
		s.Units[it.SKU] = it.Units
	}
	return nil
}

func (w *Watch) metrics(ctx context.Context, s *Sample, used map[string]time.Duration) error {
	body, err := w.Get(ctx, "/metrics")
	if err != nil {
		return err
	}
	defer body.Close()
	p := expfmt.NewTextParser(model.LegacyValidation)
	all, err := p.TextToMetricFamilies(body)
	if err != nil {
		return fmt.Errorf("loadtest: the engine's metrics: %w", err)
	}
	s.Lag, s.Breakers, s.Memory = map[string]float64{}, map[string]string{}, map[string]float64{}
	for name, of := range map[string]string{"flashsale_outbox_entries": "outbox", "flashsale_stream_lag_events": "stream"} {
		for _, m := range all[name].GetMetric() {
			s.Lag[of] += value(m)
		}
	}
	for _, m := range all["flashsale_dependency_breaker_state"].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "dependency" {
				s.Breakers[l.GetValue()] = breakerStates[min(max(int(value(m)), 0), 2)]
			}
		}
	}
	for _, m := range all["process_resident_memory_bytes"].GetMetric() {
		s.Memory["engine"] += value(m) / (1 << 20)
	}
	for _, m := range all["process_cpu_seconds_total"].GetMetric() {
		used["engine"] += time.Duration(value(m) * float64(time.Second))
	}
	return nil
}

var breakerStates = [3]string{"closed", "half-open", "open"}

// value is that of a gauge, a counter or one without a type.
func value(m *dto.Metric) float64 {
	return m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetUntyped().GetValue()
}
