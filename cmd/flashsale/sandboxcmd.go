package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

// sandboxCmd runs the payment provider that everything is tried with.
type sandboxCmd struct {
	Listen        string   `help:"Listener; port 0 picks one." default:"127.0.0.1:8090" placeholder:"ADDR"`
	DataDir       string   `help:"Keep the books here (sandbox.jsonl), and go on from them next time; default: memory only." placeholder:"DIR"`
	DataFile      string   `help:"The same, by the journal's file." placeholder:"FILE"`
	Webhook       []string `help:"Send signed events to this URL; repeatable." placeholder:"URL"`
	WebhookSecret string   `help:"Secret of the events' signatures, such as whsec_…" placeholder:"SECRET"`
	PublicURL     string   `help:"Where the browsers of buyers reach the sandbox; default: the host that the request was sent to." placeholder:"URL"`
	Seed          uint64   `help:"Seed of the dice that deal out failures." default:"0"`
	JSON          bool     `help:"Print one JSON line on stdout when ready."`
}

// drainSandbox is how long requests may take to end when it stops.
const drainSandbox = 2 * time.Second

// sandboxFloor is its heap's floor in MiB: its books grow with every payment.
const sandboxFloor = 128

// Run serves until it is told to stop.
func (c *sandboxCmd) Run(w *world) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	raiseHeapFloor(sandboxFloor)
	box, err := sandbox.New(config)
	if err != nil {
		return err
	}
	if err := box.Start(c.Listen); err != nil {
		_ = box.Close()
		return &exit{exitUnavailable, err}
	}
	if err := c.announce(w, box.URL(), config.DataFile); err != nil {
		_ = box.Close()
		return err
	}
	<-w.Done()
	end, cancel := context.WithTimeout(context.WithoutCancel(w), drainSandbox)
	defer cancel()
	return box.Shutdown(end)
}

func (c *sandboxCmd) config() (sandbox.Config, error) {
	var p problems
	if host, _, err := net.SplitHostPort(c.Listen); err != nil || !loopback(host) {
		p.add("listen: %s; the sandbox has no authentication and listens on loopback only", c.Listen)
	}
	if c.DataDir != "" && c.DataFile != "" {
		p.add("data-dir or data-file: give one of them")
	}
	for _, url := range c.Webhook {
		checkURL(&p, "webhook", url, "http", "https")
	}
	if len(c.Webhook) > 0 && c.WebhookSecret == "" {
		p.add("webhook-secret: set one, or nobody can tell the sandbox's events from forged ones")
	}
	if c.PublicURL != "" {
		checkURL(&p, "public-url", c.PublicURL, "http", "https")
	}
	if err := p.err(); err != nil {
		return sandbox.Config{}, err
	}
	o := sandbox.Config{DataFile: c.DataFile, PublicURL: c.PublicURL, Control: sandbox.Control{Seed: c.Seed}}
	if c.DataDir != "" {
		if err := os.MkdirAll(c.DataDir, 0o750); err != nil {
			return o, err
		}
		o.DataFile = filepath.Join(c.DataDir, "sandbox.jsonl")
	}
	for _, url := range c.Webhook {
		o.Webhooks = append(o.Webhooks, sandbox.Webhook{URL: url, Secret: c.WebhookSecret})
	}
	return o, nil
}

func (c *sandboxCmd) announce(w *world, url, file string) error {
	if c.JSON {
		return printJSON(w.stdout, map[string]any{"sandbox": url, "stripe": url, "control": url + "/control", "books": url + "/books",
			"webhooks": append([]string{}, c.Webhook...), "data_file": file, "pid": os.Getpid()})
	}
	p := func(format string, args ...any) { fmt.Fprintf(w.stdout, format+"\n", args...) }
	p("sandbox payment provider; no money moves")
	p("")
	p("  API       %s   (--payment-url of serve)", url)
	p("  Stripe    %s   the same address, told by the API key: any sk_test_…", url)
	p("  control   %s/control   how it misbehaves: rates, outages, the next requests (/control/next), webhooks", url)
	p("  books     %s/books   every payment, and what they add up to", url)
	for _, hook := range c.Webhook {
		p("  webhook   %s", hook)
	}
	if file == "" {
		p("  data      kept in memory; --data-dir DIR keeps it longer")
	} else {
		p("  data      %s", file)
	}
	p("")
	p("  cards     pm_card_visa, pm_card_chargeDeclined, pm_card_chargeDeclinedInsufficientFunds,")
	p("            pm_card_authenticationRequired, pm_sandbox_slow, pm_sandbox_processing,")
	p("            pm_sandbox_timeoutAfterCharge, pm_sandbox_error, …: docs/sandbox.md")
	p("")
	p("  curl -s %s/v1/payment_intents -H 'Idempotency-Key: 1' -d '{\"amount\":4999,\"currency\":\"usd\",", url)
	p("    \"payment_method\":\"pm_card_visa\",\"capture_method\":\"manual\",\"confirm\":true}'")
	p("")
	p("Ctrl-C ends it.")
	return nil
}
