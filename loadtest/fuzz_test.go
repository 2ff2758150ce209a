package loadtest

import "testing"

func FuzzNoAnswerBreaksTheDriver(f *testing.F) {
	f.Add(201, []byte(`{"id":"rsv_x","reservation":{"id":"y"},"lines":[{"sku":"a","quantity":1}]}`), "1")
	f.Add(202, []byte(`{"reservation":"z","next_action":null}`), "Wed, 21 Oct 2026 07:28:00 GMT")
	f.Add(502, []byte(`<html>`), "-1")
	f.Add(503, []byte(`{}`), "2002000000000")
	f.Fuzz(func(t *testing.T, status int, body []byte, after string) {
		a := read(status, body, after, "")
		if a.status != status || a.retryAfter < 0 {
			t.Fatalf("%+v", a)
		}
	})
}
