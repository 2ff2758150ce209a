package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

type saleCmd struct {
	Create saleCreateCmd `cmd:"" help:"Create a sale, or rewrite a draft; terms by flags or --file."`
	Import saleImportCmd `cmd:"" help:"Make a draft of a catalogue in CSV, or give a draft another one: all of it, or nothing."`
	Arm    saleMoveCmd   `cmd:"" help:"Put the stock at the gate; opens by the clock at opens_at, or by hand."`
	Open   saleMoveCmd   `cmd:"" help:"Let buyers reserve."`
	Pause  saleMoveCmd   `cmd:"" help:"No new holds; payments go on."`
	Drain  saleMoveCmd   `cmd:"" help:"No new holds, ever; payments go on."`
	Close  saleMoveCmd   `cmd:"" help:"End the sale; refused while units are held or being paid."`
	Status saleStatusCmd `cmd:"" help:"Show state and counters."`
	Ls     saleLsCmd     `cmd:"" help:"List sales."`
	Queue  saleQueueCmd  `cmd:"" help:"Show the waiting room of a sale, cap its rate, stop its front, or let it go on."`
}

// saleTerms are what a sale has beside its name and its items.
type saleTerms struct {
	Currency string        `help:"ISO 4217 code." default:"USD"`
	Opens    string        `help:"When it opens by the clock, RFC 3339." placeholder:"TIME"`
	Closes   string        `help:"When it ends by the clock, RFC 3339." placeholder:"TIME"`
	HoldTTL  time.Duration `help:"How long a hold lasts." default:"2m"`
	HoldCap  time.Duration `help:"Absolute life of a hold, payment included." default:"10m"`
	Limit    int           `help:"Units per buyer." default:"2"`
	Shards   int           `help:"Slices of the stock, each in a hash slot of its own: 1 to 64." default:"1"`
}

type saleCreateCmd struct {
	Admin
	Sale           string `arg:"" help:"The sale's id."`
	Name           string `help:"Its name." placeholder:"TEXT"`
	saleTerms      `embed:""`
	Item           []string `help:"SKU=STOCK@PRICE[:TITLE], price in minor units; repeatable." placeholder:"ITEM" sep:"none"`
	admissionFlags `embed:""`
	File           string `help:"Take the whole body from this JSON file instead (- for stdin)." placeholder:"FILE"`
	DryRun         bool   `help:"Print what would be sent, and send nothing."`
}

func (c *saleCreateCmd) Run(w *world) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	if c.DryRun {
		return printJSON(w.stdout, body)
	}
	var v saleStatus
	if err := c.call(w, "PUT", "/admin/v1/sales/"+url.PathEscape(c.Sale), body, &v); err != nil {
		return err
	}
	return v.print(w.stdout, c.JSON)
}

func (c *saleCreateCmd) body() (map[string]any, error) {
	if c.File != "" {
		in := io.Reader(os.Stdin)
		if c.File != "-" {
			f, err := os.Open(c.File)
			if err != nil {
				return nil, fail(exitUsage, "--file: %v", err)
			}
			defer func() { _ = f.Close() }()
			in = f
		}
		var body map[string]any
		if err := json.NewDecoder(in).Decode(&body); err != nil {
			return nil, fail(exitUsage, "--file %s is not a JSON object: %v", c.File, err)
		}
		return body, nil
	}
	name := c.Name
	if name == "" {
		name = c.Sale
	}
	body, err := c.terms(name)
	if err != nil {
		return nil, err
	}
	items := []map[string]any{}
	for _, text := range c.Item {
		it, err := parseItem(text)
		if err != nil {
			return nil, err
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return nil, fail(exitUsage, "give at least one --item SKU=STOCK@PRICE, or --file")
	}
	body["items"] = items
	c.addTo(body)
	return body, nil
}

// terms are the body but for its items.
func (c *saleTerms) terms(name string) (map[string]any, error) {
	body := map[string]any{"name": name, "currency": c.Currency, "hold_ttl": c.HoldTTL.String(), "hold_cap": c.HoldCap.String(), "per_buyer_limit": c.Limit, "shards": c.Shards}
	for field, text := range map[string]string{"opens_at": c.Opens, "closes_at": c.Closes} {
		if text == "" {
			continue
		}
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			return nil, fail(exitUsage, "%s: %q is not an RFC 3339 time such as 2026-11-27T09:00:00Z", field, text)
		}
		body[field] = text
	}
	return body, nil
}

// parseItem reads SKU=STOCK@PRICE[:TITLE].
func parseItem(text string) (map[string]any, error) {
	bad := fail(exitUsage, "--item %q is not SKU=STOCK@PRICE[:TITLE], for example SHOE-42=2000@12900:Runner 42", text)
	sku, rest, ok := strings.Cut(text, "=")
	if !ok || sku == "" {
		return nil, bad
	}
	stockText, rest, ok := strings.Cut(rest, "@")
	if !ok {
		return nil, bad
	}
	priceText, title, _ := strings.Cut(rest, ":")
	stock, err1 := strconv.ParseInt(stockText, 10, 64)
	price, err2 := strconv.ParseInt(priceText, 10, 64)
	if err1 != nil || err2 != nil {
		return nil, bad
	}
	return map[string]any{"sku": sku, "title": title, "unit_price": price, "stock": stock}, nil
}

// saleMoveCmd is one of the moves; which one is the command's own name.
type saleMoveCmd struct {
	Admin
	Sale string `arg:"" help:"The sale's id."`
	move string
}

func (c *saleMoveCmd) Run(w *world) error {
	var v saleStatus
	if err := c.call(w, "POST", "/admin/v1/sales/"+url.PathEscape(c.Sale)+"/"+c.move, nil, &v); err != nil {
		return err
	}
	return v.print(w.stdout, c.JSON)
}

// AfterApply tells each move its name.
func (c *saleCmd) AfterApply() error {
	for name, m := range map[string]*saleMoveCmd{"arm": &c.Arm, "open": &c.Open, "pause": &c.Pause, "drain": &c.Drain, "close": &c.Close} {
		m.move = name
	}
	return nil
}

type saleStatusCmd struct {
	Admin
	Sale   string `arg:"" optional:"" help:"The sale's id; default: the demo's."`
	Shards bool   `help:"Show every shard, and the transfers between them."`
	Watch  bool   `help:"Go on showing it, as it changes."`
}

func (c *saleStatusCmd) Run(w *world) error {
	if c.Sale == "" {
		c.Sale = "demo"
	}
	if c.Watch {
		if c.Shards {
			return fail(exitUsage, "--watch and --shards: one of them")
		}
		return watchSale(w, &c.Admin, c.Sale)
	}
	if c.Shards {
		var v shardStatus
		if err := c.call(w, "GET", "/admin/v1/sales/"+url.PathEscape(c.Sale)+"/shards", nil, &v); err != nil {
			return err
		}
		return v.print(w.stdout, c.JSON)
	}
	var v saleStatus
	if err := c.call(w, "GET", "/admin/v1/sales/"+url.PathEscape(c.Sale), nil, &v); err != nil {
		return err
	}
	return v.print(w.stdout, c.JSON)
}

type saleLsCmd struct{ Admin }

func (c *saleLsCmd) Run(w *world) error {
	var out struct {
		Sales []saleStatus `json:"sales"`
	}
	if err := c.call(w, "GET", "/admin/v1/sales", nil, &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(w.stdout, out)
	}
	t := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SALE\tSTATE\tEPOCH\tNAME")
	for _, s := range out.Sales {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", s.Sale, s.State, s.Epoch, s.Name)
	}
	return t.Flush()
}

// saleStatus is the admin API's view of a sale.
type saleStatus struct {
	Sale          string   `json:"sale"`
	Name          string   `json:"name"`
	Currency      string   `json:"currency"`
	State         string   `json:"state"`
	Allowed       []string `json:"allowed_states"`
	Epoch         int64    `json:"epoch"`
	OpensAt       string   `json:"opens_at,omitempty"`
	ClosesAt      string   `json:"closes_at,omitempty"`
	HoldTTL       string   `json:"hold_ttl"`
	HoldCap       string   `json:"hold_cap"`
	PerBuyerLimit int      `json:"per_buyer_limit"`
	Shards        int      `json:"shards"`
	Gate          string   `json:"gate,omitempty"`
	Breaker       string   `json:"payment_breaker,omitempty"`
	Items         []struct {
		SKU       string `json:"sku"`
		Title     string `json:"title,omitempty"`
		UnitPrice int64  `json:"unit_price"`
		Stock     int64  `json:"stock"`
		Available int64  `json:"available"`
		Held      int64  `json:"held"`
		Paying    int64  `json:"paying"`
		Sold      int64  `json:"sold"`
	} `json:"items,omitempty"`
}

func (v saleStatus) print(out io.Writer, asJSON bool) error {
	if asJSON {
		return printJSON(out, v)
	}
	fmt.Fprintf(out, "%s  %s  (epoch %d, gate %s)  %s\n", v.Sale, v.State, v.Epoch, v.Gate, v.Name)
	fmt.Fprintf(out, "hold %s, cap %s, %d per buyer", v.HoldTTL, v.HoldCap, v.PerBuyerLimit)
	if v.OpensAt != "" {
		fmt.Fprintf(out, ", opens %s", v.OpensAt)
	}
	if v.ClosesAt != "" {
		fmt.Fprintf(out, ", closes %s", v.ClosesAt)
	}
	if v.Breaker != "" {
		fmt.Fprintf(out, ", payment breaker %s", v.Breaker)
	}
	fmt.Fprintln(out)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "SKU\tPRICE\tSTOCK\tAVAILABLE\tHELD\tPAYING\tSOLD\t")
	for _, it := range v.Items {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", it.SKU, it.UnitPrice, it.Stock, it.Available, it.Held, it.Paying, it.Sold)
	}
	return t.Flush()
}
