package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
	"github.com/flashsale-engine/flashsale/cmd/flashsale/shop"
	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
	"github.com/flashsale-engine/flashsale/vault"
)

// demoCmd is the first thing anyone runs: everything in one process, on
// backends that it finds or embeds, with a sale to try.
type demoCmd struct {
	Listen       string        `help:"Public listener; port 0 picks one." default:"127.0.0.1:8080"`
	AdminListen  string        `help:"Admin listener; port 0 picks one." default:"127.0.0.1:9090"`
	DataDir      string        `help:"Keep data here, and go on from it next time; default: a new directory, removed at the end." placeholder:"DIR"`
	Backends     string        `help:"auto: Redis and Postgres as child processes, Kafka in process; embedded: as little as possible outside the process; child: all three real; external: the URLs." enum:"auto,embedded,child,external" default:"auto"`
	RedisURL     string        `help:"Redis, with --backends external." placeholder:"URL"`
	PostgresURL  string        `help:"Postgres, with --backends external." placeholder:"URL"`
	KafkaBrokers string        `help:"Kafka brokers, with --backends external." placeholder:"LIST"`
	Stock        int64         `help:"Units of each SKU." default:"100"`
	Limit        int           `help:"Units per buyer." default:"4"`
	HoldTTL      time.Duration `help:"How long a hold lasts." default:"2m"`
	AdminToken   []string      `help:"Admin tokens to know besides its own, an owner's: name:role:secret; repeatable." placeholder:"TOKEN" type:"secret"`
	Queue        bool          `help:"Add a sale called drop, with a waiting room that opens a minute from now."`
	TraceFile    string        `help:"Where the spans of traced requests go; default: in the data directory, or else a file that is removed at the end." placeholder:"FILE"`
	OTLPEndpoint string        `name:"otlp-endpoint" help:"OpenTelemetry collector that gets them too, as http://127.0.0.1:4318." placeholder:"URL"`
	CapacityFile string        `name:"capacity-model" help:"What flashsale capacity fit has measured on this machine, for the console." placeholder:"FILE"`
	JSON         bool          `help:"Print one JSON line on stdout when ready."`

	AllowPlainHTTP bool `name:"allow-plain-http" help:"Let other machines reach the listeners, without TLS."`
}

const (
	demoSale  = "demo"
	queueSale = "drop" // the one with a waiting room
)

var demoItems = []engine.Item{
	{SKU: "RUNNER-42", Title: "Court Runner, size 42", UnitPrice: 12900},
	{SKU: "RUNNER-43", Title: "Court Runner, size 43", UnitPrice: 12900},
	{SKU: "CAP-NAVY", Title: "Six-panel cap, navy", UnitPrice: 2900},
	{SKU: "POSTER-A2", Title: "Release poster, A2, numbered", UnitPrice: 1900},
}

// Run starts the demo and stays until it is told to stop.
func (c *demoCmd) Run(w *world) error {
	began := time.Now()
	settings, err := defaults()
	if err != nil {
		return err
	}
	settings.Listen, settings.AdminListen = c.Listen, c.AdminListen
	settings.AllowPlainHTTP, settings.Trial = c.AllowPlainHTTP, true
	settings.CapacityModel, settings.OTLPEndpoint = c.CapacityFile, c.OTLPEndpoint
	var p problems
	settings.validateExposure(&p, true)
	settings.validateTracing(&p)
	if _, err := settings.openKnee(); err != nil {
		p.add("%v", err)
	}
	if len(p) > 0 {
		return p.err()
	}
	stack, err := c.startBackends(w)
	if err != nil {
		return &exit{exitUnavailable, err}
	}
	defer func() { _ = stack.Close() }()

	secrets, err := c.secrets()
	if err != nil {
		return err
	}
	box, err := c.startSandbox()
	if err != nil {
		return err
	}
	defer func() { _ = box.Close() }()

	settings.AdminToken, settings.BuyerKey, settings.DataKeys, settings.PaymentURL = append([]string{secrets.AdminToken}, c.AdminToken...), secrets.BuyerKey, secrets.DataKeys, box.URL()
	settings.Partitions, settings.Replication = 3, 1
	removeTraces, err := c.traceTo(&settings)
	if err != nil {
		return err
	}
	defer removeTraces()
	hook := sandbox.Webhook{Secret: "whsec_" + rand.Text()} // nobody else needs to know it
	settings.PaymentWebhookSecret = []string{hook.Secret}
	n, err := openNode(w, settings, Backends{RedisURL: stack.Redis.URL, PostgresURL: stack.Postgres.URL, KafkaBrokers: stack.Kafka.URL}, allRoles, c.openShop)
	if err != nil {
		return err
	}
	hook.URL = n.publicURL() + "/v1/webhooks/sandbox"
	if err := errors.Join(box.Tell(hook), c.seed(w, n), c.seedQueue(w, n)); err != nil {
		n.close()
		return err
	}
	r := c.ready(n, stack, box.URL(), secrets)
	if err := r.remember(); err != nil {
		w.log.Warn("the other commands will need --admin and --token: the demo's address could not be kept", "err", err)
	}
	defer r.forget()
	return n.run(w, func() error {
		if c.JSON {
			return printJSON(w.stdout, r)
		}
		c.banner(w, r, stack, time.Since(began))
		return nil
	})
}

// openShop adds the storefront, which no other command has.
func (c *demoCmd) openShop(n *node) {
	base, key, sales := n.publicURL(), []byte(n.set.BuyerKey), []string{demoSale}
	if c.Queue {
		sales = append(sales, queueSale)
	}
	n.set.PaymentReturnURL = base + "/shop/"
	n.pages = shop.Handler(shop.Config{Base: base, Sales: sales, Mint: func(buyer string) (string, error) {
		return buyertoken.Mint(key, buyer, n.set.Audience, time.Hour)
	}})
}

func (c *demoCmd) startBackends(ctx *world) (*devstack.Stack, error) {
	o := devstack.Options{DataDir: c.DataDir, Log: ctx.log}
	if c.DataDir == "" {
		o.Ephemeral = true
	}
	switch c.Backends {
	case "embedded":
		o.Redis.Mode, o.Postgres.Mode, o.Kafka.Mode = devstack.Embedded, devstack.Child, devstack.Embedded
	case "child":
		o.Redis.Mode, o.Postgres.Mode, o.Kafka.Mode = devstack.Child, devstack.Child, devstack.Child
	case "external":
		if c.RedisURL == "" || c.PostgresURL == "" || c.KafkaBrokers == "" {
			return nil, errors.New("--backends external needs --redis-url, --postgres-url and --kafka-brokers")
		}
		fallthrough
	default: // a URL that is given is used; the rest is found
		o.Redis.URL, o.Postgres.URL, o.Kafka.URL = c.RedisURL, c.PostgresURL, c.KafkaBrokers
	}
	start, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return devstack.Start(start, o)
}

// startSandbox runs the payment provider on its own port, as a provider would
// be; with a data directory its books survive, so that they can be compared.
func (c *demoCmd) startSandbox() (*sandbox.Server, error) {
	var o sandbox.Config
	if c.DataDir != "" {
		o.DataFile = filepath.Join(c.DataDir, "sandbox.jsonl")
	}
	box, err := sandbox.New(o)
	if err != nil {
		return nil, err
	}
	return box, box.Start("127.0.0.1:0")
}

// demoSecrets are made once per data directory.
type demoSecrets struct {
	AdminToken string `json:"admin_token"`
	BuyerKey   string `json:"buyer_key"`
	DataKeys   string `json:"data_keys"`
}

func (c *demoCmd) secrets() (s demoSecrets, err error) {
	file := filepath.Join(c.DataDir, "demo-secrets.json")
	if c.DataDir != "" {
		raw, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(raw, &s)
		}
		if err == nil && s.DataKeys != "" || err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
	}
	if s.AdminToken == "" {
		// Letters and digits only: either is also typed behind a flag.
		s.AdminToken, s.BuyerKey = rand.Text(), rand.Text()+rand.Text()
	}
	if s.DataKeys, err = vault.New(); err != nil || c.DataDir == "" {
		return s, err
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return s, err
	}
	return s, os.WriteFile(file, raw, 0o600)
}

// seed creates the demo's sale and opens it; a sale that is there goes on.
func (c *demoCmd) seed(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	s, err := n.sales.Get(ctx, demoSale)
	if engine.CodeOf(err) == engine.CodeNotFound {
		s = &engine.Sale{ID: demoSale, Name: "The demo drop", Currency: "USD", State: engine.SaleDraft, HoldTTL: c.HoldTTL,
			HoldCap: max(engine.DefaultHoldCap, 2*c.HoldTTL), PerBuyerLimit: c.Limit, Shards: 1}
		for _, it := range demoItems {
			it.Stock = c.Stock
			s.Items = append(s.Items, it)
		}
		if s, _, err = n.lifecycle.Put(ctx, s, "demo"); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for s.State == engine.SaleDraft || s.State == engine.SaleArmed {
		next := engine.SaleMoves[s.State][0]
		if s, err = n.lifecycle.Move(ctx, demoSale, next, "demo"); err != nil {
			return err
		}
	}
	if _, err := n.gate.Counters(ctx, s); engine.CodeOf(err) == engine.CodeGateFrozen {
		return fail(exitUnavailable, "the record in %s knows the sale %q, but Redis has lost its gate; start with a new --data-dir", c.DataDir, demoSale)
	} else if err != nil {
		return err
	}
	return nil
}

// seedQueue adds a sale with a waiting room; one that is there goes on.
func (c *demoCmd) seedQueue(ctx context.Context, n *node) error {
	if !c.Queue {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	s := &engine.Sale{ID: queueSale, Name: "The drop with a waiting room", Currency: "USD", State: engine.SaleDraft, HoldTTL: c.HoldTTL,
		HoldCap: max(engine.DefaultHoldCap, 2*c.HoldTTL), PerBuyerLimit: 1, Shards: 1, OpensAt: time.Now().Add(time.Minute).UTC().Truncate(time.Second),
		Items: []engine.Item{{SKU: "SNEAKER", Title: "Numbered sneaker", UnitPrice: 19900, Stock: c.Stock}}, Admission: &engine.Admission{Lease: engine.DefaultLease, Use: engine.DefaultUse}}
	was, err := n.sales.Get(ctx, queueSale)
	if engine.CodeOf(err) == engine.CodeNotFound {
		was, _, err = n.lifecycle.Put(ctx, s, "demo")
	}
	if err == nil && was.State == engine.SaleDraft {
		_, err = n.lifecycle.Move(ctx, queueSale, engine.SaleArmed, "demo")
	}
	return err
}

func (c *demoCmd) ready(n *node, stack *devstack.Stack, box string, s demoSecrets) ready {
	r := ready{API: n.publicURL(), Shop: n.publicURL() + "/shop/", Admin: n.adminURL(), AdminToken: s.AdminToken, BuyerKey: s.BuyerKey, Sale: demoSale, Sandbox: box,
		Postgres: stack.Postgres.URL, DataDir: c.DataDir, TraceFile: c.TraceFile, PID: os.Getpid(), Started: time.Now(),
		Backends: map[string]string{"redis": stack.Redis.Kind, "postgres": stack.Postgres.Kind, "kafka": stack.Kafka.Kind, "payment": "sandbox"}}
	for _, it := range demoItems {
		r.SKUs = append(r.SKUs, it.SKU)
	}
	return r
}

func (c *demoCmd) banner(w *world, r ready, stack *devstack.Stack, took time.Duration) {
	p := func(format string, args ...any) { fmt.Fprintf(w.stdout, format+"\n", args...) }
	p("flashsale demo, ready in %.1f s", took.Seconds())
	p("")
	p("  shop      %s", r.Shop)
	p("  API       %s", r.API)
	p("  admin     %s   (metrics at /metrics)", r.Admin)
	p("  sale      %s   SKUs %s, %d units each", r.Sale, strings.Join(r.SKUs, ", "), c.Stock)
	p("")
	for name, b := range map[string]*devstack.Backend{"redis": stack.Redis, "postgres": stack.Postgres, "kafka": stack.Kafka} {
		note := b.Note
		if note != "" {
			note = "  (" + note + ")"
		}
		p("  %-9s %s%s", name, b.Kind, note)
	}
	p("  %-9s %s   test cards: pm_card_visa, pm_card_chargeDeclined, pm_card_authenticationRequired, …", "payment", r.Sandbox)
	if c.DataDir == "" {
		p("  data      kept until this ends; --data-dir DIR keeps it longer")
	} else {
		p("  data      %s", c.DataDir)
	}
	p("")
	p("In another terminal:")
	p("")
	p("  eval \"$(go run ./cmd/flashsale env)\"")
	p("  export TOKEN=$(go run ./cmd/flashsale token --buyer ann)")
	p("  curl -s $API/v1/sales/%s", r.Sale)
	p("")
	if c.Queue {
		p("  curl -s $API/v1/sales/%s/queue     the waiting room, which opens within a minute; README.md goes on from here", queueSale)
		p("")
	}
	p("and on with the walk-through in README.md. Ctrl-C ends everything.")
}
