package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/certs"
	"github.com/flashsale-engine/flashsale/loadtest"
	"github.com/flashsale-engine/flashsale/loadtest/bench"
)

// loadtestCmd sends buyers at a running engine. Its defaults are a spike at the demo.
type loadtestCmd struct {
	Admin
	Signer
	Arrivals
	Reports
	API           string        `help:"Base URL of the public listener; default: the last demo's." placeholder:"URL"`
	Sale          string        `help:"The sale's id." default:"demo"`
	SKUs          []string      `name:"skus" help:"SKUs that buyers want; default: all of the sale's."`
	Buyers        int           `help:"Distinct buyers." default:"500"`
	Quantity      int           `help:"Units that a buyer wants." default:"1"`
	PaymentMethod string        `help:"The provider's token." default:"pm_card_visa"`
	Mix           string        `help:"Of whom the crowd consists: buyers, shop, drop, bots, or kind=weight,… of buyer, browser, queuer, abandoner, retrier, doubleclick, twotabs, bot." default:"buyers"`
	Decline       float64       `help:"Fraction of buyers whose first card is declined." default:"0"`
	Abandon       float64       `help:"Fraction of holds that walk away." default:"0"`
	Hesitate      time.Duration `help:"Mean time between hold and checkout." default:"0s"`
	Wait          time.Duration `help:"Prefer: wait of a checkout." default:"5s"`
	Connections   int           `help:"Keep-alive connections at most." default:"256"`
	Seed          uint64        `help:"The same seed draws the same arrivals." default:"1"`
	Processes     int           `help:"Processes that share the arrivals, where one is not enough." default:"1"`
	SLO           []string      `name:"slo" help:"What must hold, as step.quantile=duration: reserve.p99=50ms; repeatable. One that is not kept fails the run." placeholder:"SLO"`
	Consoles      int           `help:"Operators' consoles that look on meanwhile; on stderr, how old what they showed became." default:"0"`
	Quiet         bool          `help:"No progress lines."`
}

func (c *loadtestCmd) Run(w *world) error {
	var config loadtest.Config
	if err := c.into(&config); err != nil {
		return err
	}
	mix, err := loadtest.ParseMix(c.Mix)
	if err != nil {
		return fail(exitUsage, "--mix: %w", err)
	}
	key, err := c.key()
	if err != nil {
		return err
	}
	if c.API == "" {
		r, err := lastDemo()
		if err != nil {
			return fail(exitUsage, "no engine to aim at: give --api (no running demo was found)")
		}
		c.API = r.API
	}
	if u, err := url.Parse(c.API); err != nil || !loopback(u.Hostname()) {
		return fail(exitUsage, "--api %s: the load test aims at loopback only", c.API)
	}
	var sale saleStatus
	if err := c.call(w, "GET", "/admin/v1/sales/"+url.PathEscape(c.Sale), nil, &sale); err != nil {
		return err
	}
	stock := map[string]int64{}
	for _, it := range sale.Items {
		stock[it.SKU] = it.Available + it.Held + it.Paying
	}
	if len(c.SKUs) == 0 {
		for _, it := range sale.Items {
			c.SKUs = append(c.SKUs, it.SKU)
		}
	}
	trust, err := certs.Client(c.CAFile)
	if err != nil {
		return fail(exitUsage, "--ca-file: %w", err)
	}
	config.TLS, config.API, config.Sale, config.SKUs, config.BuyerKey, config.Audience = trust, c.API, c.Sale, c.SKUs, []byte(key), c.Audience
	config.Buyers, config.Quantity, config.PaymentMethod, config.Abandon, config.Hesitate = c.Buyers, c.Quantity, c.PaymentMethod, c.Abandon, c.Hesitate
	for _, text := range c.SLO {
		slo, err := loadtest.ParseSLO(text)
		if err != nil {
			return fail(exitUsage, "--slo: %w", err)
		}
		config.SLOs = append(config.SLOs, slo)
	}
	config.Watch = &loadtest.Watch{Sale: url.PathEscape(c.Sale), Get: func(ctx context.Context, path string) (io.ReadCloser, error) { return c.open(ctx, "GET", path, nil) }, CPU: func() map[string]time.Duration {
		return map[string]time.Duration{"load generator": bench.CPUOf(os.Getpid())}
	}}
	config.Processes = c.Processes
	if config.Worker, err = worker(c.CAFile); err != nil {
		return err
	}
	config.Mix, config.Decline = mix, c.Decline
	config.Wait, config.Connections, config.Seed = c.Wait, c.Connections, c.Seed
	config.Stock, config.Limit, config.Verify = stock, sale.PerBuyerLimit, c.verify
	if !c.Quiet {
		config.Progress = w.stderr
	}
	var look consoles
	stop := func() {}
	if c.Consoles > 0 {
		stop = look.open(w, c.Consoles, c.Admin)
	}
	report, err := loadtest.Run(w, config)
	stop()
	if c.Consoles > 0 && err == nil {
		err = look.print(w.stderr, c.Consoles)
	}
	if err != nil && w.Err() == nil {
		return &exit{exitUsage, err}
	}
	if err := c.keep("Load test of "+c.Sale, report); err != nil {
		return err
	}
	return judged(w, c.JSON, report, err == nil && report.Pass)
}

// judged prints a run's report, and its verdict is the exit status.
func judged(w *world, asJSON bool, report fmt.Stringer, pass bool) (err error) {
	if asJSON {
		err = printJSON(w.stdout, report)
	} else {
		_, err = fmt.Fprint(w.stdout, report)
	}
	if err == nil && !pass {
		err = fail(exitFound, "the run failed")
	}
	return err
}

// verify asks the engine for the four zeros; findings are its error.
func (c *loadtestCmd) verify(ctx context.Context) (json.RawMessage, error) {
	var raw json.RawMessage
	if err := c.call(ctx, "GET", "/admin/v1/verify?settle=10s", nil, &raw); err != nil {
		return nil, err
	}
	var v engine.Verdict
	if err := json.Unmarshal(raw, &v); err != nil {
		return raw, err
	}
	if !v.Clean() {
		return raw, fmt.Errorf("verify: OVERSOLD %d · LOST %d · DRIFT %d · UNPAID %d", v.Oversold, v.Lost, v.Drift, v.Unpaid)
	}
	return raw, nil
}
