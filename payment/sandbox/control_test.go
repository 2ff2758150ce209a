package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestControl(t *testing.T) {
	s := newServer(t, Config{})
	set := func(t *testing.T, c string) {
		t.Helper()
		if g := send(t, s, "POST", "/control", "", c); g.status != 200 {
			t.Fatalf("%d %s", g.status, g.raw)
		}
	}
	t.Run("an outage answers 503 and does nothing", func(t *testing.T) {
		set(t, `{"outage":true}`)
		if g := send(t, s, "POST", "/v1/payment_intents", "k", body("pm_card_visa", "a")); g.status != 503 || g.Error.Code != "outage" {
			t.Fatalf("%d %s", g.status, g.raw)
		}
		set(t, `{"outage":false}`)
		if g := send(t, s, "GET", "/v1/payment_intents", "", ""); len(g.Data) != 0 {
			t.Fatal(g.raw)
		}
	})
	t.Run("what is not given stays", func(t *testing.T) {
		set(t, `{"latency_ms":20}`)
		set(t, `{"seed":7}`)
		if c := s.Control(); c.LatencyMS != 20 || c.Seed != 7 {
			t.Fatalf("%+v", c)
		}
		var waited time.Duration
		s.wait = func(d time.Duration, _ <-chan struct{}) bool { waited += d; return true }
		send(t, s, "GET", "/v1/payment_intents", "", "")
		if waited != 20*time.Millisecond {
			t.Fatalf("waited %s", waited)
		}
		set(t, `{"latency_ms":0}`)
	})
	t.Run("errors come before and after the work", func(t *testing.T) {
		set(t, `{"error_rate":1,"seed":1}`)
		for i := range 20 {
			if g := send(t, s, "POST", "/v1/payment_intents", fmt.Sprint("e", i), body("pm_card_visa", fmt.Sprint("e", i))); g.status != 500 {
				t.Fatalf("%d %s", g.status, g.raw)
			}
		}
		set(t, `{"error_rate":0}`)
		if n := len(send(t, s, "GET", "/v1/payment_intents", "", "").Data); n == 0 || n == 20 {
			t.Fatalf("%d of 20 were done", n)
		}
	})
	t.Run("a decline rate declines", func(t *testing.T) {
		set(t, `{"decline_rate":1}`)
		if g := send(t, s, "POST", "/v1/payment_intents", "d", body("pm_card_visa", "d")); g.status != 402 {
			t.Fatalf("%d %s", g.status, g.raw)
		}
	})
	for _, bad := range []string{`{"latency_ms":-1}`, `{"decline_rate":1.1}`, `{"error_rate":-1}`, `{"outrage":true}`, `[]`} {
		if g := send(t, s, "POST", "/control", "", bad); g.status != 400 {
			t.Errorf("%s: %d", bad, g.status)
		}
	}
}

func TestTimeoutAfterChargeAuthorisesAndNeverAnswers(t *testing.T) {
	s := newServer(t, Config{})
	if err := s.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	post := func(ctx context.Context) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, "POST", s.URL()+"/v1/payment_intents", strings.NewReader(body("pm_sandbox_timeoutAfterCharge", "a")))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Idempotency-Key", "k")
		return http.DefaultClient.Do(r)
	}
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	over := make(chan error, 1)
	go func() {
		res, err := post(ctx)
		if err == nil {
			_ = res.Body.Close()
		}
		over <- err
	}()
	until(t, "authorised", func() bool {
		g := send(t, s, "GET", "/v1/payment_intents/search?attempt=a", "", "")
		return len(g.Data) == 1 && g.Data[0].Status == Authorised
	})
	select {
	case err := <-over:
		t.Fatalf("it answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	giveUp()
	if err := <-over; err == nil {
		t.Fatal("it answered")
	}
	res, err := post(t.Context()) // the same key tells
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != 200 || !bytes.Contains(b, []byte(Authorised)) {
		t.Fatalf("%d %s", res.StatusCode, b)
	}
	if err := s.Start("127.0.0.1:0"); err == nil {
		t.Fatal("started twice")
	}
	_ = s.Close()
	_ = s.Close()
	if g := send(t, s, "POST", "/v1/payment_intents", "k2", body("pm_card_visa", "b")); g.status != 500 {
		t.Fatalf("a closed sandbox took a payment: %s", g.raw)
	}
}

func FuzzNoBodyBreaksTheSandbox(f *testing.F) {
	f.Add("POST", "/v1/payment_intents", "k", body("pm_card_visa", "a"))
	f.Add("POST", "/v1/payment_intents/pi_sandbox_00000001/capture", "", "")
	f.Add("POST", "/v1/attempts/a%2Fb/cancel", "", "")
	f.Add("GET", "/v1/payment_intents?limit=3&starting_after=x", "", "")
	f.Add("POST", "/control", "", `{"seed":1}`)
	f.Add("POST", "/control/next", "", `[{"op":"capture","fault":"timeout_after","count":3}]`)
	f.Add("POST", "/control/intents/x/resolve", "", `{"outcome":"approved"}`)
	f.Add("POST", "/stripe/v1/payment_intents", "k", "amount=1&currency=usd&confirm=true&payment_method=pm_card_visa&metadata[attempt]=a&expand[]=latest_charge")
	f.Add("GET", "/stripe/v1/payment_intents/search?query=metadata%5B'attempt'%5D:'a'%20AND%20status:'x'&page=1", "", "")
	f.Add("POST", "/stripe/v1/refunds", "k", "charge=ch_&amount=1")
	f.Add("GET", "/stripe/v1/refunds/re__1", "", "")
	f.Add("POST", "/3ds/x/complete", "", "")
	f.Fuzz(func(t *testing.T, method, path, key, payload string) {
		r, err := http.NewRequest(method, "http://sandbox.test"+path, strings.NewReader(payload))
		if err != nil || !strings.HasPrefix(r.URL.Path, "/") {
			return // no request that a client could send
		}
		r.Header.Set("Idempotency-Key", key)
		r.Header.Set("Authorization", "Bearer sk_test_1")
		if len(payload)%2 == 0 {
			r.Header.Del("Authorization") // the plain face
		}
		s := newServer(t, Config{HangFor: 1})
		_ = pay(t, s, "a")
		s.wait = func(time.Duration, <-chan struct{}) bool { return true }
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic value
					panic(p)
				}
			}()
			s.Handler().ServeHTTP(w, r)
		}()
		for _, in := range send(t, s, "GET", "/v1/payment_intents", "", "").Data {
			if in.Amount < 0 || in.AmountReceived > in.Amount || in.ID == "" {
				t.Fatalf("%+v", in)
			}
		}
	})
}
