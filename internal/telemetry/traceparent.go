package telemetry

import "go.opentelemetry.io/otel/trace"

// A traceparent is version-traceid-parentid-flags in lower-case hexadecimal (W3C
// Trace Context). Versions after 00 may carry more fields.
const traceparentLength = 55

// Valid says whether b is a traceparent. It allocates nothing.
func Valid(b []byte) bool {
	if len(b) < traceparentLength || len(b) > 256 || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return false
	}
	version, id, parent, flags := b[:2], b[3:35], b[36:52], b[53:55]
	if !lowerHex(version) || !lowerHex(id) || !lowerHex(parent) || !lowerHex(flags) {
		return false
	}
	if zeros(id) || zeros(parent) || string(version) == "ff" {
		return false
	}
	if len(b) == traceparentLength {
		return true
	}
	for _, c := range b[traceparentLength:] {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return string(version) != "00" && b[traceparentLength] == '-'
}

// Asks says whether b is a traceparent whose caller traces, and asks others to.
func Asks(b []byte) bool { return Valid(b) && nibble(b[54])&1 == 1 }

func parse(b []byte) (trace.SpanContext, bool) {
	if !Valid(b) {
		return trace.SpanContext{}, false
	}
	var c trace.SpanContextConfig
	unhex(c.TraceID[:], b[3:35])
	unhex(c.SpanID[:], b[36:52])
	c.TraceFlags, c.Remote = trace.TraceFlags(nibble(b[54])&1), true
	return trace.NewSpanContext(c), true
}

func unhex(to, from []byte) {
	for i := range to {
		to[i] = nibble(from[2*i])<<4 | nibble(from[2*i+1])
	}
}

func nibble(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

func lowerHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != '0' {
			return false
		}
	}
	return true
}
