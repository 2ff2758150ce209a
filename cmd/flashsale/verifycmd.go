package main

import (
	"fmt"
	"net/url"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

type verifyCmd struct {
	Admin
	Fast   bool          `help:"Compare the counters alone, in milliseconds: conservation at the gate, stock and sold units, sums of the ledger, positions. May be asked each second." xor:"how"`
	Fix    bool          `help:"Do the repairs that are safe, each audited, and verify again. Without it they are only listed." xor:"how"`
	DryRun bool          `help:"With --fix: list the repairs, and do none."`
	Settle time.Duration `help:"How long what looks wrong may take to prove to be in flight; default 5s, with --fast 1s."`
}

func (c *verifyCmd) Run(w *world) error {
	if c.Fix {
		return c.fix(w)
	}
	q := url.Values{"fast": {fmt.Sprint(c.Fast)}}
	if c.Settle > 0 {
		q.Set("settle", c.Settle.String())
	}
	var v engine.Verdict
	if err := c.call(w, "GET", "/admin/v1/verify?"+q.Encode(), nil, &v); err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(w.stdout, v); err != nil {
			return err
		}
	} else {
		printVerdict(w, v)
	}
	return verdictStatus(v)
}

func (c *verifyCmd) fix(w *world) error {
	body := map[string]any{"dry_run": c.DryRun}
	if c.Settle > 0 {
		body["settle"] = c.Settle.String()
	}
	var m engine.Mending
	if err := c.call(w, "POST", "/admin/v1/verify/fix", body, &m); err != nil {
		return err
	}
	last := m.Before
	if m.After != nil {
		last = *m.After
	}
	if c.JSON {
		if err := printJSON(w.stdout, m); err != nil {
			return err
		}
		return verdictStatus(last)
	}
	printVerdict(w, m.Before)
	if m.After != nil {
		fmt.Fprintln(w.stdout, "\nafter the repairs:")
		printVerdict(w, last)
	}
	return verdictStatus(last)
}

func verdictStatus(v engine.Verdict) error {
	if !v.Clean() {
		return fail(exitFound, "%d findings", len(v.Findings))
	}
	return nil
}

func printVerdict(w *world, v engine.Verdict) {
	fmt.Fprintf(w.stdout, "OVERSOLD %d · LOST %d · DRIFT %d · UNPAID %d\n", v.Oversold, v.Lost, v.Drift, v.Unpaid)
	if v.Fast {
		fmt.Fprintf(w.stdout, "compared the counters of %d sales, %d SKUs, %d units sold in %d ms; %d units on their way to the record\n",
			v.Checked.Sales, v.Checked.SKUs, v.Checked.Orders, v.Checked.TookMS, v.Checked.InFlight)
	} else {
		fmt.Fprintf(w.stdout, "checked %d sales, %d SKUs, %d holds, %d units in orders, %d payments in %d ms; %d on their way to the record\n",
			v.Checked.Sales, v.Checked.SKUs, v.Checked.Holds, v.Checked.Orders, v.Checked.Payments, v.Checked.TookMS, v.Checked.InFlight)
	}
	if v.Checked.DeadLetters > 0 {
		fmt.Fprintf(w.stdout, "%d events became dead letters\n", v.Checked.DeadLetters)
	}
	for i, f := range v.Findings {
		fmt.Fprintf(w.stdout, "  %-8s %s %s %s\n", f.Kind, f.Sale, f.SKU, f.Detail)
		if i < len(v.Repairs) {
			fmt.Fprintf(w.stdout, "           %s\n", v.Repairs[i].String())
		}
	}
}
