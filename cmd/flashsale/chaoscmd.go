package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flashsale-engine/flashsale/loadtest/chaos"
)

// chaosCmd lets faults happen under load, on real parts that it starts itself.
type chaosCmd struct {
	Seed      uint64        `help:"Draws the plan; the first one's, with --seeds." default:"1"`
	Seeds     int           `help:"How many seeds, from --seed on." default:"1"`
	Parallel  int           `help:"How many of them at once." default:"1"`
	Duration  time.Duration `help:"How long the crowd comes; default: 30s, with --alone as long as it takes."`
	Rate      float64       `help:"Buyers per second." default:"40"`
	Checkouts float64       `help:"Instead of the mixed crowd: so many per second of --rate check out, all others only reserve."`
	Faults    []string      `help:"Draw from these only; default: all." placeholder:"NAME"`
	Alone     bool          `help:"Instead of plans: each fault alone, on a small load, and how long it hurts."`
	Brokers   int           `help:"Brokers of Kafka: 1 or 3; default: 3 for a plan that has a fault which needs them, else 1. With 3, such faults are drawn too."`
	Nodes     int           `help:"With --alone, and a fault that is not a node's: how many nodes." default:"3"`
	For       time.Duration `help:"With --alone: how long the fault lasts; default: the middle of what plans draw."`
	Summary   string        `help:"Add the runs to this file (JSON), and print the totals of all that are in it." placeholder:"FILE"`
	Markdown  string        `help:"With --alone: write the table into this file, between its marks." placeholder:"FILE"`
	KeepLogs  string        `help:"Copy the nodes' logs of a run that failed here." placeholder:"DIR"`
	named     bool
	DryRun    bool `help:"Print the plan, and run nothing."`
	JSON      bool `help:"Print JSON for machines: one report, or with --seeds a list."`
	Quiet     bool `help:"No progress lines."`
}

func (c *chaosCmd) Run(w *world) error {
	if c.Seeds < 1 || c.Parallel < 1 || c.Rate <= 0 || c.Rate > 10_000 {
		return fail(exitUsage, "--seeds and --parallel must be at least 1, and --rate between 0 and 10000")
	}
	if len(c.Faults) == 0 {
		c.Faults = chaos.Faults()
		if c.Alone || c.Brokers > 1 {
			c.Faults = append(c.Faults, chaos.ClusterFaults()...)
		}
	} else {
		c.named = true
	}
	if c.Checkouts < 0 || c.Checkouts > c.Rate || c.For < 0 || c.Duration < 0 || c.For > 0 && !c.Alone {
		return fail(exitUsage, "--checkouts must be between 0 and --rate, --duration and --for positive, and --for goes with --alone")
	}
	if c.Nodes < 1 || c.Nodes > 16 || c.Nodes != chaos.Nodes && !c.Alone {
		return fail(exitUsage, "--nodes must be between 1 and 16, and goes with --alone")
	}
	if c.Duration == 0 && !c.Alone {
		c.Duration = 30 * time.Second
	}
	kept, err := c.kept()
	if err != nil {
		return err
	}
	document, err := c.document()
	if err != nil {
		return err
	}
	configs, err := c.configs(w)
	if err != nil {
		return err
	}
	if c.DryRun {
		return c.plans(w, configs)
	}
	reports := make([]chaos.Report, len(configs))
	var g errgroup.Group
	var out sync.Mutex
	next := make(chan int, len(configs))
	for i := range configs {
		next <- i
	}
	close(next)
	run := func(l *chaos.Lane) {
		defer l.Close()
		for i := range next {
			cfg := configs[i]
			r, err := l.Run(w, cfg)
			if w.Err() != nil {
				return // interrupted: that says nothing of this seed or of those after it
			}
			if err != nil {
				r.Error, r.Pass = err.Error(), false
			}
			r.Replay = c.replay(cfg)
			reports[i] = r
			out.Lock()
			if !c.JSON && (len(configs) == 1 || !r.Pass || len(r.Skipped) > 0) {
				fmt.Fprintln(w.stdout, r)
			}
			if kept, err = c.keep(kept, r); err != nil {
				w.log.Warn("the summary is not written", "err", err)
			}
			out.Unlock()
		}
	}
	for range min(c.Parallel, len(configs)) {
		g.Go(func() error { run(new(chaos.Lane)); return nil })
	}
	_ = g.Wait() // each says in its report how it went
	if w.Err() != nil {
		return fmt.Errorf("interrupted; what was through before that is in the summary, if one was asked for: %w", context.Cause(w))
	}
	if document != "" {
		text, err := chaos.Fill(document, chaos.Matrix(reports, func(name string) string { return "flashsale chaos --alone --faults " + name }))
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.Markdown, []byte(text), 0o644); err != nil { //nolint:gosec // a document for everyone
			return err
		}
	}
	if err := c.print(w, reports); err != nil {
		return err
	}
	if c.Summary != "" {
		if err := c.totals(w, kept); err != nil {
			return err
		}
	}
	return verdictOf(reports)
}

// kept reads the summary that runs are added to: before the minutes, not after.
func (c *chaosCmd) kept() ([]byte, error) {
	if c.Summary == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.Summary)
	if err == nil {
		_, err = chaos.Merge(b, nil)
	} else if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fail(exitUsage, "--summary %s: %v", c.Summary, err)
	}
	return b, nil
}

// keep adds a run to the summary at once: an hour of runs may be cut short.
func (c *chaosCmd) keep(kept []byte, r chaos.Report) ([]byte, error) {
	if c.Summary == "" || r.Empty() {
		return nil, nil
	}
	s, err := chaos.Merge(kept, []chaos.Report{r})
	if err != nil {
		return kept, err
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return kept, err
	}
	return b, os.WriteFile(c.Summary, append(b, '\n'), 0o644) //nolint:gosec // figures for everyone
}

// totals prints what the summary has now, and writes it once more: if that fails, it is said.
func (c *chaosCmd) totals(w *world, kept []byte) error {
	s, err := chaos.Merge(kept, nil)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.Summary, append(kept, '\n'), 0o644); err != nil { //nolint:gosec // figures for everyone
		return err
	}
	if !c.JSON {
		_, err = fmt.Fprintf(w.stdout, "%s: %s", c.Summary, s)
	}
	return err
}

// document reads the file that the table goes into: before the minutes, not after.
func (c *chaosCmd) document() (string, error) {
	if c.Markdown == "" {
		return "", nil
	}
	text, err := os.ReadFile(c.Markdown)
	if err == nil {
		_, err = chaos.Fill(string(text), "")
	}
	if err != nil || !c.Alone {
		return "", fail(exitUsage, "--markdown %s is for the table of --alone: %v", c.Markdown, err)
	}
	return string(text), nil
}

// configs are the runs: a seed each, or a fault each.
func (c *chaosCmd) configs(w *world) ([]chaos.Config, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var out []chaos.Config
	n := c.Seeds
	if c.Alone {
		n = len(c.Faults) * c.Seeds
	}
	for i := range n {
		cfg := chaos.Config{Self: []string{self}, Seed: c.Seed + uint64(i), Duration: c.Duration, Rate: c.Rate, Pay: c.Checkouts, Faults: c.Faults, Brokers: c.Brokers}
		name := fmt.Sprintf("seed-%d", cfg.Seed)
		if c.Alone {
			fault := c.Faults[i/c.Seeds]
			cfg.Seed = c.Seed + uint64(i%c.Seeds)
			alone, err := chaos.Alone(fault, cfg.Seed, c.For, c.Duration)
			if err != nil {
				return nil, &exit{exitUsage, err}
			}
			if c.Nodes < chaos.Nodes && strings.HasPrefix(fault, "node.") {
				return nil, fail(exitUsage, "%s needs %d nodes", fault, chaos.Nodes)
			}
			cfg.Nodes = c.Nodes
			cfg.Plan, cfg.Duration, name = &alone, alone.Duration, fmt.Sprintf("%s-%d", fault, cfg.Seed)
		}
		if c.KeepLogs != "" {
			cfg.KeepLogs = filepath.Join(c.KeepLogs, name)
		}
		if !c.Quiet {
			cfg.Progress = w.stderr
		}
		plan, err := chaos.PlanOf(cfg)
		if err != nil {
			return nil, &exit{exitUsage, err}
		}
		if !c.JSON && !c.DryRun && !c.Quiet {
			fmt.Fprint(w.stderr, plan)
		}
		out = append(out, cfg)
	}
	return out, nil
}

func (c *chaosCmd) plans(w *world, configs []chaos.Config) error {
	for _, cfg := range configs {
		plan, err := chaos.PlanOf(cfg)
		if err != nil {
			return &exit{exitUsage, err}
		}
		if c.JSON {
			err = printJSON(w.stdout, plan)
		} else {
			_, err = fmt.Fprint(w.stdout, plan)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replay is the command that runs one of them again.
func (c *chaosCmd) replay(cfg chaos.Config) string {
	s := fmt.Sprintf("flashsale chaos --seed %d --rate %g", cfg.Seed, c.Rate)
	if c.Checkouts > 0 {
		s += fmt.Sprintf(" --checkouts %g", c.Checkouts)
	}
	if c.Brokers > 0 {
		s += fmt.Sprintf(" --brokers %d", c.Brokers)
	}
	switch {
	case c.Alone:
		s += " --alone --faults " + cfg.Plan.Events[0].Fault
		if c.Nodes != chaos.Nodes {
			s += fmt.Sprintf(" --nodes %d", c.Nodes)
		}
		if c.For > 0 {
			s += " --for " + c.For.String()
		}
		if c.Duration == 0 {
			return s
		}
	case c.named:
		s += " --faults " + strings.Join(c.Faults, ",")
	}
	return s + " --duration " + c.Duration.String()
}

func (c *chaosCmd) print(w *world, reports []chaos.Report) error {
	switch {
	case c.JSON && len(reports) == 1:
		return printJSON(w.stdout, reports[0])
	case c.JSON:
		return printJSON(w.stdout, reports)
	case len(reports) > 1:
		return summary(w.stdout, reports)
	}
	return nil
}

// summary is a line for each seed.
func summary(w io.Writer, reports []chaos.Report) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SEED\tFAULTS\tAT ONCE\tBUYERS\tORDERS\tREPEATS\tZEROS\tNORMAL AFTER\tVERDICT")
	for _, r := range reports {
		verdict := "pass"
		switch {
		case len(r.Skipped) > 0 && (r.Pass || r.Empty()):
			verdict = map[bool]string{true: "SKIPPED ", false: "pass, but skipped "}[r.Empty()] + strings.Join(r.Skipped, "; ")
			verdict = verdict[:min(len(verdict), 160)]
		case !r.Pass:
			verdict = "FAIL " + cmp.Or(r.Error, strings.Join(r.Wrong, "; "))
			verdict, _, _ = strings.Cut(verdict, "\n")
			verdict = verdict[:min(len(verdict), 160)]
		}
		what := fmt.Sprint(len(r.Plan.Events))
		if len(r.Plan.Events) == 1 {
			what = r.Plan.Events[0].Fault
		}
		fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%d\t%d\t%s\t%.1f s\t%s\n", r.Seed, what, r.Plan.Overlap(), r.Crowd.Arrivals, r.Acknowledged, r.Crowd.Retries, r.Zeros(), r.Normal.Ordering, verdict)
	}
	return t.Flush()
}

// verdictOf makes the exit status of what the runs found.
func verdictOf(reports []chaos.Report) error {
	var failed, broken []error
	for _, r := range reports {
		switch {
		case r.Pass, r.Empty(): // what was skipped has been said
		case r.Error != "" && len(r.Wrong) == 0:
			broken = append(broken, fmt.Errorf("seed %d could not be run: %s", r.Seed, r.Error))
		default:
			failed = append(failed, fmt.Errorf("seed %d found %d things that must not be; again: %s", r.Seed, len(r.Wrong), r.Replay))
		}
	}
	switch {
	case len(failed) > 0:
		return &exit{exitFound, errors.Join(append(failed, broken...)...)}
	case len(broken) > 0:
		return &exit{exitFound, errors.Join(broken...)}
	}
	return nil
}
