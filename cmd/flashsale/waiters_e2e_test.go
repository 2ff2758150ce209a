package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/flashsale-engine/flashsale/loadtest/waiters"
)

// A short slice of `make crowd`, seeded: a small crowd in a hurry, at a server of its own.
func TestASmallCrowdIsServedInItsOrderAndToldTheTruth(t *testing.T) {
	t.Parallel()
	picture := filepath.Join(t.TempDir(), "crowd.svg")
	cmd := exec.Command(os.Args[0], "loadtest", "crowd", "--waiters", "3000", "--units", "60", "--hurry", "10", "--watchers", "20", "--streams", "5", "--connections", "64",
		"--seed", "3", "--json", "--picture", picture)
	cmd.Env = append(os.Environ(), asMain+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var r waiters.Report
	if e := json.Unmarshal(out.Bytes(), &r); e != nil {
		t.Fatalf("%v, %v\n%s\n%s", err, e, &out, &errs)
	}
	if err != nil || !r.Pass || r.Sold != 60 || !r.Fairness.All || r.Fairness.Checked < 3000 {
		t.Errorf("%v\n%s\n%s", err, r, &errs)
	}
	// Each kind of waiter was there, or the slice proves less than it says.
	for _, end := range []string{"bought", "absent", "passed", "left"} {
		if r.Ends[end] == 0 {
			t.Errorf("nobody's end was %q: %v", end, r.Ends)
		}
	}
	if r.Fairness.LateJoiners == 0 || r.Fairness.TurnedAway == 0 || r.Fairness.Forged == 0 || r.Events == 0 {
		t.Errorf("%+v, %d events", r.Fairness, r.Events)
	}
	if svg, err := os.ReadFile(picture); err != nil || !bytes.Contains(svg, []byte("3,000 wait for 60 units")) {
		t.Errorf("%v\n%s", err, svg)
	}
	t.Logf("%s", r)
}

func TestACrowdThatCannotBeIsRefusedBeforeItBegins(t *testing.T) {
	for _, args := range [][]string{{"--waiters", "3"}, {"--units", "-1"}, {"--hurry", "0.1"}, {"--late", "2"}, {"--most", "3h"}} {
		if _, errs, status := command(t, append([]string{"loadtest", "crowd"}, args...)...); status != exitUsage {
			t.Errorf("%v: status %d, %s", args, status, errs)
		}
	}
}
