package payment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"

	"github.com/flashsale-engine/flashsale/engine"
)

// exchange is one request and what is known of its answer, whatever the library
// makes of it.
type exchange struct {
	sending
	status   int // 0: no answer
	replayed bool
	wait     time.Duration // Retry-After
}

type exchangeKey struct{}

// noting writes into the exchange of a request's context, and bounds answers. It
// also puts the base URL's path before the request's: the library takes a host only.
type noting struct {
	next http.RoundTripper
	path string
}

// RoundTrip is an http.RoundTripper's.
func (n noting) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := r
	if n.path != "" {
		sent = r.Clone(r.Context())
		sent.URL.Path = n.path + r.URL.Path
		if r.URL.RawPath != "" {
			sent.URL.RawPath = n.path + r.URL.RawPath
		}
	}
	res, err := n.next.RoundTrip(sent)
	if err != nil {
		return res, err
	}
	res.Body = bounded{io.LimitReader(res.Body, maxAnswer), res.Body}
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		x.status, x.replayed = res.StatusCode, res.Header.Get("Idempotent-Replayed") == "true"
		if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 && n <= 3600 {
			x.wait = time.Duration(n) * time.Second
		}
	}
	return res, nil
}

// CloseIdleConnections is what http.Client looks for.
func (n noting) CloseIdleConnections() {
	if c, ok := n.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

type bounded struct {
	io.Reader
	io.Closer
}

// word is what Stripe itself said: a payment, a problem, or that it is done.
type word struct {
	intent   *stripe.PaymentIntent
	problem  *stripe.Error
	replayed bool
}

// id names the payment that the word is about, if it is about one.
func (w word) id() string {
	switch {
	case w.intent != nil:
		return w.intent.ID
	case w.problem != nil && w.problem.PaymentIntent != nil:
		return w.problem.PaymentIntent.ID
	}
	return ""
}

func (s *Stripe) create(ctx context.Context, p *stripe.PaymentIntentCreateParams) (word, error) {
	return s.ask(ctx, func(ctx context.Context) (*stripe.PaymentIntent, error) { return s.api.V1PaymentIntents.Create(ctx, p) })
}

// ask makes one request. Its error says whether the request may have been taken;
// a nil error means an answer that Stripe itself gave.
func (s *Stripe) ask(ctx context.Context, do func(context.Context) (*stripe.PaymentIntent, error)) (word, error) {
	x := &exchange{}
	ctx = context.WithValue(x.trace(ctx), exchangeKey{}, x)
	in, err := do(ctx)
	w := word{replayed: x.replayed}
	if err == nil {
		if x.status/100 != 2 { // the library takes whatever is below 400
			return w, unknown(fmt.Errorf("status %d", x.status), "Stripe's answer makes no sense")
		}
		if in != nil && !whole(in) {
			return w, unknown(errors.New("not a payment"), "Stripe's answer makes no sense")
		}
		w.intent = in
		return w, nil
	}
	if err = classifyStripe(ctx, x, err, &w.problem); err != nil {
		return w, err
	}
	return w, nil
}

// classifyStripe gives the error of an answer that is no word on a payment, or
// sets problem to the word. docs/adr/010 has the two classes.
func classifyStripe(ctx context.Context, x *exchange, err error, problem **stripe.Error) error {
	var refused *engine.Error
	switch {
	case x.status == 0 && x.failed(ctx):
		return unknown(err, "Stripe gave no answer")
	case x.status == 0:
		return notTaken(err, "Stripe could not be reached")
	case x.status == http.StatusTooManyRequests: // a rate or a lock: turned away at the door
		refused = notTaken(quiet(err), "Stripe asks to slow down").After(x.wait)
	case x.status == http.StatusUnauthorized || x.status == http.StatusForbidden:
		refused = notTaken(quiet(err), "Stripe refuses our key")
	case x.status >= 500 || !errors.As(err, problem):
		return unknown(quiet(err), "Stripe failed with status %d", x.status)
	default:
		return nil
	}
	if x.before() {
		return unknown(refused, "an earlier sending of this request may have been taken")
	}
	return refused
}

// quiet gives an error without the whole answer that the library keeps in it.
func quiet(err error) error {
	var p *stripe.Error
	if errors.As(err, &p) {
		return fmt.Errorf("status %d: %s %s: %s (request %s)", p.HTTPStatusCode, p.Type, p.Code, p.Msg, p.RequestID)
	}
	return err
}

// read makes a payment of a word, or the error that it stands for.
func (s *Stripe) read(w word) (engine.Payment, error) {
	if w.intent != nil {
		return s.payment(w.intent), nil
	}
	p := w.problem
	cause := fmt.Errorf("%w: %w", ErrRejected, quiet(p))
	code := string(p.DeclineCode)
	or(&code, string(p.Code))
	switch {
	case p.Type == stripe.ErrorTypeIdempotency:
		// There is a payment under this key, and this is not its story.
		return engine.Payment{}, unknown(cause, "Stripe knows another payment under this key")
	case whole(p.PaymentIntent):
		paid := s.payment(p.PaymentIntent)
		if paid.State == engine.PaymentDeclined {
			paid.DeclineCode = code
		}
		return paid, nil
	case p.Type == stripe.ErrorTypeCard:
		return engine.Payment{State: engine.PaymentDeclined, Provider: s.Name(), DeclineCode: code}, nil
	case p.HTTPStatusCode == http.StatusConflict:
		return engine.Payment{State: engine.PaymentUnknown, Provider: s.Name()}, nil // the same key is being worked on
	case p.Type == stripe.ErrorTypeInvalidRequest && p.Param == "payment_method":
		return engine.Payment{State: engine.PaymentDeclined, Provider: s.Name(), DeclineCode: "invalid_payment_method"}, nil
	}
	return engine.Payment{}, notTaken(cause, "Stripe refused the request")
}

func whole(in *stripe.PaymentIntent) bool {
	return in != nil && in.ID != "" && in.Object == "payment_intent" && in.Status != ""
}

// payment translates; a status that is not known here reads as unknown.
func (s *Stripe) payment(in *stripe.PaymentIntent) engine.Payment {
	p := engine.Payment{
		State: engine.PaymentUnknown, Provider: s.Name(), Ref: in.ID,
		Amount: engine.Money{Amount: in.Amount, Currency: strings.ToUpper(string(in.Currency))},
	}
	switch in.Status {
	case stripe.PaymentIntentStatusRequiresCapture:
		p.State = engine.PaymentAuthorised
	case stripe.PaymentIntentStatusRequiresAction:
		if n := in.NextAction; n != nil && n.RedirectToURL != nil && n.RedirectToURL.URL != "" { // else there is nothing to tell the buyer
			p.State, p.Action = engine.PaymentNeedsAction, engine.NextAction{Type: string(n.Type), URL: n.RedirectToURL.URL}
		}
	case stripe.PaymentIntentStatusSucceeded:
		p.State = engine.PaymentCaptured
		if in.LatestCharge != nil && in.LatestCharge.Refunded {
			p.State = engine.PaymentRefunded
		}
	case stripe.PaymentIntentStatusCanceled:
		p.State = engine.PaymentVoided
	case stripe.PaymentIntentStatusRequiresPaymentMethod:
		if e := in.LastPaymentError; e != nil { // else nothing was tried yet
			p.State, p.DeclineCode = engine.PaymentDeclined, string(e.DeclineCode)
			or(&p.DeclineCode, string(e.Code))
		}
	}
	return p
}

// retrieve reads a payment by its reference. Reading changes nothing, so its
// errors are never unknown.
func (s *Stripe) retrieve(ctx context.Context, id string) (engine.Payment, error) {
	w, err := s.ask(ctx, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		p := &stripe.PaymentIntentRetrieveParams{}
		p.AddExpand("latest_charge")
		return s.api.V1PaymentIntents.Retrieve(ctx, id, p)
	})
	switch {
	case err != nil:
		return engine.Payment{}, notTaken(withoutUnknown(err), "reading from Stripe failed").After(retryAfter(err))
	case w.intent == nil:
		return engine.Payment{}, notTaken(fmt.Errorf("%w: %w", ErrRejected, quiet(w.problem)), "Stripe does not show payment %s", id)
	}
	return s.payment(w.intent), nil
}

// search lists the attempt's payments as Stripe's index knows them, those that
// are or may become money first.
func (s *Stripe) search(ctx context.Context, a engine.Attempt) (ids []string, err error) {
	p := &stripe.PaymentIntentSearchParams{}
	p.Query, p.Limit = fmt.Sprintf("metadata['attempt']:'%s'", a.ID), stripe.Int64(10)
	var list []*stripe.PaymentIntent
	w, err := s.ask(ctx, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		page := s.api.V1PaymentIntents.Search(ctx, p)
		if err := page.Err(); err != nil {
			return nil, err
		}
		list = page.Data()
		return nil, nil
	})
	if err != nil {
		return nil, notTaken(withoutUnknown(err), "searching at Stripe failed").After(retryAfter(err))
	}
	if w.problem != nil {
		return nil, notTaken(fmt.Errorf("%w: %w", ErrRejected, quiet(w.problem)), "Stripe refused the search")
	}
	var ends []string
	for _, in := range list {
		switch {
		case !whole(in) || in.Metadata["attempt"] != a.ID.String():
			return nil, notTaken(errors.New("another payment than asked for"), "the search's answer makes no sense")
		case weight(s.payment(in).State) > 1:
			ids = append(ids, in.ID)
		default:
			ends = append(ends, in.ID)
		}
	}
	return append(ids, ends...), nil
}
