package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestFiveHundredBuyersGetExactlyFiftyUnits(t *testing.T) {
	r := newRig(t)
	p := r.serve()
	p.sale("drop", 50, 1, "2m")

	var mu sync.Mutex
	count := map[string]int{}
	orders := map[string]bool{}
	each(500, 500, func(i int) {
		tok, key := token(t, fmt.Sprintf("buyer-%d", i)), fmt.Sprintf("k-%d", i)
		got := insist(t, func() reply { return p.reserve(tok, "drop", key) })
		outcome := fmt.Sprintf("%d %s", got.Status, got.Code)
		if got.Status == 201 {
			id := got.text("id")
			got = insist(t, func() reply { return p.checkout(tok, id, key, "pm_card_visa") })
			outcome = fmt.Sprintf("%d %s", got.Status, got.text("state"))
		}
		mu.Lock()
		defer mu.Unlock()
		count[outcome]++
		if got.Status == 201 {
			orders[got.text("id")] = true
		}
	})
	if count["201 confirmed"] != 50 || count["409 sold_out"] != 450 || len(count) != 2 || len(orders) != 50 {
		t.Errorf("got %v, %d order ids", count, len(orders))
	}
	if n := r.query("SELECT count(*) FROM orders WHERE state = 'confirmed'"); n != 50 {
		t.Errorf("%d orders in Postgres", n)
	}
	p.mustBeClean(t)
	eventually(t, "every order captured", func() (bool, string) {
		n := r.query("SELECT count(*) FROM payments WHERE state = 'captured'")
		return n == 50, fmt.Sprint(n, " captured")
	})

	// A row deleted by hand is named.
	var victim string
	for id := range orders {
		victim = id
		break
	}
	r.exec("DELETE FROM orders WHERE order_id = $1", victim)
	v, status := p.verify(t)
	named := false
	for _, f := range v.Findings {
		named = named || f.Kind == "lost" && f.Order == victim
	}
	if status != exitFound || v.Lost != 1 || !named {
		t.Errorf("after the deletion of %s verify gives status %d, %+v", victim, status, v)
	}
}

func TestTheWayOfOneBuyer(t *testing.T) {
	r := newRig(t)
	p := r.serve()
	p.sale("drop", 3, 2, "1m")
	ann, bob := token(t, "ann"), token(t, "bob")

	held := p.held(t, ann, "drop", `"cart"`)
	id := held.text("id")
	again := p.held(t, ann, "drop", "cart")
	if again.text("id") != id || again.Header.Get("Idempotency-Replayed") != "true" || again.text("expires_at") != held.text("expires_at") {
		t.Errorf("the same key again gives %s", again.Raw)
	}
	other := send("POST", p.ready.API+"/v1/sales/drop/reservations", ann, "cart", `{"lines":[{"sku":"A","quantity":2}]}`)
	if other.Status != 422 || other.Code != "idempotency_key_reused" {
		t.Errorf("the same key with another body gives %s", other.Raw)
	}
	if got := p.reservation(bob, id); got.Status != 404 {
		t.Errorf("another buyer reads %s", got.Raw)
	}
	if got := p.checkout(bob, id, "p", "pm_card_visa"); got.Status != 404 {
		t.Errorf("another buyer pays: %s", got.Raw)
	}
	if got := send("DELETE", p.ready.API+"/v1/reservations/"+id, bob, "", ""); got.Status != 404 {
		t.Errorf("another buyer releases: %s", got.Raw)
	}
	p.held(t, ann, "drop", "cart-2")
	if got := p.reserve(ann, "drop", "cart-3"); got.Status != 409 || got.Code != "buyer_limit" {
		t.Errorf("beyond the limit: %s", got.Raw)
	}

	for range 2 {
		if got := p.checkout(ann, id, "pay-1", "pm_card_chargeDeclinedInsufficientFunds"); got.Status != 402 || got.text("decline_code") != "insufficient_funds" {
			t.Errorf("declined: %s", got.Raw)
		}
	}
	order := p.pays(t, ann, id, "pay-2")
	replay := p.pays(t, ann, id, "pay-2")
	if replay.text("id") != order.text("id") || replay.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the same payment again gives %s", replay.Raw)
	}
	if got := p.checkout(ann, id, "pay-3", "pm_card_visa"); got.Status != 409 || got.Code != "already_paid" {
		t.Errorf("a second payment: %s", got.Raw)
	}
	if got := send("DELETE", p.ready.API+"/v1/reservations/"+id, ann, "", ""); got.Status != 409 {
		t.Errorf("releasing what is paid: %s", got.Raw)
	}
	if got := p.reservation(ann, id).must(t, 200); got.text("state") != "confirmed" || got.text("order") != order.text("id") {
		t.Errorf("the reservation reads %s", got.Raw)
	}
	if got := send("GET", p.ready.API+"/v1/orders/"+order.text("id"), bob, "", ""); got.Status != 404 {
		t.Errorf("another buyer reads the order: %s", got.Raw)
	}
	p.mustBeClean(t)
}

func TestOperatorsMoveASaleThroughItsStates(t *testing.T) {
	r := newRig(t)
	p := r.serve()
	put := `{"name":"Drop","currency":"USD","hold_ttl":"15s","hold_cap":"1m","per_buyer_limit":2,"items":[{"sku":"A","unit_price":1000,"stock":0}]}`
	p.admin("PUT", "/sales/d", put).must(t, 201)
	p.admin("PUT", "/sales/d", put).must(t, 200)
	ann := token(t, "ann")
	if got := p.reserve(ann, "d", "k0"); got.Code != "sale_not_open" {
		t.Errorf("a draft sells: %s", got.Raw)
	}
	if got := p.admin("POST", "/sales/d/arm", ""); got.Status != 409 || !strings.Contains(got.text("detail"), "no stock") {
		t.Errorf("armed without stock: %s", got.Raw)
	}
	if got := p.admin("POST", "/sales/d/open", ""); got.Status != 409 || got.Body["allowed"] == nil {
		t.Errorf("opened from draft: %s", got.Raw)
	}
	p.admin("POST", "/sales/d/stock", `{"sku":"A","delta":2,"reason":"delivery"}`).must(t, 200)
	for _, move := range []string{"arm", "arm", "open", "open", "pause"} {
		p.admin("POST", "/sales/d/"+move, "").must(t, 200)
	}
	if got := p.admin("PUT", "/sales/d", strings.Replace(put, "1000", "1", 1)); got.Status != 409 || got.Code != "sale_locked" {
		t.Errorf("terms changed after arming: %s", got.Raw)
	}
	if got := p.reserve(ann, "d", "k1"); got.Code != "sale_not_open" || got.text("state") != "paused" {
		t.Errorf("paused and selling: %s", got.Raw)
	}
	p.admin("POST", "/sales/d/open", "").must(t, 200)
	p.held(t, ann, "d", "k2")
	if got := p.admin("POST", "/sales/d/stock", `{"sku":"A","delta":-2,"reason":"recall"}`); got.Status != 409 || got.Code != "sold_out" {
		t.Errorf("units that are held were taken away: %s", got.Raw)
	}
	p.admin("POST", "/sales/d/stock", `{"sku":"A","delta":-1,"reason":"recall"}`).must(t, 200)
	bob := token(t, "bob")
	if got := p.reserve(bob, "d", "k3"); got.Code != "sold_out" {
		t.Errorf("after the recall: %s", got.Raw)
	}
	eventually(t, "the hold's second is over and its unit is sold again", func() (bool, string) {
		got := p.reserve(bob, "d", "k4")
		return got.Status == 201, got.Raw
	})
	p.admin("POST", "/sales/d/drain", "").must(t, 200)
	if got := p.admin("POST", "/sales/d/open", ""); got.Status != 409 {
		t.Errorf("reopened while draining: %s", got.Raw)
	}
	eventually(t, "closed once nothing is held", func() (bool, string) {
		got := p.admin("POST", "/sales/d/close", "")
		return got.Status == 200, got.Raw
	})
	p.mustBeClean(t)
	if n := r.query("SELECT sum(units) FROM stock_ledger WHERE kind = 'stock'"); n != 1 {
		t.Errorf("the ledger sums to %d", n)
	}
}

func TestAdminCallsAreGuardedAndRefuseBadInput(t *testing.T) {
	r := newRig(t)
	p := r.serve("--admin-token", "eye:viewer:0123456789abcdef", "--admin-token", testToken)
	for name, c := range map[string]struct {
		method, path, token, body string
		status                    int
		says                      string
	}{
		"no token":            {"GET", "/sales", "", "", 401, "admin token"},
		"a viewer who moves":  {"POST", "/sales/d/open", "0123456789abcdef", "", 403, "operator"},
		"unknown sale":        {"GET", "/sales/nope", testToken, "", 404, ""},
		"unknown move":        {"POST", "/sales/nope/explode", testToken, "", 404, "arm, open"},
		"unknown field":       {"PUT", "/sales/d", testToken, `{"nam":"x"}`, 400, `nam`},
		"not JSON":            {"PUT", "/sales/d", testToken, `{`, 400, "not as documented"},
		"cap below the sum":   {"PUT", "/sales/d", testToken, `{"name":"x","currency":"USD","hold_ttl":"1m","hold_cap":"61s","per_buyer_limit":1,"items":[{"sku":"A","unit_price":1,"stock":1}]}`, 400, "hold_cap"},
		"a viewer's refund":   {"POST", "/orders/" + (engine.ReservationID{}).Order() + "/refund", "0123456789abcdef", `{"reason":"x"}`, 403, "owner"},
		"a refund of nothing": {"POST", "/orders/" + (engine.ReservationID{Created: engine.TimeZero}).Order() + "/refund", testToken, `{"reason":"x"}`, 404, "no order"},
		"a refund untold why": {"POST", "/orders/" + (engine.ReservationID{Created: engine.TimeZero}).Order() + "/refund", testToken, `{"reason":" "}`, 400, "say why"},
		"a payment state":     {"GET", "/payments?state=paid", testToken, "", 400, "no payment state"},
		"no such payment":     {"POST", "/payments/pay_1/resolve", testToken, `{"dry_run":true}`, 404, "no payment"},
		"a bad duration":      {"PUT", "/sales/d", testToken, `{"name":"x","hold_ttl":"soon"}`, 400, "hold_ttl"},
	} {
		t.Run(name, func(t *testing.T) {
			got := send(c.method, p.ready.Admin+"/admin/v1"+c.path, c.token, "", c.body)
			if got.Status != c.status || !strings.Contains(got.Raw, c.says) {
				t.Errorf("got %d %s", got.Status, got.Raw)
			}
		})
	}
}

func TestDemoPrintsOneLineAndSellsOnEmbeddedBackends(t *testing.T) {
	for _, backends := range []string{"embedded", "auto"} {
		t.Run(backends, func(t *testing.T) {
			t.Parallel()
			p := start(t, "demo", "--backends", backends, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--stock", "5", "--admin-token", "eve:viewer:looks-on-and-no-more")
			d := p.ready
			if d.API == "" || d.Admin == "" || d.AdminToken == "" || d.Sale != "demo" || len(d.SKUs) == 0 || d.BuyerKey == "" || len(d.Backends) < 3 {
				t.Fatalf("the line lacks something: %+v", d)
			}
			if got := send("GET", d.Admin+"/admin/v1/me", "looks-on-and-no-more", "", ""); got.Status != 200 || !strings.Contains(got.Raw, "viewer") {
				t.Errorf("its viewer: %d %s", got.Status, got.Raw)
			}
			out, errs, status := command(t, "loadtest", "--json", "--quiet", "--api", d.API, "--admin", d.Admin, "--token", d.AdminToken, "--buyer-key", d.BuyerKey, "--buyers", "40")
			var report struct {
				Confirmed int `json:"confirmed"`
				SoldOut   int `json:"sold_out"`
			}
			if err := json.Unmarshal([]byte(out), &report); err != nil || status != 0 || report.Confirmed != 20 || report.SoldOut != 20 {
				t.Fatalf("loadtest: status %d, %+v, %v\n%s", status, report, err, errs)
			}
			if err := p.stop(); err != nil {
				t.Errorf("the demo ends with %v\n%s", err, p.stderr)
			}
		})
	}
}
