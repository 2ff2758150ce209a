package main

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"time"
)

// What operators do by hand in the terminal as in the console, by the same routes.

type gateFreezeCmd struct {
	Admin
	Sale   string `arg:"" help:"The sale's id."`
	Shard  int    `help:"Only this shard of the sale, from 0." default:"-1"`
	Reason string `help:"Why; it goes into the audit log." required:""`
}

func (c *gateFreezeCmd) Run(w *world) error {
	body := map[string]any{"sale": c.Sale, "reason": c.Reason}
	if c.Shard >= 0 {
		body["shard"] = c.Shard
	}
	var v gateStatus
	if err := c.call(w, "POST", "/admin/v1/gate/freeze", body, &v); err != nil {
		return err
	}
	v.Automatic = true // what is frozen by hand is not rebuilt by itself in any case
	return v.print(w.stdout, c.JSON)
}

type holdExtendCmd struct {
	Admin
	Sale   string        `arg:"" help:"The sale's id."`
	For    time.Duration `help:"How long from now nobody's hold shall end." required:""`
	Reason string        `help:"Why; it goes into the audit log." required:""`
	DryRun bool          `help:"Count what would live longer, and change nothing."`
}

func (c *holdExtendCmd) Run(w *world) error {
	if c.For%time.Second != 0 {
		return fail(exitUsage, "--for %s: whole seconds, please", c.For)
	}
	var v struct {
		DryRun   bool      `json:"dry_run"`
		Until    time.Time `json:"until"`
		Live     int       `json:"live"`
		Extended int       `json:"extended"`
		Capped   int       `json:"capped"`
	}
	body := map[string]any{"seconds": int64(c.For / time.Second), "reason": c.Reason, "dry_run": c.DryRun}
	if err := c.call(w, "POST", "/admin/v1/sales/"+url.PathEscape(c.Sale)+"/holds/extend", body, &v); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(w.stdout, v)
	}
	word := "live longer"
	if c.DryRun {
		word = "would be asked to live longer"
	}
	fmt.Fprintf(w.stdout, "until %s: %d holds are alive, %d %s, %d are too near their cap for all of it\n", v.Until.Format(time.RFC3339), v.Live, v.Extended, word, v.Capped)
	return nil
}

type saleImportCmd struct {
	Admin
	File      string `arg:"" help:"CSV with the header sku,title,unit_price,stock; - for stdin."`
	Sale      string `help:"The sale's id." required:""`
	Name      string `help:"Its name; default: a draft that is there keeps its terms." placeholder:"TEXT"`
	saleTerms `embed:""`
	DryRun    bool `help:"Check all of it, and change nothing."`
}

func (c *saleImportCmd) Run(w *world) error {
	in := io.Reader(os.Stdin)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fail(exitUsage, "%v", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return fail(exitUsage, "%s: %v", c.File, err)
	}
	body := map[string]any{"csv": string(text), "dry_run": c.DryRun}
	if c.Name != "" {
		terms, err := c.terms(c.Name)
		if err != nil {
			return err
		}
		for k, v := range terms {
			body[k] = v
		}
	}
	path := "/admin/v1/sales/" + url.PathEscape(c.Sale) + "/import"
	if c.DryRun {
		var v struct {
			Sale  string `json:"sale"`
			SKUs  int    `json:"skus"`
			Units int64  `json:"units"`
		}
		if err := c.call(w, "POST", path, body, &v); err != nil {
			return err
		}
		if c.JSON {
			return printJSON(w.stdout, v)
		}
		fmt.Fprintf(w.stdout, "%s: %d SKUs with %d units can be imported\n", v.Sale, v.SKUs, v.Units)
		return nil
	}
	var v saleStatus
	if err := c.call(w, "POST", path, body, &v); err != nil {
		return err
	}
	return v.print(w.stdout, c.JSON)
}
