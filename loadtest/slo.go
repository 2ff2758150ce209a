package loadtest

import (
	"fmt"
	"strings"
	"time"
)

// SLO is a limit for a percentile of a step's latency, which counts from when the step was due.
type SLO struct {
	Step     Step    `json:"step"`
	Quantile string  `json:"quantile"` // p50, p95, p99, p999 or max
	Most     float64 `json:"most_ms"`
}

// Kept is an SLO with what became of it. One of a step that never happened is not kept.
type Kept struct {
	SLO
	Got  float64 `json:"got_ms"`
	Kept bool    `json:"kept"`
}

// String writes it as ParseSLO reads it.
func (s SLO) String() string { return fmt.Sprintf("%s.%s=%gms", s.Step, s.Quantile, s.Most) }

// ParseSLO reads step.quantile=duration, such as reserve.p99=50ms.
func ParseSLO(text string) (SLO, error) {
	name, limit, _ := strings.Cut(text, "=")
	step, quantile, _ := strings.Cut(strings.TrimSpace(name), ".")
	most, err := time.ParseDuration(strings.TrimSpace(limit))
	if err != nil || most <= 0 {
		return SLO{}, fmt.Errorf("loadtest: SLO %q is not step.quantile=duration, such as reserve.p99=50ms", text)
	}
	s := SLO{Step(step), quantile, float64(most) / float64(time.Millisecond)}
	return s, s.check()
}

func (s SLO) check() error {
	for _, known := range steps {
		if _, ok := (Latency{}).quantile(s.Quantile); ok && known == s.Step {
			return nil
		}
	}
	return fmt.Errorf("loadtest: SLO %s: the steps are %s, the quantiles p50, p95, p99, p999, max", s, strings.Trim(fmt.Sprint(steps), "[]"))
}

func (l Latency) quantile(name string) (ms float64, ok bool) {
	switch name {
	case "p50":
		return l.P50, true
	case "p95":
		return l.P95, true
	case "p99":
		return l.P99, true
	case "p999":
		return l.P999, true
	case "max":
		return l.Max, true
	}
	return 0, false
}

// kept looks at all SLOs.
func kept(all []SLO, r Report) (out []Kept) {
	for _, s := range all {
		l := r.Of(s.Step)
		got, _ := l.quantile(s.Quantile)
		out = append(out, Kept{s, got, l.Count > 0 && got <= s.Most})
	}
	return out
}
