package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/loadtest/capacity"
)

// A tiny ladder on real parts: its figures are of a test binary on a busy machine,
// so that they are there is all that is looked at.
func TestATinyLadderGivesAModel(t *testing.T) {
	t.Parallel()
	rungs := filepath.Join(t.TempDir(), "rungs.json")
	out, errs, status := command(t, "capacity", "fit", "--quick", "--json", "--rungs", rungs)
	var m capacity.Model
	if err := json.Unmarshal([]byte(out), &m); err != nil || status != exitOK {
		t.Fatalf("status %d, %v\n%s\n%s", status, err, out, errs)
	}
	for name, v := range map[string]float64{"lambda": m.Lambda.Value, "refuse": m.Refuse.Value, "redis": m.RedisHold(1), "hold": m.HoldBytes.Value, "SKU": m.SKUBytes.Value, "SKU's rows": m.SKURows.Value,
		"write": m.WriteCall.Value + m.WriteOrder.Value, "node": m.Node.At(100), "postgres": m.Purchase.Postgres.At(10), "kafka": m.Purchase.Kafka.At(10), "aside": m.Purchase.Aside.At(10),
		"api": m.Purchase.API.At(10), "redis of a purchase": m.Purchase.Redis.At(10), "order rate": m.Measures.OrderRate, "node rate": m.Measures.NodeRate, "shard rate": m.Measures.ShardRate,
		"holds per call": m.Measures.PerCall, "refusals": m.Measures.Refusals, "speed": m.Settings.Speed} {
		if !(v > 0) {
			t.Errorf("%s is %v", name, v)
		}
	}
	if len(m.Tested) == 0 || len(m.Binds) == 0 {
		t.Errorf("%d loads were held out, %d parts looked at", len(m.Tested), len(m.Binds))
	}
	if out, errs, status := command(t, "capacity", "fit", "--from", rungs); status != exitOK || !strings.Contains(out, "Held out of the fit") {
		t.Errorf("status %d\n%s\n%s", status, out, errs)
	}
}

func TestPlansAreMadeWithTheShippedModelAndRefusedWhereTheyCannotBe(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"plan", exitOK, "Binds first"},
		{"plan --json", exitOK, `"what_if"`},
		{"plan --buyers 500000 --stock 20000 --window 60s --p99 1us", exitFound, "IMPOSSIBLE"},
		{"plan --buyers 1e9 --window 1s", exitFound, "IMPOSSIBLE"},
		{"plan --buyers 0", exitUsage, "at least 1"},
		{"plan --model absent.json", exitUsage, "absent.json"},
		{"simulate --buyers 2000 --stock 100 --window 1s", exitOK, "sold out after"},
		{"simulate --nodes 0", exitUsage, "between 1 and"},
		{"fit --from absent.json", exitUsage, "absent.json"},
	} {
		out, errs, status := command(t, append([]string{"capacity"}, strings.Fields(c.args)...)...)
		if status != c.status || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: status %d\n%s\n%s", c.args, status, out, errs)
		}
	}
}
