package api

import (
	"bytes"
	"context"
	"strconv"
	"sync/atomic"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/problem"
)

// The way of a reservation through this package, without encoding/json. A
// profile of the door with 256 connections showed a third of its own time (what
// fasthttp and the kernel leave) in json.Valid, the encoder's reflection, a timer
// per request and time.Format. What is here does the plain case only, and hands
// everything else to the general code beside it, which stays the reference: a
// fuzz test holds the two together.

// quickReserve reads a reservation's body if it is written plainly: printable
// ASCII, no escapes, known fields once each, digits that can be no card number.
// When it says no, that means nothing: reserveBody decides and finds the words.
// The lines are parts of text, appended to room.
func quickReserve(text string, room []engine.CartLine) ([]engine.CartLine, bool) {
	q := quick{b: bytesOf(text)}
	if !q.is('{') || !q.name("lines") || !q.is('[') {
		return nil, false
	}
	for {
		l, ok := q.line(text)
		if !ok || len(room) == engine.MaxLines {
			return nil, false
		}
		room = append(room, l)
		if q.is(',') {
			continue
		}
		break
	}
	if !q.is(']') || !q.is('}') {
		return nil, false
	}
	q.space()
	return room, q.i == len(text)
}

// bytesOf gives a string's bytes, to be read only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) } //nolint:gosec // nobody writes to them

// quick is a cursor over text that need not be well-formed.
type quick struct {
	b []byte
	i int
}

func (q *quick) space() {
	for q.i < len(q.b) && (q.b[q.i] == ' ' || q.b[q.i] == '\t' || q.b[q.i] == '\n' || q.b[q.i] == '\r') {
		q.i++
	}
}

// is takes a byte, and space before it, if it comes next.
func (q *quick) is(c byte) bool {
	if q.i < len(q.b) && q.b[q.i] != c {
		q.space()
	}
	if q.i < len(q.b) && q.b[q.i] == c {
		q.i++
		return true
	}
	return false
}

// name takes a field's name and its colon.
func (q *quick) name(want string) bool {
	from, to, ok := q.text()
	return ok && string(q.b[from:to]) == want && q.is(':')
}

// text takes a plain string and gives where it stands.
func (q *quick) text() (from, to int, ok bool) {
	if !q.is('"') {
		return 0, 0, false
	}
	from = q.i
	for ; q.i < len(q.b); q.i++ {
		switch c := q.b[q.i]; {
		case c == '"':
			q.i++
			return from, q.i - 1, true
		case c < ' ' || c >= utf8.RuneSelf || c == '\\':
			return 0, 0, false
		}
	}
	return 0, 0, false
}

func (q *quick) line(text string) (l engine.CartLine, ok bool) {
	if !q.is('{') {
		return l, false
	}
	for {
		from, to, ok := q.text()
		if !ok || !q.is(':') {
			return l, false
		}
		switch string(q.b[from:to]) {
		case "sku":
			if from, to, ok = q.text(); !ok || l.SKU != "" || to == from || to-from > 64 || manyDigits(q.b[from:to]) {
				return l, false
			}
			l.SKU = text[from:to]
		case "quantity":
			if l.Quantity != 0 || !q.quantity(&l.Quantity) {
				return l, false
			}
		default:
			return l, false
		}
		if !q.is(',') {
			break
		}
	}
	return l, q.is('}') && l.SKU != "" && l.Quantity != 0
}

// quantity takes 1 to engine.MaxQuantity in digits.
func (q *quick) quantity(n *int) bool {
	q.space()
	from := q.i
	for ; q.i < len(q.b) && digit(q.b[q.i]) && q.i-from < 3; q.i++ {
		*n = 10**n + int(q.b[q.i]-'0')
	}
	return q.i > from && q.b[from] != '0' && *n <= engine.MaxQuantity &&
		q.i < len(q.b) && !digit(q.b[q.i]) && q.b[q.i] != '.' && q.b[q.i] != 'e' && q.b[q.i] != 'E'
}

// manyDigits tells whether a text has as many digits as a card number.
func manyDigits(b []byte) bool {
	if len(b) < 13 {
		return false
	}
	n := 0
	for _, c := range b {
		if digit(c) {
			n++
		}
	}
	return n >= 13
}

// appendReservation writes what json would of reservationForm. id is the
// reservation's as text, if somebody has it already.
func appendReservation(b []byte, r *engine.Reservation, id []byte) []byte {
	b = append(b, `{"id":"`...)
	if id != nil {
		b = append(b, id...)
	} else {
		b = r.ID.Append(b)
	}
	b = append(b, `","sale":`...)
	if r.Sale != nil {
		b = appendString(b, r.Sale.ID)
	} else {
		b = append(b, `""`...)
	}
	b = append(b, `,"buyer":`...)
	b = appendString(b, r.Buyer)
	b = append(b, `,"state":`...)
	b = appendString(b, string(r.State))
	b = append(b, `,"lines":[`...)
	for i := range r.Lines {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"sku":`...)
		b = appendString(b, r.Lines[i].SKU)
		b = append(b, `,"quantity":`...)
		b = strconv.AppendInt(b, int64(r.Lines[i].Quantity), 10)
		b = append(b, `,"unit_price":`...)
		b = strconv.AppendInt(b, r.Lines[i].UnitPrice, 10)
		b = append(b, '}')
	}
	b = append(b, `],"total":{"amount":`...)
	b = strconv.AppendInt(b, r.Total.Amount, 10)
	b = append(b, `,"currency":`...)
	b = appendString(b, r.Total.Currency)
	b = append(b, `},"expires_at":`...)
	if r.ExpiresAt.IsZero() {
		b = append(b, `null`...)
	} else {
		b = append(b, '"')
		b = appendStamp(b, r.ExpiresAt)
		b = append(b, '"')
	}
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, r.Seq, 10)
	if r.Order != "" {
		b = append(b, `,"order":`...)
		b = appendString(b, r.Order)
	}
	if r.Reason != "" {
		b = append(b, `,"reason":`...)
		b = appendString(b, r.Reason)
	}
	return append(b, '}')
}

// appendString writes a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return append(b, bytes.TrimSpace(problem.Compact(s))...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendStamp writes what stamp gives.
func appendStamp(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 1000 || year > 9999 {
		return append(b, stamp(t)...)
	}
	hour, minute, second := t.Clock()
	ms := t.Nanosecond() / 1e6
	b = strconv.AppendInt(b, int64(year), 10)
	b = append(b, '-', byte('0'+int(month)/10), byte('0'+int(month)%10), '-', byte('0'+day/10), byte('0'+day%10))
	b = append(b, 'T', byte('0'+hour/10), byte('0'+hour%10), ':', byte('0'+minute/10), byte('0'+minute%10))
	return append(b, ':', byte('0'+second/10), byte('0'+second%10), '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// deadlines gives contexts that end no earlier than limit from now, and a
// sixty-fourth of it later at most: all requests of such a while share one, and
// one timer.
type deadlines struct {
	base  context.Context
	limit time.Duration
	now   atomic.Pointer[while]
}

type while struct {
	ctx    context.Context
	cancel context.CancelFunc // by its base, or its timer; nobody calls it
	ends   time.Time
}

func (d *deadlines) get(now time.Time) context.Context {
	w := d.now.Load()
	if w != nil && now.Before(w.ends) {
		return w.ctx
	}
	length := d.limit / 64
	next := &while{ends: now.Add(length)}
	next.ctx, next.cancel = context.WithTimeout(d.base, d.limit+length)
	if d.now.CompareAndSwap(w, next) {
		return next.ctx
	}
	next.cancel()
	return d.now.Load().ctx
}
