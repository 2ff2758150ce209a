package orders

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzATextIsFoundInAnEvent: what is read of an event without decoding it is what
// decoding gives, and no payload breaks that.
func FuzzATextIsFoundInAnEvent(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "buyer", []byte(`{"traceparent":"a\"b"}`))
	f.Add("", `","traceparent":"x`, []byte(`{"traceparent":"`))
	f.Add(`a\u0000"`, "é", []byte(`"traceparent":"\`))
	f.Fuzz(func(t *testing.T, trace, buyer string, raw []byte) {
		_ = textOf(raw, "traceparent")
		if !utf8.ValidString(trace) || !utf8.ValidString(buyer) || strings.ContainsRune(trace+buyer, 0) || buyer == "" {
			return // Encode is given texts, and refuses a NUL and nobody
		}
		a := example()
		a.Traceparent, a.Buyer = trace, buyer
		payload, err := Encode(a)
		if err != nil {
			t.Fatal(err)
		}
		var in map[string]any
		if err := json.Unmarshal(payload, &in); err != nil {
			t.Fatal(err)
		}
		want, _ := in["traceparent"].(string)
		if got := textOf(payload, "traceparent"); got != want {
			t.Fatalf("%q, not %q, of %s", got, want, payload)
		}
	})
}
