package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// Tracing says what is traced and where spans go.
type Tracing struct {
	TraceSample  float64 `help:"Part of the requests that are traced, of those that come without a traceparent; one that comes with it is traced if its caller does." default:"0.01"`
	TraceMost    int     `help:"Traces that this node begins per second at most, whoever asks." default:"100"`
	OTLPEndpoint string  `name:"otlp-endpoint" help:"OpenTelemetry collector that takes OTLP/HTTP in JSON, as http://127.0.0.1:4318; unset: none." placeholder:"URL"`
	TraceFile    string  `help:"Spans go there too, in lines of OTLP JSON, for flashsale trace show; it takes the name with .1 behind it at 64 MiB." placeholder:"FILE"`
}

func (t Tracing) validateTracing(p *problems) {
	if t.TraceMost < 1 {
		p.add("trace-most: %d; at least 1", t.TraceMost)
	}
	if err := (telemetry.Config{Sample: t.TraceSample, Endpoint: t.OTLPEndpoint}).Validate(); err != nil {
		p.add("trace-sample, otlp-endpoint: %v", err)
	}
}

// openTelemetry begins to trace, if spans have anywhere to go.
func (n *node) openTelemetry(context.Context) (err error) {
	t := n.set.Tracing
	host, _ := os.Hostname() // "" tells less, and breaks nothing
	n.trace, err = telemetry.Open(telemetry.Config{Sample: t.TraceSample, Most: t.TraceMost, Endpoint: t.OTLPEndpoint, File: t.TraceFile,
		Node: fmt.Sprintf("%s-%d", host, os.Getpid()), Version: version(), Registerer: n.reg, Log: n.log})
	if err != nil {
		return &exit{exitUsage, err}
	}
	n.onClose(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if err := n.trace.Close(ctx); err != nil {
			n.log.Warn("the last spans were not sent", "err", err)
		}
	})
	return nil
}

// resume is engine.Ports.Resume.
func (n *node) resume(ctx context.Context, traceparent, step string) (context.Context, func(error)) {
	ctx, span := n.trace.Resume(ctx, traceparent, step)
	return ctx, span.End
}
