// Package problem turns errors into RFC 9457 problem documents. Both listeners
// use it, so an error reads the same wherever it is met.
package problem

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"
	"unsafe"

	"github.com/flashsale-engine/flashsale/engine"
)

// ContentType of a problem document.
const ContentType = "application/problem+json"

// document is a problem's own members. An engine.Error's fields follow as
// extension members.
type document struct {
	Type      string      `json:"type"`
	Title     string      `json:"title"`
	Status    int         `json:"status"`
	Detail    string      `json:"detail"`
	Code      engine.Code `json:"code"`
	WhatToDo  string      `json:"what_to_do"`
	RequestID string      `json:"request_id,omitempty"`
}

var members = []string{"type", "title", "status", "detail", "code", "what_to_do", "request_id"}

// kinds holds the part of each document that follows from its code.
var kinds = func() map[engine.Code]document {
	m := make(map[engine.Code]document, len(engine.Codes))
	for code, class := range engine.Codes {
		title := strings.ReplaceAll(string(code), "_", " ")
		m[code] = document{
			Type:  "urn:flashsale:problem:" + string(code),
			Title: strings.ToUpper(title[:1]) + title[1:], Status: class.Status, Code: code, WhatToDo: class.WhatToDo,
		}
	}
	return m
}()

// Problem is an error as a stranger may see it.
type Problem struct {
	*engine.Error
	Status int
	// Fault is what is worth a log line and is not shown: a cause, or an error
	// without a code of ours.
	Fault error
}

// Of classifies an error. One without a code of ours is internal, and its text
// stays inside; one that may have happened is unavailable, never failed.
func Of(err error) Problem {
	if e, plain := err.(*engine.Error); plain && e.Code != engine.CodeInternal { //nolint:errorlint // the usual case, without a walk; what is wrapped follows
		if class, known := engine.Codes[e.Code]; known {
			return Problem{e, class.Status, e.Err}
		}
	}
	var e *engine.Error
	switch {
	case errors.As(err, &e) && e.Code != engine.CodeInternal:
		if class, known := engine.Codes[e.Code]; known {
			return Problem{e, class.Status, e.Err}
		}
	case errors.Is(err, engine.ErrUnknown), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		// It may have happened. Never "failed": the same key finds out.
		return Problem{engine.E(engine.CodeUnavailable, "the answer did not come in time; what was asked may have been done"), http.StatusServiceUnavailable, err}
	}
	return Problem{engine.E(engine.CodeInternal, "an unexpected fault; it is logged"), http.StatusInternalServerError, err}
}

// RetryAfter gives the seconds of a Retry-After header, rounded up and 1 at
// least; 0: the problem needs none.
func (p Problem) RetryAfter() int {
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests ||
		p.Error.RetryAfter > 0 && engine.Codes[p.Code].Transient {
		return max(1, int((p.Error.RetryAfter+time.Second-1)/time.Second))
	}
	return 0
}

// Document gives the JSON, under the request's id if there is one.
func (p Problem) Document(requestID string) []byte {
	if len(p.Fields) == 0 && p.Status == engine.Codes[p.Code].Status {
		if b := p.plain(requestID); b != nil {
			return b
		}
	}
	d := kinds[p.Code]
	d.Status, d.RequestID = p.Status, requestID
	if d.Detail = p.Detail; d.Detail == "" {
		d.Detail = d.Title
	}
	b := Compact(d)
	if len(p.Fields) == 0 {
		return b
	}
	fields := maps.Clone(p.Fields)
	for _, own := range members {
		delete(fields, own)
	}
	more := Compact(fields)
	if len(more) <= len("{}") {
		return b
	}
	return append(append(b[:len(b)-1], ','), more[1:]...)
}

// halves are the documents of each code around its detail: what a crowd is told
// most is not worth an encoder's time.
var halves = func() map[engine.Code][2]string {
	m := make(map[engine.Code][2]string, len(kinds))
	for code, d := range kinds {
		d.Detail, d.RequestID = "\x00", "\x00"
		parts := strings.Split(string(Compact(d)), `"\u0000"`)
		m[code] = [2]string{parts[0], parts[1]}
	}
	return m
}()

// plain gives the document of a problem whose words need no escapes; nil: they do.
func (p Problem) plain(requestID string) []byte {
	half, known := halves[p.Code]
	detail := p.Detail
	if detail == "" {
		detail = kinds[p.Code].Title
	}
	if !known || requestID == "" || !unescaped(detail) || !unescaped(requestID) {
		return nil
	}
	return p.appendPlain(make([]byte, 0, len(half[0])+len(detail)+len(half[1])+len(requestID)+5), half, detail, requestID)
}

// AppendPlain writes the document of a problem without fields whose words need no
// escapes, under an id that needs none; nil: they do.
func (p Problem) AppendPlain(b, requestID []byte) []byte {
	half, known := halves[p.Code]
	if !known || p.Detail == "" || len(p.Fields) > 0 || !unescaped(p.Detail) {
		return nil
	}
	return p.appendPlain(b, half, p.Detail, unsafe.String(unsafe.SliceData(requestID), len(requestID))) //nolint:gosec // read, and not kept
}

func (p Problem) appendPlain(b []byte, half [2]string, detail, requestID string) []byte {
	b = append(append(append(append(b, half[0]...), '"'), detail...), '"')
	b = append(append(append(append(b, half[1]...), '"'), requestID...), '"')
	return append(b, '}')
}

func unescaped(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// Compact gives v as JSON in one line, nothing escaped for HTML; nil if it cannot be.
func Compact(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(v) != nil {
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
