package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestBodiesOfReserveAreReadStrictly(t *testing.T) {
	line := func(s string) string { return `{"lines":[` + s + `]}` }
	many := strings.TrimSuffix(strings.Repeat(`{"sku":"A","quantity":1},`, 17), ",")
	for _, c := range []struct{ name, body, field, says string }{
		{"empty", ``, "body", "empty"},
		{"blank", " \r\n", "body", "empty"},
		{"null", `null`, "body", "must be an object, not null"},
		{"an array", `[]`, "body", "must be an object, not an array"},
		{"a number", `7`, "body", "must be an object, not a number"},
		{"cut short", `{"lines":[`, "body", "not one JSON value"},
		{"trailing data", oneShoe + `{}`, "body", "not one JSON value"},
		{"trailing comma", `{"lines":[{"sku":"A","quantity":1},]}`, "body", "not one JSON value"},
		{"a byte order mark", "\ufeff" + oneShoe, "body", "not one JSON value"},
		{"a comment", `{/*x*/"lines":[]}`, "body", "not one JSON value"},
		{"NaN", line(`{"sku":"A","quantity":NaN}`), "body", "not one JSON value"},
		{"a leading zero", line(`{"sku":"A","quantity":01}`), "body", "not one JSON value"},
		{"a control character", "{\"lines\":[{\"sku\":\"A\x01\",\"quantity\":1}]}", "body", "not one JSON value"},
		{"invalid UTF-8", "{\"lines\":[{\"sku\":\"A\xff\",\"quantity\":1}]}", "body", "UTF-8"},
		{"half a surrogate pair", line(`{"sku":"\ud83d","quantity":1}`), "lines[0].sku", "surrogate"},
		{"the other half", line(`{"sku":"\\\ude00","quantity":1}`), "lines[0].sku", "surrogate"},
		{"no lines", `{}`, "lines", "missing"},
		{"null lines", `{"lines":null}`, "lines", "must be an array, not null"},
		{"empty lines", `{"lines":[]}`, "lines", "at least one"},
		{"an object for lines", `{"lines":{}}`, "lines", "must be an array, not an object"},
		{"too many lines", line(many), "lines[16]", "at most 16"},
		{"unknown field", `{"lines":[],"coupon":"X"}`, "coupon", "not a field known"},
		{"unknown field first", `{"coupon":"X","lines":[]}`, "coupon", "not a field known"},
		{"another case", `{"Lines":[]}`, "Lines", "not a field known"},
		{"unknown field in a line", line(`{"sku":"A","quantity":1,"price":0}`), "lines[0].price", "not a field known"},
		{"twice the lines", `{"lines":[{"sku":"A","quantity":1}],"lines":[{"sku":"A","quantity":2}]}`, "lines", "twice"},
		{"twice a field, once escaped", line(`{"sku":"A","quantity":1,"\u0073ku":"B"}`), "lines[0].sku", "twice"},
		{"a null line", line(`null`), "lines[0]", "must be an object, not null"},
		{"a line without SKU", line(`{"quantity":1}`), "lines[0].sku", "missing"},
		{"a line without quantity", line(`{"sku":"A","quantity":1},{"sku":"B"}`), "lines[1].quantity", "missing"},
		{"an empty SKU", line(`{"sku":"","quantity":1}`), "lines[0].sku", "1 to 64"},
		{"a long SKU", line(`{"sku":"` + strings.Repeat("A", 65) + `","quantity":1}`), "lines[0].sku", "1 to 64"},
		{"a number for a SKU", line(`{"sku":5,"quantity":1}`), "lines[0].sku", "must be a string, not a number"},
		{"a null SKU", line(`{"sku":null,"quantity":1}`), "lines[0].sku", "must be a string, not null"},
		{"a quoted quantity", line(`{"sku":"A","quantity":"1"}`), "lines[0].quantity", "not a string"},
		{"a boolean quantity", line(`{"sku":"A","quantity":true}`), "lines[0].quantity", "not a boolean"},
		{"half a unit", line(`{"sku":"A","quantity":1.5}`), "lines[0].quantity", "whole number"},
		{"one, as a float", line(`{"sku":"A","quantity":1.0}`), "lines[0].quantity", "whole number"},
		{"one, with an exponent", line(`{"sku":"A","quantity":1e0}`), "lines[0].quantity", "whole number"},
		{"none", line(`{"sku":"A","quantity":0}`), "lines[0].quantity", "between 1 and 100"},
		{"minus none", line(`{"sku":"A","quantity":-0}`), "lines[0].quantity", "between 1 and 100"},
		{"minus one", line(`{"sku":"A","quantity":-1}`), "lines[0].quantity", "between 1 and 100"},
		{"too many", line(`{"sku":"A","quantity":101}`), "lines[0].quantity", "between 1 and 100"},
		{"beyond 64 bits", line(`{"sku":"A","quantity":18446744073709551617}`), "lines[0].quantity", "between 1 and 100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines, err := reserveBody([]byte(c.body))
			if err == nil {
				t.Fatalf("accepted as %v", lines)
			}
			if err.name() != c.field || !strings.Contains(err.problem, c.says) {
				t.Errorf("got %q: %q, want %q: …%s…", err.name(), err.problem, c.field, c.says)
			}
		})
	}
}

func TestBodiesOfReserveAreRead(t *testing.T) {
	for body, want := range map[string][]engine.CartLine{
		oneShoe: {{SKU: "SHOE-42", Quantity: 2}},
		" {\t\"lines\" : [ { \"quantity\" : 100 , \"sku\" : \"A\" } , {\"sku\":\"A\",\"quantity\":1}\n] } \r\n": {{SKU: "A", Quantity: 100}, {SKU: "A", Quantity: 1}},
		`{"\u006cines":[{"sku":"\u00e9\"\\\/\ud83d\ude00","quantity":7}]}`:                                      {{SKU: "é\"\\/😀", Quantity: 7}},
	} {
		got, err := reserveBody([]byte(body))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", body, got, err, want)
		}
	}
}

func TestBodiesOfCheckoutAreReadStrictly(t *testing.T) {
	for _, c := range []struct{ name, body, field string }{
		{"nothing", `{}`, "payment_method"},
		{"null", `{"payment_method":null}`, "payment_method"},
		{"an empty method", `{"payment_method":""}`, "payment_method"},
		{"a method with a space", `{"payment_method":"pm card"}`, "payment_method"},
		{"a method beyond ASCII", `{"payment_method":"pm_é"}`, "payment_method"},
		{"a long method", `{"payment_method":"` + strings.Repeat("x", 129) + `"}`, "payment_method"},
		{"unknown field", `{"payment_method":"pm_x","amount":1}`, "amount"},
		{"null contact", `{"payment_method":"pm_x","contact":null}`, "contact"},
		{"an address of nothing", `{"payment_method":"pm_x","contact":{"address":{}}}`, "contact.address.name"},
		{"an address without a street", `{"payment_method":"pm_x","contact":{"address":{"name":"A","city":"B","country":"GB"}}}`, "contact.address.line1"},
		{"an address in no country", `{"payment_method":"pm_x","contact":{"address":{"name":"A","line1":"B","city":"C","country":"gb"}}}`, "contact.address.country"},
		{"an address with a line break", `{"payment_method":"pm_x","contact":{"address":{"name":"A\u000aB","line1":"B","city":"C","country":"GB"}}}`, "contact.address.name"},
		{"an address with blanks", `{"payment_method":"pm_x","contact":{"address":{"name":" ","line1":"B","city":"C","country":"GB"}}}`, "contact.address.name"},
		{"an unknown part of an address", `{"payment_method":"pm_x","contact":{"address":{"planet":"Earth"}}}`, "contact.address.planet"},
		{"a long post code", `{"payment_method":"pm_x","contact":{"address":{"postal_code":"` + strings.Repeat("1", 21) + `"}}}`, "contact.address.postal_code"},
		{"unknown contact", `{"payment_method":"pm_x","contact":{"phone":"1"}}`, "contact.phone"},
		{"a number for an address", `{"payment_method":"pm_x","contact":{"email":1}}`, "contact.email"},
		{"no address", `{"payment_method":"pm_x","contact":{"email":""}}`, "contact.email"},
		{"no at", `{"payment_method":"pm_x","contact":{"email":"buyer.example.com"}}`, "contact.email"},
		{"two ats", `{"payment_method":"pm_x","contact":{"email":"a@b@example.com"}}`, "contact.email"},
		{"no dot", `{"payment_method":"pm_x","contact":{"email":"a@example"}}`, "contact.email"},
		{"a last dot", `{"payment_method":"pm_x","contact":{"email":"a@example."}}`, "contact.email"},
		{"a newline", `{"payment_method":"pm_x","contact":{"email":"a@example.com\n"}}`, "contact.email"},
		{"a name too", `{"payment_method":"pm_x","contact":{"email":"A <a@example.com>"}}`, "contact.email"},
		{"a long address", `{"payment_method":"pm_x","contact":{"email":"a@` + strings.Repeat("x", 250) + `.com"}}`, "contact.email"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := checkoutBody([]byte(c.body))
			if err == nil {
				t.Fatalf("accepted as %+v", p)
			}
			if err.name() != c.field {
				t.Errorf("blames %q, want %q: %s", err.name(), c.field, err.problem)
			}
		})
	}
	for body, want := range map[string]payBody{
		visa:                         {"pm_card_visa", engine.Contact{Email: "buyer@example.com"}},
		`{"payment_method":"tok-1"}`: {"tok-1", engine.Contact{}},
		`{"contact":{},"payment_method":"tok-1"}`:                                {"tok-1", engine.Contact{}},
		`{"contact":{"email":"o'x+y@mail.exämple.co"},"payment_method":"tok-1"}`: {"tok-1", engine.Contact{Email: "o'x+y@mail.exämple.co"}},
		`{"payment_method":"tok-1","contact":{"address":{"name":"Ada Ó Dálaigh","line1":"1 Main St","line2":"Flat 2","city":"Cork","region":"Munster","postal_code":"T12 AB34","country":"IE"}}}`: {"tok-1",
			engine.Contact{Address: engine.Address{Name: "Ada Ó Dálaigh", Line1: "1 Main St", Line2: "Flat 2", City: "Cork", Region: "Munster", PostalCode: "T12 AB34", Country: "IE"}}},
	} {
		if p, err := checkoutBody([]byte(body)); err != nil || p != want {
			t.Errorf("%s: %+v %v", body, p, err)
		}
	}
}

func TestCardNumbersAreRefusedWhereverTheyHide(t *testing.T) {
	for _, c := range []struct{ name, body, field string }{
		{"as the method", `{"payment_method":"4242424242424242"}`, "payment_method"},
		{"inside the method", `{"payment_method":"pm_4242424242424242"}`, "payment_method"},
		{"with spaces", `{"payment_method":"4242 4242 4242 4242"}`, "payment_method"},
		{"with hyphens", `{"payment_method":"4242-4242-4242-4242"}`, "payment_method"},
		{"with date and code", `{"payment_method":"4242 4242 4242 4242 12 27 123"}`, "payment_method"},
		{"of 15 digits", `{"payment_method":"3782 822463 10005"}`, "payment_method"},
		{"of 13 digits", `{"payment_method":"4222222222222"}`, "payment_method"},
		{"of 19 digits", `{"payment_method":"6205500000000000004"}`, "payment_method"},
		{"in the address", `{"payment_method":"x","contact":{"email":"4242424242424242@example.com"}}`, "contact.email"},
		{"in an unknown field", `{"payment_method":"x","card":{"number":"4242424242424242"}}`, "card.number"},
		{"as a number", `{"payment_method":"x","card":4242424242424242}`, "card"},
		{"in a list", `{"payment_method":"x","cards":[true,"4242424242424242"]}`, "cards[1]"},
		{"as a field's name", `{"payment_method":"x","4242424242424242":1}`, "body"},
		{"behind escapes", `{"payment_method":"\u00342424242\u00342424242"}`, "payment_method"},
		{"in a SKU", `{"lines":[{"sku":"4242424242424242","quantity":1}]}`, "lines[0].sku"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t, &fake{})
			path := checkoutPath
			if strings.Contains(c.body, "lines") {
				path = reservePath
			}
			a := d.do("POST", path, c.body, nil)
			a.expect(t, 400, engine.CodeInvalidRequest)
			if a.body["field"] != c.field || !strings.Contains(a.text, "card number") {
				t.Errorf("%s", a.text)
			}
			for _, text := range []string{a.text, d.log.String(), fmt.Sprint(a.header)} {
				if strings.Contains(text, "4242") || strings.Contains(text, "42222") || strings.Contains(text, "10005") {
					t.Errorf("the number is repeated: %s", text)
				}
			}
		})
	}
	for _, body := range []string{
		`{"payment_method":"4242424242424241"}`,                        // fails Luhn
		`{"payment_method":"pm_123456789012"}`,                         // 12 digits
		`{"payment_method":"42424242424242424242"}`,                    // 20 digits
		`{"payment_method":"0000000000000000"}`,                        // zeros
		`{"payment_method":"x","contact":{"email":"a4242@b4242.com"}}`, // two short runs
	} {
		if _, err := checkoutBody([]byte(body)); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
	if _, err := reserveBody([]byte(`{"lines":[{"sku":"4006381333931","quantity":1},{"sku":"5000112548181","quantity":1}]}`)); err != nil {
		t.Errorf("bar codes are SKUs: %v", err)
	}
	if _, err := reserveBody([]byte(strings.Repeat(`{"a":`, 500) + `"\n"` + strings.Repeat("}", 500))); err == nil || !strings.Contains(err.problem, "deeply") {
		t.Errorf("deep nesting: %v", err)
	}
}

func TestABarCodeThatPassesLuhnIsStillASKU(t *testing.T) {
	found := 0
	for n := 0; n < 500 && found < 5; n++ {
		code := fmt.Sprintf("4006381%05d", n)
		sum := 0
		for i := range 12 {
			sum += int(code[i]-'0') * (1 + 2*(i%2))
		}
		code += fmt.Sprint((10 - sum%10) % 10)
		if !looksLikeCard([]byte(code)) {
			continue
		}
		found++
		if _, err := reserveBody([]byte(`{"lines":[{"sku":"` + code + `","quantity":1}]}`)); err != nil {
			t.Errorf("%s: %v", code, err)
		}
		if _, err := checkoutBody([]byte(`{"payment_method":"` + code + `"}`)); err == nil {
			t.Errorf("%s is accepted as a payment method", code)
		}
	}
	if found == 0 {
		t.Fatal("no bar code passed Luhn: the test tests nothing")
	}
}

func TestPostsNeedTheirHeaders(t *testing.T) {
	d := open(t, &fake{})
	for _, c := range []struct {
		name   string
		h      header
		status int
		code   engine.Code
	}{
		{"no key", header{"Idempotency-Key": ""}, 400, engine.CodeKeyMissing},
		{"a long key", header{"Idempotency-Key": strings.Repeat("k", 256)}, 400, engine.CodeInvalidRequest},
		{"an unclosed key", header{"Idempotency-Key": `"k`}, 400, engine.CodeInvalidRequest},
		{"no content type", header{"Content-Type": ""}, 415, engine.CodeUnsupportedMedia},
		{"a form", header{"Content-Type": "application/x-www-form-urlencoded"}, 415, engine.CodeUnsupportedMedia},
		{"multipart", header{"Content-Type": "multipart/form-data; boundary=x"}, 415, engine.CodeUnsupportedMedia},
		{"almost JSON", header{"Content-Type": "application/jsonp"}, 415, engine.CodeUnsupportedMedia},
		{"another charset", header{"Content-Type": "application/json; charset=latin1"}, 415, engine.CodeUnsupportedMedia},
		{"compressed", header{"Content-Encoding": "gzip"}, 415, engine.CodeUnsupportedMedia},
		{"a charset", header{"Content-Type": "Application/JSON; charset=UTF-8"}, 201, ""},
		{"an unfit request id", header{"X-Request-Id": "a b"}, 201, ""},
		{"no token", header{"Authorization": ""}, 401, engine.CodeUnauthenticated},
	} {
		t.Run(c.name, func(t *testing.T) {
			for path, body := range map[string]string{reservePath: oneShoe, checkoutPath: visa} {
				d.do("POST", path, body, c.h).expect(t, c.status, c.code)
			}
		})
	}
	if id := d.do("POST", reservePath, oneShoe, header{"X-Request-Id": "a b"}).header.Get("X-Request-Id"); !strings.HasPrefix(id, "req_") {
		t.Errorf("an unfit request id came back as %q", id)
	}
	d.do("POST", reservePath, "", nil).expect(t, 400, engine.CodeInvalidRequest)
	d.do("POST", reservePath, strings.Repeat(" ", MaxBody-len(oneShoe))+oneShoe, nil).expect(t, 201, "")
	d.do("POST", reservePath, strings.Repeat(" ", MaxBody-len(oneShoe)+1)+oneShoe, nil).expect(t, 413, engine.CodePayloadTooLarge)
}

// FuzzReserveBody holds the strict reading against encoding/json's: whatever is
// accepted means the same to both, and nothing makes the cursor run away.
func FuzzReserveBody(f *testing.F) {
	for _, s := range []string{oneShoe, `{"lines":[{"sku":"\u00e9\ud83d\ude00","quantity":7}]}`, `{"lines":[{"sku":"A","quantity":1.0}]} x`, `{"a":[[{"":null}],-1e9,"\\"]}`, `{"lines":[{"sku":"4242424242424242","quantity":1}]}`, visa} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		lines, bad := reserveBody(b)
		if quickly, ok := quickReserve(string(b), nil); ok && (bad != nil || !slices.Equal(quickly, lines)) {
			t.Errorf("read quickly %v, thoroughly %v %v: %q", quickly, lines, bad, b)
		}
		if c, err := openJSON(b); err == nil {
			_ = c.cardIn(0)
		}
		if bad != nil {
			if !utf8.ValidString(bad.Error()) && utf8.Valid(b) {
				t.Errorf("the refusal is not UTF-8: %q", bad.Error())
			}
			return
		}
		var want struct {
			Lines []struct {
				SKU      string
				Quantity int
			}
		}
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		got := want.Lines[:0:0]
		for _, l := range lines {
			got = append(got, struct {
				SKU      string
				Quantity int
			}(l))
			if l.Quantity < 1 || l.Quantity > engine.MaxQuantity || l.SKU == "" {
				t.Errorf("accepted %+v", l)
			}
		}
		if !reflect.DeepEqual(got, want.Lines) {
			t.Errorf("read %v, encoding/json reads %v", got, want.Lines)
		}
	})
}

func FuzzCheckoutBody(f *testing.F) {
	for _, s := range []string{visa, `{"payment_method":"4242 4242 4242 4242"}`, `{"contact":{"email":"a@b.c"},"payment_method":"\u0070m"}`, `{}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, bad := checkoutBody(b)
		if bad != nil {
			return
		}
		var want struct {
			PaymentMethod string `json:"payment_method"`
			Contact       struct{ Email string }
		}
		if err := json.Unmarshal(b, &want); err != nil || p.method != want.PaymentMethod || p.contact.Email != want.Contact.Email {
			t.Errorf("read %+v, encoding/json reads %+v, %v", p, want, err)
		}
		if looksLikeCard([]byte(p.method)) || looksLikeCard([]byte(p.contact.Email)) {
			t.Errorf("a card number came through: %q", b)
		}
	})
}
