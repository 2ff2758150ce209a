package loadtest

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnSLOIsKeptOrFailsTheRun(t *testing.T) {
	for text, why := range map[string]string{"reserve.p99=50ms": "", "reserve.p99=9ms": "SLO reserve.p99=9ms is not kept: 10.0 ms of 10", "queue.max=1h": "SLO queue.max=3.6e+06ms is not kept"} {
		synctest.Test(t, func(t *testing.T) {
			c := crowd()
			slo, err := ParseSLO(text)
			if err != nil {
				t.Fatal(err)
			}
			c.SLOs = []SLO{slo}
			s := newShop(t, 10)
			s.script = late(t, 10*time.Millisecond)
			out := ride(t, s, c)
			if why == "" {
				passes(t, out)
			} else {
				failsFor(t, out, why)
			}
		})
	}
	for _, text := range []string{"", "reserve.p99", "reserve=1s", "reserve.p98=1s", "walk.p99=1s", "reserve.p99=-1s", "reserve.p99=fast"} {
		if _, err := ParseSLO(text); err == nil {
			t.Errorf("%q is taken for an SLO", text)
		}
	}
}

func TestEventsHappenAtTheirTimeAndMustSucceed(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := crowd()
			start := time.Now()
			var at []time.Duration
			event := func(err error) func(context.Context) error {
				return func(context.Context) error { at = append(at, time.Since(start)); return err }
			}
			c.Events = []Event{{2 * time.Second, "first", event(nil)}, {5 * time.Second, "last", event(nil)}}
			if fails {
				c.Events[1].Do = event(errors.New("the switch is broken"))
			}
			out := ride(t, newShop(t, 10), c) // whose buyers are done at once
			if len(at) != 2 || at[0] != 2*time.Second || at[1] != 5*time.Second || len(out.Marks) != 2 || out.Marks[1].At != 5 {
				t.Errorf("events at %v, marks %v", at, out.Marks)
			}
			if fails {
				failsFor(t, out, "last: the switch is broken")
			} else {
				passes(t, out)
			}
		})
	}
}

func TestTheEngineIsLookedAtEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const metrics = "# TYPE flashsale_stream_lag_events gauge\nflashsale_stream_lag_events{partition=\"0\"} 3\nflashsale_stream_lag_events{partition=\"1\"} 4\n" +
			"# TYPE flashsale_dependency_breaker_state gauge\nflashsale_dependency_breaker_state{dependency=\"payment-sandbox-authorise\"} 2\n" +
			"# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 1.048576e+06\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1\n"
		start := time.Now()
		c := crowd()
		c.Hesitate = 4 * time.Second
		c.Watch = &Watch{Sale: "demo", Get: func(_ context.Context, path string) (io.ReadCloser, error) {
			switch now := time.Since(start); {
			case path == "/metrics" && now >= 2*time.Second && now < 3*time.Second:
				return nil, errors.New("no answer")
			case path == "/metrics":
				return io.NopCloser(strings.NewReader(metrics)), nil
			}
			return io.NopCloser(strings.NewReader(`{"items":[{"sku":"tee","available":7,"held":1,"paying":0,"sold":2}]}`)), nil
		}, CPU: func() map[string]time.Duration { return map[string]time.Duration{"crowd": 3 * time.Since(start) / 2} }}
		out := ride(t, newShop(t, 10), c)
		passes(t, out)
		if len(out.Samples) < 4 || out.Samples[2].Error == "" || out.Samples[3].Error != "" {
			t.Fatalf("%+v", out.Samples)
		}
		if s := out.Samples[1]; s.At != 1 || s.Units["tee"] != (Units{7, 1, 0, 2}) || s.Lag["stream"] != 7 || s.Breakers["payment-sandbox-authorise"] != "open" ||
			s.CPU["crowd"] != 1.5 || s.CPU["engine"] != 0 || s.Memory["engine"] != 1 {
			t.Errorf("%+v", s)
		}
	})
}
