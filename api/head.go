package api

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/valyala/fasthttp"
)

// head is what this package reads of a request's headers, found in one walk
// over them as they were sent: asking fasthttp for eight of them by name cost
// each request half a microsecond.
type head struct {
	authorization  field
	idempotencyKey field
	admission      field // Admission-Token
	requestID      field
	encoding       field // Content-Encoding
	transfer       field // Transfer-Encoding
	length         field // Content-Length
	host           field
	connection     field
	expect         field
	contentType    field
	origin         field
	forwarded      field
	forwardedFor   field // X-Forwarded-For
	solution       field // Challenge-Solution
	traceparent    field
	raw            []byte
	folded         bool // a value goes on in a second line
	wrong          bool // a line that is no name, colon, value, CR and LF
	odd            bool // a line that is wrong, or has not a plain name, a colon, a printable value, CR and LF; or a trailer
}

// field is one header: its first value, and how often it came. The value is
// part of the request and ends with it.
type field struct {
	value []byte
	times int
}

func (f *field) add(value []byte) {
	if f.times++; f.times == 1 {
		f.value = bytes.Trim(value, " \t\r")
	}
}

// read walks the headers.
func (h *head) read(raw []byte) {
	*h = head{raw: raw}
	for len(raw) > 0 {
		line := raw
		if i := bytes.IndexByte(raw, '\n'); i >= 0 {
			line, raw = raw[:i], raw[i+1:]
		} else {
			raw = nil
		}
		if len(line) == 0 {
			h.wrong, h.odd = true, true
			continue
		}
		if len(raw) == 0 && len(line) == 1 && line[0] == '\r' {
			return // the blank line that ends them
		}
		if line[0] == ' ' || line[0] == '\t' {
			h.folded = true
			continue
		}
		h.line(line)
	}
}

// line looks at the length of the name first: hardly any header gets further.
func (h *head) line(line []byte) {
	named := func(name string) bool {
		return line[0]|0x20 == name[0] && strings.EqualFold(string(line[:len(name)]), name)
	}
	colon := bytes.IndexByte(line, ':')
	last := len(line) - 1
	if colon <= 0 || line[last] != '\r' {
		h.wrong, h.odd = true, true
	} else if plain := word(line[:colon]); !plain || !printable(line[colon+1:last]) {
		h.odd, h.wrong = true, h.wrong || !plain && !headerName(line[:colon])
	}
	switch colon {
	case len("authorization"):
		if named("authorization") {
			h.authorization.add(line[colon+1:])
		}
	case len("idempotency-key"): // as long as X-Forwarded-For and Admission-Token
		switch {
		case named("idempotency-key"):
			h.idempotencyKey.add(line[colon+1:])
		case named("x-forwarded-for"):
			h.forwardedFor.add(line[colon+1:])
		case named("admission-token"):
			h.admission.add(line[colon+1:])
		}
	case len("x-request-id"): // as long as Content-Type
		if named("x-request-id") {
			h.requestID.add(line[colon+1:])
		} else if named("content-type") {
			h.contentType.add(line[colon+1:])
		}
	case len("traceparent"):
		if named("traceparent") {
			h.traceparent.add(line[colon+1:])
		}
	case len("content-encoding"):
		if named("content-encoding") {
			h.encoding.add(line[colon+1:])
		}
	case len("transfer-encoding"):
		if named("transfer-encoding") {
			h.transfer.add(line[colon+1:])
		}
	case len("content-length"):
		if named("content-length") {
			h.length.add(line[colon+1:])
		}
	case len("connection"):
		if named("connection") {
			h.connection.add(line[colon+1:])
		}
	case len("expect"): // as long as Origin
		if named("expect") {
			h.expect.add(line[colon+1:])
		} else if named("origin") {
			h.origin.add(line[colon+1:])
		}
	case len("trailer"):
		if named("trailer") {
			h.odd = true
		}
	case len("forwarded"):
		if named("forwarded") {
			h.forwarded.add(line[colon+1:])
		}
	case len("challenge-solution"):
		if named("challenge-solution") {
			h.solution.add(line[colon+1:])
		}
	case len("host"):
		if named("host") {
			h.host.add(line[colon+1:])
		}
	}
}

// all gives every value of a header, in order. Its name is in lower case.
func (h *head) all(name string) (values [][]byte) {
	for line := range bytes.Lines(h.raw) {
		if n, value, ok := bytes.Cut(line, []byte{':'}); ok && strings.EqualFold(string(n), name) {
			values = append(values, bytes.Trim(value, " \t\r\n"))
		}
	}
	return values
}

// printable says whether b has only bytes from space to ~, eight at a time.
func printable(b []byte) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	var bad uint64
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		bad |= ((x - each*' ') &^ x) | (x + each) | x // below space; DEL; above ASCII
		b = b[8:]
	}
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return bad&high == 0
}

// badFraming says what makes a request's end ambiguous, or "". fasthttp serves
// a request that has both Content-Length and Transfer-Encoding; a proxy before
// it may read the other of the two, and what one takes for body the other takes
// for a second request. fasthttp also drops "Transfer-Encoding: identity"
// silently, and joins folded lines. Only the raw headers still tell.
func (h *head) badFraming(r *fasthttp.RequestHeader) string {
	switch {
	case h.wrong:
		return "a header must be a name, a colon and a value, and end with CR LF"
	case !r.IsHTTP11() && string(r.Protocol()) != "HTTP/1.0":
		return "the version must be HTTP/1.1"
	case !h.aims(r.RequestURI()):
		return "the target must be a path, or a URL of the host that the Host header names"
	case h.folded:
		return "a header must not go on in a second line" // RFC 9112, section 5.2
	case h.transfer.times > 0 && h.length.times > 0:
		return "Content-Length and Transfer-Encoding must not come together"
	case h.transfer.times > 0 && !strings.EqualFold(string(h.transfer.value), "chunked"):
		return "Transfer-Encoding must be chunked"
	case len(r.Host()) == 0 && r.IsHTTP11():
		return "an HTTP/1.1 request needs a Host header"
	case h.host.times > 0 && !plainHost(h.host.value) && !anyHost(h.host.value):
		return "the Host header must be a host, and a port or none"
	}
	return ""
}

// aims says whether a target is one of ours. As a URL it must name the host that
// the Host header names: a proxy may have read either.
func (h *head) aims(target []byte) bool {
	if len(target) == 0 || target[0] == '/' || len(target) == 1 && target[0] == '*' {
		return bytes.IndexByte(target, '#') < 0
	}
	scheme, rest, ok := bytes.Cut(target, []byte("://"))
	if !ok || !bytes.EqualFold(scheme, []byte("http")) && !bytes.EqualFold(scheme, []byte("https")) {
		return false
	}
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	return bytes.EqualFold(rest[:end], h.host.value) && bytes.IndexByte(rest, '#') < 0
}

// anyHost is plainHost for whatever else a host may be: an IPv6 address, a name
// with escapes.
func anyHost(b []byte) bool {
	for _, c := range b {
		if !wordByte(c) && !bytes.ContainsRune([]byte(".:[]%~!$&'()*+;="), rune(c)) {
			return false
		}
	}
	return len(b) > 0
}

// headerName says whether b may name a header (RFC 9110, section 5.6.2).
func headerName(b []byte) bool {
	for _, c := range b {
		if !wordByte(c) && !bytes.ContainsRune([]byte("!#$%&'*+.^`|~"), rune(c)) {
			return false
		}
	}
	return len(b) > 0
}

// plainBody says whether the body is sent as it is.
func (h *head) plainBody() bool {
	return len(h.encoding.value) == 0 || strings.EqualFold(string(h.encoding.value), "identity")
}
