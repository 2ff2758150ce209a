package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/loadtest/chaos"
)

// A fixed slice of `make chaos`: one seed, whose plan kills a node and Redis
// while Kafka is slow and the provider errs.
func TestASeedOfChaosHurtsNobody(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts real servers, and -short was asked for")
	}
	cmd := exec.Command(os.Args[0], "chaos", "--seed", "4", "--duration", "6s", "--rate", "12", "--json", "--keep-logs", t.TempDir(),
		"--faults", "node.kill,redis.kill,postgres.commit_cut,kafka.latency,provider.errors,writer.churn")
	cmd.Env = append(os.Environ(), asMain+"=1") // and the account's own cache: Kafka's jars are there
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var r chaos.Report
	if e := json.Unmarshal(out.Bytes(), &r); e != nil {
		t.Fatalf("%v, %v\n%s\n%s", err, e, &out, &errs)
	}
	if err != nil || !r.Pass || r.Acknowledged == 0 || r.Plan.Overlap() < 3 {
		t.Errorf("%v\n%s\n%s", err, r, &errs)
	}
	if r.Zeros() != "0 0 0 0" || !strings.HasPrefix(r.Replay, "flashsale chaos --seed 4") {
		t.Errorf("verify: %q, again: %q", r.Zeros(), r.Replay)
	}
	t.Logf("%s", r)
}

func TestChaosPrintsItsPlanWithoutRunningIt(t *testing.T) {
	one, _, status := command(t, "chaos", "--seed", "7", "--dry-run")
	two, _, _ := command(t, "chaos", "--seed", "7", "--dry-run")
	if status != exitOK || one != two || !strings.Contains(one, "plan of seed 7, 30s of load, ") {
		t.Errorf("status %d\n%s\n%s", status, one, two)
	}
	for _, args := range [][]string{{"--faults", "lunch"}, {"--duration", "1s"}, {"--seeds", "0"}, {"--rate", "0"}, {"--markdown", "x.md"}, {"--alone", "--faults", "lunch"}} {
		if _, errs, status := command(t, append([]string{"chaos", "--dry-run"}, args...)...); status != exitUsage {
			t.Errorf("%v: status %d, %s", args, status, errs)
		}
	}
}
