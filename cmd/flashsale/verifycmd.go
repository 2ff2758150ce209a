package main

import (
	"fmt"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

type verifyCmd struct {
	Admin
	Settle time.Duration `help:"How long what looks wrong may take to prove to be in flight." default:"5s"`
}

func (c *verifyCmd) Run(w *world) error {
	var v engine.Verdict
	if err := c.call(w, "GET", "/admin/v1/verify?settle="+c.Settle.String(), nil, &v); err != nil {
		return err
	}
	if c.JSON {
		if err := printJSON(w.stdout, v); err != nil {
			return err
		}
	} else {
		printVerdict(w, v)
	}
	if !v.Clean() {
		return fail(exitFound, "%d findings", len(v.Findings))
	}
	return nil
}

func printVerdict(w *world, v engine.Verdict) {
	fmt.Fprintf(w.stdout, "OVERSOLD %d · LOST %d · DRIFT %d · UNPAID %d\n", v.Oversold, v.Lost, v.Drift, v.Unpaid)
	fmt.Fprintf(w.stdout, "checked %d sales, %d SKUs, %d holds, %d units in orders, %d payments in %d ms; %d on their way to the record\n",
		v.Checked.Sales, v.Checked.SKUs, v.Checked.Holds, v.Checked.Orders, v.Checked.Payments, v.Checked.TookMS, v.Checked.InFlight)
	for _, f := range v.Findings {
		fmt.Fprintf(w.stdout, "  %-8s %s %s %s\n", f.Kind, f.Sale, f.SKU, f.Detail)
	}
}
