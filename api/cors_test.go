package api

import (
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
)

const shopOrigin = "https://shop.example"

func shopping(o *Options) { o.Origins = []string{shopOrigin, "http://localhost:3000"} }

func TestAPageOfTheStorefrontMayReadEveryAnswer(t *testing.T) {
	f := &fake{}
	d := open(t, f, shopping)
	for what, a := range map[string]answer{
		"a reservation": d.do("POST", reservePath, oneShoe, header{"Origin": shopOrigin}),
		"an order":      d.do("GET", "/v1/orders/"+testID.Order(), "", header{"Origin": shopOrigin}),
		"a sale":        d.do("GET", "/v1/sales/demo", "", header{"Origin": shopOrigin}),
		"a refusal":     d.do("POST", reservePath, "{", header{"Origin": shopOrigin}),
		"no token":      d.do("POST", reservePath, oneShoe, header{"Origin": shopOrigin, "Authorization": ""}),
		"no path":       d.do("GET", "/v1/nothing", "", header{"Origin": shopOrigin}),
	} {
		if a.header.Get("Access-Control-Allow-Origin") != shopOrigin || a.header.Get("Vary") != "Origin" ||
			!strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Retry-After") || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %d %v", what, a.status, a.header)
		}
	}
	a := d.do("GET", "/v1/sales/demo", "", header{"Origin": "http://localhost:3000"})
	if a.header.Get("Access-Control-Allow-Origin") != "http://localhost:3000" {
		t.Errorf("the second origin: %v", a.header)
	}
	seen := d.do("GET", "/v1/sales/demo", "", header{"Origin": shopOrigin, "If-None-Match": a.header.Get("ETag")})
	if seen.status != 304 || seen.header.Get("Access-Control-Allow-Origin") != shopOrigin {
		t.Errorf("a page that has not changed: %d %v", seen.status, seen.header)
	}
}

func TestNobodyElsesPageMay(t *testing.T) {
	d := open(t, &fake{}, shopping)
	for _, from := range []string{"", "https://shop.example.evil.example", "http://shop.example", "https://shop.example:8443", "null", "*"} {
		for _, a := range []answer{
			d.do("GET", "/v1/sales/demo", "", header{"Origin": from}),
			d.do("POST", reservePath, oneShoe, header{"Origin": from}),
		} {
			if a.status >= 300 || a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%q: %d %v", from, a.status, a.header)
			}
		}
		if a := d.do("GET", "/v1/sales/demo", "", header{"Origin": from}); a.header.Get("Vary") != "Origin" {
			t.Errorf("%q: a cache would give the storefront's page this answer: %v", from, a.header)
		}
	}
}

func TestABrowserIsToldWhatAPageMaySend(t *testing.T) {
	d := open(t, &fake{}, shopping)
	ask := func(path, from, method string) answer {
		return d.do("OPTIONS", path, "", header{"Origin": from, "Access-Control-Request-Method": method, "Authorization": ""})
	}
	for path, methods := range map[string]string{
		reservePath: "POST", reservationPath: "GET, HEAD, DELETE", reservationPath + "/checkout": "POST",
		"/v1/orders/" + testID.Order(): "GET, HEAD", "/v1/sales/demo": "GET, HEAD",
	} {
		a := ask(path, shopOrigin, "POST")
		if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != shopOrigin || a.header.Get("Access-Control-Allow-Methods") != methods ||
			!strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Idempotency-Key") || a.header.Get("Access-Control-Max-Age") == "" || a.text != "" {
			t.Errorf("%s: %d %v %s", path, a.status, a.header, a.text)
		}
	}
	ask(reservePath, "https://other.example", "POST").expect(t, 403, engine.CodeForbidden)
	ask("/v1/nothing", shopOrigin, "POST").expect(t, 404, engine.CodeNotFound)
	d.do("OPTIONS", reservePath, "", header{"Origin": shopOrigin}).expect(t, 405, engine.CodeMethodNotAllowed)

	alone := open(t, &fake{})
	a := alone.do("OPTIONS", reservePath, "", header{"Origin": shopOrigin, "Access-Control-Request-Method": "POST"})
	a.expect(t, 405, engine.CodeMethodNotAllowed)
	if a.header.Get("Vary") != "" || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("without storefronts: %v", a.header)
	}
}

func TestAQuickAnswerSaysTheSameToAPageByteForByte(t *testing.T) {
	for name, from := range map[string]string{"the storefront's": "Origin: " + shopOrigin + "\r\n", "a stranger's": "Origin: https://other.example\r\n",
		"two": "Origin: " + shopOrigin + "\r\nOrigin: " + shopOrigin + "\r\n", "none": ""} {
		t.Run(name, func(t *testing.T) {
			p := shoeRequest(t, anyBuyer)
			p.headers += from

			f := &fake{}
			yes := openTCP(t, f, shopping)
			quickly := answerTo(t, yes, p.String())
			if f.quick.Load() != 1 {
				t.Fatal("it did not go the quick way")
			}
			yes.server.opt.ReserveThen = nil
			if usually := answerTo(t, yes, p.String()); quickly != usually || strings.Contains(quickly, "Access-Control-Allow-Origin: "+shopOrigin+"\r\n") != (name == "the storefront's") {
				t.Errorf("quickly\n%s\nusually\n%s", quickly, usually)
			}

			no, asked := knowing(t)
			from, err := newOrigins([]string{shopOrigin})
			must(t, err)
			no.server.origins = from
			quickly = answerTo(t, no, p.String())
			if asked.Load() != 1 {
				t.Fatal("the no did not go the quick way")
			}
			no.server.opt.SoldOut = nil
			if usually := answerTo(t, no, p.String()); quickly != usually {
				t.Errorf("no, quickly\n%s\nusually\n%s", quickly, usually)
			}
		})
	}
}

func TestAnOriginIsWrittenAsBrowsersWriteIt(t *testing.T) {
	for _, s := range []string{"https://shop.example", "https://shop.example:8443", "http://localhost", "http://localhost:3000", "http://127.0.0.1:8080", "http://[::1]:3000"} {
		if err := CheckOrigin(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "*", "null", "shop.example", "https://", "https://shop.example/", "https://shop.example/x", "https://Shop.example", "HTTPS://shop.example",
		"https://u@shop.example", "https://shop.example:443", "http://localhost:80", "http://shop.example", "http://10.0.0.1", "ftp://shop.example", "https://shop.example?x", "https://a.example,https://b.example", "https://shop.example\r\nX: y"} {
		if CheckOrigin(s) == nil {
			t.Errorf("%q is taken", s)
		}
		if _, err := New(Options{Engine: &fake{}, Views: &fake{}, Keys: []Key{mustKey(t)}, Origins: []string{s}}); err == nil {
			t.Errorf("a server takes %q", s)
		}
	}
}

func mustKey(t *testing.T) Key {
	t.Helper()
	k, err := HS256Key("", testSecret)
	must(t, err)
	return k
}
