package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says what is traced and where the spans go.
type Config struct {
	Sample   float64 // part of the requests that come without a traceparent, 0 to 1
	Most     int     // traces that this node begins per second; default 100
	Endpoint string  // base URL of an OTLP/HTTP collector; "": none
	File     string  // spans go there too, a line of OTLP JSON per batch; "": none

	Node       string // this process
	Version    string
	Registerer prometheus.Registerer // nil: no metrics
	Log        *slog.Logger          // nil discards
}

// Validate checks the settings.
func (c Config) Validate() error {
	var wrong []error
	if !(c.Sample >= 0 && c.Sample <= 1) { // not a number either
		wrong = append(wrong, fmt.Errorf("sample: %v is not between 0 and 1", c.Sample))
	}
	if c.Most < 0 {
		wrong = append(wrong, fmt.Errorf("most: %d is negative", c.Most))
	}
	if c.Endpoint != "" {
		if _, err := tracesURL(c.Endpoint); err != nil {
			wrong = append(wrong, fmt.Errorf("endpoint: %w", err))
		}
	}
	return errors.Join(wrong...)
}

// On says whether spans have anywhere to go.
func (c Config) On() bool { return c.Endpoint != "" || c.File != "" }

// Telemetry begins traces and sends their spans off. A nil one traces nothing.
type Telemetry struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	sender   *sender
	chance   uint64 // of 2⁶³
	most     int64
	now      func() time.Time

	window atomic.Int64 // the second that begun counts
	begun  atomic.Int64
	capped prometheus.Counter
}

// mostLinks bounds the requests that a shared span names; the others name it.
const mostLinks = 512

// Open makes it; nil if spans have nowhere to go. Close it.
func Open(c Config) (*Telemetry, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	if !c.On() {
		return nil, nil
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Most == 0 {
		c.Most = 100
	}
	s, err := newSender(c)
	if err != nil {
		return nil, err
	}
	limits := sdk.NewSpanLimits()
	limits.LinkCountLimit = mostLinks
	t := &Telemetry{sender: s, chance: uint64(c.Sample * math.MaxInt64), most: int64(c.Most), now: time.Now,
		capped: prometheus.NewCounter(prometheus.CounterOpts{Name: "flashsale_trace_capped_total",
			Help: "Requests that would have been traced, and were not because this node had begun as many traces in the same second as it may."})}
	t.provider = sdk.NewTracerProvider(sdk.WithSpanProcessor(s), sdk.WithSampler(sdk.AlwaysSample()), sdk.WithRawSpanLimits(limits),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "flashsale"), attribute.String("service.instance.id", c.Node), attribute.String("service.version", c.Version))))
	t.tracer = t.provider.Tracer("github.com/flashsale-engine/flashsale")
	if c.Registerer != nil {
		for _, m := range append(s.metrics(), t.capped) {
			if err := c.Registerer.Register(m); err != nil {
				return nil, fmt.Errorf("telemetry: metrics: %w", err)
			}
		}
	}
	return t, nil
}

// Close sends what has ended, as far as that is quick.
func (t *Telemetry) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.sender.close(ctx)
}

// Chosen says whether a request shall be traced that comes with this traceparent,
// or with none. Whoever says yes begins it, with Begin. It allocates nothing.
func (t *Telemetry) Chosen(traceparent []byte) bool {
	switch {
	case t == nil:
		return false
	case len(traceparent) > 0:
		if !Asks(traceparent) {
			return false // its caller has decided
		}
	case t.chance == 0 || rand.Uint64()>>1 >= t.chance: //nolint:gosec // which requests are traced is no secret
		return false
	}
	return t.room()
}

// room counts the traces of this second. Strangers may ask for as many as they
// like by traceparent, so there is an end to it.
func (t *Telemetry) room() bool {
	now := t.now().Unix()
	if was := t.window.Load(); was != now && t.window.CompareAndSwap(was, now) {
		t.begun.Store(0)
	}
	if t.begun.Add(1) > t.most {
		t.capped.Inc()
		return false
	}
	return true
}

// Begin begins the trace of a request that was Chosen, or goes on with its caller's.
func (t *Telemetry) Begin(ctx context.Context, traceparent []byte, name string, args ...any) (context.Context, Span) {
	if parent, ok := parse(traceparent); ok {
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	}
	return start(ctx, t.tracer, name, trace.SpanKindServer, args)
}

// Resume goes on with what ctx traces, or else with the trace of a traceparent that
// was noted: of what is done for a request later, and elsewhere.
func (t *Telemetry) Resume(ctx context.Context, traceparent, name string, args ...any) (context.Context, Span) {
	if t == nil || Of(ctx).On() {
		return Start(ctx, name, args...)
	}
	parent, ok := parse([]byte(traceparent))
	if !ok || !parent.IsSampled() {
		return ctx, Span{}
	}
	return start(trace.ContextWithRemoteSpanContext(ctx, parent), t.tracer, name, trace.SpanKindInternal, args)
}

// Shared begins a span that serves others, in a trace of its own, linked with them
// both ways; none if there are none.
func (t *Telemetry) Shared(ctx context.Context, served []Span, name string, args ...any) (context.Context, Span) {
	if t == nil || len(served) == 0 {
		return ctx, Span{}
	}
	links := make([]trace.Link, 0, len(served))
	for _, s := range served[:min(len(served), mostLinks)] {
		links = append(links, trace.Link{SpanContext: s.span.SpanContext()})
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithNewRoot(), trace.WithLinks(links...), trace.WithAttributes(attributes(args)...))
	for _, s := range served {
		s.span.AddLink(trace.Link{SpanContext: span.SpanContext()})
	}
	return ctx, Span{span}
}
