package api

import (
	"crypto/rand"
	"encoding/hex"
	"mime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// requestIDs numbers the requests that come without an id of their own.
type requestIDs struct {
	node string
	n    atomic.Uint64
}

func newRequestIDs() *requestIDs {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return &requestIDs{node: "req_" + hex.EncodeToString(b[:]) + "-"}
}

// next appends a new id.
func (r *requestIDs) next(to []byte) []byte {
	return strconv.AppendUint(append(to, r.node...), r.n.Add(1), 36)
}

// of appends the client's X-Request-Id if it is fit for a log line, else a new one.
func (r *requestIDs) of(h *head, to []byte) []byte {
	id := h.requestID.value
	if len(id) == 0 || len(id) > maxRequestID {
		return r.next(to)
	}
	for _, b := range id {
		if !wordByte(b) && b != '.' && b != ':' {
			return r.next(to)
		}
	}
	return append(to, id...)
}

const maxRequestID = 128

// wordByte says whether b is one of [A-Za-z0-9_-].
func wordByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-'
}

// word says whether b has bytes, all of them wordBytes.
func word(b []byte) bool {
	for _, c := range b {
		if !wordByte(c) {
			return false
		}
	}
	return len(b) > 0
}

// idempotencyKey reads the key that names a mutation.
func idempotencyKey(f field) (string, error) {
	if f.times == 0 || f.times == 1 && len(f.value) == 0 {
		return "", engine.E(engine.CodeKeyMissing, "the Idempotency-Key header is missing")
	}
	if f.times == 1 {
		if key, ok := parseIdempotencyKey(string(f.value)); ok {
			return key, nil
		}
	}
	return "", engine.E(engine.CodeInvalidRequest, "Idempotency-Key: one value of 1 to 255 printable ASCII characters, quoted or bare").
		With("field", "Idempotency-Key")
}

// parseIdempotencyKey reads a quoted string (draft-ietf-httpapi-idempotency-key-header,
// RFC 9651 strings) or the bare characters that most clients send. "k" and k are one key.
func parseIdempotencyKey(v string) (string, bool) {
	if strings.HasPrefix(v, `"`) {
		if len(v) < 2 || !strings.HasSuffix(v, `"`) {
			return "", false
		}
		var ok bool
		if v, ok = unescape(v[1 : len(v)-1]); !ok {
			return "", false
		}
	}
	if v == "" || len(v) > 255 {
		return "", false
	}
	for i := range len(v) {
		if v[i] < 0x20 || v[i] > 0x7e {
			return "", false
		}
	}
	return v, true
}

// unescape reads what stands between the quotes of a string: only \" and \\ are escapes.
func unescape(s string) (string, bool) {
	if !strings.ContainsAny(s, `"\`) {
		return s, true
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return "", false
		case '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
		}
		out = append(out, s[i])
	}
	return string(out), true
}

// preferWait reads Prefer: wait=N (RFC 7240), in seconds and at most limit. A
// preference is no demand: one that cannot be read is ignored, and the answer
// says by Preference-Applied what was honoured. The first wait counts.
func preferWait(values [][]byte, limit time.Duration) (time.Duration, bool) {
	for _, v := range values {
		for pref := range strings.SplitSeq(string(v), ",") {
			pref, _, _ = strings.Cut(pref, ";") // a preference's own parameters
			name, value, _ := strings.Cut(pref, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, ok := digits(strings.Trim(strings.TrimSpace(value), `"`))
			if !ok {
				return 0, false
			}
			return min(time.Duration(n)*time.Second, limit.Truncate(time.Second)), true
		}
	}
	return 0, false
}

// digits reads a decimal number without sign, capped at a billion.
func digits(s string) (int64, bool) {
	if s == "" || len(s) > 20 {
		return 0, false
	}
	n := int64(0)
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = min(n*10+int64(s[i]-'0'), 1_000_000_000)
	}
	return n, true
}

// jsonContent checks that the body claims to be JSON in UTF-8, as it is.
func (x *exchange) jsonContent() error {
	ct := x.http.Request.Header.ContentType()
	if string(ct) != "application/json" {
		kind, params, err := mime.ParseMediaType(string(ct))
		if err != nil || kind != "application/json" {
			return engine.E(engine.CodeUnsupportedMedia, "the body must be application/json")
		}
		if cs, stated := params["charset"]; stated && !strings.EqualFold(cs, "utf-8") {
			return engine.E(engine.CodeUnsupportedMedia, "the body must be UTF-8")
		}
	}
	if !x.head.plainBody() {
		return engine.E(engine.CodeUnsupportedMedia, "the body must not be compressed")
	}
	return nil
}

// tagMatches reads an If-None-Match list. The comparison is weak (RFC 9110,
// section 13.1.2): a proxy that compressed the page may have weakened its tag.
func tagMatches(list, tag string) bool {
	for t := range strings.SplitSeq(list, ",") {
		if t = strings.TrimSpace(t); t == "*" || strings.TrimPrefix(t, "W/") == tag {
			return true
		}
	}
	return false
}
