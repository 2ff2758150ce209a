package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"
)

type paymentsCmd struct {
	Ls      paymentsLsCmd      `cmd:"" help:"List payment attempts, newest first; --stuck: those that nobody has brought to an end, oldest first."`
	Show    paymentsShowCmd    `cmd:"" help:"Show a payment attempt with what would be done about it, or all attempts of a reservation or order."`
	Resolve paymentsResolveCmd `cmd:"" help:"Bring an attempt to an end now, by asking its provider."`
	Refund  paymentsRefundCmd  `cmd:"" help:"Give an order's money back. The order stays."`
}

type paymentsLsCmd struct {
	Admin
	Stuck bool   `help:"Only attempts in nobody's hands for 30 seconds that have not ended."`
	State string `help:"Only attempts in this state."`
	Limit int    `help:"At most so many." default:"50"`
}

func (c *paymentsLsCmd) Run(w *world) error {
	q := url.Values{"limit": {strconv.Itoa(c.Limit)}, "stuck": {strconv.FormatBool(c.Stuck)}}
	if c.State != "" {
		q.Set("state", c.State)
	}
	var raw json.RawMessage
	if err := c.call(w, "GET", "/admin/v1/payments?"+q.Encode(), nil, &raw); err != nil {
		return err
	}
	if c.JSON {
		return indented(w.stdout, raw, true)
	}
	var out struct {
		Payments []struct {
			ID       string    `json:"id"`
			State    string    `json:"state"`
			Parked   string    `json:"parked"`
			Provider string    `json:"provider"`
			Reason   string    `json:"reason"`
			Order    string    `json:"order"`
			BegunAt  time.Time `json:"begun_at"`
			Amount   struct {
				Amount   int64  `json:"amount"`
				Currency string `json:"currency"`
			} `json:"amount"`
		} `json:"payments"`
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PAYMENT\tSTATE\tAMOUNT\tPROVIDER\tREASON\tBEGUN\tORDER")
	for _, p := range out.Payments {
		if p.Parked != "" {
			p.State += " (" + p.Parked + ")"
		}
		fmt.Fprintf(t, "%s\t%s\t%d %s\t%s\t%s\t%s\t%s\n", p.ID, p.State, p.Amount.Amount, p.Amount.Currency, p.Provider, p.Reason, p.BegunAt.Format(time.RFC3339), p.Order)
	}
	return t.Flush()
}

type paymentsShowCmd struct {
	Admin
	ID string `arg:"" help:"The id of a payment (pay_…), a reservation or an order."`
}

func (c *paymentsShowCmd) Run(w *world) error {
	var raw json.RawMessage
	if err := c.call(w, "GET", "/admin/v1/payments/"+url.PathEscape(c.ID), nil, &raw); err != nil {
		return err
	}
	return indented(w.stdout, raw, c.JSON)
}

type paymentsResolveCmd struct {
	Admin
	ID     string `arg:"" help:"The payment's id (pay_…)."`
	Reason string `help:"Why; it goes into the audit log."`
	DryRun bool   `help:"Ask the provider, say what would be done, and do nothing."`
}

func (c *paymentsResolveCmd) Run(w *world) error {
	var raw json.RawMessage
	body := map[string]any{"dry_run": c.DryRun, "reason": c.Reason}
	if err := c.call(w, "POST", "/admin/v1/payments/"+url.PathEscape(c.ID)+"/resolve", body, &raw); err != nil {
		return err
	}
	return indented(w.stdout, raw, c.JSON)
}

type paymentsRefundCmd struct {
	Admin
	Order  string `arg:"" help:"The order's id."`
	Reason string `help:"Why; it goes into the audit log." required:""`
	DryRun bool   `help:"Print what would be sent, and send nothing."`
}

func (c *paymentsRefundCmd) Run(w *world) error {
	body := map[string]any{"reason": c.Reason}
	if c.DryRun {
		return printJSON(w.stdout, body)
	}
	var raw json.RawMessage
	if err := c.call(w, "POST", "/admin/v1/orders/"+url.PathEscape(c.Order)+"/refund", body, &raw); err != nil {
		return err
	}
	return indented(w.stdout, raw, c.JSON)
}
