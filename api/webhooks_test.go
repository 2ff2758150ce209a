package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

func hashOf(body string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(body))) }

// hooks is a provider called shop that signs by a plain hash.
type hooks struct {
	kept []engine.ProviderEvent
	fail error
}

func (h *hooks) Event(provider string, body []byte, header func(string) string) (engine.ProviderEvent, error) {
	switch {
	case provider != "shop":
		return engine.ProviderEvent{}, engine.E(engine.CodeNotFound, "no provider %q", provider)
	case header("Shop-Signature") != hashOf(string(body)):
		return engine.ProviderEvent{}, engine.E(engine.CodeInvalidRequest, "the signature is not ours")
	}
	return engine.ProviderEvent{Provider: provider, ID: string(body)}, nil
}

func (h *hooks) Keep(_ context.Context, ev engine.ProviderEvent) (bool, error) {
	if h.fail != nil {
		return false, h.fail
	}
	again := len(h.kept) > 0
	h.kept = append(h.kept, ev)
	return again, nil
}

func TestAWebhookIsVerifiedByItsRawBodyAndKept(t *testing.T) {
	h := &hooks{}
	d := open(t, &fake{}, func(o *Options) { o.Webhooks = h })
	nobody := func(signature string) header {
		return header{"Authorization": "", "Idempotency-Key": "", "Content-Type": "", "Shop-Signature": signature}
	}
	const body = "{ \"id\" :\n 1}" // as it was sent, to the byte
	d.do("POST", "/v1/webhooks/shop", body, nobody("")).expect(t, 400, engine.CodeInvalidRequest)
	d.do("POST", "/v1/webhooks/shop", body+" ", nobody(hashOf(body))).expect(t, 400, engine.CodeInvalidRequest)
	d.do("POST", "/v1/webhooks/other", body, nobody(hashOf(body))).expect(t, 404, engine.CodeNotFound)
	d.do("GET", "/v1/webhooks/shop", "", nil).expect(t, 405, engine.CodeMethodNotAllowed)
	if len(h.kept) != 0 {
		t.Fatalf("kept %v", h.kept)
	}
	signed := header{"Authorization": "", "Idempotency-Key": "", "Content-Type": "application/json; charset=utf-8", "Shop-Signature": hashOf("x")}
	for _, replayed := range []string{"", "true"} {
		a := d.do("POST", "/v1/webhooks/shop", "x", signed)
		a.expect(t, 200, "")
		if a.header.Get("Idempotency-Replayed") != replayed || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", a.header)
		}
	}
	if len(h.kept) != 2 || h.kept[0].ID != "x" || h.kept[0].Provider != "shop" {
		t.Errorf("kept %v", h.kept)
	}
	large := strings.Repeat("x", 40<<10) // more than a buyer may send
	d.do("POST", "/v1/webhooks/shop", large, nobody(hashOf(large))).expect(t, 200, "")
}

func TestAWebhookThatCannotBeKeptIsAskedForAgain(t *testing.T) {
	h := &hooks{fail: engine.Wrap(errors.New("row 7"), engine.CodeUnavailable, "the record cannot be reached")}
	d := open(t, &fake{}, func(o *Options) { o.Webhooks = h })
	d.do("POST", "/v1/webhooks/shop", "x", header{"Authorization": "", "Shop-Signature": hashOf("x")}).expect(t, 503, engine.CodeUnavailable)
	none := open(t, &fake{})
	none.do("POST", "/v1/webhooks/shop", "x", header{"Authorization": "", "Shop-Signature": hashOf("x")}).expect(t, 404, engine.CodeNotFound)
}

func TestACheckoutThatNeedsTheBuyerSaysWhereAndUntilWhen(t *testing.T) {
	act := engine.NextAction{Type: "redirect_to_url", URL: "https://pay.example/3ds?a=1&b=2"}
	v := held(anyBuyer)
	v.State, v.NextAction = engine.Paying, &act
	d := open(t, &fake{
		checkout: func(context.Context, engine.CheckoutRequest) (engine.CheckoutResult, error) {
			return engine.CheckoutResult{Action: &act, Reservation: v}, nil
		},
		read: func(string, engine.ReservationID) (engine.Reservation, error) { return v, nil },
	})
	a := d.do("POST", checkoutPath, visa, nil)
	a.expect(t, 200, "")
	want := `{"state":"action_required","next_action":{"type":"redirect_to_url","url":"https://pay.example/3ds?a=1&b=2"},"expires_at":"2026-11-27T09:02:00.417Z","reservation":{`
	if !strings.HasPrefix(a.text, want) || a.header.Get("Location") != reservationPath {
		t.Errorf("got  %s\nwant %s…", a.text, want)
	}
	r := d.do("GET", reservationPath, "", nil)
	r.expect(t, 200, "")
	if got, _ := r.body["next_action"].(map[string]any); got["url"] != act.URL {
		t.Errorf("the reservation shows %s", r.text)
	}
}

func TestARepeatedRefusalOfACheckoutSaysThatItIs(t *testing.T) {
	for _, replayed := range []bool{false, true} {
		d := open(t, &fake{checkout: func(context.Context, engine.CheckoutRequest) (engine.CheckoutResult, error) {
			e := engine.E(engine.CodePaymentDeclined, "no").With("decline_code", "insufficient_funds").After(time.Second)
			e.Replayed = replayed
			return engine.CheckoutResult{}, e
		}})
		a := d.do("POST", checkoutPath, visa, nil)
		a.expect(t, 402, engine.CodePaymentDeclined)
		if got := a.header.Get("Idempotency-Replayed") == "true"; got != replayed {
			t.Errorf("replayed %v, the header says %v", replayed, got)
		}
	}
}
