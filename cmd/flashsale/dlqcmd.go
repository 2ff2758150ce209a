package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

type dlqCmd struct {
	Ls    dlqLsCmd    `cmd:"" help:"List dead letters, oldest first."`
	Retry dlqRetryCmd `cmd:"" help:"Have them decided again; says what became of each, and exits 1 if one is still dead."`
	Drop  dlqDropCmd  `cmd:"" help:"Say why they will never be orders. The rows stay."`
}

// dlqFilter chooses among dead letters.
type dlqFilter struct {
	Sale  string `help:"Only of this sale."`
	Cause string `help:"Only those that died of this: malformed, unknown_version, unknown_sale, unknown_sku, price_mismatch or rejected_by_record."`
	Limit int    `help:"At most so many." default:"100"`
}

func (f dlqFilter) list(w *world, a *Admin, state string) ([]engine.DeadLetter, error) {
	q := url.Values{"state": {state}, "limit": {strconv.Itoa(f.Limit)}, "sale": {f.Sale}, "reason": {f.Cause}}
	var out struct {
		Letters []engine.DeadLetter `json:"dead_letters"`
	}
	err := a.call(w, "GET", "/admin/v1/dead-letters?"+q.Encode(), nil, &out)
	return out.Letters, err
}

type dlqLsCmd struct {
	Admin
	dlqFilter `embed:""`
	State     string `help:"Open ones, those that were retried or dropped, or all." enum:"open,retried,dropped,all" default:"open"`
}

func (c *dlqLsCmd) Run(w *world) error {
	list, err := c.list(w, &c.Admin, c.State)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(w.stdout, map[string]any{"dead_letters": list})
	}
	return printDead(w.stdout, list, time.Now())
}

func printDead(out io.Writer, list []engine.DeadLetter, now time.Time) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tAGE\tPARTITION/OFFSET\tREASON\tSTATE\tSALE\tBUYER WAITS\tRESERVATION\tDETAIL")
	for _, l := range list {
		waits := "no"
		if l.Accepted && !l.Ordered && l.State == engine.DeadLetterOpen {
			waits = "yes"
		}
		if l.SettledWhy != "" {
			l.Detail = l.SettledWhy + " (" + l.SettledBy + ")"
		}
		fmt.Fprintf(t, "%d\t%s\t%d/%d\t%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, now.Sub(l.At).Round(time.Second), l.Partition, l.Offset, l.Reason, l.State, l.Sale, waits, l.Reservation, l.Detail)
	}
	return t.Flush()
}

type dlqRetryCmd struct {
	Admin
	dlqFilter `embed:""`
	IDs       []int64 `arg:"" optional:"" name:"id" help:"Their ids, as ls gives them."`
	All       bool    `help:"All open ones that --sale and --cause choose."`
	Reason    string  `help:"Why; it goes into the audit log."`
	DryRun    bool    `help:"Say what would become of each, and change nothing."`
}

func (c *dlqRetryCmd) Run(w *world) error {
	if c.All == (len(c.IDs) > 0) {
		return fail(exitUsage, "name dead letters by their ids, or say --all")
	}
	if c.All {
		list, err := c.list(w, &c.Admin, engine.DeadLetterOpen)
		if err != nil {
			return err
		}
		for _, l := range list {
			c.IDs = append(c.IDs, l.ID)
		}
	}
	dead := 0
	for _, id := range c.IDs {
		var r engine.Retried
		if err := c.call(w, "POST", fmt.Sprintf("/admin/v1/dead-letters/%d/retry", id), map[string]any{"dry_run": c.DryRun, "reason": c.Reason}, &r); err != nil {
			return err
		}
		if r.Did == engine.RetryDead {
			dead++
		}
		if err := printRetried(w.stdout, r, c.DryRun, c.JSON); err != nil {
			return err
		}
	}
	if dead > 0 {
		return fail(exitFound, "%d of %d are still dead", dead, len(c.IDs))
	}
	return nil
}

// printRetried prints what became of one letter; JSON is one line for each.
func printRetried(out io.Writer, r engine.Retried, dry, asJSON bool) error {
	if asJSON {
		return printJSON(out, r)
	}
	did := r.Did
	if dry {
		did = "would be " + did
	}
	if r.Did == engine.RetrySettled {
		did = "left as it is: " + r.Letter.State + ", " + r.Letter.SettledWhy
	}
	_, err := fmt.Fprintf(out, "%d\t%s\t%s\t%s\n", r.Letter.ID, did, r.Order, r.Detail)
	return err
}

type dlqDropCmd struct {
	Admin
	IDs    []int64 `arg:"" name:"id" help:"Their ids, as ls gives them."`
	Reason string  `help:"Why they will never be orders; it is kept with the letter and in the audit log." required:""`
	DryRun bool    `help:"Show them, and change nothing."`
}

func (c *dlqDropCmd) Run(w *world) error {
	var list []engine.DeadLetter
	for _, id := range c.IDs {
		var l engine.DeadLetter
		if err := c.call(w, "POST", fmt.Sprintf("/admin/v1/dead-letters/%d/drop", id), map[string]any{"dry_run": c.DryRun, "reason": c.Reason}, &l); err != nil {
			return err
		}
		list = append(list, l)
	}
	if c.JSON {
		return printJSON(w.stdout, map[string]any{"dead_letters": list})
	}
	return printDead(w.stdout, list, time.Now())
}
