package payment

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// stripeStub has the shapes and the rules of Stripe that the client relies on:
// idempotency keys with their parameters, states, and a search that lags behind.
type stripeStub struct {
	mu      sync.Mutex
	intents map[string]map[string]any
	keys    map[string]*stubAnswer
	unseen  bool // the search index knows nothing yet
	calls   []string
	// front may answer in the stub's place, or say false.
	front func(w http.ResponseWriter, r *http.Request) bool
	// after is told of each answer before it is sent, and says whether to send it.
	after func(r *http.Request) bool
}

type stubAnswer struct {
	params string
	status int
	body   []byte
}

func stripeStubbed(t testing.TB, c StripeConfig) (*Stripe, *stripeStub) {
	t.Helper()
	b := &stripeStub{intents: map[string]map[string]any{}, keys: map[string]*stubAnswer{}}
	srv := httptest.NewServer(http.StripPrefix("/stripe", b))
	t.Cleanup(srv.Close)
	c.URL, c.Key, c.ReturnURL = srv.URL+"/stripe", "sk_test_stub", "https://shop.example/return/{reservation}"
	s, err := NewStripe(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, b
}

func (b *stripeStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	b.mu.Lock()
	b.calls = append(b.calls, r.Method+" "+strings.Join(strings.Split(r.URL.Path, "/")[2:], "/"))
	front, after := b.front, b.after
	b.mu.Unlock()
	if front != nil && front(w, r) {
		return
	}
	status, body, replayed := b.answer(r)
	if after != nil && !after(r) {
		panic(http.ErrAbortHandler)
	}
	if replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	w.Header().Set("Request-Id", "req_stub")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (b *stripeStub) answer(r *http.Request) (int, []byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer sk_test_stub" {
		return stubProblem(401, "invalid_request_error", "", "no key", nil)
	}
	if r.Method == http.MethodPost && r.URL.Path == "/v1/payment_intents" {
		return b.create(r)
	}
	part := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/payment_intents"), "/")
	switch {
	case r.URL.Path == "/v1/refunds":
		return b.refund(r.Form.Get("payment_intent"))
	case len(part) == 2 && part[1] == "search":
		return b.list("search_result", func(in map[string]any) bool {
			attempt := in["metadata"].(map[string]string)["attempt"]
			return !b.unseen && r.Form.Get("query") == "metadata['attempt']:'"+attempt+"'"
		})
	case len(part) == 1:
		return b.list("list", func(map[string]any) bool { return true })
	}
	in := b.intents[part[1]]
	if in == nil {
		return stubProblem(404, "invalid_request_error", "resource_missing", "no such payment_intent", nil)
	}
	if len(part) == 3 {
		from, to := map[string]string{"capture": "requires_capture", "cancel": "requires_payment_method requires_capture requires_action"}[part[2]], map[string]string{"capture": "succeeded", "cancel": "canceled"}[part[2]]
		if !strings.Contains(from, in["status"].(string)) {
			return stubProblem(400, "invalid_request_error", "payment_intent_unexpected_state", "it is "+in["status"].(string), in)
		}
		in["status"] = to
	}
	return stubOK(in)
}

func (b *stripeStub) create(r *http.Request) (int, []byte, bool) {
	key, params := r.Header.Get("Idempotency-Key"), r.PostForm.Encode()
	if old := b.keys[key]; old != nil {
		if old.params != params {
			return stubProblem(400, "idempotency_error", "", "Keys for idempotent requests can only be used with the same parameters they were first used with.", nil)
		}
		return old.status, old.body, true
	}
	if m := r.Form.Get("payment_method"); m == "pm_none" { // refused before anything began: no key is kept
		_, body, _ := stubProblem(400, "invalid_request_error", "resource_missing", "No such PaymentMethod", nil)
		return 400, []byte(strings.Replace(string(body), `"type"`, `"param":"payment_method","type"`, 1)), false
	}
	id := fmt.Sprintf("pi_%d", len(b.intents)+1)
	in := map[string]any{
		"id": id, "object": "payment_intent", "amount": json.Number(r.Form.Get("amount")), "currency": r.Form.Get("currency"), "status": "requires_payment_method",
		"metadata": map[string]string{"attempt": r.Form.Get("metadata[attempt]"), "reservation": r.Form.Get("metadata[reservation]")}, "created": time.Now().Unix(),
	}
	b.intents[id] = in
	status, body, _ := stubOK(in)
	if r.Form.Get("confirm") == "true" {
		status, body = b.confirm(in, r)
	}
	b.keys[key] = &stubAnswer{params, status, body}
	return status, body, false
}

func (b *stripeStub) confirm(in map[string]any, r *http.Request) (int, []byte) {
	switch r.Form.Get("payment_method") {
	case "pm_card_visa":
		in["status"] = "requires_capture"
	case "pm_card_authenticationRequired":
		in["status"] = "requires_action"
		in["next_action"] = map[string]any{"type": "redirect_to_url", "redirect_to_url": map[string]string{"url": "https://bank.example/3ds", "return_url": r.Form.Get("return_url")}}
	case "pm_processing":
		in["status"] = "processing"
	case "pm_fault": // the payment is there, and the answer under its key is a fault for ever
		in["status"] = "requires_capture"
		status, body, _ := stubProblem(500, "api_error", "", "fault", nil)
		return status, body
	default:
		in["last_payment_error"] = map[string]string{"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds"}
		_, body, _ := stubProblem(402, "card_error", "card_declined", "declined", in)
		return 402, []byte(strings.Replace(string(body), `"code"`, `"decline_code":"insufficient_funds","code"`, 1))
	}
	status, body, _ := stubOK(in)
	return status, body
}

func (b *stripeStub) refund(id string) (int, []byte, bool) {
	in := b.intents[id]
	switch {
	case in == nil || in["status"] != "succeeded":
		return stubProblem(400, "invalid_request_error", "", "there is no charge to refund", nil)
	case in["latest_charge"] != nil:
		return stubProblem(400, "invalid_request_error", "charge_already_refunded", "refunded before", nil)
	}
	in["latest_charge"] = map[string]any{"id": "ch_1", "object": "charge", "refunded": true}
	return stubOK(map[string]any{"id": "re_1", "object": "refund", "status": "pending"})
}

func (b *stripeStub) list(object string, which func(map[string]any) bool) (int, []byte, bool) {
	data := []any{}
	for n := len(b.intents); n > 0; n-- { // newest first
		if in := b.intents[fmt.Sprintf("pi_%d", n)]; which(in) {
			data = append(data, in)
		}
	}
	return stubOK(map[string]any{"object": object, "data": data, "has_more": false})
}

func stubOK(v any) (int, []byte, bool) {
	body, _ := json.Marshal(v)
	return 200, body, false
}

func stubProblem(status int, kind, code, message string, in any) (int, []byte, bool) {
	e := map[string]any{"type": kind, "message": message}
	if code != "" {
		e["code"] = code
	}
	if in != nil {
		e["payment_intent"] = in
	}
	body, _ := json.Marshal(map[string]any{"error": e})
	return status, body, false
}

// states counts the payments by their status.
func (b *stripeStub) states() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[string]int{}
	for _, in := range b.intents {
		out[in["status"].(string)]++
	}
	return out
}

func (b *stripeStub) set(change func()) { b.mu.Lock(); defer b.mu.Unlock(); change() }
