package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// A short run of everything that a benchmark is made of, on real parts: that it
// measures, checks and reports. Its figures are not looked at: they are of a
// test binary on a busy machine.
func TestAQuickBenchmarkMeasuresAndChecksItself(t *testing.T) {
	t.Parallel()
	// Purchases have tests of their own, and a window of seconds is too short
	// for them beside the other packages' tests.
	const only = "plaintext,reserve,naive,soldout,pg_update,reserve_release,gate,bytes,order_single,order_pipelined,order_batch,order_copy,tracing"
	out, errs, status := command(t, "bench", "--quick", "--json", "--only", only)
	var r struct {
		Ratios       map[string]*struct{ Median, Min, Max float64 }
		Measurements map[string]struct{ Median float64 }
		Failed       []string
		Missing      map[string]string
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || status != exitOK || len(r.Failed) != 0 {
		t.Fatalf("status %d, %v, failed %v\n%s\n%s", status, err, r.Failed, out, errs)
	}
	for _, key := range []string{"reserve_vs_plaintext", "reserve_vs_naive", "soldout_vs_plaintext", "bytes_per_hold", "writer_vs_tx_per_order", "writer_vs_copy"} {
		if v := r.Ratios[key]; v == nil || v.Median <= 0 || v.Min > v.Median || v.Max < v.Median {
			t.Errorf("%s: %+v, %s", key, v, r.Missing[key])
		}
	}
	for name := range strings.SplitSeq("pg_update,reserve_release,gate_us,gate_holds_per_call,order_pipelined,trace_sampled_rate,trace_all_rate,trace_sampled_cpu,trace_all_cpu", ",") {
		if r.Measurements[name].Median <= 0 {
			t.Errorf("%s is missing: %v", name, r.Missing)
		}
	}
	if v, there := r.Ratios["goodput_5x"]; !there || v != nil || r.Missing["goodput_5x"] == "" {
		t.Errorf("a ratio that was not asked for: %v, %q", v, r.Missing["goodput_5x"])
	}
}

func TestABenchmarkThatCannotBeIsRefusedBeforeItBegins(t *testing.T) {
	for _, args := range [][]string{{"--only", "speed"}, {"--rounds", "0"}, {"--markdown", t.TempDir() + "/absent.md"}} {
		if _, errs, status := command(t, append([]string{"bench"}, args...)...); status != exitUsage {
			t.Errorf("%v: status %d, %s", args, status, errs)
		}
	}
}
