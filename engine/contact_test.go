package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

var ada = Contact{Email: "marker@example.org", Address: Address{Name: "marker", Line1: "marker", Country: "GB"}}

func TestAContactIsNeverPrinted(t *testing.T) {
	a := Attempt{Buyer: "b", Contact: ada}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "contact", ada, "pointer", &ada, "attempt", a, "request", CheckoutRequest{Contact: ada})
	}
	js, err := json.Marshal(map[string]any{"a": a, "c": ada, "p": &ada})
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(js)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all += fmt.Sprintf(verb+verb+verb, ada, &ada, a) + E(CodeInternal, verb, ada).Error()
	}
	if strings.Contains(all, "marker") || strings.Contains(all, fmt.Sprintf("%x", "marker")) || !strings.Contains(all, hidden) {
		t.Fatal(all)
	}
}

func TestAContactIsReadAsItWasWritten(t *testing.T) {
	got, err := DecodeContact(ada.Encode())
	if err != nil || got != ada {
		t.Fatal(err)
	}
	if (Contact{}).Encode() != nil {
		t.Fatal("nothing was encoded as something")
	}
	if _, err := DecodeContact([]byte(`{"email":marker}`)); err == nil || strings.Contains(err.Error(), "marker") {
		t.Fatal(err)
	}
}
