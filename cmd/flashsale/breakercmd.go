package main

import (
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"

	"github.com/flashsale-engine/flashsale/ops"
)

type breakerCmd struct {
	Ls    breakerLsCmd  `cmd:"" help:"List them with their state."`
	Open  breakerSetCmd `cmd:"" help:"Force one open on every node: nothing is called."`
	Close breakerSetCmd `cmd:"" help:"Force one closed on every node: everything is called."`
	Auto  breakerSetCmd `cmd:"" help:"Let one decide by itself again."`
}

type breakerLsCmd struct{ Admin }

func (c *breakerLsCmd) Run(w *world) error {
	var list breakerList
	if err := c.call(w, "GET", "/admin/v1/breakers", nil, &list); err != nil {
		return err
	}
	return list.print(w.stdout, c.JSON)
}

type breakerSetCmd struct {
	Admin
	Name   string `arg:"" help:"The breaker, as ls names it."`
	Reason string `help:"Why; it goes into the audit log." default:"set by hand"`
	DryRun bool   `help:"Print what would be sent, and send nothing."`
	verb   string
}

// AfterApply tells each verb its name.
func (c *breakerCmd) AfterApply() error {
	c.Open.verb, c.Close.verb, c.Auto.verb = "open", "close", "auto"
	return nil
}

func (c *breakerSetCmd) Run(w *world) error {
	path, body := "/admin/v1/breakers/"+url.PathEscape(c.Name)+"/"+c.verb, map[string]string{"reason": c.Reason}
	if c.DryRun {
		return printJSON(w.stdout, map[string]any{"path": path, "body": body})
	}
	var list breakerList
	if err := c.call(w, "POST", path, body, &list); err != nil {
		return err
	}
	return list.print(w.stdout, c.JSON)
}

// breakerList is the admin API's answer.
type breakerList struct {
	Breakers []ops.Breaker `json:"breakers"`
}

func (l breakerList) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(out, l)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BREAKER\tSTATE\tMODE\tIN FLIGHT\tWHY")
	for _, b := range l.Breakers {
		why := b.Reason
		if b.Actor != "" {
			why += " (" + b.Actor + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d of %d\t%s\n", b.Name, b.State, b.Mode, b.InFlight, b.Limit, why)
	}
	return t.Flush()
}
