package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/flashsale-engine/flashsale/loadtest"
)

// A short slice of `make blackfriday`, seeded: all of its phases in a hurry, with few
// buyers, at a server of its own.
func TestASmallBlackFridayIsRehearsed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	html, report := filepath.Join(dir, "bf.html"), filepath.Join(dir, "bf.json")
	cmd := exec.Command(os.Args[0], "loadtest", "blackfriday", "--hurry", "25", "--load", "0.3", "--embedded", "--seed", "5", "--slo", "reserve.p50=10s", "--html", html, "--report", report, "--quiet")
	cmd.Env = append(os.Environ(), asMain+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	text, e := os.ReadFile(report)
	if e != nil {
		t.Fatalf("%v, %v\n%s\n%s", err, e, &out, &errs)
	}
	var r loadtest.Report
	if e := json.Unmarshal(text, &r); err != nil || e != nil || !r.Pass || len(r.Marks) != 3 || len(r.Kinds) < 7 || r.Dropped != 0 {
		t.Errorf("%v, %v\n%s\n%s", err, e, &out, &errs)
	}
	page, e := os.ReadFile(html)
	if e != nil || !bytes.Contains(page, []byte("<b>PASS</b>")) || !bytes.Contains(page, []byte("provider falls silent")) {
		t.Errorf("%v\n%.400s", e, page)
	}
	compared := filepath.Join(dir, "two.html")
	if _, errs, status := command(t, "loadtest", "compare", report, report, "--html", compared); status != exitOK {
		t.Errorf("status %d: %s", status, errs)
	}
	if page, e := os.ReadFile(compared); e != nil || !bytes.Contains(page, []byte("Side by side")) {
		t.Errorf("%v\n%.400s", e, page)
	}
	t.Logf("%s", &out)
}

func TestARehearsalThatCannotBeIsRefusedBeforeItBegins(t *testing.T) {
	for _, args := range [][]string{{"--hurry", "0.5"}, {"--load", "0"}, {"--slo", "reserve"}} {
		if _, errs, status := command(t, append([]string{"loadtest", "blackfriday"}, args...)...); status != exitUsage {
			t.Errorf("%v: status %d, %s", args, status, errs)
		}
	}
}
