// Package redact is the last net before a log: what looks like contact data, a
// credential or a card number does not pass, whoever has put it into a message, an
// attribute or an error. It is no substitute for not logging such things: a name or
// a street looks like anything else, and engine.Contact is what keeps those out.
package redact

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

const hidden = "(hidden)"

// names are attributes whose values are hidden, whatever they are.
var names = regexp.MustCompile(`(?i)^(.*[_-])?(authorization|cookie|password|passwd|secret|token|api[_-]?key|email|e-mail|phone|contact|address|card)$`)

// Each shape begins with something that a quick look finds, see plain.
var (
	credential = regexp.MustCompile(`\b([Bb]earer|BEARER|[Bb]asic|BASIC) +[\w.~+/=-]{8,}`)
	jwt        = regexp.MustCompile(`\beyJ[\w-]{8,}(\.[\w-]*)*`)
	apiKey     = regexp.MustCompile(`\b(sk|rk|whsec)_[A-Za-z0-9+/_=-]{6,}`)
	password   = regexp.MustCompile(`(://[^:/?#@\s]*:)[^@/\s]+@`)
	mail       = regexp.MustCompile(`[\pL\pN.!#$%&'*+/=?^_{|}~-]+@[\pL\pN-]+(\.[\pL\pN-]+)*\.\pL{2,}`)
	digits     = regexp.MustCompile(`\d(?:[ -]?\d){12,18}`)
)

// Text hides what must not be read in a text.
func Text(s string) string {
	if plain(s) {
		return s
	}
	s = credential.ReplaceAllString(s, "$1 "+hidden)
	s = jwt.ReplaceAllString(s, hidden)
	s = apiKey.ReplaceAllString(s, "${1}_"+hidden)
	s = password.ReplaceAllString(s, "$1"+hidden+"@")
	s = mail.ReplaceAllString(s, hidden)
	return digits.ReplaceAllStringFunc(s, func(d string) string {
		if card(d) {
			return hidden
		}
		return d
	})
}

// plain says that a text has nothing that one of the shapes could begin with.
func plain(s string) bool {
	for _, sign := range []string{"@", "eyJ", "sk_", "rk_", "whsec_", "earer ", "EARER ", "asic ", "ASIC "} {
		if strings.Contains(s, sign) {
			return false
		}
	}
	run := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			if run++; run == 13 {
				return false
			}
		case c != ' ' && c != '-':
			run = 0
		}
	}
	return true
}

// card tells a card number by its first digit and its check digit (Luhn).
func card(s string) bool {
	var sum, n int
	first := s[0]
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] < '0' || s[i] > '9' {
			continue
		}
		x := int(s[i] - '0')
		if n++; n%2 == 0 {
			if x *= 2; x > 9 {
				x -= 9
			}
		}
		sum += x
	}
	return first >= '2' && first <= '6' && sum%10 == 0
}

// Handler logs to another handler what may be read.
type Handler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h Handler) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, Text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(attr(a))
		return true
	})
	return h.Handler.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (h Handler) WithAttrs(as []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(as))
	for i, a := range as {
		clean[i] = attr(a)
	}
	return Handler{h.Handler.WithAttrs(clean)}
}

// WithGroup implements slog.Handler.
func (h Handler) WithGroup(name string) slog.Handler { return Handler{h.Handler.WithGroup(name)} }

func attr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	if v.Kind() != slog.KindGroup && names.MatchString(a.Key) {
		return slog.String(a.Key, hidden)
	}
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, Text(v.String()))
	case slog.KindGroup:
		in := v.Group()
		out := make([]slog.Attr, len(in))
		for i := range in {
			out[i] = attr(in[i])
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(out...)}
	case slog.KindAny:
		if v.Any() == nil {
			return a
		}
		if b, ok := v.Any().([]byte); ok {
			return slog.String(a.Key, Text(string(b))) // JSON would make base64 of it
		}
		text := fmt.Sprintf("%+v", v.Any())
		if clean := Text(text); clean != text {
			return slog.String(a.Key, clean)
		}
	}
	return slog.Attr{Key: a.Key, Value: v}
}
