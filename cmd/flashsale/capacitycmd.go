package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench"
	"github.com/flashsale-engine/flashsale/loadtest/capacity"
)

// capacityFitCmd measures a ladder of loads and fits the model.
type capacityFitCmd struct {
	Turns  int     `help:"How often each rung is measured; a figure is the median." default:"4"`
	Window float64 `help:"Seconds per rung." default:"0.5"`
	Kafka  bool    `help:"A real Kafka instead of the stand-in."`
	Quick  bool    `help:"One turn of short rungs: to see that it works, not to plan with."`
	Seed   uint64  `help:"Of the intervals' resamples." default:"1"`
	Model  string  `help:"Write the model into this file, for --model of plan and simulate." placeholder:"FILE"`
	Rungs  string  `help:"Write what was measured into this file." placeholder:"FILE"`
	From   string  `help:"Measure nothing: fit what --rungs has written." placeholder:"FILE"`
	JSON   bool    `help:"Print the model as JSON."`
	Silent bool    `help:"No progress lines." name:"quiet"`
}

func (c *capacityFitCmd) Run(w *world) error {
	climbed, err := c.climb(w)
	if err != nil {
		return err
	}
	model, err := capacity.Fit(climbed, c.Seed)
	if err != nil {
		return fail(exitFound, "the measurements give no model: %w", err)
	}
	if c.Model != "" {
		if err := writeJSON(c.Model, model); err != nil {
			return err
		}
	}
	if c.JSON {
		return printJSON(w.stdout, model)
	}
	_, err = fmt.Fprint(w.stdout, model)
	return err
}

// climb measures, or reads what was measured.
func (c *capacityFitCmd) climb(w *world) (out bench.Climbed, err error) {
	if c.From != "" {
		text, err := os.ReadFile(c.From)
		if err != nil {
			return out, &exit{exitUsage, err}
		}
		if err := json.Unmarshal(text, &out); err != nil {
			return out, fail(exitUsage, "--from %s: %w", c.From, err)
		}
		return out, nil
	}
	raiseHeapFloor(benchFloor) // Kafka's stand-in lives here
	self, err := os.Executable()
	if err != nil {
		return out, err
	}
	ladder := capacity.Ladder(c.Turns, time.Duration(c.Window*float64(time.Second)), c.Quick)
	cfg := bench.Config{Self: []string{self}, Quick: c.Quick, Kafka: c.Kafka}
	if !c.Silent {
		cfg.Progress = w.stderr
	}
	if out, err = bench.Climb(w, cfg, ladder); err != nil {
		return out, &exit{exitUnavailable, err}
	}
	if c.Rungs == "" {
		return out, nil
	}
	return out, writeJSON(c.Rungs, out)
}

// writeJSON writes a file for everyone.
func writeJSON(file string, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644) //nolint:gosec // figures for everyone
}

// capacityNeed are the flags that plan and simulate have in common.
type capacityNeed struct {
	Model      string        `help:"What fit wrote; default: the model that is shipped, whose machine and date are printed." placeholder:"FILE"`
	Buyers     float64       `help:"Who come." default:"500000"`
	Stock      float64       `help:"Units on offer; a buyer takes one." default:"20000"`
	Window     time.Duration `help:"Time in which they come." default:"60s"`
	Pay        float64       `help:"Share of the holds that are paid for." default:"1"`
	Hesitate   time.Duration `help:"Mean time between hold and checkout." default:"10s"`
	Provider   time.Duration `help:"Mean time of an authorisation." default:"300ms"`
	Processors int           `help:"Processors of an API node." default:"4"`
	AOF        string        `help:"How Redis syncs its log: always or everysec." enum:"always,everysec" default:"always"`
	JSON       bool          `help:"Print JSON for machines."`
}

func (c *capacityNeed) model() (capacity.Model, error) {
	if c.Model == "" {
		return capacity.Default()
	}
	m, err := capacity.ReadFile(c.Model)
	if err != nil {
		return m, fail(exitUsage, "--model %s: %w", c.Model, err)
	}
	return m, nil
}

// capacityPlanCmd goes from a sale to what it takes.
type capacityPlanCmd struct {
	capacityNeed   `embed:""`
	Asks           float64       `help:"Requests for stock of each buyer." default:"1"`
	SKUs           float64       `name:"skus" help:"SKUs on offer." default:"1"`
	Peak           float64       `help:"The highest rate of arrivals by the mean." default:"1"`
	P99            time.Duration `help:"What a reservation may take." name:"p99" default:"250ms"`
	Load           float64       `help:"How full anything may be, of what it serves at most." default:"0.6"`
	Admit          float64       `help:"Buyers per second that a waiting room lets through; 0: there is none." default:"0"`
	Shards         int           `help:"Shards of the sale; 0: as many as it takes." default:"0"`
	Hours          float64       `help:"How long everything stands." default:"1"`
	PriceNode      float64       `help:"Price of an API node for an hour."`
	PriceRedis     float64       `help:"Price of a Redis for an hour."`
	PriceProcessor float64       `help:"Price of a processor for anything else for an hour."`
}

func (c *capacityPlanCmd) Run(w *world) error {
	m, err := c.model()
	if err != nil {
		return err
	}
	n := capacity.Need{Buyers: c.Buyers, Asks: c.Asks, Stock: c.Stock, SKUs: c.SKUs, Window: c.Window, Peak: c.Peak, P99: c.P99, Pay: c.Pay, Hesitate: c.Hesitate,
		Provider: c.Provider, Processors: c.Processors, Headroom: c.Load, Always: c.AOF == "always", Admit: c.Admit, Shards: c.Shards}
	p, err := capacity.Make(m, n)
	if err != nil {
		return &exit{exitUsage, err}
	}
	if c.Hours < 0 || c.PriceNode < 0 || c.PriceRedis < 0 || c.PriceProcessor < 0 {
		return fail(exitUsage, "hours and prices are not below 0")
	}
	variants, err := capacity.WhatIf(m, n, p)
	if err != nil {
		return &exit{exitUsage, err}
	}
	prices := capacity.Prices{Node: c.PriceNode, Redis: c.PriceRedis, Processor: c.PriceProcessor, Hours: c.Hours}
	if c.JSON {
		out := map[string]any{"measured": m.Measured, "machine": m.Machine, "plan": p, "what_if": variants}
		if cost, ok := p.Cost(prices); ok {
			out["cost"] = cost
		}
		err = printJSON(w.stdout, out)
	} else {
		_, err = fmt.Fprintf(w.stdout, "%s\n%s", p.Text(m, prices), capacity.Table(variants))
	}
	if err == nil && len(p.Impossible) > 0 {
		err = fail(exitFound, "this plan is not possible")
	}
	return err
}

// capacitySimulateCmd plays a sale of any size by the model's service times.
type capacitySimulateCmd struct {
	capacityNeed `embed:""`
	Vary         float64 `help:"How the provider's time varies: its standard deviation by its mean." default:"0.5"`
	Nodes        int     `help:"API nodes." default:"4"`
	Shards       int     `help:"Shards, each on a Redis of its own." default:"4"`
	Postgres     int     `help:"Processors of Postgres." default:"8"`
	Kafka        int     `help:"Processors of Kafka." default:"4"`
	Aside        int     `help:"Processors of the relay, writer, reaper and payments roles." default:"8"`
	Writers      int     `help:"Order writers." default:"4"`
	Seed         uint64  `help:"The same seed plays the same sale." default:"1"`
	Check        bool    `help:"Run the sale here, too, with loadtest on one node, and print both with their differences: everything but the node shares a processor, in the simulation as well."`
	RealKafka    bool    `help:"With --check: a real Kafka instead of the stand-in." name:"kafka-real"`
}

func (c *capacitySimulateCmd) Run(w *world) error {
	m, err := c.model()
	if err != nil {
		return err
	}
	crowd := capacity.Crowd{Buyers: int(c.Buyers), Stock: int(c.Stock), Window: c.Window, Pay: c.Pay, Hesitate: c.Hesitate, Provider: c.Provider, Vary: c.Vary, Always: c.AOF == "always",
		Nodes: c.Nodes, Processors: c.Processors, Shards: c.Shards, Postgres: c.Postgres, Kafka: c.Kafka, Aside: c.Aside, Writers: c.Writers, Seed: c.Seed}
	if c.Check {
		return c.check(w, m, crowd)
	}
	played, err := capacity.Simulate(w, m, crowd)
	if err != nil {
		return &exit{exitUsage, err}
	}
	if c.JSON {
		return printJSON(w.stdout, played)
	}
	_, err = fmt.Fprint(w.stdout, played)
	return err
}

// check sells for real: first to half as many, to see what the load generator takes.
func (c *capacitySimulateCmd) check(w *world, m capacity.Model, crowd capacity.Crowd) error {
	raiseHeapFloor(benchFloor)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	sale := bench.Sale{Buyers: crowd.Buyers, Stock: crowd.Stock, Window: crowd.Window, Hesitate: crowd.Hesitate, Provider: crowd.Provider, Abandon: 1 - crowd.Pay, Seed: c.Seed}
	first := sale
	first.Buyers, first.Stock = max(1, sale.Buyers/2), max(1, sale.Stock/2)
	sold, err := bench.Sell(w, bench.Config{Self: []string{self}, Kafka: c.RealKafka, Progress: w.stderr}, first, sale)
	if err != nil {
		return &exit{exitUnavailable, err}
	}
	crowd.Nodes, crowd.Processors, crowd.Shards, crowd.Writers, crowd.Vary, crowd.Always = 1, 1, 1, 1, 0, false
	crowd.Shared, crowd.Generator = true, sold[0].Generator
	played, err := capacity.Simulate(w, m, crowd)
	if err != nil {
		return &exit{exitUsage, err}
	}
	compared := capacity.Compare(played, sold[1])
	if c.JSON {
		return printJSON(w.stdout, map[string]any{"simulated": played, "compared": compared, "generator_s": sold[0].Generator})
	}
	_, err = fmt.Fprint(w.stdout, played, "\n", capacity.Both(compared))
	return err
}
