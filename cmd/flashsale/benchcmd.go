package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench"
	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
)

// benchCmd measures the hot path beside its limits and the peers' ways.
type benchCmd struct {
	Rounds       int      `help:"Rounds; each measures everything once, and a figure is the rounds' median." default:"5"`
	Seconds      float64  `help:"Time per measurement." default:"2"`
	Only         []string `help:"Measurements or ratios, comma-separated; default: all." placeholder:"NAME"`
	Quick        bool     `help:"One round, half a second each, fewer holds: to see that it works, not to quote."`
	JSON         bool     `help:"Print JSON for machines."`
	Markdown     string   `help:"Also write the tables into this file, between its marks." placeholder:"FILE"`
	Plot         string   `help:"Also draw goodput and latency against the offered load into this SVG file." placeholder:"FILE"`
	Floors       bool     `help:"Exit 1 also if a ratio is below its floor."`
	Quiet        bool     `help:"No progress lines."`
	Nginx        string   `help:"nginx binary; default: on PATH, if installed." placeholder:"FILE"`
	NginxLua     string   `help:"nginx' Lua module; default: the usual places." placeholder:"FILE"`
	NginxLuaPath string   `help:"lua_package_path of it." placeholder:"PATH"`
}

// benchFloor is what serve has by default, so that nobody who is compared is
// collected more often than the others.
const benchFloor = 256

func (c *benchCmd) Run(w *world) error {
	raiseHeapFloor(benchFloor) // Kafka's stand-in lives here
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cfg := bench.Config{Self: []string{self}, Rounds: c.Rounds, Window: time.Duration(c.Seconds * float64(time.Second)), Only: c.Only, Quick: c.Quick,
		Nginx: c.Nginx, NginxLua: c.NginxLua, NginxLuaPath: c.NginxLuaPath, Log: nil}
	if c.Quick {
		cfg.Rounds, cfg.Window = 1, 500*time.Millisecond
	}
	if !c.Quiet {
		cfg.Progress = w.stderr
	}
	document := ""
	if c.Markdown != "" { // before the minutes, not after
		text, err := os.ReadFile(c.Markdown)
		if err != nil {
			return &exit{exitUsage, err}
		}
		document = string(text)
		if _, err := (bench.Report{}).Fill(document); err != nil {
			return fail(exitUsage, "--markdown %s: %w", c.Markdown, err)
		}
	}
	if err := cfg.Validate(); err != nil {
		return &exit{exitUsage, err}
	}
	report, err := bench.Run(w, cfg)
	if err != nil {
		return &exit{exitUnavailable, err}
	}
	if c.JSON {
		err = printJSON(w.stdout, report)
	} else {
		_, err = fmt.Fprint(w.stdout, report)
	}
	if err != nil {
		return err
	}
	if c.Markdown != "" {
		text, err := report.Fill(document)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.Markdown, []byte(text), 0o644); err != nil { //nolint:gosec // a document for everyone
			return err
		}
	}
	if c.Plot != "" {
		picture, err := report.Overload()
		if err != nil {
			return fail(exitFound, "--plot: %w", err)
		}
		if err := os.WriteFile(c.Plot, picture, 0o644); err != nil { //nolint:gosec // a picture for everyone
			return err
		}
	}
	if !report.OK() {
		return fail(exitFound, "could not be measured: %v", report.Failed)
	}
	if below := report.Floors(); c.Floors && len(below) > 0 {
		return fail(exitFound, "below their floors: %v", below)
	}
	return nil
}

// The benchmark's other processes. Hidden: nobody else has a use for them.

type benchServerCmd struct {
	Kind     string `help:"Which." enum:"plaintext,naive,nethttp,pg-for-update,pg-update" required:""`
	Redis    string `help:"URL."`
	Postgres string `help:"URL."`
	Key      string `help:"HS256 secret of buyer tokens."`
}

func (c *benchServerCmd) Run(w *world) error {
	raiseHeapFloor(benchFloor)
	l, err := (&net.ListenConfig{}).Listen(w, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := printJSON(w.stdout, map[string]string{"addr": l.Addr().String()}); err != nil {
		return err
	}
	return peers.Serve(w, peers.Options{Kind: peers.Kind(c.Kind), Redis: c.Redis, Postgres: c.Postgres, Key: c.Key}, l)
}

type benchLoadCmd struct{}

func (benchLoadCmd) Run(w *world) error { return bench.ServeLoad(os.Stdin, w.stdout) }

type benchGateCmd struct{}

func (benchGateCmd) Run(w *world) error { return bench.ServeGate(w, os.Stdin, w.stdout) }

type benchWriterCmd struct{}

func (benchWriterCmd) Run(w *world) error { return bench.ServeWriter(w, os.Stdin, w.stdout) }
