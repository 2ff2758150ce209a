package sandbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// appendIntent writes an intent exactly as encoding/json does (a test compares
// the two), without its cost: an authorisation and a capture are what the
// benchmark of complete purchases asks for, twice per order.
func appendIntent(b []byte, in *Intent) []byte {
	b = appendString(append(b, `{"id":`...), in.ID)
	b = appendString(append(b, `,"object":`...), in.Object)
	b = strconv.AppendInt(append(b, `,"amount":`...), in.Amount, 10)
	b = strconv.AppendInt(append(b, `,"amount_authorised":`...), in.AmountAuthorised, 10)
	b = strconv.AppendInt(append(b, `,"amount_received":`...), in.AmountReceived, 10)
	b = strconv.AppendInt(append(b, `,"amount_refunded":`...), in.AmountRefunded, 10)
	b = strconv.AppendBool(append(b, `,"refunded":`...), in.Refunded)
	b = appendString(append(b, `,"currency":`...), in.Currency)
	b = appendString(append(b, `,"status":`...), string(in.Status))
	b = appendString(append(b, `,"payment_method":`...), in.PaymentMethod)
	b = appendString(append(b, `,"capture_method":`...), in.CaptureMethod)
	b = appendMap(append(b, `,"metadata":`...), in.Metadata)
	b = strconv.AppendInt(append(b, `,"created":`...), in.Created, 10)
	if in.CanceledAt != 0 {
		b = strconv.AppendInt(append(b, `,"canceled_at":`...), in.CanceledAt, 10)
	}
	if in.CancellationReason != "" {
		b = appendString(append(b, `,"cancellation_reason":`...), in.CancellationReason)
	}
	if in.LastPaymentError != nil {
		b = appendJSON(append(b, `,"last_payment_error":`...), in.LastPaymentError)
	}
	if in.NextAction != nil {
		b = appendJSON(append(b, `,"next_action":`...), in.NextAction)
	}
	if in.ReturnURL != "" {
		b = appendString(append(b, `,"return_url":`...), in.ReturnURL)
	}
	if len(in.Refunds) > 0 {
		b = appendJSON(append(b, `,"refunds":`...), in.Refunds)
	}
	if in.SettlesAt != 0 {
		b = strconv.AppendInt(append(b, `,"settles_at":`...), in.SettlesAt, 10)
	}
	if in.ThenDeclines != "" {
		b = appendString(append(b, `,"then_declines":`...), in.ThenDeclines)
	}
	return append(b, '}')
}

func appendJSON(b []byte, v any) []byte {
	text, _ := json.Marshal(v) // plain fields: cannot fail
	return append(b, text...)
}

func appendMap(b []byte, m map[string]string) []byte {
	if m == nil {
		return append(b, "null"...)
	}
	var few [8]string
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(appendString(b, name), ':'), m[name])
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return appendJSON(b, s)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

func writeIntent(w http.ResponseWriter, in *Intent) {
	buf := buffers.Get().(*[]byte)
	*buf = appendIntent((*buf)[:0], in)
	write(w, http.StatusOK, *buf)
	buffers.Put(buf)
}
