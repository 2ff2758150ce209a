package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/flashsale-engine/flashsale/engine"
)

// Reading JSON strictly. encoding/json alone is too kind for a contract: it
// matches field names in any case, takes the last of two duplicates, mends
// invalid UTF-8, and reads null as "nothing given". Its successor that is
// strict (encoding/json/v2) still hides behind a GOEXPERIMENT, and users who
// build from source would have to know. So: encoding/json's own scanner decides
// what is well-formed JSON, and the cursor below walks text that has passed it.
// A walk over well-formed text has few ways to go wrong, costs no allocation of
// its own, and a fuzz test holds its reading against encoding/json's.

// fieldError is a body's fault and the field that has it.
type fieldError struct {
	field   string // such as lines[0].quantity; "" is the body itself
	problem string
}

func (e *fieldError) Error() string { return e.name() + ": " + e.problem }

func (e *fieldError) name() string {
	if e.field == "" {
		return "body"
	}
	return e.field
}

// refusal gives the error as the buyer sees it.
func (e *fieldError) refusal() error {
	return engine.E(engine.CodeInvalidRequest, "%s", e.Error()).With("field", e.name())
}

// under puts the name of what holds the field before it.
func under(parent string, e *fieldError) *fieldError {
	switch {
	case e == nil:
		return nil
	case e.field == "":
		e.field = parent
	case e.field[0] == '[':
		e.field = parent + e.field
	default:
		e.field = parent + "." + e.field
	}
	return e
}

// cursor walks JSON text that is known to be well-formed.
type cursor struct {
	b []byte
	i int
}

// openJSON checks that b is one JSON value in valid UTF-8, and nothing else.
func openJSON(b []byte) (cursor, *fieldError) {
	switch {
	case len(bytes.TrimSpace(b)) == 0:
		return cursor{}, &fieldError{"", "is empty; a JSON object is expected"}
	case !utf8.Valid(b):
		return cursor{}, &fieldError{"", "is not valid UTF-8"}
	case json.Valid(b):
		return cursor{b: b}, nil
	}
	var syntax *json.SyntaxError
	if err := json.Unmarshal(b, new(json.RawMessage)); errors.As(err, &syntax) {
		return cursor{}, &fieldError{"", fmt.Sprintf("is not one JSON value: %s, at byte %d", syntax, syntax.Offset)}
	}
	return cursor{}, &fieldError{"", "is not one JSON value"}
}

// kind gives the first byte of the next value, which says what it is.
func (c *cursor) kind() byte {
	for c.b[c.i] == ' ' || c.b[c.i] == '\t' || c.b[c.i] == '\n' || c.b[c.i] == '\r' {
		c.i++
	}
	return c.b[c.i]
}

func kindName(k byte) string {
	switch k {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

func (c *cursor) expect(k byte) *fieldError {
	if got := c.kind(); got != k {
		return &fieldError{"", fmt.Sprintf("must be %s, not %s", kindName(k), kindName(got))}
	}
	return nil
}

// object visits the fields of an object, each name once; each must consume the
// field's value.
func (c *cursor) object(each func(name string) *fieldError) *fieldError {
	var few [8]string
	seen := few[:0]
	return c.fields(func(name string) *fieldError {
		if slices.Contains(seen, name) {
			return &fieldError{clip(name), "is given twice"}
		}
		seen = append(seen, name)
		return each(name)
	})
}

// fields visits the fields of an object, duplicates too.
func (c *cursor) fields(each func(name string) *fieldError) *fieldError {
	if err := c.expect('{'); err != nil {
		return err
	}
	for c.i++; c.kind() != '}'; {
		if c.b[c.i] == ',' {
			c.i++
			continue
		}
		name, err := c.str()
		if err != nil {
			return &fieldError{"", "a field's name " + err.problem}
		}
		c.kind() // skips to the colon
		c.i++
		if err := each(name); err != nil {
			return err
		}
	}
	c.i++
	return nil
}

// array visits the elements of an array; each must consume its element.
func (c *cursor) array(each func(i int) *fieldError) *fieldError {
	if err := c.expect('['); err != nil {
		return err
	}
	c.i++
	for n := 0; c.kind() != ']'; {
		if c.b[c.i] == ',' {
			c.i++
			continue
		}
		if err := each(n); err != nil {
			return under("["+strconv.Itoa(n)+"]", err)
		}
		n++
	}
	c.i++
	return nil
}

// str reads a string.
func (c *cursor) str() (string, *fieldError) {
	if err := c.expect('"'); err != nil {
		return "", err
	}
	start := c.i
	plain := true
	for c.i++; c.b[c.i] != '"'; c.i++ {
		if c.b[c.i] == '\\' {
			plain = false
			c.i++ // whatever is escaped does not end the string
		}
	}
	c.i++
	raw := c.b[start:c.i]
	if plain {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s string
	if loneSurrogate(raw) || json.Unmarshal(raw, &s) != nil {
		return "", &fieldError{"", "is not valid Unicode: it has half of a surrogate pair"}
	}
	return s, nil
}

// loneSurrogate finds an escaped half of a character, which encoding/json would
// replace silently.
func loneSurrogate(raw []byte) bool {
	unit := func(i int) uint64 { // of \uXXXX at i; 0 if there is none
		if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
			return 0
		}
		u, _ := strconv.ParseUint(string(raw[i+2:i+6]), 16, 32)
		return u
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		switch u := unit(i); {
		case u >= 0xd800 && u <= 0xdbff:
			if low := unit(i + 6); low < 0xdc00 || low > 0xdfff {
				return true
			}
			i += 11
		case u >= 0xdc00 && u <= 0xdfff:
			return true
		case u != 0:
			i += 5
		default:
			i++
		}
	}
	return false
}

// whole reads a whole number between lo and hi. 1.0 and 1e0 are refused too:
// two ways to write a number are one too many for an idempotent body.
func (c *cursor) whole(lo, hi int) (int, *fieldError) {
	if kind := kindName(c.kind()); kind != "a number" {
		return 0, &fieldError{"", "must be a whole number, not " + kind}
	}
	raw := c.number()
	if bytes.ContainsAny(raw, ".eE") {
		return 0, &fieldError{"", "must be a whole number, written in digits only"}
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil || n < lo || n > hi {
		return 0, &fieldError{"", fmt.Sprintf("must be between %d and %d", lo, hi)}
	}
	return n, nil
}

func (c *cursor) number() []byte {
	start := c.i
	for c.i < len(c.b) {
		switch b := c.b[c.i]; {
		case b >= '0' && b <= '9', b == '-', b == '+', b == '.', b == 'e', b == 'E':
			c.i++
		default:
			return c.b[start:c.i]
		}
	}
	return c.b[start:]
}

func unknown(name string) *fieldError { return &fieldError{clip(name), "is not a field known here"} }

func missing(name string) *fieldError { return &fieldError{name, "is missing"} }

// clip shortens a stranger's text before it enters a message.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
