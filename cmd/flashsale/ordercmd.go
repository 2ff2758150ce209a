package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
)

type stockCmd struct {
	Add  stockAddCmd  `cmd:"" help:"Add units to a SKU, or take unsold ones away with a negative delta."`
	Move stockMoveCmd `cmd:"" help:"Move available units of a SKU from one shard of a sale to another."`
}

type stockAddCmd struct {
	Admin
	Sale   string `arg:"" help:"The sale's id."`
	SKU    string `arg:"" help:"The SKU."`
	Delta  int64  `arg:"" help:"Units; negative takes away (write -- before it)."`
	Reason string `help:"Why; it goes into the ledger." required:""`
	DryRun bool   `help:"Print what would be sent, and send nothing."`
}

func (c *stockAddCmd) Run(w *world) error {
	body := map[string]any{"sku": c.SKU, "delta": c.Delta, "reason": c.Reason}
	if c.DryRun {
		return printJSON(w.stdout, body)
	}
	var v saleStatus
	if err := c.call(w, "POST", "/admin/v1/sales/"+url.PathEscape(c.Sale)+"/stock", body, &v); err != nil {
		return err
	}
	return v.print(w.stdout, c.JSON)
}

type holdCmd struct {
	Ls      holdLsCmd      `cmd:"" help:"List a sale's holds."`
	Release holdReleaseCmd `cmd:"" help:"Give a held reservation back to stock."`
	Extend  holdExtendCmd  `cmd:"" help:"Have nobody's hold of a sale end within some time."`
}

type holdLsCmd struct {
	Admin
	Sale  string   `arg:"" optional:"" help:"The sale's id; default: the demo's."`
	State []string `help:"Only holds in these states."`
}

func (c *holdLsCmd) Run(w *world) error {
	if c.Sale == "" {
		c.Sale = "demo"
	}
	q := url.Values{"state": c.State}
	body, err := c.open(w, "GET", "/admin/v1/sales/"+url.PathEscape(c.Sale)+"/holds?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if c.JSON {
		_, err := io.Copy(w.stdout, body)
		return err
	}
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RESERVATION\tSTATE\tBUYER KEY\tLINES\tEXPIRES\tATTEMPTS\tSEQ")
	for d := json.NewDecoder(body); ; {
		var h struct {
			ID        string    `json:"id"`
			State     string    `json:"state"`
			BuyerKey  string    `json:"buyer_key"`
			ExpiresAt time.Time `json:"expires_at"`
			Seq       uint64    `json:"seq"`
			Attempts  int       `json:"attempts"`
			Lines     []struct {
				SKU      string `json:"sku"`
				Quantity int    `json:"quantity"`
			} `json:"lines"`
		}
		if err := d.Decode(&h); errors.Is(err, io.EOF) {
			return t.Flush()
		} else if err != nil {
			return err
		}
		lines := make([]string, len(h.Lines))
		for i, l := range h.Lines {
			lines[i] = fmt.Sprintf("%d×%s", l.Quantity, l.SKU)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", h.ID, h.State, h.BuyerKey, strings.Join(lines, " "), h.ExpiresAt.Format(time.RFC3339), h.Attempts, strings.TrimPrefix(placeOf(h.Seq, "rebuilt"), "seq "))
	}
}

type holdReleaseCmd struct {
	Admin
	ID     string `arg:"" help:"The reservation's id."`
	Reason string `help:"Why; it goes into the audit log." required:""`
}

func (c *holdReleaseCmd) Run(w *world) error {
	var out map[string]any
	if err := c.call(w, "POST", "/admin/v1/reservations/"+url.PathEscape(c.ID)+"/release", map[string]any{"reason": c.Reason}, &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(w.stdout, out)
	}
	fmt.Fprintf(w.stdout, "%s is %v\n", c.ID, out["state"])
	return nil
}

type orderCmd struct {
	Show orderShowCmd `cmd:"" help:"Show one order from the record, by order or reservation id."`
	Ls   orderLsCmd   `cmd:"" help:"List a sale's newest orders."`

	Trace orderTraceCmd `cmd:"" help:"Tell the way of one order, from reservation to capture, with its trace if there is one."`
}

type orderShowCmd struct {
	Admin
	ID string `arg:"" help:"ord_… or rsv_…"`
}

func (c *orderShowCmd) Run(w *world) error {
	var out json.RawMessage
	if err := c.call(w, "GET", "/admin/v1/orders/"+url.PathEscape(c.ID), nil, &out); err != nil {
		return err
	}
	return indented(w.stdout, out, c.JSON)
}

type orderLsCmd struct {
	Admin
	Sale  string `arg:"" optional:"" help:"The sale's id; default: the demo's."`
	Limit int    `help:"How many at most." default:"20"`
}

func (c *orderLsCmd) Run(w *world) error {
	if c.Sale == "" {
		c.Sale = "demo"
	}
	var out struct {
		Orders []struct {
			ID       string    `json:"id"`
			Buyer    string    `json:"buyer"`
			State    string    `json:"state"`
			PlacedAt time.Time `json:"placed_at"`
			Total    struct {
				Amount   int64  `json:"amount"`
				Currency string `json:"currency"`
			} `json:"total"`
			Payment struct {
				State string `json:"state"`
			} `json:"payment"`
		} `json:"orders"`
	}
	var raw json.RawMessage
	if err := c.call(w, "GET", fmt.Sprintf("/admin/v1/sales/%s/orders?limit=%d", url.PathEscape(c.Sale), c.Limit), nil, &raw); err != nil {
		return err
	}
	if c.JSON {
		return indented(w.stdout, raw, true)
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ORDER\tSTATE\tPAYMENT\tTOTAL\tBUYER\tPLACED")
	for _, o := range out.Orders {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d %s\t%s\t%s\n", o.ID, o.State, o.Payment.State, o.Total.Amount, o.Total.Currency, o.Buyer, o.PlacedAt.Format(time.RFC3339))
	}
	return t.Flush()
}

func indented(out io.Writer, raw json.RawMessage, compact bool) error {
	if compact {
		_, err := fmt.Fprintln(out, string(raw))
		return err
	}
	b, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, string(b))
	return err
}
