package payment

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"

	"github.com/flashsale-engine/flashsale/engine"
)

// StripeConfig are the settings of the Stripe provider.
type StripeConfig struct {
	Key string // the secret key, or a restricted one that may write PaymentIntents and refunds
	URL string // default https://api.stripe.com; may have a path, which /v1/… follows
	// ReturnURL is where Stripe sends a buyer who has been through 3-D Secure;
	// {reservation} in it becomes the reservation's id. It must not change while
	// attempts are under way: it is part of what their idempotency keys stand for.
	ReturnURL   string
	MaxConns    int           // connections at most; match the Guard's two bulkheads together. Default 320
	DialTimeout time.Duration // default 1 s
	Webhooks    WebhookConfig // no secrets: none are taken
	// SearchSettled is the age from which a payment that Stripe's search does not
	// show is taken not to exist; the index usually lags by seconds. Default 2 min.
	SearchSettled time.Duration
	// BooksOf is how far back Payments lists. Default 8 days: an authorisation
	// lives for 7.
	BooksOf time.Duration
}

// Stripe is the provider on Stripe's PaymentIntents with manual capture. What it
// can prove of an attempt and what it cannot is in docs/adr/011-calls-outside.md.
type Stripe struct {
	c    StripeConfig
	http *http.Client
	api  *stripe.Client
}

var (
	_ Provider     = (*Stripe)(nil)
	_ Events       = (*Stripe)(nil)
	_ engine.Books = (*Stripe)(nil)
)

// keyLife is how long Stripe keeps an idempotency key at least, less an hour.
const keyLife = 23 * time.Hour

// NewStripe makes a client. The library's own retries and telemetry are off: a
// try is one try, and the Guard decides on the next.
func NewStripe(c StripeConfig) (*Stripe, error) {
	or(&c.URL, stripe.APIURL)
	or(&c.MaxConns, 320)
	or(&c.DialTimeout, time.Second)
	or(&c.SearchSettled, 2*time.Minute)
	or(&c.BooksOf, 8*24*time.Hour)
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("payment: stripe: %w", err)
	}
	at, err := url.Parse(c.URL)
	if err != nil {
		return nil, err // validate has seen to it
	}
	path := strings.TrimSuffix(strings.TrimSuffix(at.Path, "/"), "/v1")
	client := provingClient(c.MaxConns, c.DialTimeout)
	s := &Stripe{c: c, http: &http.Client{Transport: noting{client.Transport, path}, CheckRedirect: client.CheckRedirect}}
	s.api = stripe.NewClient(c.Key, stripe.WithBackends(&stripe.Backends{API: stripe.GetBackendWithConfig(stripe.APIBackend, &stripe.BackendConfig{
		URL: stripe.String(at.Scheme + "://" + at.Host), HTTPClient: s.http, MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
		LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
	})}))
	return s, nil
}

func (c StripeConfig) validate() error {
	api, err := url.Parse(c.URL)
	loopback := err == nil && (api.Hostname() == "localhost" || strings.HasPrefix(api.Hostname(), "127."))
	switch {
	case c.Key == "":
		return errors.New("a secret key is needed")
	case strings.HasPrefix(c.Key, "pk_"):
		return errors.New("the key is a publishable one (pk_…); the secret one is needed")
	case err != nil || api.Host == "" || api.Scheme != "https" && (api.Scheme != "http" || !loopback):
		return fmt.Errorf("URL %q: want https://host; plain http only to this machine", c.URL)
	case CheckReturnURL(c.ReturnURL) != nil:
		return CheckReturnURL(c.ReturnURL)
	case c.MaxConns < 1 || c.DialTimeout < 0 || c.SearchSettled < 0 || c.BooksOf < 0:
		return errors.New("MaxConns, DialTimeout, SearchSettled and BooksOf must be positive")
	}
	return c.Webhooks.Validate()
}

// Close closes the idle connections.
func (s *Stripe) Close() { s.http.CloseIdleConnections() }

// Name is the provider's name in records and metrics.
func (s *Stripe) Name() string { return "stripe" }

// Event verifies and reads a webhook.
func (s *Stripe) Event(body []byte, signature string) (engine.ProviderEvent, error) {
	return s.c.Webhooks.event(s.Name(), body, signature)
}

// request is what an attempt asks for. Stripe compares it with what its key was
// first used for, so it must come out the same on every node, every time.
func (s *Stripe) request(a engine.Attempt) *stripe.PaymentIntentCreateParams {
	p := s.unpaid(a)
	p.PaymentMethod, p.Confirm = stripe.String(a.Method), stripe.Bool(true)
	p.ReturnURL = stripe.String(returnURL(s.c.ReturnURL, a))
	return p
}

// returnURL is the storefront's page for the buyer of an attempt.
func returnURL(page string, a engine.Attempt) string {
	return strings.ReplaceAll(page, "{reservation}", url.QueryEscape(a.Reservation.String()))
}

// CheckReturnURL says what keeps a page from being one to return to.
func CheckReturnURL(page string) error {
	back, err := url.Parse(page)
	if err != nil || back.Host == "" || back.Scheme != "https" && back.Scheme != "http" {
		return fmt.Errorf("ReturnURL %q: want the page of the storefront to which buyers return from 3-D Secure", page)
	}
	return nil
}

// unpaid is a request that can never become a payment: nothing is there to pay with.
func (s *Stripe) unpaid(a engine.Attempt) *stripe.PaymentIntentCreateParams {
	p := &stripe.PaymentIntentCreateParams{
		Amount: stripe.Int64(a.Amount.Amount), Currency: stripe.String(strings.ToLower(a.Amount.Currency)), CaptureMethod: stripe.String("manual"),
		PaymentMethodTypes: []*string{stripe.String("card")},
		Metadata:           map[string]string{"attempt": a.ID.String(), "reservation": a.Reservation.String(), "order": a.Reservation.Order()},
	}
	p.SetIdempotencyKey(a.ID.String())
	return p
}

// Authorise reserves the money. A payment method that Stripe does not know is
// the buyer's to change, so it is a decline: invalid_payment_method.
func (s *Stripe) Authorise(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	w, err := s.create(ctx, s.request(a))
	if err != nil {
		return engine.Payment{}, err
	}
	if w.replayed && w.id() != "" {
		// A replayed answer tells what was true when it was first given. The
		// payment may have been voided since, and stock must not be claimed on that.
		now, err := s.retrieve(ctx, w.id())
		if err != nil {
			return engine.Payment{}, unknown(err, "the payment exists, and how it stands now could not be read")
		}
		return now, nil
	}
	return s.read(w)
}

// Capture takes the money. It needs no idempotency key, because it can happen
// once; and under a key Stripe would repeat a 500 for a day.
func (s *Stripe) Capture(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return s.act(ctx, a, func(ctx context.Context, id string) (*stripe.PaymentIntent, error) {
		return s.api.V1PaymentIntents.Capture(ctx, id, nil)
	})
}

// Refund gives captured money back, all of it, which can happen once too. What
// counts is how the payment stands afterwards.
func (s *Stripe) Refund(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return s.act(ctx, a, func(ctx context.Context, id string) (*stripe.PaymentIntent, error) {
		_, err := s.api.V1Refunds.Create(ctx, &stripe.RefundCreateParams{PaymentIntent: stripe.String(id)})
		return nil, err
	})
}

// act does something to the attempt's payment by its reference.
func (s *Stripe) act(ctx context.Context, a engine.Attempt, do func(context.Context, string) (*stripe.PaymentIntent, error)) (engine.Payment, error) {
	id := a.ProviderRef
	if id == "" {
		p, err := s.Lookup(ctx, a)
		switch {
		case neverSeen(err):
			return p, notTaken(ErrRejected, "Stripe knows no payment of attempt %s", a.ID)
		case err != nil || p.Ref == "":
			return p, err
		}
		id = p.Ref
	}
	w, err := s.ask(ctx, func(ctx context.Context) (*stripe.PaymentIntent, error) { return do(ctx, id) })
	if err != nil {
		return engine.Payment{}, err
	}
	if w.id() == "" && w.problem == nil || w.problem != nil && w.problem.Code == stripe.ErrorCodeChargeAlreadyRefunded {
		now, err := s.retrieve(ctx, id)
		if err != nil {
			return engine.Payment{}, unknown(err, "it was done, and how the payment stands now could not be read")
		}
		return now, nil
	}
	return s.read(w)
}

// Lookup reads what became of the attempt. Without a reference there is only
// Stripe's search, whose index lags behind: what it does not show is unknown
// until the attempt is old enough.
func (s *Stripe) Lookup(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	if a.ProviderRef != "" {
		return s.retrieve(ctx, a.ProviderRef)
	}
	found, err := s.search(ctx, a)
	switch {
	case err != nil:
		return engine.Payment{}, err
	case len(found) > 0:
		return s.retrieve(ctx, found[0]) // the index may be older than the payment
	case s.settled(a):
		return engine.Payment{}, engine.E(engine.CodeNotFound, "Stripe never saw attempt %s", a.ID)
	}
	return engine.Payment{State: engine.PaymentUnknown, Provider: s.Name()}, nil
}

// settled says whether the search index must know the attempt by now.
func (s *Stripe) settled(a engine.Attempt) bool {
	return !a.BegunAt.IsZero() && time.Since(a.BegunAt) > s.c.SearchSettled
}

// Void cancels the attempt's payment and, where its reference is not known, makes
// sure that none can come of it any more, without trusting the search index.
func (s *Stripe) Void(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	if a.ProviderRef != "" {
		return s.cancel(ctx, a.ProviderRef)
	}
	// The attempt's idempotency key can be used once. Using it for a payment that
	// cannot be paid bars whatever is still on its way.
	w, err := s.create(ctx, s.unpaid(a))
	switch {
	case err != nil:
		return engine.Payment{}, err
	case w.intent != nil:
		return s.barred(ctx, a, w.id())
	case w.problem.Type == stripe.ErrorTypeIdempotency:
		return s.revisit(ctx, a)
	}
	return s.read(w)
}

// barred cancels what holds the key's place, so that the books show an end. A
// key that Stripe has forgotten was free to take although it had been used.
func (s *Stripe) barred(ctx context.Context, a engine.Attempt, tombstone string) (engine.Payment, error) {
	if a.BegunAt.IsZero() || time.Since(a.BegunAt) > keyLife {
		found, err := s.search(ctx, a)
		if err != nil {
			return engine.Payment{}, err
		}
		for _, id := range found {
			if id == tombstone {
				continue
			}
			if p, err := s.cancel(ctx, id); err != nil || p.State != engine.PaymentVoided {
				return p, err
			}
		}
	}
	return s.cancel(ctx, tombstone)
}

// revisit cancels the payment of an attempt whose key was used. The first
// request, repeated word by word, has no effect then and gives the first answer.
func (s *Stripe) revisit(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	w, err := s.create(ctx, s.request(a))
	switch {
	case err == nil && w.id() != "":
		return s.cancel(ctx, w.id())
	case err == nil && w.problem.Type != stripe.ErrorTypeIdempotency:
		return s.read(w) // being worked on, or it came to nothing
	}
	// The first answer was a fault, or the request is spelled differently by now.
	found, searchErr := s.search(ctx, a)
	switch {
	case searchErr != nil:
		return engine.Payment{}, searchErr
	case len(found) > 0:
		return s.cancel(ctx, found[0])
	case s.settled(a):
		return engine.Payment{State: engine.PaymentVoided, Provider: s.Name()}, nil
	}
	return engine.Payment{State: engine.PaymentUnknown, Provider: s.Name()}, nil
}

func (s *Stripe) cancel(ctx context.Context, id string) (engine.Payment, error) {
	w, err := s.ask(ctx, func(ctx context.Context) (*stripe.PaymentIntent, error) {
		return s.api.V1PaymentIntents.Cancel(ctx, id, nil)
	})
	if err != nil {
		return engine.Payment{}, err
	}
	return s.read(w)
}

// Payments walks the books as far back as BooksOf, newest first: engine.Books.
func (s *Stripe) Payments(ctx context.Context, visit func(engine.AttemptID, engine.Payment) error) error {
	p := &stripe.PaymentIntentListParams{CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: time.Now().Add(-s.c.BooksOf).Unix()}}
	p.Limit = stripe.Int64(100)
	p.AddExpand("data.latest_charge")
	for in, err := range s.api.V1PaymentIntents.List(ctx, p).All(ctx) {
		if err != nil {
			return notTaken(err, "Stripe's books could not be read")
		}
		id, ours := engine.ParseAttemptID(in.Metadata["attempt"])
		if !ours {
			continue
		}
		if err := visit(id, s.payment(in)); err != nil {
			return err
		}
	}
	return nil
}
