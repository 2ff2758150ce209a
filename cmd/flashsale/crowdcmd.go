package main

import (
	"os"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/waiters"
)

// crowdCmd sends a crowd through the waiting room of a server that it starts itself.
type crowdCmd struct {
	Waiters     int           `help:"Who join before the opening." default:"1000000"`
	Units       int           `help:"What there is." default:"20000"`
	Late        float64       `help:"Who join after the opening, as a share of the waiters." default:"0.01"`
	Seed        uint64        `help:"Draws what each of them does." default:"1"`
	Hurry       float64       `help:"Divides leases, holds, polls and hesitations, for small crowds." default:"1"`
	Watchers    int           `help:"Waiters that poll over HTTP; all others read what a CDN would hand them." default:"200"`
	Streams     int           `help:"Event streams that are listened to." default:"50"`
	Connections int           `help:"Keep-alive connections at most, streams apart." default:"512"`
	Sample      int           `help:"Places that are checked at least; of no more waiters all." default:"20000"`
	Most        time.Duration `help:"How long it may take from the opening on." default:"10m"`
	Kafka       bool          `help:"A real Kafka instead of the stand-in."`
	Picture     string        `help:"Draw the run into this SVG." placeholder:"FILE"`
	Summary     string        `help:"Write the report into this file, as JSON." placeholder:"FILE"`
	JSON        bool          `help:"Print JSON for machines."`
	Quiet       bool          `help:"No progress lines."`
}

func (c *crowdCmd) Run(w *world) error {
	raiseHeapFloor(benchFloor) // Kafka's stand-in lives here
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cfg := waiters.Config{Self: []string{self}, Kafka: c.Kafka, Seed: c.Seed, Waiters: c.Waiters, Units: c.Units, Late: c.Late, Hurry: c.Hurry,
		Watchers: c.Watchers, Streams: c.Streams, Connections: c.Connections, Sample: c.Sample, Most: c.Most}
	if !c.Quiet {
		cfg.Progress = w.stderr
	}
	if err := cfg.WithDefaults().Validate(); err != nil {
		return &exit{exitUsage, err}
	}
	report, err := waiters.Run(w, cfg)
	if err != nil {
		return &exit{exitUnavailable, err}
	}
	if err := c.keep(report); err != nil {
		return err
	}
	return judged(w, c.JSON, report, report.Pass)
}

// keep writes picture and summary, also of a run that failed.
func (c *crowdCmd) keep(r waiters.Report) error {
	if c.Picture != "" {
		svg, err := r.Picture()
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.Picture, svg, 0o644); err != nil { //nolint:gosec // a picture for everyone
			return err
		}
	}
	if c.Summary == "" {
		return nil
	}
	return writeJSON(c.Summary, r)
}
