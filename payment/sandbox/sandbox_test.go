package sandbox

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer(t testing.TB, c Config) *Server {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func body(method, attempt string) string {
	return fmt.Sprintf(`{"amount":4999,"currency":"USD","payment_method":%q,"capture_method":"manual","confirm":true,"metadata":{"attempt":%q,"reservation":"rsv_1"}}`, method, attempt)
}

type got struct {
	status int
	raw    string
	header http.Header
	Intent
	Error Problem  `json:"error"`
	Data  []Intent `json:"data"`
	More  bool     `json:"has_more"`
}

func send(t testing.TB, s *Server, method, path, key, payload string) got {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(payload))
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	g := got{status: w.Code, raw: w.Body.String(), header: w.Header()}
	if err := json.Unmarshal(w.Body.Bytes(), &g); err != nil {
		t.Fatalf("%s %s: not JSON: %q", method, path, w.Body)
	}
	return g
}

func TestEachPaymentMethodDoesWhatItsNameSays(t *testing.T) {
	for _, c := range []struct {
		method  string
		status  int
		state   Status
		decline string
	}{
		{"pm_card_visa", 200, Authorised, ""},
		{"pm_card_chargeDeclined", 402, Declined, "generic_decline"},
		{"pm_card_chargeDeclinedInsufficientFunds", 402, Declined, "insufficient_funds"},
		{"pm_card_authenticationRequired", 200, NeedsAction, ""},
		{"pm_sandbox_slow", 200, Authorised, ""},
		{"pm_sandbox_processing", 200, Processing, ""},
		{"pm_sandbox_error", 500, "", ""},
		{"pm_of_somebody_else", 400, "", ""},
	} {
		t.Run(c.method, func(t *testing.T) {
			s := newServer(t, Config{})
			s.wait = func(time.Duration, <-chan struct{}) bool { return true }
			g := send(t, s, "POST", "/v1/payment_intents", "k", body(c.method, "a"))
			if g.status != c.status || g.Error.DeclineCode != c.decline {
				t.Fatalf("status %d, decline %q: %s", g.status, g.Error.DeclineCode, g.raw)
			}
			found := send(t, s, "GET", "/v1/payment_intents/search?attempt=a", "", "")
			if c.state == "" {
				if len(found.Data) != 0 {
					t.Fatalf("left a payment: %s", found.raw)
				}
				return
			}
			if len(found.Data) != 1 || found.Data[0].Status != c.state || found.Data[0].Amount != 4999 || found.Data[0].Currency != "usd" {
				t.Fatalf("found %s", found.raw)
			}
		})
	}
}

func TestARequestIsRefusedWithTheNameOfWhatIsWrong(t *testing.T) {
	s := newServer(t, Config{})
	ok := body("pm_card_visa", "a")
	for name, c := range map[string]struct{ key, payload, says string }{
		"no idempotency key":        {"", ok, "Idempotency-Key"},
		"a key that is too long":    {strings.Repeat("k", 256), ok, "Idempotency-Key"},
		"no JSON":                   {"k", "amount=1", "invalid character"},
		"two JSON values":           {"k", ok + ok, "more than one"},
		"an unknown field":          {"k", `{"amont":1}`, "amont"},
		"no amount":                 {"k", strings.Replace(ok, `"amount":4999,`, "", 1), "amount"},
		"a negative amount":         {"k", strings.Replace(ok, "4999", "-1", 1), "amount"},
		"a currency that is none":   {"k", strings.Replace(ok, "USD", "U$D", 1), "currency"},
		"automatic capture":         {"k", strings.Replace(ok, "manual", "automatic", 1), "capture_method"},
		"unconfirmed":               {"k", strings.Replace(ok, "true", "false", 1), "confirm"},
		"a body beyond its limit":   {"k", strings.Replace(ok, "rsv_1", strings.Repeat("x", maxBody), 1), "too large"},
		"metadata beyond its limit": {"k", strings.Replace(ok, "rsv_1", strings.Repeat("x", 501), 1), "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			if g := send(t, s, "POST", "/v1/payment_intents", c.key, c.payload); g.status != 400 || !strings.Contains(g.Error.Message, c.says) {
				t.Fatalf("status %d: %s", g.status, g.raw)
			}
		})
	}
	if books := send(t, s, "GET", "/v1/payment_intents", "", ""); len(books.Data) != 0 {
		t.Fatalf("a refused request left a payment: %s", books.raw)
	}
}

func TestARepeatedKeyGivesTheFirstAnswerEvenAfterThePaymentMovedOn(t *testing.T) {
	for _, method := range []string{"pm_card_visa", "pm_card_chargeDeclined"} {
		s := newServer(t, Config{})
		first := send(t, s, "POST", "/v1/payment_intents", "k", body(method, "a"))
		send(t, s, "POST", "/v1/attempts/a/cancel", "", "")
		spaced := strings.ReplaceAll(body(method, "a"), ",", " ,\n ")
		again := send(t, s, "POST", "/v1/payment_intents", "k", spaced)
		if again.status != first.status || again.raw != first.raw || again.header.Get("Idempotent-Replayed") != "true" {
			t.Fatalf("first %d %s\nagain %d %s", first.status, first.raw, again.status, again.raw)
		}
	}
}

func TestAKeyWithOtherParametersIsAnIdempotencyError(t *testing.T) {
	s := newServer(t, Config{})
	send(t, s, "POST", "/v1/payment_intents", "k", body("pm_card_visa", "a"))
	for name, payload := range map[string]string{
		"other method": body("pm_card_chargeDeclined", "a"),
		"other amount": strings.Replace(body("pm_card_visa", "a"), "4999", "1", 1),
		"other names":  body("pm_card_visa", "b"),
	} {
		if g := send(t, s, "POST", "/v1/payment_intents", "k", payload); g.status != 400 || g.Error.Type != "idempotency_error" {
			t.Errorf("%s: %d %s", name, g.status, g.raw)
		}
	}
	if g := send(t, s, "POST", "/v1/payment_intents", "k2", body("pm_card_visa", "a")); g.status != 400 || g.Error.Type != "idempotency_error" {
		t.Errorf("the attempt under another key: %d %s", g.status, g.raw)
	}
	if books := send(t, s, "GET", "/v1/payment_intents", "", ""); len(books.Data) != 1 {
		t.Errorf("books: %s", books.raw)
	}
}

// slow starts a payment that stays in flight until the returned function is called.
func slow(t *testing.T, s *Server) (finish func() got) {
	entered, leave, out := make(chan struct{}), make(chan struct{}), make(chan got, 1)
	s.wait = func(time.Duration, <-chan struct{}) bool { close(entered); <-leave; return true }
	go func() { out <- send(t, s, "POST", "/v1/payment_intents", "k", body("pm_sandbox_slow", "a")) }()
	<-entered
	return func() got { close(leave); return <-out }
}

func TestAKeyInFlightIsAConflictAndThePaymentIsProcessing(t *testing.T) {
	s := newServer(t, Config{})
	finish := slow(t, s)
	if g := send(t, s, "POST", "/v1/payment_intents", "k", body("pm_sandbox_slow", "a")); g.status != 409 || g.Error.Code != "idempotency_key_in_use" {
		t.Errorf("in flight: %d %s", g.status, g.raw)
	}
	if g := send(t, s, "GET", "/v1/payment_intents/search?attempt=a", "", ""); g.Data[0].Status != Processing {
		t.Errorf("found %s", g.raw)
	}
	if g := finish(); g.status != 200 || g.Status != Authorised {
		t.Errorf("in the end: %d %s", g.status, g.raw)
	}
}

func TestAPaymentCancelledInFlightIsNotAuthorisedAfterAll(t *testing.T) {
	s := newServer(t, Config{})
	finish := slow(t, s)
	if g := send(t, s, "POST", "/v1/attempts/a/cancel", "", ""); g.status != 200 || g.Status != Cancelled {
		t.Errorf("cancel: %d %s", g.status, g.raw)
	}
	if g := finish(); g.status != 400 || g.Error.PaymentIntent == nil || g.Error.PaymentIntent.Status != Cancelled {
		t.Errorf("in the end: %d %s", g.status, g.raw)
	}
}

func TestCancellingAnAttemptNeverSeenBarsALateAuthorisation(t *testing.T) {
	for name, late := range map[string]string{"by its name": body("pm_card_visa", "a"), "by its key": body("pm_card_visa", "b")} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, Config{})
			for range 2 {
				if g := send(t, s, "POST", "/v1/attempts/a/cancel", "", ""); g.status != 200 || g.Status != Cancelled || g.Amount != 0 {
					t.Fatalf("cancel: %d %s", g.status, g.raw)
				}
			}
			if g := send(t, s, "POST", "/v1/payment_intents", "a", late); g.status != 400 || g.Error.PaymentIntent == nil || g.Error.PaymentIntent.Status != Cancelled {
				t.Fatalf("late: %d %s", g.status, g.raw)
			}
			if books := send(t, s, "GET", "/v1/payment_intents", "", ""); len(books.Data) != 1 {
				t.Fatalf("books: %s", books.raw)
			}
		})
	}
}

func TestMovesAreRepeatableAndKeepToTheirOrder(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		acts   []string
		status []int
		ends   Status
	}{
		"capture twice":              {"pm_card_visa", []string{"capture", "capture"}, []int{200, 200}, Captured},
		"cancel twice":               {"pm_card_visa", []string{"cancel", "cancel"}, []int{200, 200}, Cancelled},
		"captured is not cancelled":  {"pm_card_visa", []string{"capture", "cancel"}, []int{200, 400}, Captured},
		"cancelled is not captured":  {"pm_card_visa", []string{"cancel", "capture"}, []int{200, 400}, Cancelled},
		"refund twice":               {"pm_card_visa", []string{"capture", "refund", "refund"}, []int{200, 200, 200}, Captured},
		"authorised is not refunded": {"pm_card_visa", []string{"refund"}, []int{400}, Authorised},
		"declined is not captured":   {"pm_card_chargeDeclined", []string{"capture"}, []int{400}, Declined},
		"declined stays declined":    {"pm_card_chargeDeclined", []string{"cancel"}, []int{200}, Declined},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, Config{})
			send(t, s, "POST", "/v1/payment_intents", "k", body(c.method, "a"))
			id := send(t, s, "GET", "/v1/payment_intents", "", "").Data[0].ID
			for i, act := range c.acts {
				if g := send(t, s, "POST", "/v1/payment_intents/"+id+"/"+act, "", ""); g.status != c.status[i] {
					t.Fatalf("%s: %d %s", act, g.status, g.raw)
				}
			}
			g := send(t, s, "GET", "/v1/payment_intents/"+id, "", "")
			if g.Status != c.ends || g.Refunded != strings.HasPrefix(name, "refund") {
				t.Fatalf("ends as %s", g.raw)
			}
		})
	}
	s := newServer(t, Config{})
	if g := send(t, s, "POST", "/v1/payment_intents/pi_none/capture", "", ""); g.status != 404 || g.Error.Code != "resource_missing" {
		t.Fatalf("capture of nothing: %d %s", g.status, g.raw)
	}
	if g := send(t, s, "PUT", "/v1/elsewhere", "", ""); g.status != 404 {
		t.Fatalf("elsewhere: %d %s", g.status, g.raw)
	}
}

func TestAProcessingPaymentIsAuthorisedWhenItsTimeIsOver(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := newServer(t, Config{ProcessingFor: 5 * time.Second, Now: func() time.Time { return now }})
	id := send(t, s, "POST", "/v1/payment_intents", "k", body("pm_sandbox_processing", "a")).ID
	now = now.Add(4 * time.Second)
	if g := send(t, s, "GET", "/v1/payment_intents/"+id, "", ""); g.Status != Processing {
		t.Fatalf("before: %s", g.raw)
	}
	now = now.Add(time.Second)
	if g := send(t, s, "POST", "/v1/payment_intents/"+id+"/capture", "", ""); g.Status != Captured {
		t.Fatalf("after: %s", g.raw)
	}
}

func TestTheBooksArePagedInOrder(t *testing.T) {
	s := newServer(t, Config{})
	for i := range 7 {
		send(t, s, "POST", "/v1/payment_intents", fmt.Sprint("k", i), body("pm_card_visa", fmt.Sprint("a", i)))
	}
	var seen []string
	for after := ""; ; {
		g := send(t, s, "GET", "/v1/payment_intents?limit=3&starting_after="+after, "", "")
		for _, in := range g.Data {
			seen = append(seen, in.Attempt())
			after = in.ID
		}
		if !g.More {
			break
		}
	}
	if strings.Join(seen, " ") != "a0 a1 a2 a3 a4 a5 a6" {
		t.Fatalf("seen %v", seen)
	}
	for _, q := range []string{"limit=0", "limit=1001", "limit=x", "starting_after=pi_none"} {
		if g := send(t, s, "GET", "/v1/payment_intents?"+q, "", ""); g.status != 400 {
			t.Errorf("%s: %d", q, g.status)
		}
	}
}

func TestTheJournalBringsEverythingBackAfterAKill(t *testing.T) {
	file := filepath.Join(t.TempDir(), "books.jsonl")
	s := newServer(t, Config{DataFile: file})
	first := send(t, s, "POST", "/v1/payment_intents", "k", body("pm_card_visa", "a"))
	send(t, s, "POST", "/v1/payment_intents/"+first.ID+"/capture", "", "")
	send(t, s, "POST", "/v1/payment_intents", "k2", body("pm_card_chargeDeclined", "b"))
	send(t, s, "POST", "/v1/attempts/c/cancel", "", "")
	before := send(t, s, "GET", "/v1/payment_intents", "", "")

	// No Close: a killed process leaves what it wrote, and half a line.
	torn, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := torn.WriteString(`{"intent":{"id":"pi_sand`); err != nil {
		t.Fatal(err)
	}
	_ = torn.Close()

	for round := range 2 { // the second reads what the first wrote behind the cut
		s = newServer(t, Config{DataFile: file})
		if after := send(t, s, "GET", "/v1/payment_intents?limit=3", "", ""); strings.Replace(after.raw, `"has_more":true`, `"has_more":false`, 1) != before.raw {
			t.Fatalf("round %d\nbefore %s\nafter  %s", round, before.raw, after.raw)
		}
		if again := send(t, s, "POST", "/v1/payment_intents", "k", body("pm_card_visa", "a")); again.raw != first.raw {
			t.Fatalf("the key has forgotten its answer: %s", again.raw)
		}
		if g := send(t, s, "POST", "/v1/payment_intents", "c", body("pm_card_visa", "c")); g.status != 400 {
			t.Fatalf("the tombstone is gone: %s", g.raw)
		}
		if g := send(t, s, "POST", "/v1/payment_intents", "k3", body("pm_card_visa", "d")); g.status != 200 || g.ID == first.ID {
			t.Fatalf("a new one: %s", g.raw)
		}
		_ = s.Close()
	}
}

func TestAPaymentInFlightAtAKillIsProcessingAfterIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "books.jsonl")
	s := newServer(t, Config{DataFile: file})
	finish := slow(t, s)
	killed := newServer(t, Config{DataFile: file})
	if g := send(t, killed, "POST", "/v1/payment_intents", "k", body("pm_sandbox_slow", "a")); g.status != 200 || g.Status != Processing {
		t.Errorf("the same key: %d %s", g.status, g.raw)
	}
	finish()
}

func TestABrokenJournalIsRefusedWithItsLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "books.jsonl")
	if err := os.WriteFile(file, []byte("{\"intent\":{\"id\":\"pi_1\"}}\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{DataFile: file}); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Fatalf("err %v", err)
	}
}
