package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

const (
	deployed = "../../deploy"
	runbooks = "../../docs/runbooks"
)

// promRule is one of the rules file.
type promRule struct {
	Record, Alert, Expr, For string
	Labels, Annotations      map[string]string
}

func promRules(t *testing.T) (out []promRule) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(deployed, "prometheus/rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []promRule } }
	if err := yaml.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) < 20 {
		t.Fatalf("%d rules", len(out))
	}
	return out
}

// dashboardExprs gives every query of the dashboards, by where it is.
func dashboardExprs(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	files, _ := filepath.Glob(filepath.Join(deployed, "grafana/*.json"))
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Title  string
			Panels []struct {
				Title, Type, Description string
				Targets                  []struct{ Expr string }
			}
			Templating struct {
				List []struct {
					Type, Name string
					Query      any
				}
			}
		}
		if err := json.Unmarshal(raw, &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, p := range board.Panels {
			if p.Type != "row" && len(p.Targets) == 0 {
				t.Errorf("%s: the panel %q shows nothing", board.Title, p.Title)
			}
			for i, q := range p.Targets {
				out[board.Title+": "+p.Title+" "+string(rune('A'+i))] = q.Expr
			}
		}
		for _, v := range board.Templating.List {
			if m := regexp.MustCompile(`label_values\(([^,]+),`).FindStringSubmatch(toJSON(t, v.Query)); m != nil {
				out[board.Title+": $"+v.Name] = m[1]
			} else if v.Type == "query" {
				t.Errorf("%s: the variable %s asks for %v", board.Title, v.Name, v.Query)
			}
		}
	}
	if len(files) < 3 || len(out) < 60 {
		t.Fatalf("%d dashboards with %d queries", len(files), len(out))
	}
	return out
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// exported are the metrics of a scrape, with the labels that they have.
func exported(scrape string) map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for line := range strings.Lines(scrape) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name := promName.FindString(line)
		if out[name] == nil {
			out[name] = map[string]bool{"job": true, "instance": true} // the scraper's
		}
		for _, m := range promLabel.FindAllStringSubmatch(line, -1) {
			out[name][m[1]] = true
		}
	}
	return out
}

// unknownIn says what an expression reads that is not there.
func unknownIn(expr string, there map[string]map[string]bool) (out []string) {
	selectors := promSelectors(expr)
	if len(selectors) == 0 {
		return []string{"it reads nothing"}
	}
	for _, s := range selectors {
		if there[s.name] == nil {
			out = append(out, "no metric is called "+s.name)
			continue
		}
		for _, l := range s.labels {
			if !there[s.name][l] {
				out = append(out, s.name+" has no label "+l)
			}
		}
	}
	return out
}

func TestWhatIsNotExportedIsNoticed(t *testing.T) {
	there := exported("# TYPE a_total counter\na_total{x=\"1\",y=\"b\"} 3\nb 1\n")
	for expr, want := range map[string]string{
		`rate(a_total{x="1"}[1m]) + b`: "", `rate(a{x="1"}[1m])`: "no metric is called a", `a_total{z="1"}`: "a_total has no label z",
		`{x="1"}`: "no metric is called ", `vector(0)`: "it reads nothing", `max(c) or b`: "no metric is called c",
	} {
		if got := strings.Join(unknownIn(expr, there), "; "); got != want {
			t.Errorf("%s: %q, not %q", expr, got, want)
		}
	}
}

// What dashboards and rules read is what a node of all roles exports that has sold
// something. A metric that is renamed, or a label, is met here.
func TestDashboardsAndRulesReadWhatIsExported(t *testing.T) {
	r := newRig(t)
	follow(t, r.redis)
	p := r.serve("--trace-file", filepath.Join(t.TempDir(), "spans.jsonl"), "--notify-url", "http://127.0.0.1:1/hook", "--notify-secret", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	p.sale("drop", 5, 2, "2m")
	ann := token(t, "ann")
	p.pays(t, ann, p.held(t, ann, "drop", "a").text("id"), "pay")
	p.admin("GET", "/verify", "").must(t, 200)
	p.admin("GET", "/verify?fast=true", "").must(t, 200)

	reads := dashboardExprs(t)
	recorded := map[string]bool{}
	for _, rule := range promRules(t) {
		reads["rule "+rule.Alert+rule.Record] = rule.Expr
		recorded[rule.Record] = true
	}
	eventually(t, "everything that is read is exported", func() (bool, string) {
		there := exported(send("GET", p.ready.Admin+"/metrics", "", "", "").Raw)
		there["up"] = map[string]bool{"job": true, "instance": true} // Prometheus' own
		for name := range recorded {
			there[name] = map[string]bool{}
		}
		var wrong []string
		for where, expr := range reads {
			for _, u := range unknownIn(expr, there) {
				wrong = append(wrong, where+": "+u)
			}
		}
		slices.Sort(wrong)
		return len(wrong) == 0, strings.Join(wrong, "\n")
	})
}

// follow gives a Redis a replica of its own.
func follow(t *testing.T, url string) {
	t.Helper()
	redisDo(t, addrOf(t, testenv.OwnRedis(t)), "REPLICAOF "+strings.Replace(addrOf(t, &devstack.Backend{URL: url}), ":", " ", 1))
}

// promtool knows the language, and rules_test.yml says which alerts fire when.
func TestPromtoolIsContentWithTheRules(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("%v: make deps installs it", err)
	}
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"test", "rules", "rules_test.yml"}, {"check", "config", "prometheus.yml"}} {
		cmd := exec.Command(tool, args...)
		cmd.Dir = filepath.Join(deployed, "prometheus")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestEveryAlertHasARunbookAndEveryRunbookAnAlert(t *testing.T) {
	named := map[string][]string{"README.md": {"all"}}
	for _, r := range promRules(t) {
		if r.Alert == "" {
			continue
		}
		file, ok := strings.CutPrefix(r.Annotations["runbook_url"], "docs/runbooks/")
		if !ok || r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
			t.Errorf("%s lacks a summary, a description, a severity or a runbook", r.Alert)
			continue
		}
		named[file] = append(named[file], r.Alert)
	}
	files, err := os.ReadDir(runbooks)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if named[f.Name()] == nil {
			t.Errorf("no alert names the runbook %s", f.Name())
		}
		text, err := os.ReadFile(filepath.Join(runbooks, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, alert := range named[f.Name()] {
			if f.Name() != "README.md" && !strings.Contains(string(text), "`"+alert+"`") {
				t.Errorf("%s does not name %s", f.Name(), alert)
			}
		}
		delete(named, f.Name())
	}
	for file, alerts := range named {
		t.Errorf("%v name %s, which is not there", alerts, file)
	}
}

// typed gives the commands of this program in a runbook's code.
func typed(t *testing.T, text string) (out []string) {
	t.Helper()
	code := regexp.MustCompile("(?s)```sh\n(.*?)```|`([^`\n]+)`")
	for _, m := range code.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(m[1] + m[2]) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "flashsale ") {
				out = append(out, line)
			}
		}
	}
	return out
}

// shellWords splits a line as a shell would that sets every variable to 1.
func shellWords(line string) (out []string) {
	line = regexp.MustCompile(`\$\w+`).ReplaceAllString(line, "1")
	for _, m := range regexp.MustCompile(`"([^"]*)"|'([^']*)'|(#.*)|([|>])|([^\s"']+)`).FindAllStringSubmatch(line, -1) {
		if m[3] != "" || m[4] != "" {
			break
		}
		out = append(out, m[1]+m[2]+m[5])
	}
	return out
}

func TestTheCommandsOfRunbooksAreThisProgramsOwn(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(runbooks, "*.md"))
	seen := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := typed(t, string(text))
		if len(lines) == 0 && filepath.Base(file) != "README.md" {
			t.Errorf("%s has no command to type", file)
		}
		for _, line := range lines {
			if seen[line] {
				continue
			}
			seen[line] = true
			if err := parses(shellWords(line)[1:]); err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(file), line, err)
			}
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d commands were found", len(seen))
	}
	if parses([]string{"gate", "repair"}) == nil || parses([]string{"gate", "rebuild", "--why", "x"}) == nil {
		t.Error("nonsense is taken for a command")
	}
}

// parses has the program's own parser look at a command.
func parses(args []string) error {
	var cli CLI
	var out bytes.Buffer
	parser, err := newParser(&cli, &out, &out, func(int) {})
	if err == nil {
		_, err = parser.Parse(args)
	}
	return err
}
