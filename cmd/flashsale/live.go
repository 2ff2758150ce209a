package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/flashsale-engine/flashsale/loadtest/capacity"
	"github.com/flashsale-engine/flashsale/ops/live"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// openLive makes what the console and the terminal look at.
func (n *node) openLive() (*live.Collector, error) {
	knee, err := n.set.openKnee()
	if err != nil {
		return nil, &exit{exitUsage, err}
	}
	audit := record.NewAudit(n.db)
	acts := func(ctx context.Context, most int) ([]live.Event, error) {
		list, err := audit.Acts(ctx, most)
		out := make([]live.Event, 0, len(list))
		for _, a := range list {
			out = append(out, live.Event{At: a.At, Kind: actKind(a.Act.Actor), What: a.Act.Name, Target: a.Target, Who: a.Act.Actor, Why: a.Act.Reason})
		}
		return out, err
	}
	askers := func(most int) []live.Asker {
		var out []live.Asker
		for _, a := range n.trail.Askers(most) {
			out = append(out, live.Asker{Buyer: a.Buyer, Rate: a.Rate})
		}
		return out
	}
	return live.New(live.Sources{Knee: knee, Node: n.replies.Node(), Active: n.cache.Active, All: n.sales.List, Counters: n.gate.Counters, Room: n.desk.View,
		Fast: n.truth.VerifyFast, Full: n.truth.Verify, Acts: acts, Askers: askers, Metrics: n.reg, Log: n.log}), nil
}

// openKnee has the capacity model, if there is one, judge what comes to this node.
func (s *Settings) openKnee() (func(live.Mix) live.Knee, error) {
	if s.CapacityModel == "" {
		return nil, nil // none is asked for, and none is shown
	}
	m, err := capacity.ReadFile(s.CapacityModel)
	if err == nil {
		err = m.Here(runtime.NumCPU())
	}
	if err != nil {
		return nil, fmt.Errorf("capacity-model: %s: %w", s.CapacityModel, err)
	}
	processors := runtime.GOMAXPROCS(0)
	return func(x live.Mix) live.Knee {
		h := m.Headroom(processors, capacity.Mix(x))
		return live.Knee{Used: live.Interval(h.Used), Most: live.Interval(h.Knee), Binds: h.Binds, Measured: m.Measured, On: m.Machine.CPU}
	}, nil
}

// actKind says whose an act is: an operator's, the clock's, or the engine's own.
func actKind(actor string) string {
	switch actor {
	case "clock":
		return "clock"
	case "keeper", "engine":
		return "repair"
	}
	return "act"
}
