// Command mutants breaks the product on purpose, one way at a time, and demands
// that the checks notice: `make mutants`. A check that lets a seeded bug pass
// guards nothing.
//
// Each mutant is a small textual patch of a Lua part or a Go file of its suite's
// folder. It is compiled in by `go build -overlay`, so neither the tree nor the product
// knows of it. A patch whose text is not found fails the run: the code has moved,
// and the mutant must follow it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// check is a part of the tests that should notice.
type check struct {
	name, pkg string
	args      []string
}

// suite is a folder, or with "" all of them, its seeded bugs and the checks that guard it.
type suite struct {
	name, dir string
	mutants   []mutant
	checks    []check
}

var suites = []suite{
	{"gate", "reservation/", gateMutants, []check{
		{"conformance", "reservation", []string{"-test.run", "KeepsItsPromisesOnMiniredis"}},
		{"batcher's simulation", "reservation", []string{"-test.run", "TestSchedulesOfTheBatcher", "-schedules", "1000"}},
		{"property", "reservation", []string{"-test.run", "RandomBatchesAgreeWithTheModelOnMiniredis", "-rapid.nofailfile"}},
		{"unit", "reservation", []string{"-test.short", "-test.timeout", "40s", "-test.run", "WhatArrives|FullQueue|CallerWhoLeaves|TwoEpochs|NotAddUp|NoConnection|Unanswered|ClosedGate|StaleLog|OneCallsBudget"}},
		{"history", "reservation/history", []string{"-operations", "20000", "-patience", "15s", "-test.run", "WhatClientsSee|WhatNodesKnow|WithKills"}},
	}},
	{"checkout", "engine/", checkoutMutants, []check{
		{"faults", "engine", []string{"-test.run", "TestAFaultAtAnyCall|TestManyFaults"}},
		{"simulation", "engine", []string{"-test.run", "TestSchedules", "-schedules", "20000"}},
		{"stories", "engine", []string{"-test.run", "TestCheckout|Late|Attempt|Money|Cancel|Double|Resolve|Queue"}},
	}},
	{"writer", "orders/record/", writerMutants, []check{
		{"record", "orders/record", nil},
	}},
	{"truth", "", truthMutants, []check{
		{"losses", "engine", []string{"-test.run", "TestAGateLost|TestAFaultAtAnyCall|TestMany|Rebuild"}},
		{"late events", "engine", []string{"-test.run", "TestAnEventThat|TestUnitsOf|TestAKeyWhose|TestAPaymentThatBegins"}},
		{"simulation", "engine", []string{"-test.run", "TestSchedules", "-schedules", "10000"}},
		{"relay's and writer's simulation", "orders", []string{"-test.run", "TestSchedules", "-schedules", "1000"}},
		{"record", "orders/record", nil},
	}},
}

// verdict is what one check said.
type verdict struct {
	check  string
	caught bool
	took   time.Duration
	why    string
}

func main() {
	only := flag.String("run", "", "mutants whose name matches this expression")
	all := flag.Bool("all", false, "run every check on every mutant, not only until one notices")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *only, *all); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, all bool) (err error) {
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	match, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	for _, suite := range suites { // at once, before minutes are spent
		for _, m := range suite.mutants {
			if _, err := m.patched(root, suite.dir); err != nil {
				return err
			}
		}
	}
	dir, err := os.MkdirTemp("", "flashsale-mutants-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	stack, err := devstack.Start(ctx, devstack.Options{
		DataDir: filepath.Join(dir, "backends"), Ephemeral: true, Redis: devstack.Spec{Mode: devstack.Child, Fast: true},
		Postgres: devstack.Spec{Mode: devstack.Child, Fast: true}, Kafka: devstack.Spec{Mode: devstack.Off},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	r := &runner{root: root, dir: dir, env: []string{testenv.EnvRedis + "=" + stack.Redis.URL, testenv.EnvPostgres + "=" + stack.Postgres.URL}, all: all}
	survived := 0
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "suite\tmutant\twhat it breaks\tcaught by\tafter\tits word")
	for _, suite := range suites {
		n, err := r.suite(ctx, suite, match, table)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", suite.name, err), table.Flush()) // what is known by then
		}
		survived += n
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if survived > 0 {
		return fmt.Errorf("%d mutants survived or do not compile", survived)
	}
	return nil
}

// suite tries the mutants of one suite and says how many survived.
func (r *runner) suite(ctx context.Context, s suite, match *regexp.Regexp, table io.Writer) (survived int, err error) {
	some := slices.DeleteFunc(slices.Clone(s.mutants), func(m mutant) bool { return !match.MatchString(m.name) })
	if len(some) == 0 {
		return 0, nil
	}
	// What fails without a mutant cannot be what catches one.
	fmt.Fprintf(os.Stderr, "%s, no mutant: every check must pass\n", s.name)
	sound, err := r.try(ctx, s, mutant{name: "none"}, true)
	if err != nil {
		return 0, err
	}
	for _, v := range sound {
		if v.caught {
			return 0, fmt.Errorf("the %s check fails without a mutant: %s", v.check, v.why)
		}
	}
	for i, m := range some {
		fmt.Fprintf(os.Stderr, "%s, %d of %d: %s\n", s.name, i+1, len(some), m.name)
		vs, err := r.try(ctx, s, m, r.all)
		if errors.Is(err, errBuild) { // the code has moved on: the list is to be mended, and the others are tried all the same
			fmt.Fprintln(os.Stderr, m.name+":", err)
			fmt.Fprintf(table, "%s\t%s\t%s\tDOES NOT COMPILE\t\t\n", s.name, m.name, m.breaks)
			survived++
			continue
		}
		if err != nil {
			return survived, fmt.Errorf("%s: %w", m.name, err)
		}
		caught := false
		for _, v := range vs {
			if v.caught {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", s.name, m.name, m.breaks, v.check, v.took.Round(time.Second/10), v.why)
				caught = true
			}
		}
		if !caught {
			fmt.Fprintf(table, "%s\t%s\t%s\tSURVIVED\t\t\n", s.name, m.name, m.breaks)
			survived++
		}
	}
	return survived, nil
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

type runner struct {
	root, dir string
	env       []string
	all       bool
}

var errBuild = errors.New("it does not compile")

// try builds the tests with a mutant in and lets the checks look for it.
func (r *runner) try(ctx context.Context, s suite, m mutant, all bool) ([]verdict, error) {
	overlay, err := r.overlay(s.dir, m)
	if err != nil {
		return nil, err
	}
	built := map[string]string{}
	var out []verdict
	for _, c := range s.checks {
		bin := built[c.pkg]
		if bin == "" {
			bin = filepath.Join(r.dir, strings.ReplaceAll(c.pkg, "/", "_")+".test")
			build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", bin, "./"+c.pkg)
			build.Dir = r.root
			if text, err := build.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("%w: %w\n%s", errBuild, err, text)
			}
			built[c.pkg] = bin
		}
		v := r.look(ctx, c, bin)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out = append(out, v)
		if v.caught && !all {
			break
		}
	}
	return out, nil
}

func (r *runner) look(ctx context.Context, c check, bin string) verdict {
	began := time.Now()
	test := exec.CommandContext(ctx, bin, append([]string{"-test.failfast", "-test.timeout", "2m"}, c.args...)...)
	test.Dir = r.dir
	test.Env = append(os.Environ(), r.env...)
	text, err := test.CombinedOutput()
	return verdict{check: c.name, caught: err != nil, took: time.Since(began), why: reason(text)}
}

var place = regexp.MustCompile(`^\s+\w+_test\.go:\d+: |^\s+\w+\.go:\d+: |^panic: `)

// reason picks the first line in which a test says what is wrong.
func reason(text []byte) string {
	for line := range bytes.Lines(text) {
		if at := place.FindIndex(line); at != nil && !bytes.Contains(line, []byte("[rapid] draw")) {
			said := strings.TrimPrefix(strings.TrimSpace(string(line[at[1]:])), "[rapid] ")
			if len(said) > 200 {
				said = said[:200] + "…"
			}
			return said
		}
	}
	return ""
}

// overlay writes the patched files and the list that the go command reads.
func (r *runner) overlay(dir string, m mutant) (string, error) {
	files, err := m.patched(r.root, dir)
	if err != nil {
		return "", err
	}
	var list struct{ Replace map[string]string }
	list.Replace = map[string]string{}
	for name, text := range files {
		to := filepath.Join(r.dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return "", err
		}
		list.Replace[filepath.Join(r.root, name)] = to
	}
	text, err := json.Marshal(list)
	if err != nil {
		return "", err
	}
	name := filepath.Join(r.dir, "overlay.json")
	return name, os.WriteFile(name, text, 0o600)
}
