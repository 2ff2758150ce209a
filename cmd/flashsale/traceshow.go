package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/ops"
)

// TraceFiles are where nodes have written spans.
type TraceFiles struct {
	File []string `help:"Files that nodes have written by --trace-file; default: the last demo's." placeholder:"FILE"`
}

func (t TraceFiles) read() ([]telemetry.Step, error) {
	files := t.File
	if len(files) == 0 {
		if r, err := lastDemo(); err == nil && r.TraceFile != "" {
			files = []string{r.TraceFile}
		}
	}
	if len(files) == 0 {
		return nil, fail(exitUsage, "say where the spans are: --file FILE, once per node")
	}
	steps, err := telemetry.Read(files...)
	if err != nil {
		return nil, &exit{exitUnavailable, err}
	}
	return steps, nil
}

type traceShowCmd struct {
	TraceFiles
	ID   string `arg:"" help:"A trace's id, as traceresponse gives it, or what the trace is about: ord_…, rsv_… or pay_…"`
	JSON bool   `help:"Print the steps as JSON, one per line, in the order of their beginning."`
}

func (c *traceShowCmd) Run(w *world) error {
	steps, err := c.read()
	if err != nil {
		return err
	}
	traces := tracesOf(steps, c.ID)
	if len(traces) == 0 {
		return fail(exitFound, "no span of %s is in the files: it was not traced, or by another node, or long ago", c.ID)
	}
	for _, id := range traces {
		if c.JSON {
			for _, s := range steps {
				if s.Trace != id {
					continue
				}
				if err := printJSON(w.stdout, s); err != nil {
					return err
				}
			}
			continue
		}
		printTrace(w, id, telemetry.Tree(steps, id))
	}
	return nil
}

func tracesOf(steps []telemetry.Step, id string) []string {
	switch {
	case strings.HasPrefix(id, "ord_"):
		if r, ok := engine.ParseOrderID(id); ok {
			id = r.String()
		}
		return telemetry.Traces(steps, "reservation", id)
	case strings.HasPrefix(id, "rsv_"):
		return telemetry.Traces(steps, "reservation", id)
	case strings.HasPrefix(id, "pay_"):
		return telemetry.Traces(steps, "attempt", id)
	}
	for _, s := range steps {
		if s.Trace == id {
			return []string{id}
		}
	}
	return nil
}

// printTrace draws a trace as a tree. What served others too stands behind ~.
func printTrace(w *world, id string, roots []*telemetry.Branch) {
	if len(roots) == 0 {
		return
	}
	fmt.Fprintf(w.stdout, "trace %s, from %s\n", id, roots[0].Began.Format("2006-01-02 15:04:05.000 MST"))
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "AFTER\tTOOK\tSTEP\tNODE\tWHAT")
	for _, b := range roots {
		printBranch(t, roots[0].Began, b, "")
	}
	_ = t.Flush() // to people
	fmt.Fprintln(w.stdout)
}

func printBranch(t *tabwriter.Writer, began time.Time, b *telemetry.Branch, indent string) {
	var what []string
	for _, name := range []string{"http.response.status_code", "code", "reservation", "order", "attempt", "state", "db.operation.batch.size", "messaging.batch.message_count", "server.address", "messaging.kafka.offset"} {
		if v := b.Attributes[name]; v != "" {
			name = name[strings.LastIndexByte(name, '.')+1:]
			what = append(what, name+"="+v)
		}
	}
	if b.Error != "" {
		what = append(what, "FAILED: "+b.Error)
	}
	fmt.Fprintf(t, "%s\t%s\t%s%s\t%s\t%s\n", milliseconds(b.Began.Sub(began)), milliseconds(b.Ended.Sub(b.Began)), indent, b.Name, b.Node, strings.Join(what, " "))
	deeper := strings.ReplaceAll(indent, "~", " ") + "  "
	for _, s := range b.Shared {
		printBranch(t, began, s, deeper+"~ ")
	}
	for _, inner := range b.Within {
		printBranch(t, began, inner, deeper)
	}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000)
}

type orderTraceCmd struct {
	Admin
	TraceFiles
	ID string `arg:"" help:"ord_… or rsv_…"`
}

func (c *orderTraceCmd) Run(w *world) error {
	var line ops.TimeLine
	if err := c.call(w, "GET", "/admin/v1/orders/"+url.PathEscape(c.ID)+"/events", nil, &line); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(w.stdout, line)
	}
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	for _, e := range line.Events {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", e.At.UTC().Format("2006-01-02 15:04:05.000"), e.From, e.What, e.ID)
	}
	_ = t.Flush() // to people
	for _, u := range line.Unknown {
		fmt.Fprintln(w.stdout, u)
	}
	fmt.Fprintln(w.stdout)
	if len(line.Traces) == 0 {
		fmt.Fprintln(w.stdout, "Its payments were not traced.")
		return nil
	}
	steps, err := c.read()
	if err != nil {
		fmt.Fprintf(w.stdout, "Traces: %s. %v\n", strings.Join(line.Traces, ", "), err)
		return nil
	}
	// The reservation was a request of its own, perhaps with a trace of its own.
	ids := tracesOf(steps, line.Reservation)
	for _, id := range line.Traces {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, id := range ids {
		printTrace(w, id, telemetry.Tree(steps, id))
	}
	return nil
}

// traceTo has the demo trace everything, as far as --trace-most lets it.
func (c *demoCmd) traceTo(s *Settings) (remove func(), err error) {
	remove = func() {}
	switch {
	case c.TraceFile != "":
	case c.DataDir != "":
		c.TraceFile = filepath.Join(c.DataDir, "traces.jsonl")
		err = os.MkdirAll(c.DataDir, 0o700)
	default:
		dir, tempErr := os.MkdirTemp("", "flashsale-traces-")
		c.TraceFile, err = filepath.Join(dir, "traces.jsonl"), tempErr
		remove = func() { _ = os.RemoveAll(dir) }
	}
	s.TraceSample, s.TraceFile = 1, c.TraceFile
	return remove, err
}
