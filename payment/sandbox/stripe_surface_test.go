package sandbox

import (
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stripe/stripe-go/v85"
)

func TestStripesSearchFindsByMetadataAndPages(t *testing.T) {
	s := newServer(t, Config{})
	sc, ctx := stripeClient(t, s), t.Context()
	for i := range 5 {
		p := manual("pm_card_visa", fmt.Sprint("a", i))
		p.AddMetadata("reservation", "it's \"one\"")
		if _, err := sc.V1PaymentIntents.Create(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	find := func(query string) (attempts []string, err error) {
		q := &stripe.PaymentIntentSearchParams{}
		q.Query, q.Limit = query, stripe.Int64(2)
		for pi, err := range sc.V1PaymentIntents.Search(ctx, q).All(ctx) {
			if err != nil {
				return nil, err
			}
			attempts = append(attempts, pi.Metadata["attempt"])
		}
		return attempts, nil
	}
	for query, want := range map[string]string{
		`metadata['attempt']:'a3'`:                                           "a3",
		`metadata["attempt"]:"a3"`:                                           "a3",
		`metadata['attempt']:'none'`:                                         "",
		`metadata['reservation']:'it\'s "one"'`:                              "a4 a3 a2 a1 a0",
		`status:'requires_capture' AND metadata['attempt']:'a1'`:             "a1",
		`metadata['attempt']:'a1' and status:"succeeded"`:                    "",
		`currency:'usd' AND metadata["reservation"]:"it's \"one\""`:          "a4 a3 a2 a1 a0",
		`metadata['attempt']:'a1' AND metadata['reservation']:'another one'`: "",
	} {
		if got, err := find(query); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v", query, got, err)
		}
	}
	for _, bad := range []string{"", "amount>1", "metadata['a']:b", "status:'x' OR status:'y'"} {
		if _, err := find(bad); refusedAs(t, err).HTTPStatusCode != 400 {
			t.Errorf("%q: %v", bad, err)
		}
	}
	control(t, s, "", `{"search_lag_ms":60000}`)
	if _, err := sc.V1PaymentIntents.Create(ctx, manual("pm_card_visa", "late")); err != nil {
		t.Fatal(err)
	}
	if got, err := find(`metadata['attempt']:'late'`); err != nil || len(got) != 0 {
		t.Errorf("a search that lags: %v, %v", got, err)
	}
}

func TestStripesListIsNewestFirst(t *testing.T) {
	s := newServer(t, Config{})
	sc, ctx := stripeClient(t, s), t.Context()
	ids := map[string]string{}
	for i := range 7 {
		name := fmt.Sprint("a", i)
		pi, err := sc.V1PaymentIntents.Create(ctx, manual("pm_card_visa", name))
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = pi.ID
	}
	list := func(p stripe.PaymentIntentListParams) (out []string) {
		p.Limit = stripe.Int64(3)
		for pi, err := range sc.V1PaymentIntents.List(ctx, &p).All(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, pi.Metadata["attempt"])
		}
		return out
	}
	if got := strings.Join(list(stripe.PaymentIntentListParams{}), " "); got != "a6 a5 a4 a3 a2 a1 a0" {
		t.Error(got)
	}
	after, before := stripe.PaymentIntentListParams{}, stripe.PaymentIntentListParams{}
	after.StartingAfter = stripe.String(ids["a2"])
	if got := strings.Join(list(after), " "); got != "a1 a0" {
		t.Errorf("after a2: %s", got)
	}
	before.EndingBefore = stripe.String(ids["a2"])
	if got := strings.Join(list(before), " "); got != "a3 a4 a5 a6" { // the client walks backwards
		t.Errorf("before a2: %s", got)
	}
	before.EndingBefore = stripe.String("pi_none")
	for _, err := range sc.V1PaymentIntents.List(ctx, &before).All(ctx) {
		if refusedAs(t, err).Param != "ending_before" {
			t.Error(err)
		}
	}
}

func TestStripesSurfaceWantsATestKey(t *testing.T) {
	s := newServer(t, Config{})
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("sk_test_1:"))
	for auth, status := range map[string]int{"": 401, "Bearer sk_live_1": 401, "Bearer pk_test_1": 401, "Basic !": 401, "Bearer sk_test_1": 404, "Bearer rk_test_1": 404, basic: 404} {
		r := httptest.NewRequest("GET", "/stripe/v1/payment_intents/pi_none", nil)
		r.Header.Set("Authorization", auth)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != status || !strings.HasPrefix(w.Header().Get("Request-Id"), "req_") {
			t.Errorf("%q: %d %s", auth, w.Code, w.Body)
		}
	}
}

func TestAtTheRootTheAPIKeyTellsTheTwoFacesApart(t *testing.T) {
	s := newServer(t, Config{})
	for header, want := range map[string]string{"": `"code":"resource_missing","message":"no such payment"}`, "Authorization: Bearer a-token-of-somebody": `"code":"resource_missing"`,
		"Authorization: Bearer sk_test_1": `"type":"invalid_request_error"}`, "Stripe-Version: 2026-03-25.dahlia": "api_key_invalid"} {
		r := httptest.NewRequest("GET", "/v1/payment_intents/pi_none", nil)
		if name, value, ok := strings.Cut(header, ": "); ok {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		stripes := w.Header().Get("Request-Id") != ""
		if !strings.Contains(w.Body.String(), want) || stripes != (strings.Contains(header, "sk_test") || strings.Contains(header, "Stripe")) {
			t.Errorf("%q: %d %s", header, w.Code, w.Body)
		}
	}
}

func TestStripesSurfaceRefusesWhatItDoesNotUnderstand(t *testing.T) {
	s := newServer(t, Config{})
	const good = "amount=100&currency=usd&confirm=true&payment_method=pm_card_visa"
	for name, c := range map[string]struct{ path, payload, param string }{
		"a misspelt parameter":  {"/payment_intents", good + "&capture_metod=manual", "capture_metod"},
		"no amount":             {"/payment_intents", "currency=usd", "amount"},
		"an amount of nothing":  {"/payment_intents", "amount=0&currency=usd", "amount"},
		"an amount that is not": {"/payment_intents", "amount=1.5&currency=usd", "amount"},
		"a strange capture":     {"/payment_intents", good + "&capture_method=never", "capture_method"},
		"no method":             {"/payment_intents", "amount=100&currency=usd&confirm=true", "payment_method"},
		"an unknown method":     {"/payment_intents", "amount=100&currency=usd&payment_method=pm_x", "payment_method"},
		"a bad return_url":      {"/payment_intents", good + "&return_url=javascript:x", "return_url"},
		"much metadata":         {"/payment_intents", good + "&metadata[a]=" + strings.Repeat("x", 501), "metadata"},
		"a bad reason":          {"/payment_intents/pi_x/cancel", "cancellation_reason=boredom", "cancellation_reason"},
		"a refund of nothing":   {"/refunds", "amount=1", "payment_intent"},
		"a bad refund reason":   {"/refunds", "payment_intent=pi_x&reason=boredom", "reason"},
		"broken escapes":        {"/payment_intents", "amount=%zz", ""},
	} {
		r := httptest.NewRequest("POST", "/stripe/v1"+c.path, strings.NewReader(c.payload))
		r.Header.Set("Authorization", "Bearer sk_test_1")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != 400 || c.param != "" && !strings.Contains(w.Body.String(), `"param":"`+c.param+`"`) || w.Header().Get("Stripe-Should-Retry") != "false" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	for path, status := range map[string]int{"/payment_intents/pi_none/capture": 404, "/payment_intents/pi_none/confirm": 404, "/payment_intents/pi_none/cancel": 404, "/customers": 404} {
		r := httptest.NewRequest("POST", "/stripe/v1"+path, nil)
		r.Header.Set("Authorization", "Bearer sk_test_1")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != status {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if b, err := s.Books(); err != nil || b.Count != 0 {
		t.Errorf("a refused request left %d payments, %v", b.Count, err)
	}
}

func TestStripesClientMeetsTheFaults(t *testing.T) {
	s := newServer(t, Config{})
	sc, ctx := stripeClient(t, s), t.Context()
	control(t, s, "", `{"hang_ms":1}`)
	for fault, c := range map[string]struct {
		status int
		retry  string
		done   int
	}{
		"rate_limit": {429, "true", 0}, "outage": {503, "true", 0}, "error": {500, "true", 0}, "error_after": {500, "true", 1}, "timeout_before": {0, "", 0}, "timeout_after": {0, "", 1},
	} {
		control(t, s, "/next", `{"fault":"`+fault+`"}`)
		_, err := sc.V1PaymentIntents.Create(ctx, manual("pm_card_visa", fault))
		if c.status != 0 {
			if e := refusedAs(t, err); e.HTTPStatusCode != c.status || e.LastResponse.Header.Get("Stripe-Should-Retry") != c.retry {
				t.Errorf("%s: %+v", fault, e)
			}
		} else if err == nil {
			t.Errorf("%s: it answered", fault)
		}
		list, p := s.searchFor([]condition{{metadata: "attempt", value: fault}})
		if p != nil || len(list) != c.done {
			t.Errorf("%s: %d payments", fault, len(list))
		}
		// The same key again tells the truth, once.
		pi, err := sc.V1PaymentIntents.Create(ctx, manual("pm_card_visa", fault))
		if err != nil || pi.Status != stripe.PaymentIntentStatusRequiresCapture {
			t.Errorf("%s, again: %v", fault, err)
		}
		if list, _ := s.searchFor([]condition{{metadata: "attempt", value: fault}}); len(list) != 1 {
			t.Errorf("%s: %d payments in the end", fault, len(list))
		}
	}
}
