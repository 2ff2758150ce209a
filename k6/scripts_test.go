// Package k6 has no Go of its own: its scripts are for k6. These tests look at what a
// script must have whatever it does; that k6 itself takes them is `make k6`'s to see.
package k6

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var scenarios = []string{"black-friday", "breakpoint", "flash-sale", "hot-sku", "retry-storm", "smoke", "soak", "waiting-room"}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestEveryScenarioIsThereAndNamedWhereItIsLookedFor(t *testing.T) {
	files, err := filepath.Glob("*.js")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, strings.TrimSuffix(f, ".js"))
	}
	if !slices.Equal(names, scenarios) {
		t.Errorf("the scripts are %v, not %v", names, scenarios)
	}
	readme, runner := read(t, "README.md"), read(t, "../scripts/k6.sh")
	all := regexp.MustCompile(`(?m)^all=\((.*)\)$`).FindStringSubmatch(runner)
	if all == nil {
		t.Fatal("scripts/k6.sh has no list of all scenarios")
	}
	for _, name := range names {
		if !strings.Contains(readme, "`"+name+"`") {
			t.Errorf("README.md does not mention %s", name)
		}
		if !slices.Contains(strings.Fields(all[1]), name) {
			t.Errorf("scripts/k6.sh all leaves %s out", name)
		}
		if !regexp.MustCompile(`(?m)^    ` + name + `\)`).MatchString(runner) {
			t.Errorf("scripts/k6.sh prepares no sale for %s", name)
		}
	}
}

func TestEveryScenarioJudgesAndSumsUp(t *testing.T) {
	executes := regexp.MustCompile(`exec: '(\w+)'`)
	for _, name := range scenarios {
		text := read(t, name+".js")
		for _, want := range []string{"export const options = all(", "export function setup()", "export function handleSummary(data)", "return summary("} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %q", name, want)
			}
		}
		if !strings.Contains(text, "limits(") && !strings.Contains(text, "dropped_iterations: [") {
			t.Errorf("%s has no thresholds", name)
		}
		// Arrivals that find no visitor free must fail the run, so whoever takes that limit away has no arrivals.
		open := regexp.MustCompile(`\b(arrivals|steady)\(`).MatchString(text)
		if dropped := !strings.Contains(text, "dropped_iterations: null"); open != dropped || open == (name == "smoke") {
			t.Errorf("%s: an open loop is %v, and dropped iterations fail it is %v", name, open, dropped)
		}
		ways := executes.FindAllStringSubmatch(text, -1)
		for _, way := range ways {
			if !strings.Contains(text, "export function "+way[1]+"(") {
				t.Errorf("%s runs %s, which it does not export", name, way[1])
			}
		}
		if len(ways) == 0 && !strings.Contains(text, "export default function") {
			t.Errorf("%s has nothing to run", name)
		}
	}
	if !strings.Contains(read(t, "lib/shape.js"), "dropped_iterations: ['count==0']") {
		t.Error("the common limits let iterations be dropped")
	}
}

func TestScriptsTakeInNothingFromElsewhere(t *testing.T) {
	imports := regexp.MustCompile(`(?m)^(?:import|export) [^;]*?from '([^']+)';$`)
	anywhere := regexp.MustCompile(`(?m)^\s*import\b|\brequire\(|\bimport\(`)
	files, err := filepath.Glob("lib/*.js")
	if err != nil || len(files) == 0 {
		t.Fatalf("no library: %v", err)
	}
	for _, name := range scenarios {
		files = append(files, name+".js")
	}
	for _, f := range files {
		text := read(t, f)
		found := imports.FindAllStringSubmatch(text, -1)
		if n := len(anywhere.FindAllString(text, -1)); n != len(found) {
			t.Errorf("%s: %d imports, of which %d are plain", f, n, len(found))
		}
		for _, m := range found {
			from := m[1]
			if from == "k6" || strings.HasPrefix(from, "k6/") && !strings.Contains(from, "x/") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(f), from)); !strings.HasPrefix(from, "./") || err != nil {
				t.Errorf("%s imports %s", f, from)
			}
		}
		if strings.Contains(text, "http://") || strings.Contains(text, "https://") {
			t.Errorf("%s names an address; it should come from the environment", f)
		}
	}
}

func TestThePageNeedsNothingFromElsewhere(t *testing.T) {
	page := read(t, "lib/page.js")
	for _, bad := range []string{"<script", "src=", "<link", "@import", "url(", "href="} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	// Whatever comes from a run goes through safe.
	for _, raw := range regexp.MustCompile(`\$\{([^}]*)\}`).FindAllStringSubmatch(page, -1) {
		if e := raw[1]; strings.HasPrefix(e, "d.title") || strings.HasPrefix(e, "t.name") || strings.HasPrefix(e, "c.name") {
			t.Errorf("${%s} is not escaped", e)
		}
	}
}
