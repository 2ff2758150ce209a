package main

import (
	"os"

	"github.com/flashsale-engine/flashsale/loadtest"
	"github.com/flashsale-engine/flashsale/loadtest/rehearsal"
)

// blackFridayCmd plays the whole day at an engine that it starts itself.
type blackFridayCmd struct {
	Reports
	Seed      uint64   `help:"Draws who comes, when, and what they do." default:"1"`
	Hurry     float64  `help:"Divides the time that each phase takes." default:"1"`
	Load      float64  `help:"Multiplies the arrivals per second." default:"1"`
	Processes int      `help:"Processes that share the arrivals." default:"1"`
	SLO       []string `name:"slo" help:"What must hold, as step.quantile=duration; repeatable." default:"reserve.p50=50ms,reserve.p99=1s,no.p99=1s" placeholder:"SLO"`
	Embedded  bool     `help:"A stand-in for Kafka, in this process, instead of a real one."`
	JSON      bool     `help:"Print JSON for machines."`
	Quiet     bool     `help:"No progress lines."`
}

func (c *blackFridayCmd) Run(w *world) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cfg := rehearsal.Config{Self: []string{self}, Kafka: !c.Embedded, Seed: c.Seed, Hurry: c.Hurry, Load: c.Load}
	for _, text := range c.SLO {
		slo, err := loadtest.ParseSLO(text)
		if err != nil {
			return fail(exitUsage, "--slo: %w", err)
		}
		cfg.SLOs = append(cfg.SLOs, slo)
	}
	cfg.Processes = c.Processes
	if cfg.Worker, err = worker(""); err != nil {
		return err
	}
	if !c.Quiet {
		cfg.Progress = w.stderr
	}
	if err := cfg.Validate(); err != nil {
		return &exit{exitUsage, err}
	}
	raiseHeapFloor(benchFloor)
	report, err := rehearsal.Run(w, cfg)
	if err != nil && report.Run == "" {
		return &exit{exitUnavailable, err}
	}
	if err := c.keep("Black Friday, rehearsed", report); err != nil {
		return err
	}
	return judged(w, c.JSON, report, report.Pass)
}
