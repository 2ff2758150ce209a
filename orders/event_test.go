package orders

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func example() engine.AcceptedEvent {
	id := engine.ReservationID{Sale: 7, Created: engine.TimeZero + 59_910_000_000, Buyer: engine.BuyerKey{1, 2, 3, 4, 5, 6, 7, 8}, Nonce: engine.Nonce{9}}
	return engine.AcceptedEvent{
		ID: id, SaleID: "spring-drop", Buyer: "customer-4711",
		Lines: []engine.PricedLine{{No: 0, SKU: "SHOE-42", Quantity: 1, UnitPrice: 12900}, {No: 3, SKU: "LACES-RED", Quantity: 2, UnitPrice: 450}},
		Total: engine.Money{Amount: 13800, Currency: "USD"}, Attempt: engine.NewAttemptID(id, "key"), Provider: "sandbox", ProviderRef: "pi_1",
		ReplyTo: "node-7f3a", Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

func TestAnEventIsReadAsItWasWritten(t *testing.T) {
	want := engine.OutboxEntry{Sale: 7, ID: example().ID, Epoch: 3, Seq: 99, AcceptedAt: time.Date(2026, 11, 27, 9, 0, 1, 5_000_000, time.UTC)}
	var err error
	if want.Payload, err = Encode(example()); err != nil {
		t.Fatal(err)
	}
	rec := toRecord("topic", want)
	if string(rec.Key) != want.ID.Order() {
		t.Errorf("key %q", rec.Key)
	}
	got := fromRecord(rec)
	if got.Reason != "" {
		t.Fatal(got.Detail)
	}
	if !reflect.DeepEqual(got.Event, record.Event{AcceptedEvent: example(), Epoch: 3, Seq: 99, AcceptedAt: want.AcceptedAt}) {
		t.Errorf("read %+v", got.Event)
	}
	headers := map[string]string{
		"ce_specversion": "1.0", "ce_id": want.ID.Order(), "ce_source": "/flashsale/sales/spring-drop", "ce_type": "io.flashsale.reservation.accepted.v1",
		"ce_time": "2026-11-27T09:00:01.005Z", "ce_epoch": "3", "ce_seq": "99", "content-type": "application/json", "traceparent": example().Traceparent,
	}
	if !reflect.DeepEqual(got.Headers, headers) {
		t.Errorf("headers %v", got.Headers)
	}
}

func TestATextIsFoundInAnEventWithoutDecodingIt(t *testing.T) {
	for _, text := range []string{"spring-drop", "", `a "quoted" sale`, `"sale":"another"`, `back\\slash`, "日本 <&>\n", `ends in \`} {
		ev := example()
		ev.SaleID, ev.Buyer, ev.ProviderRef = text, `x","sale":"of the buyer`, `"traceparent":"of the buyer"`
		ev.Traceparent = text
		payload, err := Encode(ev)
		if text == "" {
			payload, err = []byte(`{"version":1,"sale":"","buyer":"b"}`), nil
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := textOf(payload, "sale"); got != text {
			t.Errorf("sale %q: %q", text, got)
		}
		if got := textOf(payload, "traceparent"); got != text {
			t.Errorf("traceparent %q: %q", text, got)
		}
	}
	for _, broken := range []string{``, `{"sale":`, `{"sale":7}`, `{"sale":"never ends`, `{"sale":"\`} {
		if got := textOf([]byte(broken), "sale"); got != "" {
			t.Errorf("%s: %q", broken, got)
		}
	}
}

func TestTheDecoderNeedsWhatTheRecordNeedsAndIgnoresTheRest(t *testing.T) {
	good, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	bend := func(f func(m map[string]any)) []byte {
		var m map[string]any
		if err := json.Unmarshal(good, &m); err != nil {
			t.Fatal(err)
		}
		f(m)
		b, _ := json.Marshal(m)
		return b
	}
	line := func(m map[string]any, i int) map[string]any { return m["lines"].([]any)[i].(map[string]any) }
	for _, c := range []struct {
		name, want string // want "": accepted
		f          func(m map[string]any)
	}{
		{"an unknown field", "", func(m map[string]any) { m["gift_wrap"] = true }},
		{"an e-mail, as earlier versions wrote", "", func(m map[string]any) { m["email"] = "ada@example.org" }},
		{"a later version", "unknown version", func(m map[string]any) { m["version"] = 2 }},
		{"no version", "unknown version", func(m map[string]any) { delete(m, "version") }},
		{"no reservation", "reservation", func(m map[string]any) { delete(m, "reservation") }},
		{"an order's id as reservation", "reservation", func(m map[string]any) { m["reservation"] = example().ID.Order() }},
		{"no sale", "sale", func(m map[string]any) { delete(m, "sale") }},
		{"no buyer", "buyer", func(m map[string]any) { delete(m, "buyer") }},
		{"NUL in the buyer", "buyer", func(m map[string]any) { m["buyer"] = "a\x00b" }},
		{"a very long buyer", "buyer", func(m map[string]any) { m["buyer"] = strings.Repeat("a", 2000) }},
		{"no attempt", "attempt", func(m map[string]any) { delete(m, "attempt") }},
		{"no provider", "provider", func(m map[string]any) { delete(m, "provider") }},
		{"no lines", "lines", func(m map[string]any) { delete(m, "lines") }},
		{"too many lines", "lines", func(m map[string]any) { m["lines"] = make([]map[string]any, 17) }},
		{"one SKU twice", "rising order", func(m map[string]any) { line(m, 1)["no"] = 0 }},
		{"no quantity", "quantity", func(m map[string]any) { delete(line(m, 0), "quantity") }},
		{"a negative quantity", "quantity", func(m map[string]any) { line(m, 0)["quantity"] = -1 }},
		{"a negative price", "unit_price", func(m map[string]any) { line(m, 0)["unit_price"] = -1 }},
		{"a negative total", "total", func(m map[string]any) { m["total"].(map[string]any)["amount"] = -1 }},
		{"no currency", "currency", func(m map[string]any) { m["total"] = map[string]any{"amount": 1} }},
		{"a number that is text", "cannot unmarshal", func(m map[string]any) { line(m, 0)["quantity"] = "1" }},
	} {
		_, err := Decode(bend(c.f))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, b := range []string{"", "null", "[]", "{}", `"x"`, string(good) + "x", string(good[:len(good)-1])} {
		if _, err := Decode([]byte(b)); err == nil {
			t.Errorf("%q was accepted", b)
		}
	}
}

func TestARecordsHeadersMustAgreeWithItsValue(t *testing.T) {
	payload, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ header, value, reason string }{
		{headerType, "io.flashsale.reservation.accepted.v2", DeadUnknownVersion},
		{headerType, "", DeadUnknownVersion},
		{headerID, "ord_other", DeadMalformed},
		{headerEpoch, "", DeadMalformed},
		{headerEpoch, "-1", DeadMalformed},
		{headerSeq, "18446744073709551615", DeadMalformed},
		{headerTime, "yesterday", DeadMalformed},
		{headerSource, "anything", ""},
	} {
		rec := toRecord("t", engine.OutboxEntry{Payload: payload, ID: example().ID, AcceptedAt: time.Now()})
		for i := range rec.Headers {
			if rec.Headers[i].Key == c.header {
				rec.Headers[i].Value = []byte(c.value)
			}
		}
		if got := fromRecord(rec); got.Reason != c.reason {
			t.Errorf("%s = %q: reason %q (%s), want %q", c.header, c.value, got.Reason, got.Detail, c.reason)
		}
	}
}

func TestAnEventThatCouldNotBeReadIsNotWritten(t *testing.T) {
	bad := example()
	bad.Lines = nil
	if _, err := Encode(bad); engine.CodeOf(err) != engine.CodeInternal {
		t.Errorf("%v", err)
	}
}

// fields lists the JSON names of a struct, with those of what it contains.
func fields(typ reflect.Type, prefix string) (out []string) {
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out = append(out, prefix+name)
		in := f.Type
		if in.Kind() == reflect.Slice {
			in = in.Elem()
		}
		if in.Kind() == reflect.Struct {
			out = append(out, fields(in, prefix+name+".")...)
		}
	}
	return out
}

func TestTheDocumentNamesEveryFieldHeaderAndReason(t *testing.T) {
	doc, err := os.ReadFile("EVENT.md")
	if err != nil {
		t.Fatal(err)
	}
	section := func(title string) []string {
		_, rest, _ := strings.Cut(string(doc), "\n## "+title+"\n")
		rest, _, _ = strings.Cut(rest, "\n## ")
		var out []string
		for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(rest, -1) {
			out = append(out, m[1])
		}
		return out
	}
	for title, want := range map[string][]string{
		"Value":        fields(reflect.TypeFor[wire](), ""),
		"Headers":      {headerSpec, headerID, headerSource, headerType, headerTime, headerEpoch, headerSeq, headerContentType, headerTrace},
		"Dead letters": {DeadMalformed, DeadUnknownVersion, record.DeadUnknownSale, record.DeadUnknownSKU, record.DeadPriceMismatch, DeadRejected},
	} {
		if got := section(title); !slices.Equal(got, want) {
			t.Errorf("EVENT.md, %s: %v, the program has %v", title, got, want)
		}
	}
	_, text, _ := strings.Cut(string(doc), "```json\n")
	text, _, _ = strings.Cut(text, "```")
	a, err := Decode([]byte(text))
	if err != nil {
		t.Fatalf("the example cannot be read: %v", err)
	}
	again, err := Encode(a)
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	_, _ = json.Unmarshal(again, &got), json.Unmarshal([]byte(text), &want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the example is written back as %s", again)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := Encode(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, "1", "2", "2026-11-27T09:00:01Z")
	f.Add([]byte(`{"version":1,"lines":[{"no":65535,"quantity":9223372036854775807}]}`), "-1", "x", "")
	f.Add([]byte(`{"version":2}`), "", "", "")
	f.Fuzz(func(t *testing.T, value []byte, epoch, seq, at string) {
		a, err := Decode(value)
		id := "ord_"
		if err == nil {
			id = a.ID.Order()
			b, err := Encode(a)
			if err != nil {
				t.Fatalf("read but cannot be written: %v", err)
			}
			if again, err := Decode(b); err != nil || !reflect.DeepEqual(again, a) {
				t.Fatalf("%+v became %+v, %v", a, again, err)
			}
		}
		e := fromRecord(&kgo.Record{Value: value, Headers: []kgo.RecordHeader{
			{Key: headerType, Value: []byte(eventType)}, {Key: headerID, Value: []byte(id)},
			{Key: headerEpoch, Value: []byte(epoch)}, {Key: headerSeq, Value: []byte(seq)}, {Key: headerTime, Value: []byte(at)},
		}})
		if e.Reason == "" && (err != nil || len(e.Event.Lines) == 0 || e.Event.Seq > 1<<63-1 || e.Event.Epoch < 0) {
			t.Fatalf("accepted %+v", e.Event)
		}
	})
}
