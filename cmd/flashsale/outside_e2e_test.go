package main

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func (p *proc) breakers(t *testing.T) map[string]string {
	t.Helper()
	var list breakerList
	got := p.admin("GET", "/breakers", "").must(t, 200)
	if err := json.Unmarshal([]byte(got.Raw), &list); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, b := range list.Breakers {
		out[b.Name] = b.State + " " + b.Mode + " " + b.Reason
	}
	return out
}

// Two nodes: what an operator sets on one holds on both, survives a restart, and
// is on record. And the storefront is told of the order, exactly as it is.
func TestAForcedBreakerHoldsOnEveryNodeAndTheStorefrontIsTold(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	told := map[string]string{}
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		mu.Lock()
		defer mu.Unlock()
		if told[q.Header.Get("webhook-id")] == "" {
			told[q.Header.Get("webhook-id")] = "heard, and not answered well"
			w.WriteHeader(500)
			return
		}
		told[q.Header.Get("webhook-id")] = string(body)
	}))
	t.Cleanup(shop.Close)
	more := []string{"--notify-url", shop.URL, "--notify-secret", "whsec_" + base64.StdEncoding.EncodeToString([]byte("0123456789abcdef01234567"))}
	one, other := r.serve(more...), r.serve(more...)
	one.sale("drop", 10, 5, "2m")
	const name = "payment-sandbox-authorise"
	if got := one.breakers(t)[name]; got != "closed auto " {
		t.Fatalf("%q in %v", got, one.breakers(t))
	}
	set := func(verb string, more ...string) (string, string, int) {
		return command(t, append([]string{"breaker", verb, name, "--admin", one.ready.Admin, "--token", testToken}, more...)...)
	}
	if out, errs, status := set("open", "--reason", "the provider lies"); status != exitOK || !strings.Contains(out, "the provider lies") {
		t.Fatalf("%d %s %s", status, out, errs)
	}
	eventually(t, "the other node obeys", func() (bool, string) {
		got := other.breakers(t)[name]
		return got == "open open the provider lies", got
	})
	if err := other.stop(); err != nil {
		t.Fatal(err)
	}
	other = r.serve(more...)
	if got := other.breakers(t)[name]; got != "open open the provider lies" {
		t.Fatalf("after a restart: %q", got)
	}
	tok := token(t, "ann")
	id := other.held(t, tok, "drop", "k").text("id")
	got := other.checkout(tok, id, "pay", "pm_card_visa")
	if got.Status == 201 || other.reservation(tok, id).text("state") == "confirmed" {
		t.Fatalf("paid through an open breaker: %s", got.Raw)
	}
	if out, errs, status := set("auto"); status != exitOK {
		t.Fatalf("%d %s %s", status, out, errs)
	}
	eventually(t, "the buyer pays", func() (bool, string) {
		got := other.checkout(tok, id, "pay", "pm_card_visa")
		return got.Status == 201, got.Raw
	})
	order := other.checkout(tok, id, "pay", "pm_card_visa").text("id")
	eventually(t, "the storefront is told", func() (bool, string) {
		mu.Lock()
		defer mu.Unlock()
		body := told["msg_"+strings.TrimPrefix(order, "ord_")]
		return strings.Contains(body, `"type":"order.confirmed"`) && strings.Contains(body, order), body
	})
	if n := r.query(`SELECT count(*) FROM audit_log WHERE target = $1 AND act IN ('breaker open', 'breaker auto')`, name); n != 2 {
		t.Errorf("%d acts are on record", n)
	}
	if out, errs, status := command(t, "breaker", "ls", "--admin", one.ready.Admin, "--token", testToken); status != exitOK || !strings.Contains(out, "notify") {
		t.Errorf("%d %s %s", status, out, errs)
	}
	if got := one.admin("POST", "/breakers/nothing/open", `{"reason":"x"}`); got.Status != 404 {
		t.Errorf("a breaker that is none: %s", got.Raw)
	}
	if got := one.admin("POST", "/breakers/"+name+"/open", `{}`); got.Status != 400 {
		t.Errorf("without a reason: %s", got.Raw)
	}
	one.mustBeClean(t)
}
