// Package telemetry traces requests through the engine, in OpenTelemetry's words:
// spans with W3C trace contexts, sent as OTLP to a collector, to a file, or both.
//
// Whether a request is traced is decided once, at its beginning, by what its caller
// says in traceparent or else by chance. What is not traced costs a look into its
// context, and allocates nothing. The OpenTelemetry library stays in here: others
// hold a Span, whose zero value notes nothing.
//
// One call to Redis and one transaction of the order writer serve many requests.
// Each is a span of a trace of its own, linked with the spans of those that it
// served, both ways.
package telemetry
