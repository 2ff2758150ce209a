package telemetry

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/flashsale-engine/flashsale/internal/redact"
)

// Span is a step of a trace. The zero one notes nothing.
type Span struct{ span trace.Span }

// Of gives the span that ctx carries. It allocates nothing.
func Of(ctx context.Context) Span {
	if s := trace.SpanFromContext(ctx); s.IsRecording() {
		return Span{s}
	}
	return Span{}
}

// On says whether the span notes anything. Arguments that cost something are made
// only if it does.
func (s Span) On() bool { return s.span != nil }

// Start begins a step of what ctx traces, if anything. args are names and values,
// as of slog.
func Start(ctx context.Context, name string, args ...any) (context.Context, Span) {
	s := Of(ctx)
	if !s.On() {
		return ctx, Span{}
	}
	return start(ctx, s.tracer(), name, trace.SpanKindInternal, args)
}

// Call is Start for a call to somebody else.
func Call(ctx context.Context, name string, args ...any) (context.Context, Span) {
	s := Of(ctx)
	if !s.On() {
		return ctx, Span{}
	}
	return start(ctx, s.tracer(), name, trace.SpanKindClient, args)
}

func (s Span) tracer() trace.Tracer {
	if s.span == nil {
		return noop.Tracer{}
	}
	return s.span.TracerProvider().Tracer("github.com/flashsale-engine/flashsale")
}

func start(ctx context.Context, t trace.Tracer, name string, kind trace.SpanKind, args []any) (context.Context, Span) {
	ctx, span := t.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attributes(args)...))
	return ctx, Span{span}
}

// Into puts the span into another context.
func (s Span) Into(ctx context.Context) context.Context {
	if !s.On() {
		return ctx
	}
	return trace.ContextWithSpan(ctx, s.span)
}

// Set adds names and values.
func (s Span) Set(args ...any) {
	if s.On() {
		s.span.SetAttributes(attributes(args)...)
	}
}

// End ends the step. An error's text is noted without what redact hides.
func (s Span) End(err error) {
	if !s.On() {
		return
	}
	if err != nil {
		s.span.SetStatus(codes.Error, redact.Text(err.Error()))
	}
	s.span.End()
}

// After begins a step of a span that has ended, or is about to.
func (s Span) After(ctx context.Context, name string, args ...any) (context.Context, Span) {
	if !s.On() {
		return ctx, Span{}
	}
	return start(trace.ContextWithSpan(ctx, s.span), s.tracer(), name, trace.SpanKindProducer, args)
}

// TraceID is the trace's; "" if there is none.
func (s Span) TraceID() string {
	if !s.On() {
		return ""
	}
	return s.span.SpanContext().TraceID().String()
}

// SpanID is the step's; "" if there is none.
func (s Span) SpanID() string {
	if !s.On() {
		return ""
	}
	return s.span.SpanContext().SpanID().String()
}

// Traceparent is the W3C trace context of whatever is done for this step
// elsewhere; "" if there is none.
func (s Span) Traceparent() string {
	if !s.On() {
		return ""
	}
	c := s.span.SpanContext()
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-01"
}

// Observe notes a value in a histogram, with the trace as an example if there is one.
func (s Span) Observe(h prometheus.Observer, v float64) {
	if e, ok := h.(prometheus.ExemplarObserver); ok && s.On() {
		e.ObserveWithExemplar(v, prometheus.Labels{"trace_id": s.TraceID()})
		return
	}
	h.Observe(v)
}

// attributes makes OpenTelemetry's of names and values, without what redact hides.
func attributes(args []any) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(args)/2)
	for i := 0; i+1 < len(args); i += 2 {
		name, ok := args[i].(string)
		if !ok {
			continue
		}
		switch v := args[i+1].(type) {
		case string:
			out = append(out, attribute.String(name, redact.Text(v)))
		case int:
			out = append(out, attribute.Int(name, v))
		case int64:
			out = append(out, attribute.Int64(name, v))
		case bool:
			out = append(out, attribute.Bool(name, v))
		default:
			out = append(out, attribute.String(name, redact.Text(fmt.Sprint(v))))
		}
	}
	return out
}
