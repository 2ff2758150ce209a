package sandbox

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"
)

const hookSecret = "whsec_test"

// inbox is an endpoint that keeps what it is sent and believes what is signed.
type inbox struct {
	url    string
	mu     sync.Mutex
	events []stripe.Event // believed
	bodies []string       // all
	bad    []error
	fail   int // this many deliveries are answered 500
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	in := &inbox{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		in.mu.Lock()
		defer in.mu.Unlock()
		in.bodies = append(in.bodies, string(b))
		if in.fail > 0 {
			in.fail--
			w.WriteHeader(500)
			return
		}
		// Stripe's own library is the judge of signature, age and version.
		e, err := webhook.ConstructEvent(b, r.Header.Get("Stripe-Signature"), hookSecret)
		if err != nil {
			in.bad = append(in.bad, err)
			w.WriteHeader(400)
			return
		}
		in.events = append(in.events, e)
	}))
	t.Cleanup(srv.Close)
	in.url = srv.URL
	return in
}

func (in *inbox) types() (out []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, e := range in.events {
		out = append(out, strings.TrimPrefix(string(e.Type), "payment_intent."))
	}
	return out
}

// until polls a condition, with a deadline.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// quiet waits until every delivery is over.
func quiet(t testing.TB, s *Server) []Delivery {
	t.Helper()
	until(t, "deliveries", func() bool {
		return !slices.ContainsFunc(s.Deliveries(), func(d Delivery) bool { return d.Status == "pending" })
	})
	return s.Deliveries()
}

func hooked(t *testing.T, in *inbox) *Server {
	t.Helper()
	return newServer(t, Config{Webhooks: []Webhook{{URL: in.url, Secret: hookSecret}}, WebhookRetry: time.Millisecond, ProcessingFor: 20 * time.Millisecond})
}

func TestEveryStepOfAPaymentIsToldOnceInTheWordsOfStripe(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		acts   []string
		want   []string
	}{
		"paid and refunded": {"pm_card_visa", []string{"capture", "capture", "refund", "refund"}, []string{"amount_capturable_updated", "succeeded", "charge.refunded"}},
		"voided":            {"pm_card_visa", []string{"cancel", "cancel"}, []string{"amount_capturable_updated", "canceled"}},
		"declined":          {"pm_card_chargeDeclined", nil, []string{"payment_failed"}},
		"needs action":      {"pm_card_authenticationRequired", []string{"complete"}, []string{"requires_action", "amount_capturable_updated"}},
		"fails the action":  {"pm_card_authenticationRequired", []string{"fail"}, []string{"requires_action", "payment_failed"}},
		"processing":        {"pm_sandbox_processing", nil, []string{"processing", "amount_capturable_updated"}}, // by itself
	} {
		t.Run(name, func(t *testing.T) {
			in := newInbox(t)
			s := hooked(t, in)
			send(t, s, "POST", "/v1/payment_intents", "a", body(c.method, "a"))
			id := send(t, s, "GET", "/v1/payment_intents", "", "").Data[0].ID
			for _, act := range c.acts {
				path := "/v1/payment_intents/" + id + "/" + act
				if act == "complete" || act == "fail" {
					path = "/3ds/" + id + "/" + act
				}
				s.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", path, nil))
			}
			until(t, "events", func() bool { return len(in.types()) == len(c.want) })
			quiet(t, s)
			got := in.types()
			slices.Sort(got) // no order is promised
			slices.Sort(c.want)
			if !slices.Equal(got, c.want) || len(in.bad) > 0 {
				t.Fatalf("got %v, refused %v", got, in.bad)
			}
		})
	}
}

func TestAnEventHasTheShapeOfStripes(t *testing.T) {
	if APIVersion != stripe.APIVersion {
		t.Fatalf("the sandbox speaks %s, stripe-go %s", APIVersion, stripe.APIVersion)
	}
	in := newInbox(t)
	s := hooked(t, in)
	id := pay(t, s, "a").ID
	quiet(t, s)
	e := in.events[0]
	var pi stripe.PaymentIntent
	if err := json.Unmarshal(e.Data.Raw, &pi); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(e.ID, "evt_") || e.Object != "event" || e.Created == 0 || e.Livemode || pi.ID != id || pi.AmountCapturable != 4999 || pi.Metadata["attempt"] != "a" || pi.Status != stripe.PaymentIntentStatusRequiresCapture {
		t.Fatalf("%s", in.bodies[0])
	}
	send(t, s, "POST", "/v1/payment_intents/"+id+"/capture", "", "")
	send(t, s, "POST", "/v1/payment_intents/"+id+"/refund", "", "")
	quiet(t, s)
	i := slices.IndexFunc(in.events, func(e stripe.Event) bool { return e.Type == "charge.refunded" })
	var ch stripe.Charge
	if err := json.Unmarshal(in.events[i].Data.Raw, &ch); err != nil || ch.PaymentIntent.ID != id || !ch.Refunded || ch.AmountRefunded != 4999 || ch.Metadata["attempt"] != "a" {
		t.Fatalf("%+v, %v", ch, err)
	}
}

func TestAWebhookIsRepeatedUntilItIsTaken(t *testing.T) {
	in := newInbox(t)
	in.fail = 3
	s := hooked(t, in)
	pay(t, s, "a")
	list := quiet(t, s)
	if len(list) != 1 || list[0].Status != "delivered" || list[0].Tries != 4 || list[0].Code != 200 || list[0].Attempt != "a" {
		t.Fatalf("%+v", list)
	}
	if n := len(in.bodies); n != 4 || in.bodies[0] != in.bodies[3] {
		t.Fatalf("%d deliveries, and a repeated one must be the same event", n)
	}
}

func TestAWebhookThatIsNeverTakenIsGivenUp(t *testing.T) {
	in := newInbox(t)
	in.fail = 1000
	s := newServer(t, Config{Webhooks: []Webhook{{URL: in.url, Secret: hookSecret}}, WebhookRetry: time.Nanosecond})
	pay(t, s, "a")
	if list := quiet(t, s); list[0].Status != "failed" || list[0].Tries != hookTries || list[0].Code != 500 {
		t.Fatalf("%+v", list)
	}
	if err := s.hooks.add(Webhook{URL: "http://127.0.0.1:1", Secret: "x"}); err != nil {
		t.Fatal(err)
	}
	s.hooks.remove(in.url)
	pay(t, s, "b")
	if list := quiet(t, s); list[1].Error == "" || list[1].Status != "failed" {
		t.Fatalf("nobody listens there: %+v", list)
	}
}

func TestWebhooksMisbehaveOnRequest(t *testing.T) {
	for fault, c := range map[string]struct {
		believed int      // events
		refused  int      // deliveries
		statuses []string // of the deliveries, in the order of their numbers
	}{
		"duplicate": {2, 0, []string{"delivered", "delivered"}},
		"forged":    {1, 1, []string{"refused", "delivered"}},
		"stale":     {1, 1, []string{"refused", "delivered"}},
		"dropped":   {0, 0, []string{"dropped"}},
		"late":      {1, 0, []string{"delivered"}},
	} {
		t.Run(fault, func(t *testing.T) {
			in := newInbox(t)
			s := hooked(t, in)
			control(t, s, "/next", `{"op":"webhook","fault":"`+fault+`","delay_ms":30}`)
			began := time.Now()
			pay(t, s, "a")
			list := quiet(t, s)
			var statuses []string
			for _, d := range list {
				statuses = append(statuses, d.Status)
			}
			if len(in.events) != c.believed || len(in.bad) != c.refused || !slices.Equal(statuses, c.statuses) {
				t.Fatalf("believed %d, refused %v, %v", len(in.events), in.bad, statuses)
			}
			if fault == "duplicate" && in.events[0].ID != in.events[1].ID {
				t.Fatal("a duplicate has the id of what it repeats")
			}
			if fault == "late" && time.Since(began) < 30*time.Millisecond {
				t.Fatal("it was not late")
			}
			if fault == "stale" && !errors.Is(in.bad[0], webhook.ErrTooOld) {
				t.Fatal(in.bad)
			}
		})
	}
}

func TestAnEventOutOfOrderComesAfterALaterOne(t *testing.T) {
	in := newInbox(t)
	s := hooked(t, in)
	control(t, s, "/next", `{"op":"webhook","fault":"out_of_order","type":"payment_intent.amount_capturable_updated","delay_ms":60000}`)
	id := pay(t, s, "a").ID
	send(t, s, "POST", "/v1/payment_intents/"+id+"/capture", "", "")
	quiet(t, s)
	if got := in.types(); !slices.Equal(got, []string{"succeeded", "amount_capturable_updated"}) {
		t.Fatal(got)
	}
}

func TestWebhookRatesAreKept(t *testing.T) {
	in := newInbox(t)
	s := hooked(t, in)
	control(t, s, "", `{"webhook_duplicate_rate":0.5,"webhook_dropped_rate":0.5,"seed":3}`)
	for i := range 60 {
		pay(t, s, string(rune('A'+i)))
	}
	dropped, doubled := 0, 0
	for _, d := range quiet(t, s) {
		switch d.Fault {
		case Dropped:
			dropped++
		case Duplicate:
			doubled++
		default:
			t.Fatalf("%+v", d)
		}
	}
	if dropped+doubled/2 != 60 || dropped < 15 || dropped > 45 {
		t.Fatalf("%d dropped, %d doubled", dropped, doubled)
	}
}

func TestEndpointsAreAddedListedAndRemoved(t *testing.T) {
	in := newInbox(t)
	s := newServer(t, Config{WebhookRetry: time.Millisecond})
	pay(t, s, "before") // nobody listens: nothing is kept
	g := control(t, s, "/webhooks", `{"url":"`+in.url+`","secret":"`+hookSecret+`","events":["payment_intent.succeeded"]}`)
	if strings.Contains(g.raw, hookSecret) || !strings.Contains(g.raw, in.url) {
		t.Fatalf("%s", g.raw)
	}
	id := pay(t, s, "a").ID
	send(t, s, "POST", "/v1/payment_intents/"+id+"/capture", "", "")
	if list := quiet(t, s); len(list) != 1 || list[0].Type != "payment_intent.succeeded" {
		t.Fatalf("%+v", list)
	}
	g = send(t, s, "GET", "/control/webhooks?status=delivered&limit=5&intent="+id, "", "")
	if !strings.Contains(g.raw, `"counts":{"delivered":1}`) || !strings.Contains(g.raw, `"tries":1`) {
		t.Fatalf("%s", g.raw)
	}
	g = control(t, s, "/webhooks/send", `{"intent":"a"}`)
	if !strings.Contains(g.raw, `"event":"evt_`) {
		t.Fatal(g.raw)
	}
	control(t, s, "/webhooks/send", `{"intent":"`+id+`","type":"payment_intent.succeeded","fault":"forged"}`)
	if list := quiet(t, s); len(list) != 4 || list[2].Status != "refused" {
		t.Fatalf("%+v", list)
	}
	for _, bad := range []string{`{"intent":"nobody"}`, `{"intent":"a","fault":"error"}`, `{"url":1}`} {
		if g := send(t, s, "POST", "/control/webhooks/send", "", bad); g.status < 400 {
			t.Errorf("%s: %s", bad, g.raw)
		}
	}
	for _, bad := range []string{`{"url":"ftp://x","secret":"s"}`, `{"url":"http://x"}`, ``} {
		if g := send(t, s, "POST", "/control/webhooks", "", bad); g.status != 400 {
			t.Errorf("%s: %s", bad, g.raw)
		}
	}
	for _, status := range []int{200, 404} {
		if g := send(t, s, "DELETE", "/control/webhooks?url="+in.url, "", ""); g.status != status {
			t.Errorf("remove: %d", g.status)
		}
	}
	if _, err := New(Config{Webhooks: []Webhook{{URL: "x"}}}); err == nil {
		t.Error("an endpoint that is none was configured")
	}
}
