package main

import (
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"
)

type gateCmd struct {
	Status  gateStatusCmd  `cmd:"" help:"Show each shard's epoch, server and state."`
	Freeze  gateFreezeCmd  `cmd:"" help:"Freeze a sale's gate until it is rebuilt by hand: nothing is decided meanwhile."`
	Rebuild gateRebuildCmd `cmd:"" help:"Rebuild gates from the record: the named sale's, or all that are lost."`
}

type gateStatusCmd struct {
	Admin
	Sale string `help:"Of this sale only; default: all live ones." placeholder:"SALE"`
}

func (c *gateStatusCmd) Run(w *world) error {
	var v gateStatus
	if err := c.call(w, "GET", "/admin/v1/gate?sale="+url.QueryEscape(c.Sale), nil, &v); err != nil {
		return err
	}
	if err := v.print(w.stdout, c.JSON); err != nil {
		return err
	}
	for _, g := range v.Gates {
		if g.State != "open" || g.Unreachable != "" {
			return fail(exitFound, "not every gate is open")
		}
	}
	return nil
}

type gateRebuildCmd struct {
	Admin
	Sale   string `help:"Rebuild this sale's gate, lost or not; default: whatever is lost." placeholder:"SALE"`
	Shard  int    `help:"Only this shard of the sale, from 0." default:"-1"`
	Reason string `help:"Why; it goes into the audit log." default:"rebuilt by hand"`
	DryRun bool   `help:"Print what would be rebuilt, with counts, and change nothing."`
}

func (c *gateRebuildCmd) Run(w *world) error {
	body := map[string]any{"sale": c.Sale, "reason": c.Reason, "dry_run": c.DryRun}
	if c.Shard >= 0 {
		body["shard"] = c.Shard
	}
	if c.DryRun {
		var v gatePlan
		if err := c.call(w, "POST", "/admin/v1/gate/rebuild", body, &v); err != nil {
			return err
		}
		return v.print(w.stdout, c.JSON)
	}
	var v gateRebuilt
	if err := c.call(w, "POST", "/admin/v1/gate/rebuild", body, &v); err != nil {
		return err
	}
	return v.print(w.stdout, c.JSON)
}

// gate is the admin API's view of one shard.
type gate struct {
	Sale        string     `json:"sale"`
	Shard       int        `json:"shard"`
	State       string     `json:"state"`
	Reason      string     `json:"reason,omitempty"`
	Since       *time.Time `json:"since,omitempty"`
	Epoch       int64      `json:"epoch"`
	Server      string     `json:"server"`
	Decides     string     `json:"decides,omitempty"`
	Unreachable string     `json:"unreachable,omitempty"`
	RebuiltAt   *time.Time `json:"rebuilt_at,omitempty"`
	TookMS      int64      `json:"took_ms,omitempty"`
}

type gateStatus struct {
	Automatic bool   `json:"automatic"`
	Gates     []gate `json:"gates"`
}

func (v gateStatus) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(out, v)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SALE\tSHARD\tSTATE\tEPOCH\tSERVER\tLAST REBUILD\tWHY")
	for _, g := range v.Gates {
		last := "never"
		if g.RebuiltAt != nil {
			last = fmt.Sprintf("%s (%s)", g.RebuiltAt.UTC().Format(time.RFC3339), time.Duration(g.TookMS)*time.Millisecond)
		}
		why := g.Reason
		if g.Unreachable != "" {
			why += " " + g.Unreachable
		}
		fmt.Fprintf(t, "%s\t%d\t%s\t%d\t%s\t%s\t%s\n", g.Sale, g.Shard, g.State, g.Epoch, short(g.Server), last, why)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if !v.Automatic {
		fmt.Fprintln(out, "automatic rebuilds are off on this node")
	}
	return nil
}

// short shortens a server's name as far as people compare it.
func short(server string) string {
	if len(server) > 12 {
		return server[:12] + "…"
	}
	return server
}

type gatePlan struct {
	DryRun bool `json:"dry_run"`
	Plan   []struct {
		gate
		Accepted int `json:"accepted"`
		Paying   int `json:"paying"`
		Held     int `json:"held"`
	} `json:"plan"`
}

func (v gatePlan) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(out, v)
	}
	for _, p := range v.Plan {
		held := fmt.Sprintf("%d holds", p.Held)
		if p.Held < 0 {
			held = "whatever holds the gate remembers"
		}
		fmt.Fprintf(out, "%s shard %d (%s %s): would be frozen, raised above epoch %d on server %s, and rebuilt with %d orders, %d payments and %s\n",
			p.Sale, p.Shard, p.State, p.Reason, p.Epoch, short(p.Decides), p.Accepted, p.Paying, held)
	}
	if len(v.Plan) == 0 {
		fmt.Fprintln(out, "no gate is lost; name a sale to rebuild it all the same")
	}
	return nil
}

type gateRebuilt struct {
	Rebuilt []struct {
		Sale     string `json:"sale"`
		Shard    int    `json:"shard"`
		Cause    string `json:"cause"`
		Was      int64  `json:"epoch_before"`
		Epoch    int64  `json:"epoch"`
		Server   string `json:"server"`
		Accepted int    `json:"accepted"`
		Paying   int    `json:"paying"`
		Kept     int    `json:"kept"`
		Lost     int    `json:"lost"`
		Frozen   int64  `json:"frozen_ns"`
	} `json:"rebuilt"`
}

func (v gateRebuilt) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(out, v)
	}
	for _, r := range v.Rebuilt {
		fmt.Fprintf(out, "%s shard %d is back after %s: epoch %d to %d, %d orders, %d payments, %d holds kept, %d no longer fitted\n",
			r.Sale, r.Shard, time.Duration(r.Frozen).Round(time.Millisecond), r.Was, r.Epoch, r.Accepted, r.Paying, r.Kept, r.Lost)
	}
	if len(v.Rebuilt) == 0 {
		fmt.Fprintln(out, "no gate is lost; name a sale to rebuild it all the same")
	}
	return nil
}
