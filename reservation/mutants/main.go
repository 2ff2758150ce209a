// Command mutants breaks the gate on purpose, one way at a time, and demands that
// the checks notice: `make mutants`. A check that lets a seeded bug pass guards
// nothing.
//
// Each mutant is a small textual patch of a Lua part or a Go file of reservation/.
// It is compiled in by `go build -overlay`, so neither the tree nor the product
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
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
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

var checks = []check{
	{"conformance", "reservation", []string{"-test.run", "KeepsItsPromisesOnMiniredis"}},
	{"property", "reservation", []string{"-test.run", "RandomBatchesAgreeWithTheModelOnMiniredis", "-rapid.nofailfile"}},
	{"unit", "reservation", []string{"-test.short", "-test.timeout", "40s", "-test.run", "WhatArrives|FullQueue|CallerWhoLeaves|TwoEpochs|NotAddUp|NoConnection|Unanswered|ClosedGate|StaleLog|OneCallsBudget"}},
	{"history", "reservation/history", []string{"-operations", "20000", "-patience", "15s", "-test.run", "WhatClientsSee|WhatNodesKnow|WithKills"}},
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
	for _, m := range mutants { // at once, before minutes are spent
		if _, err := m.patched(root); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "flashsale-mutants-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	stack, err := devstack.Start(ctx, devstack.Options{
		DataDir: filepath.Join(dir, "backends"), Ephemeral: true, Redis: devstack.Spec{Mode: devstack.Child, Fast: true},
		Postgres: devstack.Spec{Mode: devstack.Off}, Kafka: devstack.Spec{Mode: devstack.Off},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	r := &runner{root: root, dir: dir, redis: stack.Redis.URL, all: all}

	// What fails without a mutant cannot be what catches one.
	fmt.Fprintln(os.Stderr, "no mutant: every check must pass")
	r.all = true
	sound, err := r.try(ctx, mutant{name: "none"})
	if err != nil {
		return err
	}
	for _, v := range sound {
		if v.caught {
			return fmt.Errorf("the %s check fails without a mutant: %s", v.check, v.why)
		}
	}
	r.all = all
	survived := 0
	table := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "mutant\twhat it breaks\tcaught by\tafter\tits word")
	for i, m := range mutants {
		if !match.MatchString(m.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%d of %d: %s\n", i+1, len(mutants), m.name)
		vs, err := r.try(ctx, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		caught := false
		for _, v := range vs {
			if v.caught {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", m.name, m.breaks, v.check, v.took.Round(time.Second/10), v.why)
				caught = true
			}
		}
		if !caught {
			fmt.Fprintf(table, "%s\t%s\tSURVIVED\t\t\n", m.name, m.breaks)
			survived++
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if survived > 0 {
		return fmt.Errorf("%d mutants survived", survived)
	}
	return nil
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

type runner struct {
	root, dir, redis string
	all              bool
}

// try builds the tests with a mutant in and lets the checks look for it.
func (r *runner) try(ctx context.Context, m mutant) ([]verdict, error) {
	overlay, err := r.overlay(m)
	if err != nil {
		return nil, err
	}
	built := map[string]string{}
	var out []verdict
	for _, c := range checks {
		bin := built[c.pkg]
		if bin == "" {
			bin = filepath.Join(r.dir, strings.ReplaceAll(c.pkg, "/", "_")+".test")
			build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", bin, "./"+c.pkg)
			build.Dir = r.root
			if text, err := build.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("it does not compile: %w\n%s", err, text)
			}
			built[c.pkg] = bin
		}
		v := r.look(ctx, c, bin)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out = append(out, v)
		if v.caught && !r.all {
			break
		}
	}
	return out, nil
}

func (r *runner) look(ctx context.Context, c check, bin string) verdict {
	began := time.Now()
	test := exec.CommandContext(ctx, bin, append([]string{"-test.failfast", "-test.timeout", "2m"}, c.args...)...)
	test.Dir = r.dir
	test.Env = append(os.Environ(), testenv.EnvRedis+"="+r.redis)
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
func (r *runner) overlay(m mutant) (string, error) {
	files, err := m.patched(r.root)
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
