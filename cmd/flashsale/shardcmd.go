package main

import (
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
)

type stockMoveCmd struct {
	Admin
	Sale   string `arg:"" help:"The sale's id."`
	SKU    string `arg:"" help:"The SKU."`
	From   int    `help:"The shard that gives, from 0." required:""`
	To     int    `help:"The shard that gets." required:""`
	Units  int64  `help:"How many; all of them must be available there." required:""`
	Reason string `help:"Why; it goes into the audit log." default:"moved by hand"`
	DryRun bool   `help:"Print what would be sent, and send nothing."`
}

func (c *stockMoveCmd) Run(w *world) error {
	body := map[string]any{"sku": c.SKU, "from": c.From, "to": c.To, "units": c.Units, "reason": c.Reason}
	if c.DryRun {
		return printJSON(w.stdout, body)
	}
	var v shardStatus
	if err := c.call(w, "POST", "/admin/v1/sales/"+url.PathEscape(c.Sale)+"/stock/move", body, &v); err != nil {
		return err
	}
	return v.print(w.stdout, c.JSON)
}

// shardStatus is the admin API's view of a sale's shards.
type shardStatus struct {
	Sale   string `json:"sale"`
	Shards []struct {
		Shard int `json:"shard"`
		Items []struct {
			SKU       string `json:"sku"`
			Stock     int64  `json:"stock"`
			Available int64  `json:"available"`
			Held      int64  `json:"held"`
			Paying    int64  `json:"paying"`
			Sold      int64  `json:"sold"`
		} `json:"items"`
	} `json:"shards"`
	Transfers []struct {
		From   int    `json:"from"`
		To     int    `json:"to"`
		Number int64  `json:"number"`
		SKU    string `json:"sku"`
		Units  int64  `json:"units"`
	} `json:"transfers"`
}

func (v shardStatus) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(out, v)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "SHARD\tSKU\tSTOCK\tAVAILABLE\tHELD\tPAYING\tSOLD\t")
	for _, s := range v.Shards {
		for _, it := range s.Items {
			fmt.Fprintf(t, "%d\t%s\t%d\t%d\t%d\t%d\t%d\t\n", s.Shard, it.SKU, it.Stock, it.Available, it.Held, it.Paying, it.Sold)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, m := range v.Transfers {
		fmt.Fprintf(out, "under way: %d %s from shard %d to shard %d\n", m.Units, m.SKU, m.From, m.To)
	}
	return nil
}
