package fraud_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/fraud"
	"github.com/flashsale-engine/flashsale/outside"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnlyAClearNoDenies(t *testing.T) {
	hang := make(chan struct{})
	for name, c := range map[string]struct {
		status int
		body   string
		want   engine.Score
	}{
		"allow":                    {200, `{"decision":"allow","score":3}`, engine.Score{}},
		"deny":                     {200, `{"decision":"deny","reason":"velocity"}`, engine.Score{Deny: true}},
		"an error":                 {500, `{"decision":"deny"}`, engine.Score{Unscored: true}},
		"a word that is not known": {200, `{"decision":"review"}`, engine.Score{Unscored: true}},
		"nonsense":                 {200, `<html>`, engine.Score{Unscored: true}},
		"a redirect":               {302, ``, engine.Score{Unscored: true}},
		"no answer in time":        {0, ``, engine.Score{Unscored: true}},
	} {
		t.Run(name, func(t *testing.T) {
			id := engine.ReservationID{Sale: 1, Created: engine.TimeZero + 1}
			a := engine.Attempt{ID: engine.NewAttemptID(id, "k"), Reservation: id, Buyer: "ann", Contact: engine.Contact{Email: "a@example.org"}, Method: "pm_x", Amount: engine.Money{Amount: 4999, Currency: "USD"}}
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				raw, _ := io.ReadAll(r.Body)
				var in map[string]any
				if err := json.Unmarshal(raw, &in); err != nil || in["attempt"] != a.ID.String() || in["buyer"] != "ann" || r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("%s, %v", raw, r.Header)
				}
				if c.status == 0 {
					<-hang
					return
				}
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			t.Cleanup(srv.Close)
			s, err := fraud.New(fraud.Config{URL: srv.URL, Token: "secret", Timeout: timeout(c.status)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			if c.status == 0 {
				t.Cleanup(func() { close(hang) })
			}
			if got, err := s.Score(t.Context(), a); err != nil || got != c.want {
				t.Fatalf("%+v", got)
			}
		})
	}
}

// timeout is short only where it is waited for, so that a busy machine fails no other case.
func timeout(status int) time.Duration {
	if status == 0 {
		return 50 * time.Millisecond
	}
	return 10 * time.Second
}

func TestAnOpenBreakerCostsNoTimeAndNoSale(t *testing.T) {
	b, err := outside.NewBoard(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := fraud.New(fraud.Config{URL: "http://127.0.0.1:1", Board: b})
	if err != nil {
		t.Fatal(err)
	}
	b.Find("fraud").Force(outside.Open)
	if got, err := s.Score(t.Context(), engine.Attempt{}); err != nil || !got.Unscored || got.Deny {
		t.Fatalf("%+v", got)
	}
	if _, err := fraud.New(fraud.Config{URL: "score"}); err == nil || !strings.Contains(err.Error(), "https://host/path") {
		t.Fatal(err)
	}
}
