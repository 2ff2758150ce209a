package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/flashsale-engine/flashsale/engine"
)

const (
	reservePath = "/v1/sales/demo/reservations"
	oneShoe     = `{"lines":[{"sku":"SHOE-42","quantity":2}]}`
	visa        = `{"payment_method":"pm_card_visa","contact":{"email":"buyer@example.com"}}`
)

var (
	reservationPath = "/v1/reservations/" + testID.String()
	checkoutPath    = reservationPath + "/checkout"
	orderPath       = "/v1/orders/" + testID.Order()
)

func TestAReservationIsAnsweredInFull(t *testing.T) {
	var got engine.ReserveRequest
	d := open(t, &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		got = r
		return held(r.Buyer), nil
	}})
	a := d.do("POST", reservePath, oneShoe, header{"X-Request-Id": "mine-1"})
	a.expect(t, 201, "")
	want := `{"id":"` + testID.String() + `","sale":"demo","buyer":"buyer-7","state":"held",` +
		`"lines":[{"sku":"SHOE-42","quantity":2,"unit_price":12900}],"total":{"amount":25800,"currency":"USD"},` +
		`"expires_at":"2026-11-27T09:02:00.417Z","seq":1831}`
	if strings.TrimSpace(a.text) != want {
		t.Errorf("got  %s\nwant %s", a.text, want)
	}
	if fmt.Sprint(got) != fmt.Sprint(engine.ReserveRequest{Sale: "demo", Buyer: anyBuyer, IdempotencyKey: "key-1", Lines: []engine.CartLine{{SKU: "SHOE-42", Quantity: 2}}}) {
		t.Errorf("the engine was asked %+v", got)
	}
	for name, want := range (header{"Location": reservationPath, "X-Request-Id": "mine-1", "Cache-Control": "no-store", "Content-Type": "application/json", "Server": "", "Idempotency-Replayed": ""}) {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestARepeatedReservationSaysThatItIs(t *testing.T) {
	d := open(t, &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		v := held(r.Buyer)
		v.Replayed = true
		return v, nil
	}})
	a := d.do("POST", reservePath, oneShoe, nil)
	a.expect(t, 201, "")
	if a.header.Get("Idempotency-Replayed") != "true" {
		t.Error("Idempotency-Replayed is missing")
	}
}

func TestAReservationIsReadAndReleased(t *testing.T) {
	d := open(t, &fake{read: func(buyer string, id engine.ReservationID) (engine.Reservation, error) {
		if buyer != anyBuyer || id != testID {
			t.Errorf("asked for %s of %s", id, buyer)
		}
		r := held(buyer)
		r.State, r.ExpiresAt, r.Order = engine.Confirmed, time.Time{}, id.Order()
		return r, nil
	}})
	a := d.do("GET", reservationPath, "", nil)
	a.expect(t, 200, "")
	if a.body["order"] != testID.Order() || a.body["expires_at"] != nil {
		t.Errorf("a confirmed one names its order and no deadline: %s", a.text)
	}
	a = d.do("DELETE", reservationPath, "", nil)
	a.expect(t, 200, "")
	if a.body["state"] != "released" {
		t.Errorf("state %v", a.body["state"])
	}
	if a := d.do("HEAD", reservationPath, "", nil); a.status != 200 || a.text != "" {
		t.Errorf("HEAD: %d %q", a.status, a.text)
	}
}

func TestACheckoutIsAnsweredWithTheOrder(t *testing.T) {
	var got engine.CheckoutRequest
	d := open(t, &fake{checkout: func(_ context.Context, r engine.CheckoutRequest) (engine.CheckoutResult, error) {
		got = r
		o := paid(r.Buyer)
		return engine.CheckoutResult{Order: &o, Replayed: true}, nil
	}})
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	a := d.do("POST", checkoutPath, visa, header{"Prefer": "wait=3", "traceparent": trace, "Idempotency-Key": `"key-1"`})
	a.expect(t, 201, "")
	want := `{"id":"` + testID.Order() + `","reservation":"` + testID.String() + `","sale":"demo","buyer":"buyer-7","state":"confirmed",` +
		`"lines":[{"sku":"SHOE-42","quantity":2,"unit_price":12900}],"total":{"amount":25800,"currency":"USD"},` +
		`"payment":{"provider":"sandbox","state":"authorised"},"placed_at":"2026-11-27T09:00:41.220Z"}`
	if strings.TrimSpace(a.text) != want {
		t.Errorf("got  %s\nwant %s", a.text, want)
	}
	if got != (engine.CheckoutRequest{Buyer: anyBuyer, ID: testID, IdempotencyKey: "key-1", Method: "pm_card_visa", Contact: engine.Contact{Email: "buyer@example.com"}, Wait: 3 * time.Second, WaitSet: true, Traceparent: trace}) {
		t.Errorf("the engine was asked %+v", got)
	}
	for name, want := range (header{"Location": orderPath, "Preference-Applied": "wait=3", "Idempotency-Replayed": "true"}) {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestAnUndecidedCheckoutTellsWhereToPoll(t *testing.T) {
	d := open(t, &fake{checkout: func(_ context.Context, r engine.CheckoutRequest) (engine.CheckoutResult, error) {
		if r.WaitSet || r.Wait != 0 || r.Contact != (engine.Contact{}) || r.Traceparent != "" {
			t.Errorf("nothing of this was stated: %+v", r)
		}
		v := held(r.Buyer)
		v.State = engine.Accepted
		v.ExpiresAt = time.Time{}
		return engine.CheckoutResult{Pending: true, Reservation: v}, nil
	}})
	a := d.do("POST", checkoutPath, `{"payment_method":"pm_card_visa"}`, nil)
	a.expect(t, 202, "")
	if a.body["state"] != "pending" || a.body["reservation"].(map[string]any)["state"] != "accepted" {
		t.Errorf("body %s", a.text)
	}
	for name, want := range (header{"Location": reservationPath, "Retry-After": "1", "Preference-Applied": ""}) {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestAnOrderIsRead(t *testing.T) {
	d := open(t, &fake{})
	a := d.do("GET", orderPath, "", nil)
	a.expect(t, 200, "")
	if a.body["reservation"] != testID.String() || a.body["state"] != "confirmed" {
		t.Errorf("body %s", a.text)
	}
}

func TestASaleIsPublicCoarseAndCacheable(t *testing.T) {
	reads := 0
	f := &fake{}
	f.view = func(sale string) (*engine.Sale, []engine.Counters, error) {
		reads++
		return (&fake{}).SaleView(context.Background(), sale)
	}
	d := open(t, f)
	a := d.do("GET", "/v1/sales/demo", "", header{"Authorization": ""})
	a.expect(t, 200, "")
	want := `{"id":"demo","name":"Launch day","state":"open","currency":"USD","opens_at":"2026-11-27T09:00:00.000Z","per_buyer_limit":2,"hold_ttl":"2m","items":[` +
		`{"sku":"SHOE-42","title":"Trail shoe <42> & laces","unit_price":12900,"availability":"high"},` +
		`{"sku":"SHOE-43","title":"Trail shoe 43","unit_price":12900,"availability":"low"},` +
		`{"sku":"SHOE-44","title":"Trail shoe 44","unit_price":12900,"availability":"none"}],"now":"` + stamp(d.clock.now()) + `"}`
	if a.text != want {
		t.Errorf("got  %s\nwant %s", a.text, want)
	}
	tag := a.header.Get("ETag")
	if a.header.Get("Cache-Control") != "public, max-age=1" || !strings.HasPrefix(tag, `W/"`) {
		t.Errorf("headers %v", a.header)
	}
	d.clock.pass(100 * time.Millisecond) // another time is nothing new
	for _, have := range []string{tag, strings.TrimPrefix(tag, "W/"), `"other", ` + tag, "*"} {
		if a := d.do("GET", "/v1/sales/demo", "", header{"If-None-Match": have}); a.status != 304 || a.text != "" || a.header.Get("ETag") != tag {
			t.Errorf("If-None-Match %s: %d %q %q", have, a.status, a.text, a.header.Get("ETag"))
		}
	}
	d.do("GET", "/v1/sales/demo", "", header{"If-None-Match": `"other"`}).expect(t, 200, "")
	if reads != 1 {
		t.Errorf("within a moment the sale was read %d times", reads)
	}
	d.clock.pass(251 * time.Millisecond)
	if now := d.do("GET", "/v1/sales/demo", "", nil).body["now"]; now != stamp(d.clock.now()) {
		t.Errorf("now is %v", now)
	}
	if reads != 2 {
		t.Errorf("later the sale was not read again: %d", reads)
	}
	d.do("GET", "/v1/sales/other", "", nil).expect(t, 404, engine.CodeNotFound)
}

func TestAvailabilityIsCoarse(t *testing.T) {
	for _, c := range []struct {
		available, stock int64
		want             string
	}{{0, 0, "none"}, {0, 100, "none"}, {-1, 100, "none"}, {1, 1, "low"}, {5, 6, "low"}, {6, 6, "high"}, {100, 1000, "low"}, {101, 1000, "high"}} {
		if got := availability(engine.Counters{Available: c.available, Stock: c.stock}); got != c.want {
			t.Errorf("%d of %d: %s, want %s", c.available, c.stock, got, c.want)
		}
	}
	draft := *testSale
	draft.Epoch, draft.State = 0, engine.SaleDraft
	if got := formSale(&draft, nil).Items[0].Availability; got != "high" {
		t.Errorf("a sale that is not at the gate yet will have its stock: %s", got)
	}
	if got := formSale(testSale, nil).Items[0].Availability; got != "none" {
		t.Errorf("without counters an armed sale offers nothing: %s", got)
	}
}

func TestDurationsAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{2 * time.Minute: "2m", time.Hour: "1h", 90 * time.Second: "1m30s", 10 * time.Second: "10s", 20 * time.Minute: "20m", 10 * time.Hour: "10h", 1500 * time.Millisecond: "1.5s"} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestRefusalsOfTheEngineReachTheBuyer(t *testing.T) {
	secret := errors.New("dial tcp 10.0.0.3:6379: password hunter2")
	for _, c := range []struct {
		name       string
		err        error
		path       string
		status     int
		code       engine.Code
		retryAfter string
		member     string
		value      any
	}{
		{"sold out", engine.E(engine.CodeSoldOut, "none left"), reservePath, 409, engine.CodeSoldOut, "", "detail", "none left"},
		{"not open, with its time", engine.E(engine.CodeSaleNotOpen, "armed").With("opens_at", "2026-11-27T09:00:00Z").After(1500 * time.Millisecond), reservePath, 409, engine.CodeSaleNotOpen, "2", "opens_at", "2026-11-27T09:00:00Z"},
		{"final refusals state no time to retry", engine.E(engine.CodeSoldOut, "").After(time.Second), reservePath, 409, engine.CodeSoldOut, "", "title", "Sold out"},
		{"frozen, without a stated time", engine.E(engine.CodeGateFrozen, "rebuilding"), reservePath, 503, engine.CodeGateFrozen, "1", "detail", "rebuilding"},
		{"too fast", engine.E(engine.CodeRateLimited, "10 per second").After(10 * time.Millisecond), reservePath, 429, engine.CodeRateLimited, "1", "detail", "10 per second"},
		{"declined", engine.E(engine.CodePaymentDeclined, "no").With("decline_code", "insufficient_funds"), checkoutPath, 402, engine.CodePaymentDeclined, "", "decline_code", "insufficient_funds"},
		{"an attempt under way", engine.E(engine.CodeAttemptInProgress, "busy").After(3 * time.Second), checkoutPath, 409, engine.CodeAttemptInProgress, "3", "detail", "busy"},
		{"a key used for something else", engine.E(engine.CodeKeyReused, "other body"), checkoutPath, 422, engine.CodeKeyReused, "", "detail", "other body"},
		{"own members can't be overwritten", engine.E(engine.CodeSoldOut, "x").With("status", 200).With("code", "ok"), reservePath, 409, engine.CodeSoldOut, "", "status", 409.0},
		{"unfit members are left out", engine.E(engine.CodeSoldOut, "x").With("f", func() {}), reservePath, 409, engine.CodeSoldOut, "", "detail", "x"},
		{"wrapped", fmt.Errorf("reserve: %w", engine.Wrap(secret, engine.CodeUnavailable, "the gate cannot be reached")), reservePath, 503, engine.CodeUnavailable, "1", "detail", "the gate cannot be reached"},
		{"a stranger's error", secret, reservePath, 500, engine.CodeInternal, "", "title", "Internal"},
		{"a fault's own words", engine.Wrap(secret, engine.CodeInternal, "row 7 of users"), checkoutPath, 500, engine.CodeInternal, "", "title", "Internal"},
		{"a code that does not exist", engine.E("made_up", "oops"), reservePath, 500, engine.CodeInternal, "", "title", "Internal"},
		{"an answer that never came", fmt.Errorf("hold: %w", engine.ErrUnknown), reservePath, 503, engine.CodeUnavailable, "1", "title", "Unavailable"},
		{"too late", context.DeadlineExceeded, reservePath, 503, engine.CodeUnavailable, "1", "title", "Unavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t, &fake{
				reserve: func(context.Context, engine.ReserveRequest) (engine.Reservation, error) {
					return engine.Reservation{}, c.err
				},
				checkout: func(context.Context, engine.CheckoutRequest) (engine.CheckoutResult, error) {
					return engine.CheckoutResult{}, c.err
				},
			})
			body := oneShoe
			if c.path == checkoutPath {
				body = visa
			}
			a := d.do("POST", c.path, body, nil)
			a.expect(t, c.status, c.code)
			if got := a.header.Get("Retry-After"); got != c.retryAfter {
				t.Errorf("Retry-After %q, want %q", got, c.retryAfter)
			}
			if a.body[c.member] != c.value {
				t.Errorf("%s: %v, want %v", c.member, a.body[c.member], c.value)
			}
			id := a.header.Get("X-Request-Id")
			if a.body["request_id"] != id || id == "" {
				t.Errorf("request ids %v and %q", a.body["request_id"], id)
			}
			for _, leak := range []string{"hunter2", "row 7", "oops"} {
				if strings.Contains(a.text, leak) {
					t.Errorf("leaked %q: %s", leak, a.text)
				}
			}
			if c.status == 500 && !strings.Contains(d.log.String(), id) {
				t.Errorf("the log does not name request %s: %s", id, d.log)
			}
		})
	}
}

func TestPathsAndMethods(t *testing.T) {
	d := open(t, &fake{})
	for _, c := range []struct {
		method, path string
		status       int
		code         engine.Code
		allow        string
	}{
		{"GET", "/", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/sales/", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/sales/demo/", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/sales/Demo", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/sales/de%6Do", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/sales/x/../demo", 404, engine.CodeNotFound, ""},
		{"GET", "/v1//sales/demo", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/sales/demo/events/", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/sales/other/events", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/sales//events", 404, engine.CodeNotFound, ""},
		{"POST", "/v1/sales/demo/queue", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/sales/demo/reservations:batch", 405, engine.CodeMethodNotAllowed, "POST"},
		{"POST", "/v1/sales/x/y/reservations:batch", 404, engine.CodeNotFound, ""},
		{"POST", "/v1/sales//reservations:batch", 404, engine.CodeNotFound, ""},
		{"POST", "/v1/webhooks/stripe", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/orders/" + testID.Order() + "/x", 404, engine.CodeNotFound, ""},
		{"GET", "/v1/orders/" + testID.String(), 404, engine.CodeNotFound, ""},
		{"GET", "/v1/reservations/rsv_nonsense", 404, engine.CodeNotFound, ""},
		{"DELETE", "/v1/reservations/" + testID.Order(), 404, engine.CodeNotFound, ""},
		{"POST", "/v1/reservations/x/checkout", 404, engine.CodeNotFound, ""},
		{"POST", "/v1/sales/no_such/reservations", 404, engine.CodeNotFound, ""},
		{"GET", reservePath, 405, engine.CodeMethodNotAllowed, "POST"},
		{"POST", "/v1/sales/demo", 405, engine.CodeMethodNotAllowed, "GET, HEAD"},
		{"PUT", reservationPath, 405, engine.CodeMethodNotAllowed, "GET, HEAD, DELETE"},
		{"BREW", checkoutPath, 405, engine.CodeMethodNotAllowed, "POST"},
		{"DELETE", orderPath, 405, engine.CodeMethodNotAllowed, "GET, HEAD"},
		{"POST", "/healthz", 405, engine.CodeMethodNotAllowed, "GET, HEAD"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			a := d.do(c.method, c.path, "", nil)
			a.expect(t, c.status, c.code)
			if got := a.header.Get("Allow"); got != c.allow {
				t.Errorf("Allow %q, want %q", got, c.allow)
			}
		})
	}
}

func TestHealthAndReadiness(t *testing.T) {
	var err error
	d := open(t, &fake{ready: func() error { return err }})
	d.do("GET", "/healthz", "", header{"Authorization": ""}).expect(t, 200, "")
	d.do("GET", "/readyz", "", header{"Authorization": ""}).expect(t, 200, "")
	err = engine.E(engine.CodeGateFrozen, "the gate of demo is frozen")
	a := d.do("GET", "/readyz", "", nil)
	a.expect(t, 503, engine.CodeUnavailable)
	if !strings.Contains(a.text, "gate of demo") {
		t.Errorf("readiness does not say why: %s", a.text)
	}
	err = errors.New("password hunter2")
	if a := d.do("GET", "/readyz", "", nil); a.status != 503 || strings.Contains(a.text, "hunter2") {
		t.Errorf("%d %s", a.status, a.text)
	}
	d.do("GET", "/healthz", "", nil).expect(t, 200, "")
}

func TestMetricsCountByRouteAndOutcome(t *testing.T) {
	reg := prometheus.NewRegistry()
	d := open(t, &fake{reserve: func(_ context.Context, r engine.ReserveRequest) (engine.Reservation, error) {
		return engine.Reservation{}, engine.E(engine.CodeSoldOut, "")
	}}, func(o *Options) { o.Registerer = reg })
	d.do("POST", reservePath, oneShoe, nil)
	d.do("POST", reservePath, oneShoe, nil)
	d.do("GET", orderPath, "", nil)
	d.do("BREW", "/nowhere", "", nil)
	must(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP flashsale_http_requests_total Requests answered, by route, method, status and refusal code.
# TYPE flashsale_http_requests_total counter
flashsale_http_requests_total{code="not_found",method="other",route="unmatched",status="404"} 1
flashsale_http_requests_total{code="ok",method="GET",route="/v1/orders/{id}",status="200"} 1
flashsale_http_requests_total{code="sold_out",method="POST",route="/v1/sales/{sale}/reservations",status="409"} 2
`), "flashsale_http_requests_total"))
	if n, err := testutil.GatherAndCount(reg, "flashsale_http_request_seconds"); err != nil || n != routeCount {
		t.Errorf("%d histograms, %v", n, err)
	}
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	key, err := HS256Key("", testSecret)
	must(t, err)
	f := &fake{}
	for name, o := range map[string]Options{
		"no engine":             {Views: f, Keys: []Key{key}},
		"no key":                {Engine: f, Views: f},
		"a zero key":            {Engine: f, Views: f, Keys: []Key{{}}},
		"two keys of one name":  {Engine: f, Views: f, Keys: []Key{key, key}},
		"a limit never reached": {Engine: f, Views: f, Keys: []Key{key}, MaxInFlight: 10, MaxConnections: 5},
		"a wait below a second": {Engine: f, Views: f, Keys: []Key{key}, MaxWait: time.Millisecond},
		"tiny headers":          {Engine: f, Views: f, Keys: []Key{key}, MaxHeaderBytes: 10},
		"negative time-outs":    {Engine: f, Views: f, Keys: []Key{key}, ReadTimeout: -1},
		"negative connections":  {Engine: f, Views: f, Keys: []Key{key}, MaxConnsPerIP: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	reg := prometheus.NewRegistry()
	o := Options{Engine: f, Views: f, Keys: []Key{key}, Registerer: reg}
	if _, err := New(o); err != nil {
		t.Error(err)
	}
	if _, err := New(o); err == nil {
		t.Error("two servers in one registry: accepted")
	}
}
