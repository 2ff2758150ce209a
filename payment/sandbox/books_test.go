package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheBooksAddUp(t *testing.T) {
	s := newServer(t, Config{})
	id := map[string]string{}
	for name, method := range map[string]string{"captured": "pm_card_visa", "refunded": "pm_card_visa", "voided": "pm_card_visa", "open": "pm_card_visa", "declined": "pm_card_chargeDeclined", "waits": "pm_card_authenticationRequired"} {
		payload := strings.Replace(body(method, name), "rsv_1", name, 1)
		g := send(t, s, "POST", "/v1/payment_intents", name, payload)
		id[name] = g.ID
	}
	act := func(name string, acts ...string) {
		for _, a := range acts {
			if g := send(t, s, "POST", "/v1/payment_intents/"+id[name]+"/"+a, "", ""); g.status != 200 {
				t.Fatal(g.raw)
			}
		}
	}
	act("captured", "capture", "capture")
	act("refunded", "capture", "refund", "refund")
	act("voided", "cancel")
	send(t, s, "POST", "/v1/attempts/never-seen/cancel", "", "")

	var b Books
	g := send(t, s, "GET", "/books", "", "")
	if err := json.Unmarshal([]byte(g.raw), &b); err != nil {
		t.Fatal(err)
	}
	want := Totals{Authorised: 4 * 4999, Captured: 2 * 4999, Voided: 4999, Open: 4999, Refunded: 4999, Captures: 2, Refunds: 1}
	if b.Totals["usd"] != want || len(b.Totals) != 1 || b.Count != 7 || len(b.Intents) != 7 || len(b.Doubles) != 0 {
		t.Fatalf("%s", g.raw)
	}
	if b.States[Captured] != 2 || b.States[Cancelled] != 2 || b.States[Declined] != 1 || b.States[NeedsAction] != 1 || b.States[Authorised] != 1 {
		t.Fatalf("%v", b.States)
	}
	if g := send(t, s, "GET", "/books?intents=false", "", ""); strings.Contains(g.raw, "pi_sandbox") {
		t.Fatal(g.raw)
	}
}

func TestTwoCapturesForOneReservationShowAsADouble(t *testing.T) {
	s := newServer(t, Config{})
	for _, key := range []string{"a", "b"} { // body gives both the reservation rsv_1
		send(t, s, "POST", "/v1/payment_intents/"+pay(t, s, key).ID+"/capture", "", "")
	}
	b, err := s.Books()
	if err != nil || len(b.Doubles) != 1 {
		t.Fatalf("%+v, %v", b.Doubles, err)
	}
	if d := b.Doubles[0]; d.By != "reservation" || d.Name != "rsv_1" || len(d.Intents) != 2 || d.Captured != 2*4999 {
		t.Fatalf("%+v", d)
	}
}

func TestAnIntentIsWrittenAsEncodingJSONWould(t *testing.T) {
	odd := "é\"\\<>&\u2028\n\x00\xff"
	for name, in := range map[string]*Intent{
		"empty": {},
		"plain": {ID: "pi_1", Object: "payment_intent", Amount: 1, Status: Authorised, Metadata: map[string]string{"b": "2", "a": "1", "c": ""}},
		"full": {ID: odd, Object: odd, Amount: -1, AmountAuthorised: 2, AmountReceived: 3, AmountRefunded: 4, Refunded: true, Currency: odd, Status: Status(odd), PaymentMethod: odd,
			CaptureMethod: odd, Metadata: map[string]string{odd: odd, "1": "", "2": "", "3": "", "4": "", "5": "", "6": "", "7": "", "8": "", "9": ""}, Created: 5, CanceledAt: 6,
			CancellationReason: odd, LastPaymentError: declined("lost_card"), NextAction: &NextAction{Type: odd, Redirect: Redirect{URL: odd, ReturnURL: odd}}, ReturnURL: odd,
			Refunds: []Refund{{ID: odd, Amount: 7, Metadata: map[string]string{"x": odd}}}, SettlesAt: 8, ThenDeclines: odd},
	} {
		want, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if b := appendIntent(nil, in); !bytes.Equal(b, want) {
			t.Errorf("%s\nby hand %s\n   json %s", name, b, want)
		}
	}
}

func TestAKeyIsForgottenAfterADayAndWhenThereAreTooMany(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := newServer(t, Config{Now: func() time.Time { return now }, MaxKeys: 3})
	first := pay(t, s, "k")
	now = now.Add(24 * time.Hour)
	if g := pay(t, s, "k"); g.raw != first.raw {
		t.Fatalf("within a day: %s", g.raw)
	}
	now = now.Add(time.Second)
	// The key is gone, the attempt is not: it never has two payments here.
	if g := pay(t, s, "k"); g.status != 400 || g.Error.Type != "idempotency_error" {
		t.Fatalf("after a day: %d %s", g.status, g.raw)
	}
	for i := range 10 {
		pay(t, s, fmt.Sprint("n", i))
	}
	if n := len(s.keys.known); n != 3 || len(s.keys.queue) != 3 {
		t.Fatalf("%d keys are remembered", n)
	}
	if g := pay(t, s, "n9"); g.header.Get("Idempotent-Replayed") != "true" {
		t.Fatalf("the last one: %s", g.raw)
	}
}

func TestTheSameKeyTwiceAtOnceIsAConflictWhileTheFirstIsUnderWay(t *testing.T) {
	s := newServer(t, Config{})
	control(t, s, "", `{"latency_ms":10}`)
	entered, leave, out := make(chan struct{}), make(chan struct{}), make(chan got, 1)
	s.wait = func(time.Duration, <-chan struct{}) bool { entered <- struct{}{}; <-leave; return true }
	go func() { out <- pay(t, s, "k") }()
	<-entered
	if g := pay(t, s, "k"); g.status != 409 || g.Error.Code != "idempotency_key_in_use" {
		t.Errorf("%d %s", g.status, g.raw)
	}
	close(leave)
	first := <-out
	go func() { <-entered }()
	if g := pay(t, s, "k"); g.raw != first.raw || first.status != 200 {
		t.Errorf("afterwards: %s", g.raw)
	}
}

func TestTheJournalKeepsTheNewStatesToo(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	c := Config{DataFile: filepath.Join(t.TempDir(), "books.jsonl"), Now: func() time.Time { return now }}
	s := newServer(t, c)
	waits := send(t, s, "POST", "/v1/payment_intents", "w", body("pm_card_authenticationRequired", "w"))
	send(t, s, "POST", "/v1/payment_intents", "p", body("pm_sandbox_processing", "p"))
	send(t, s, "POST", "/v1/payment_intents", "d", body("pm_sandbox_processingDeclined", "d"))
	refunded := pay(t, s, "r").ID
	send(t, s, "POST", "/v1/payment_intents/"+refunded+"/capture", "", "")
	send(t, s, "POST", "/v1/payment_intents/"+refunded+"/refund", "", "")
	before := send(t, s, "GET", "/books", "", "").raw

	killed := newServer(t, c) // the first is not closed: a killed process does not close either
	if after := send(t, killed, "GET", "/books", "", "").raw; after != before {
		t.Fatalf("before %s\nafter  %s", before, after)
	}
	if g := send(t, killed, "POST", "/v1/payment_intents", "w", body("pm_card_authenticationRequired", "w")); g.raw != waits.raw {
		t.Fatalf("the key has forgotten: %s", g.raw)
	}
	now = now.Add(5 * time.Second)
	if found(t, killed, "p") != Authorised || found(t, killed, "d") != Declined {
		t.Fatalf("processing ended as %s and %s", found(t, killed, "p"), found(t, killed, "d"))
	}
	if g := send(t, killed, "POST", "/control/intents/w/resolve", "", ""); g.Status != Authorised {
		t.Fatal(g.raw)
	}
}

func TestAJournalOfTheFirstKindIsStillRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "books.jsonl")
	in := `{"id":"pi_sandbox_00000001","object":"payment_intent","amount":4999,"amount_received":0,"amount_refunded":0,"refunded":false,"currency":"usd","status":"requires_capture","payment_method":"pm_card_visa","capture_method":"manual","metadata":{"attempt":"a"},"created":1800000000}`
	if err := os.WriteFile(file, []byte(`{"intent":`+in+`,"key":"a","print":"000102030405060708090a0b0c0d0e0f","answer":{"status":200,"body":`+in+"}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, Config{DataFile: file, Now: func() time.Time { return time.Unix(1_800_000_001, 0) }})
	if found(t, s, "a") != Authorised || !s.keys.known["a"].done {
		t.Fatalf("%q, %+v", found(t, s, "a"), s.keys.known)
	}
	if g := pay(t, s, "b"); !strings.HasSuffix(g.ID, "_00000002") {
		t.Fatal(g.ID)
	}
}

func TestASandboxThatForgotItsBooksGivesNoPaymentAnOldName(t *testing.T) {
	if a, b := pay(t, newServer(t, Config{}), "a").ID, pay(t, newServer(t, Config{}), "a").ID; a == b {
		t.Fatalf("%s and %s", a, b)
	}
}

func TestTheBuyerCompletesOrFailsTheActionOnThePage(t *testing.T) {
	with := func(method, back string) string {
		return strings.Replace(body(method, "a"), `"amount"`, fmt.Sprintf(`"return_url":%q,"amount"`, back), 1)
	}
	for name, c := range map[string]struct {
		method, button string
		ends           Status
		redirect       string
		decline        string
	}{
		"complete": {"pm_card_authenticationRequired", "complete", Authorised, "succeeded", ""},
		"fail":     {"pm_card_authenticationRequired", "fail", Declined, "failed", "authentication_failed"},
		"no money": {"pm_card_authenticationRequiredChargeDeclinedInsufficientFunds", "complete", Declined, "failed", "insufficient_funds"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, Config{PublicURL: "http://bank.test/"})
			g := send(t, s, "POST", "/v1/payment_intents", "a", with(c.method, "https://shop.test/done?o=1"))
			if g.Status != NeedsAction || g.NextAction == nil || g.NextAction.Redirect.URL != "http://bank.test/3ds/"+g.ID || g.NextAction.Redirect.ReturnURL != "https://shop.test/done?o=1" {
				t.Fatalf("%s", g.raw)
			}
			page := httptest.NewRecorder()
			s.Handler().ServeHTTP(page, httptest.NewRequest("GET", "/3ds/"+g.ID, nil))
			form := fmt.Sprintf(`<form method="post" action="/3ds/%s/%s">`, g.ID, c.button)
			if page.Code != 200 || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") || !strings.Contains(page.Body.String(), form) {
				t.Fatalf("%d %s", page.Code, page.Body)
			}
			press := httptest.NewRecorder()
			s.Handler().ServeHTTP(press, httptest.NewRequest("POST", "/3ds/"+g.ID+"/"+c.button, nil))
			to := press.Header().Get("Location")
			if press.Code != 303 || !strings.HasPrefix(to, "https://shop.test/done?o=1&payment_intent="+g.ID) || !strings.HasSuffix(to, "redirect_status="+c.redirect) {
				t.Fatalf("%d to %s", press.Code, to)
			}
			now := send(t, s, "GET", "/v1/payment_intents/"+g.ID, "", "")
			if now.Status != c.ends || now.NextAction != nil || c.decline != "" && now.LastPaymentError.DeclineCode != c.decline {
				t.Fatalf("%s", now.raw)
			}
			again := httptest.NewRecorder() // the back button
			s.Handler().ServeHTTP(again, httptest.NewRequest("POST", "/3ds/"+g.ID+"/fail", nil))
			if again.Code != 200 || strings.Contains(again.Body.String(), "<form") || found(t, s, "a") != c.ends {
				t.Fatalf("again: %d %s, now %s", again.Code, again.Body, found(t, s, "a"))
			}
		})
	}
}

func TestThePageHasAWayForPrograms(t *testing.T) {
	s := newServer(t, Config{})
	id := send(t, s, "POST", "/v1/payment_intents", "a", body("pm_card_authenticationRequired", "a")).ID
	press := func(path string) (int, string) {
		r := httptest.NewRequest("POST", path, nil)
		r.Header.Set("Accept", "application/json")
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	if status, text := press("/3ds/" + id + "/shrug"); status != 404 {
		t.Fatalf("%d %s", status, text)
	}
	if status, text := press("/3ds/pi_none/complete"); status != 404 {
		t.Fatalf("%d %s", status, text)
	}
	if status, text := press("/3ds/" + id + "/complete"); status != 200 || !strings.Contains(text, `"requires_capture"`) {
		t.Fatalf("%d %s", status, text)
	}
	if status, text := press("/3ds/" + id + "/complete"); status != 400 || !strings.Contains(text, "payment_intent_unexpected_state") {
		t.Fatalf("twice: %d %s", status, text)
	}
	bad := strings.Replace(body("pm_card_authenticationRequired", "b"), `"amount"`, `"return_url":"javascript:alert(1)","amount"`, 1)
	if g := send(t, s, "POST", "/v1/payment_intents", "b", bad); g.status != 400 || g.Error.Param != "return_url" {
		t.Fatalf("%s", g.raw)
	}
}

func TestAnActionThatIsCancelledFirstCannotBeCompleted(t *testing.T) {
	s := newServer(t, Config{})
	id := send(t, s, "POST", "/v1/payment_intents", "a", body("pm_card_authenticationRequired", "a")).ID
	if g := send(t, s, "POST", "/v1/attempts/a/cancel", "", ""); g.Status != Cancelled || g.NextAction != nil {
		t.Fatal(g.raw)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest("POST", "/3ds/"+id+"/complete", nil))
	if found(t, s, "a") != Cancelled {
		t.Fatal(found(t, s, "a"))
	}
}

func TestWhatIsProcessingIsResolvedByHand(t *testing.T) {
	s := newServer(t, Config{ProcessingFor: -1})
	for name, c := range map[string]struct {
		method, payload string
		ends            Status
		decline         string
	}{
		"approved":             {"pm_sandbox_processing", `{"outcome":"approved"}`, Authorised, ""},
		"declined":             {"pm_sandbox_processing", `{"outcome":"declined"}`, Declined, "generic_decline"},
		"declined-with":        {"pm_sandbox_processing", `{"outcome":"declined","decline_code":"lost_card"}`, Declined, "lost_card"},
		"as-the-card-would":    {"pm_sandbox_processingDeclined", ``, Declined, "generic_decline"},
		"an-action":            {"pm_card_authenticationRequired", `{}`, Authorised, ""},
		"an-action-that-fails": {"pm_card_authenticationRequired", `{"outcome":"declined"}`, Declined, "authentication_failed"},
	} {
		send(t, s, "POST", "/v1/payment_intents", name, body(c.method, name))
		g := send(t, s, "POST", "/control/intents/"+name+"/resolve", "", c.payload)
		if g.status != 200 || g.Status != c.ends || c.decline != "" && g.LastPaymentError.DeclineCode != c.decline {
			t.Errorf("%s: %d %s", name, g.status, g.raw)
		}
	}
	for path, status := range map[string]int{"/control/intents/approved/resolve": 400, "/control/intents/none/resolve": 404} {
		if g := send(t, s, "POST", path, "", ""); g.status != status {
			t.Errorf("%s: %d", path, g.status)
		}
	}
	if g := send(t, s, "POST", "/control/intents/approved/resolve", "", `{"outcome":"maybe"}`); g.status != 400 {
		t.Errorf("maybe: %d", g.status)
	}
}
