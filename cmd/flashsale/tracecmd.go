package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/flashsale-engine/flashsale/ops"
)

type traceCmd struct {
	Show  traceShowCmd  `cmd:"" help:"Show a trace, step by step, from the files that nodes write by --trace-file."`
	Buyer traceBuyerCmd `cmd:"" help:"Tell what a buyer asked for and was told, and why, as far as anybody still knows."`
}

type traceBuyerCmd struct {
	Buyer string   `arg:"" help:"The buyer's id, as in the tokens' sub."`
	Sale  string   `help:"Only of this sale."`
	Admin []string `help:"Base URLs of the admin listeners of all nodes with the role api: each knows its own answers only; default: the last demo's." placeholder:"URL"`
	Token string   `env:"FLASHSALE_ADMIN_TOKEN" help:"Admin token." placeholder:"TOKEN" type:"secret"`
	JSON  bool     `help:"Print what the nodes say as JSON, one line each."`
}

// line is one of the story's.
type line struct {
	at                   time.Time
	who, sale, what, why string
}

func (c *traceBuyerCmd) Run(w *world) error {
	if len(c.Admin) == 0 {
		c.Admin = []string{""}
	}
	var lines []line
	var notes []string
	var failed error
	told := false // what gate and record know: one node is enough
	for _, at := range c.Admin {
		a := Admin{Admin: at, Token: c.Token}
		q := url.Values{"record": {fmt.Sprint(!told)}, "sale": {c.Sale}}
		var s ops.Story
		if err := a.call(w, "GET", "/admin/v1/buyers/"+url.PathEscape(c.Buyer)+"/decisions?"+q.Encode(), nil, &s); err != nil {
			failed = errors.Join(failed, err)
			notes = append(notes, fmt.Sprintf("%s does not say what it answered: %v", a.Admin, err))
			continue
		}
		told = true
		if c.JSON {
			if err := printJSON(w.stdout, s); err != nil {
				return err
			}
			continue
		}
		lines = append(lines, linesOf(s)...)
		for _, u := range s.Unknown {
			notes = append(notes, fmt.Sprintf("node %s: %s", s.Node, u))
		}
		notes = append(notes, fmt.Sprintf("node %s remembers its answers since %s", s.Node, s.Since.Format(time.RFC3339)))
	}
	if !told {
		return failed
	}
	if !c.JSON {
		c.print(w, lines, notes)
	}
	return failed
}

func linesOf(s ops.Story) (out []line) {
	for _, d := range s.Decisions {
		what := fmt.Sprintf("%s: %d granted", d.Op, d.Status)
		if d.Code != "" {
			what = fmt.Sprintf("%s: %d %s", d.Op, d.Status, d.Code)
		}
		if d.Status == 0 { // a line of a batch has none of its own
			what = fmt.Sprintf("%s: %s", d.Op, cmp.Or(string(d.Code), "granted"))
		}
		why := "by " + d.Source
		if d.Seq > 0 {
			why += fmt.Sprintf(", seq %d", d.Seq)
		}
		if d.Epoch > 0 {
			why += fmt.Sprintf(" of epoch %d", d.Epoch)
		}
		if d.Unproven {
			why += ", token not verified"
		}
		out = append(out, line{d.At, "node " + s.Node, d.Sale + " " + d.SKU, what, why + ", " + d.RequestID})
	}
	for _, e := range s.Events {
		out = append(out, line{e.At, e.From, e.Sale, e.What, e.ID})
	}
	return out
}

func (c *traceBuyerCmd) print(w *world, lines []line, notes []string) {
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	for _, l := range lines {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.at.UTC().Format("2006-01-02 15:04:05.000"), l.who, l.sale, l.what, l.why)
	}
	_ = t.Flush() // to people
	if len(lines) == 0 {
		fmt.Fprintf(w.stdout, "nobody knows anything of buyer %s\n", c.Buyer)
	}
	fmt.Fprintln(w.stdout)
	for _, n := range notes {
		fmt.Fprintln(w.stdout, n)
	}
	fmt.Fprintln(w.stdout, "What was answered before that, or by nodes that were not asked, is not known here.")
}
