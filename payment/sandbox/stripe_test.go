package sandbox

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"
)

// stripeClient is Stripe's own client, pointed at the sandbox, as a shop would
// have it but for its retries: a test wants to see each answer.
func stripeClient(t *testing.T, s *Server) *stripe.Client {
	t.Helper()
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	tr := &http.Transport{DisableKeepAlives: true} // Go repeats a keyed request by itself when a kept connection breaks
	return stripe.NewClient("sk_test_x", stripe.WithBackends(stripe.NewBackendsWithConfig(&stripe.BackendConfig{
		URL: stripe.String(srv.URL), HTTPClient: &http.Client{Transport: tr}, MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})))
}

func manual(method, attempt string) *stripe.PaymentIntentCreateParams {
	p := &stripe.PaymentIntentCreateParams{
		Amount: stripe.Int64(4999), Currency: stripe.String("usd"), CaptureMethod: stripe.String("manual"), Confirm: stripe.Bool(true),
		PaymentMethod: stripe.String(method), ReturnURL: stripe.String("https://shop.test/back"),
		AutomaticPaymentMethods: &stripe.PaymentIntentCreateAutomaticPaymentMethodsParams{Enabled: stripe.Bool(true)},
	}
	p.AddMetadata("attempt", attempt)
	p.SetIdempotencyKey(attempt)
	return p
}

// refusedAs reads Stripe's error.
func refusedAs(t testing.TB, err error) *stripe.Error {
	t.Helper()
	var e *stripe.Error
	if !errors.As(err, &e) {
		t.Fatalf("not an error of Stripe's: %v", err)
	}
	return e
}

func TestStripesClientPaysCapturesAndRefunds(t *testing.T) {
	s := newServer(t, Config{})
	sc, ctx := stripeClient(t, s), t.Context()
	pi, err := sc.V1PaymentIntents.Create(ctx, manual("pm_card_visa", "a"))
	if err != nil || pi.Status != stripe.PaymentIntentStatusRequiresCapture || pi.AmountCapturable != 4999 || pi.Metadata["attempt"] != "a" || pi.LatestCharge == nil || pi.LastResponse.RequestID == "" {
		t.Fatalf("%+v, %v", pi, err)
	}
	if pi, err = sc.V1PaymentIntents.Retrieve(ctx, pi.ID, nil); err != nil || pi.Status != stripe.PaymentIntentStatusRequiresCapture {
		t.Fatalf("%+v, %v", pi, err)
	}
	if pi, err = sc.V1PaymentIntents.Capture(ctx, pi.ID, nil); err != nil || pi.Status != stripe.PaymentIntentStatusSucceeded || pi.AmountReceived != 4999 || pi.AmountCapturable != 0 {
		t.Fatalf("%+v, %v", pi, err)
	}
	if _, err := sc.V1PaymentIntents.Capture(ctx, pi.ID, nil); refusedAs(t, err).Code != "payment_intent_unexpected_state" || refusedAs(t, err).PaymentIntent.ID != pi.ID {
		t.Fatalf("a second capture: %v", err)
	}
	if _, err := sc.V1PaymentIntents.Cancel(ctx, pi.ID, nil); refusedAs(t, err).HTTPStatusCode != 400 {
		t.Fatalf("a late cancel: %v", err)
	}
	part, err := sc.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &pi.ID, Amount: stripe.Int64(1000), Reason: stripe.String("requested_by_customer")})
	if err != nil || part.Status != "succeeded" || part.Amount != 1000 || part.PaymentIntent.ID != pi.ID {
		t.Fatalf("%+v, %v", part, err)
	}
	rest, err := sc.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &pi.ID})
	if err != nil || rest.Amount != 3999 {
		t.Fatalf("%+v, %v", rest, err)
	}
	if _, err := sc.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: &pi.ID}); refusedAs(t, err).Code != "charge_already_refunded" {
		t.Fatalf("a third refund: %v", err)
	}
	if got, err := sc.V1Refunds.Retrieve(ctx, part.ID, nil); err != nil || got.Amount != 1000 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := sc.V1Refunds.Retrieve(ctx, part.ID+"9", nil); refusedAs(t, err).HTTPStatusCode != 404 {
		t.Fatalf("%v", err)
	}
	var ids []string
	for r, err := range sc.V1Refunds.List(ctx, &stripe.RefundListParams{PaymentIntent: &pi.ID, ListParams: stripe.ListParams{Limit: stripe.Int64(1)}}).All(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if len(ids) != 2 || ids[0] != rest.ID || ids[1] != part.ID {
		t.Fatalf("%v", ids)
	}
	get := &stripe.PaymentIntentRetrieveParams{}
	get.AddExpand("latest_charge")
	if pi, err = sc.V1PaymentIntents.Retrieve(ctx, pi.ID, get); err != nil || !pi.LatestCharge.Refunded || pi.LatestCharge.AmountRefunded != 4999 {
		t.Fatalf("%+v, %v", pi.LatestCharge, err)
	}
	if ch, err := sc.V1Charges.Retrieve(ctx, pi.LatestCharge.ID, nil); err != nil || ch.PaymentIntent.ID != pi.ID {
		t.Fatalf("%+v, %v", ch, err)
	}
	// Two faces, one book.
	if g := send(t, s, "GET", "/v1/payment_intents/"+pi.ID, "", ""); !g.Refunded || g.AmountRefunded != 4999 {
		t.Fatalf("%s", g.raw)
	}
}

func TestStripesClientIsDeclinedAndTriesAnotherCard(t *testing.T) {
	s := newServer(t, Config{})
	sc, ctx := stripeClient(t, s), t.Context()
	_, err := sc.V1PaymentIntents.Create(ctx, manual("pm_card_visa_chargeDeclinedInsufficientFunds", "a"))
	e := refusedAs(t, err)
	if e.HTTPStatusCode != 402 || e.Type != stripe.ErrorTypeCard || e.Code != stripe.ErrorCodeCardDeclined || e.DeclineCode != "insufficient_funds" || e.PaymentIntent.Status != stripe.PaymentIntentStatusRequiresPaymentMethod {
		t.Fatalf("%+v", e)
	}
	if e.PaymentIntent.LastPaymentError.DeclineCode != "insufficient_funds" || e.ChargeID == "" {
		t.Fatalf("%+v", e.PaymentIntent.LastPaymentError)
	}
	if _, err := sc.V1PaymentIntents.Confirm(ctx, e.PaymentIntent.ID, nil); refusedAs(t, err).Code != "payment_intent_unexpected_state" {
		t.Fatalf("without another card: %v", err)
	}
	pi, err := sc.V1PaymentIntents.Confirm(ctx, e.PaymentIntent.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_visa")})
	if err != nil || pi.Status != stripe.PaymentIntentStatusRequiresCapture || pi.LastPaymentError != nil {
		t.Fatalf("%+v, %v", pi, err)
	}
	if pi, err = sc.V1PaymentIntents.Cancel(ctx, pi.ID, &stripe.PaymentIntentCancelParams{CancellationReason: stripe.String("abandoned")}); err != nil || pi.Status != stripe.PaymentIntentStatusCanceled || pi.CanceledAt == 0 || pi.CancellationReason != "abandoned" {
		t.Fatalf("%+v, %v", pi, err)
	}
	if _, err := sc.V1PaymentIntents.Cancel(ctx, pi.ID, nil); refusedAs(t, err).Code != "payment_intent_unexpected_state" {
		t.Fatalf("cancelled twice: %v", err)
	}
}

func TestStripesClientIsSentToTheBank(t *testing.T) {
	s := newServer(t, Config{})
	sc, ctx := stripeClient(t, s), t.Context()
	pi, err := sc.V1PaymentIntents.Create(ctx, manual("pm_card_authenticationRequired", "a"))
	if err != nil || pi.Status != stripe.PaymentIntentStatusRequiresAction || pi.NextAction.Type != "redirect_to_url" || pi.NextAction.RedirectToURL.ReturnURL != "https://shop.test/back" {
		t.Fatalf("%+v, %v", pi, err)
	}
	r, err := http.NewRequestWithContext(ctx, "POST", pi.NextAction.RedirectToURL.URL+"/fail", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json")
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(r)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("%+v, %v", res, err)
	}
	_ = res.Body.Close()
	if pi, err = sc.V1PaymentIntents.Retrieve(ctx, pi.ID, nil); err != nil || pi.Status != stripe.PaymentIntentStatusRequiresPaymentMethod || pi.LastPaymentError.Code != "payment_intent_authentication_failure" || pi.LastPaymentError.DeclineCode != "" {
		t.Fatalf("%+v, %v", pi, err)
	}
	off := manual("pm_card_authenticationRequired", "b")
	off.OffSession = stripe.Bool(true)
	if _, err := sc.V1PaymentIntents.Create(ctx, off); refusedAs(t, err).Code != "authentication_required" {
		t.Fatalf("off session: %v", err)
	}
}

func TestStripesClientConfirmsLaterAndCapturesByItself(t *testing.T) {
	s := newServer(t, Config{})
	sc, ctx := stripeClient(t, s), t.Context()
	pi, err := sc.V1PaymentIntents.Create(ctx, &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(100), Currency: stripe.String("EUR")})
	if err != nil || pi.Status != stripe.PaymentIntentStatusRequiresPaymentMethod || pi.LastPaymentError != nil || pi.Currency != "eur" || pi.LatestCharge != nil {
		t.Fatalf("%+v, %v", pi, err)
	}
	if pi, err = sc.V1PaymentIntents.Confirm(ctx, pi.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_visa")}); err != nil || pi.Status != stripe.PaymentIntentStatusSucceeded || pi.AmountReceived != 100 {
		t.Fatalf("%+v, %v", pi, err)
	}
	if pi, err = sc.V1PaymentIntents.Create(ctx, &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(100), Currency: stripe.String("EUR"), CaptureMethod: stripe.String("manual"), PaymentMethod: stripe.String("pm_card_visa")}); err != nil || pi.Status != stripe.PaymentIntentStatusRequiresConfirmation {
		t.Fatalf("%+v, %v", pi, err)
	}
	confirm := &stripe.PaymentIntentConfirmParams{}
	confirm.SetIdempotencyKey("confirm")
	for range 2 {
		if pi, err = sc.V1PaymentIntents.Confirm(ctx, pi.ID, confirm); err != nil || pi.Status != stripe.PaymentIntentStatusRequiresCapture {
			t.Fatalf("%+v, %v", pi, err)
		}
	}
	if _, err := sc.V1PaymentIntents.Capture(ctx, pi.ID, &stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(101)}); refusedAs(t, err).Param != "amount_to_capture" {
		t.Fatalf("more than authorised: %v", err)
	}
	if pi, err = sc.V1PaymentIntents.Capture(ctx, pi.ID, &stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(60)}); err != nil || pi.AmountReceived != 60 {
		t.Fatalf("%+v, %v", pi, err)
	}
	b, err := s.Books()
	if want := (Totals{Authorised: 200, Captured: 160, Voided: 40, Captures: 2}); err != nil || b.Totals["eur"] != want {
		t.Fatalf("%+v, %v", b.Totals, err)
	}
}

func TestStripesKeysAreAnsweredOnceAndThenRepeated(t *testing.T) {
	s := newServer(t, Config{})
	sc, ctx := stripeClient(t, s), t.Context()
	first, err := sc.V1PaymentIntents.Create(ctx, manual("pm_card_visa", "a"))
	if err != nil {
		t.Fatal(err)
	}
	capture := &stripe.PaymentIntentCaptureParams{}
	capture.SetIdempotencyKey("a:capture")
	for range 2 {
		if pi, err := sc.V1PaymentIntents.Capture(ctx, first.ID, capture); err != nil || pi.Status != stripe.PaymentIntentStatusSucceeded {
			t.Fatalf("%+v, %v", pi, err)
		}
	}
	again, err := sc.V1PaymentIntents.Create(ctx, manual("pm_card_visa", "a"))
	if err != nil || again.ID != first.ID || again.Status != stripe.PaymentIntentStatusRequiresCapture || again.LastResponse.Header.Get("Idempotent-Replayed") != "true" ||
		string(again.LastResponse.RawJSON) != string(first.LastResponse.RawJSON) {
		t.Fatalf("%s, %v", again.LastResponse.RawJSON, err)
	}
	other := manual("pm_card_visa", "a")
	other.Amount = stripe.Int64(1)
	_, err = sc.V1PaymentIntents.Create(ctx, other)
	if e := refusedAs(t, err); e.HTTPStatusCode != 400 || e.Type != stripe.ErrorTypeIdempotency {
		t.Fatalf("other parameters: %+v", e)
	}
	capture.SetIdempotencyKey("a") // the key of the create
	if _, err := sc.V1PaymentIntents.Capture(ctx, first.ID, capture); refusedAs(t, err).Type != stripe.ErrorTypeIdempotency {
		t.Fatalf("another endpoint: %v", err)
	}
	for range 2 {
		if _, err := sc.V1PaymentIntents.Create(ctx, manual("pm_card_chargeDeclined", "d")); refusedAs(t, err).DeclineCode != "generic_decline" {
			t.Fatalf("a decline: %v", err)
		}
	}
	// A refusal is repeated even when it would not be given any more.
	waits, err := sc.V1PaymentIntents.Create(ctx, manual("pm_sandbox_processing", "p"))
	if err != nil {
		t.Fatal(err)
	}
	capture.SetIdempotencyKey("p:capture")
	if _, err := sc.V1PaymentIntents.Capture(ctx, waits.ID, capture); refusedAs(t, err).Code != "payment_intent_unexpected_state" {
		t.Fatalf("%v", err)
	}
	control(t, s, "/intents/"+waits.ID+"/resolve", "")
	if _, err := sc.V1PaymentIntents.Capture(ctx, waits.ID, capture); refusedAs(t, err).Code != "payment_intent_unexpected_state" {
		t.Fatalf("%v", err)
	}
	// One attempt, two keys, two payments: the double charge that a client can make at Stripe.
	twice := manual("pm_card_visa", "a")
	twice.SetIdempotencyKey("another")
	second, err := sc.V1PaymentIntents.Create(ctx, twice)
	if err != nil || second.ID == first.ID {
		t.Fatalf("%+v, %v", second, err)
	}
	if _, err := sc.V1PaymentIntents.Capture(ctx, second.ID, nil); err != nil {
		t.Fatal(err)
	}
	if b, err := s.Books(); err != nil || len(b.Doubles) != 1 || b.Doubles[0].By != "attempt" || b.Doubles[0].Name != "a" {
		t.Fatalf("%+v, %v", b.Doubles, err)
	}
}

func TestStripesKeysSurviveARestartAndConflictInFlight(t *testing.T) {
	c := Config{DataFile: t.TempDir() + "/books.jsonl"}
	s := newServer(t, c)
	control(t, s, "", `{"latency_ms":5}`)
	entered, leave := make(chan struct{}), make(chan struct{})
	s.wait = func(time.Duration, <-chan struct{}) bool { entered <- struct{}{}; <-leave; return true }
	sc := stripeClient(t, s)
	goOn := sync.OnceFunc(func() { close(leave) })
	t.Cleanup(goOn)
	type answer struct {
		pi  *stripe.PaymentIntent
		err error
	}
	first := make(chan answer, 1)
	go func() {
		pi, err := sc.V1PaymentIntents.Create(context.Background(), manual("pm_card_visa", "a"))
		first <- answer{pi, err}
	}()
	<-entered
	_, err := sc.V1PaymentIntents.Create(t.Context(), manual("pm_card_visa", "a"))
	if e := refusedAs(t, err); e.HTTPStatusCode != 409 || e.Code != "idempotency_key_in_use" {
		t.Fatalf("%+v", e)
	}
	goOn()
	done := <-first
	if done.err != nil {
		t.Fatal(done.err)
	}
	after := stripeClient(t, newServer(t, c))
	again, err := after.V1PaymentIntents.Create(t.Context(), manual("pm_card_visa", "a"))
	if err != nil || string(again.LastResponse.RawJSON) != string(done.pi.LastResponse.RawJSON) {
		t.Fatalf("after a restart: %+v, %v", again, err)
	}
}
