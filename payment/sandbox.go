package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// SandboxConfig are the settings of the sandbox's client.
type SandboxConfig struct {
	URL         string        // such as http://127.0.0.1:12111
	ReturnURL   string        // as StripeConfig's; "": the buyer stays on the sandbox's page
	MaxConns    int           // connections at most; match the Guard's two bulkheads together. Default 320
	DialTimeout time.Duration // default 1 s
	Webhooks    WebhookConfig // no secrets: none are taken
}

// Sandbox is the provider that speaks to payment/sandbox over HTTP.
type Sandbox struct {
	host     string // as the requests name it
	prefix   string // of every path
	back     string // ReturnURL
	lines    *lines
	webhooks WebhookConfig
}

var (
	_ Provider     = (*Sandbox)(nil)
	_ engine.Books = (*Sandbox)(nil)
	_ Events       = (*Sandbox)(nil)
)

const (
	maxAnswer   = 4 << 20 // bytes
	pageSize    = 500
	pageTimeout = 30 * time.Second
)

// NewSandbox makes a client. It has connections of its own, kept alive as many
// as may be in use, so that load does not spend itself on dialling.
func NewSandbox(c SandboxConfig) (*Sandbox, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("payment: sandbox URL %q: want http://host:port", c.URL)
	}
	if c.MaxConns == 0 {
		c.MaxConns = 320
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = time.Second
	}
	if c.MaxConns < 1 || c.DialTimeout < 0 {
		return nil, errors.New("payment: sandbox MaxConns and DialTimeout must be positive")
	}
	if c.ReturnURL != "" {
		if err := CheckReturnURL(c.ReturnURL); err != nil {
			return nil, fmt.Errorf("payment: sandbox: %w", err)
		}
	}
	if err := c.Webhooks.Validate(); err != nil {
		return nil, fmt.Errorf("payment: sandbox: %w", err)
	}
	return &Sandbox{host: u.Host, prefix: strings.TrimSuffix(u.EscapedPath(), "/"), back: c.ReturnURL, lines: newLines(u, c.MaxConns, c.DialTimeout), webhooks: c.Webhooks}, nil
}

// Close closes the idle connections.
func (c *Sandbox) Close() { c.lines.closeIdle() }

// Name is the provider's name in records and metrics.
func (c *Sandbox) Name() string { return "sandbox" }

// Event verifies and reads a webhook.
func (c *Sandbox) Event(body []byte, signature string) (engine.ProviderEvent, error) {
	return c.webhooks.event(c.Name(), body, signature)
}

// Authorise reserves the money. A payment method that the provider does not
// know is the buyer's to change, so it is a decline: invalid_payment_method.
func (c *Sandbox) Authorise(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	body, err := json.Marshal(wireOrder{
		Amount: a.Amount.Amount, Currency: strings.ToLower(a.Amount.Currency), PaymentMethod: a.Method, CaptureMethod: "manual", Confirm: true, ReturnURL: returnURL(c.back, a),
		Metadata: wireNames{Attempt: a.ID.String(), Reservation: a.Reservation.String(), Order: a.Reservation.Order()},
	})
	if err != nil {
		return engine.Payment{}, notTaken(err, "the request could not be encoded")
	}
	r, err := c.call(ctx, http.MethodPost, "/v1/payment_intents", a.ID.String(), body)
	if err != nil {
		return engine.Payment{}, err
	}
	if p := r.problem; p != nil && r.status == http.StatusBadRequest && p.Type == "invalid_request_error" && p.Param == "payment_method" {
		return engine.Payment{State: engine.PaymentDeclined, Provider: c.Name(), DeclineCode: "invalid_payment_method", Amount: a.Amount}, nil
	}
	paid, err := c.payment(r)
	if err != nil || !r.replayed {
		return paid, err
	}
	// A replayed answer tells what was true when it was first given. The payment
	// may have been voided since, and stock must not be claimed on that.
	now, err := c.Lookup(ctx, a)
	if err != nil {
		return engine.Payment{}, unknown(err, "the payment exists, and how it stands now could not be read")
	}
	return now, nil
}

// Capture takes the money.
func (c *Sandbox) Capture(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return c.act(ctx, a, "capture")
}

// Refund gives captured money back, all of it.
func (c *Sandbox) Refund(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return c.act(ctx, a, "refund")
}

// act does something to the payment that the attempt made, by its reference.
func (c *Sandbox) act(ctx context.Context, a engine.Attempt, what string) (engine.Payment, error) {
	ref := a.ProviderRef
	if ref == "" {
		p, err := c.Lookup(ctx, a)
		switch {
		case engine.CodeOf(err) == engine.CodeNotFound:
			return p, notTaken(ErrRejected, "the provider knows no payment of attempt %s to %s", a.ID, what)
		case err != nil:
			return p, err
		}
		ref = p.Ref
	}
	r, err := c.call(ctx, http.MethodPost, "/v1/payment_intents/"+url.PathEscape(ref)+"/"+what, a.ID.String()+":"+what, nil)
	if err != nil {
		return engine.Payment{}, err
	}
	return c.payment(r)
}

// Void cancels whatever the attempt made, by the attempt's own name, so that a
// lost reference or a request still on its way makes no difference.
func (c *Sandbox) Void(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	r, err := c.call(ctx, http.MethodPost, "/v1/attempts/"+url.PathEscape(a.ID.String())+"/cancel", a.ID.String()+":void", nil)
	if err != nil {
		return engine.Payment{}, err
	}
	return c.payment(r)
}

// Lookup finds the payment by the attempt in its metadata.
func (c *Sandbox) Lookup(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	var page wirePage
	if err := c.read(ctx, "/v1/payment_intents/search?attempt="+url.QueryEscape(a.ID.String()), "search_result", &page); err != nil {
		return engine.Payment{}, err
	}
	if len(page.Data) == 0 {
		return engine.Payment{}, engine.E(engine.CodeNotFound, "the provider never saw attempt %s", a.ID)
	}
	in := &page.Data[0]
	if !in.whole() || in.Metadata.Attempt != a.ID.String() {
		return engine.Payment{}, notTaken(errors.New("another payment than asked for"), "the look-up's answer makes no sense")
	}
	return in.payment(c.Name()), nil
}

// Payments walks the provider's books, oldest first: engine.Books. Payments
// that no attempt of ours made are passed over.
func (c *Sandbox) Payments(ctx context.Context, visit func(engine.AttemptID, engine.Payment) error) error {
	for after := ""; ; {
		q := url.Values{"limit": {strconv.Itoa(pageSize)}}
		if after != "" {
			q.Set("starting_after", after)
		}
		var page wirePage
		pageCtx, cancel := context.WithTimeout(ctx, pageTimeout)
		err := c.read(pageCtx, "/v1/payment_intents?"+q.Encode(), "list", &page)
		cancel()
		if err != nil {
			return err
		}
		for i := range page.Data {
			id, ours := engine.ParseAttemptID(page.Data[i].Metadata.Attempt)
			if !ours {
				continue
			}
			if err := visit(id, page.Data[i].payment(c.Name())); err != nil {
				return err
			}
		}
		if !page.HasMore || len(page.Data) == 0 {
			return nil
		}
		after = page.Data[len(page.Data)-1].ID
	}
}

// read gets a page. Reading changes nothing, so its errors are never unknown.
func (c *Sandbox) read(ctx context.Context, path, object string, into *wirePage) error {
	r, err := c.call(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return notTaken(withoutUnknown(err), "reading from the provider failed").After(retryAfter(err))
	}
	if r.status != http.StatusOK {
		return notTaken(fmt.Errorf("status %d", r.status), "reading from the provider failed")
	}
	if err := json.Unmarshal(r.body, into); err != nil || into.Object != object {
		return notTaken(errors.Join(fmt.Errorf("no %s in the answer", object), err), "reading from the provider failed")
	}
	return nil
}

// withoutUnknown keeps what happened as text and drops that the outcome is unknown.
func withoutUnknown(err error) error {
	if errors.Is(err, engine.ErrUnknown) {
		return errors.New(err.Error())
	}
	return err
}

func retryAfter(err error) time.Duration {
	var e *engine.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// reply is an answer that was read to its end.
type reply struct {
	status   int
	replayed bool // it repeats an answer given before
	body     []byte
	problem  *wireProblem // set if the body is one
}

// call makes one request. Its error says whether the request may have been
// taken; a nil error means an answer that the provider itself gave. The request
// may be sent twice (see lines): what changes anything carries a key.
func (c *Sandbox) call(ctx context.Context, method, path, key string, body []byte) (reply, error) {
	var span telemetry.Span
	if telemetry.Of(ctx).On() {
		ctx, span = telemetry.Call(ctx, method+" "+c.host, "http.request.method", method, "server.address", c.host, "url.path", c.prefix+path)
	}
	x, err := c.lines.exchange(ctx, c.request(method, path, key, span.Traceparent(), body), maxAnswer)
	if span.On() {
		span.Set("http.response.status_code", x.status)
		span.End(err)
	}
	switch {
	case err != nil && x.sent:
		return reply{}, unknown(err, "the payment provider gave no answer, or not all of it")
	case err != nil:
		return reply{}, notTaken(err, "the payment provider could not be reached")
	}
	r := reply{status: x.status, replayed: x.header.Get("Idempotent-Replayed") == "true", body: x.body}
	if r.status != http.StatusOK {
		r.problem = problemOf(r.body)
	}
	return r, refusal(r, x.header, x.sent)
}

// request assembles the bytes of a request. Nothing of it is a stranger's: paths
// are escaped, and keys are made of our ids.
func (c *Sandbox) request(method, path, key, trace string, body []byte) []byte {
	b := make([]byte, 0, 256+len(c.host)+len(c.prefix)+len(path)+len(key)+len(body))
	b = append(append(append(append(append(b, method...), ' '), c.prefix...), path...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, c.host...), "\r\nUser-Agent: flashsale\r\n"...)
	if key != "" {
		b = append(append(append(b, "Idempotency-Key: "...), key...), "\r\n"...)
	}
	if trace != "" {
		b = append(append(append(b, "Traceparent: "...), trace...), "\r\n"...)
	}
	if body != nil {
		b = append(b, "Content-Type: application/json\r\n"...)
	}
	if method != http.MethodGet {
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(len(body)), 10), "\r\n"...)
	}
	return append(append(b, "\r\n"...), body...)
}

func problemOf(body []byte) *wireProblem {
	var e struct {
		Error *wireProblem `json:"error"`
	}
	if json.Unmarshal(body, &e) != nil || e.Error == nil || e.Error.Type == "" {
		return nil
	}
	return e.Error
}

// refusal classifies answers that are no word on a payment, or gives nil.
func refusal(r reply, h http.Header, sentBefore bool) error {
	var wait time.Duration
	if n, err := strconv.Atoi(h.Get("Retry-After")); err == nil && n > 0 && n <= 3600 {
		wait = time.Duration(n) * time.Second
	}
	cause := fmt.Errorf("status %d", r.status)
	if r.problem != nil {
		cause = fmt.Errorf("status %d: %s %s: %s", r.status, r.problem.Type, r.problem.Code, r.problem.Message)
	}
	var refused *engine.Error
	switch {
	case r.status == http.StatusTooManyRequests:
		refused = notTaken(cause, "the payment provider asks to slow down").After(wait)
	case r.status == http.StatusServiceUnavailable && r.problem != nil && r.problem.Code == "outage":
		// Only the provider's own word counts: a proxy's 503 may follow a
		// request that went through.
		refused = notTaken(cause, "the payment provider is out of service").After(wait)
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		refused = notTaken(cause, "the payment provider refuses our credentials")
	case r.status >= 500 || r.status != http.StatusOK && r.problem == nil:
		return unknown(cause, "the payment provider failed")
	default:
		return nil
	}
	if sentBefore {
		return unknown(refused, "an earlier sending of this request may have been taken")
	}
	return refused
}

// payment reads the word on a payment from an answer.
func (c *Sandbox) payment(r reply) (engine.Payment, error) {
	if r.status == http.StatusOK {
		var in wireIntent
		if err := json.Unmarshal(r.body, &in); err != nil || !in.whole() {
			return engine.Payment{}, unknown(errors.Join(errors.New("not a payment"), err), "the payment provider's answer makes no sense")
		}
		return in.payment(c.Name()), nil
	}
	p := r.problem // refusal has dealt with answers without one
	if p == nil {
		return engine.Payment{}, unknown(fmt.Errorf("status %d", r.status), "the payment provider's answer makes no sense")
	}
	cause := fmt.Errorf("%w: status %d: %s %s: %s", ErrRejected, r.status, p.Type, p.Code, p.Message)
	switch {
	case p.PaymentIntent.whole():
		paid := p.PaymentIntent.payment(c.Name())
		if paid.State == engine.PaymentDeclined && p.DeclineCode != "" {
			paid.DeclineCode = p.DeclineCode
		}
		return paid, nil
	case p.Type == "card_error":
		return engine.Payment{State: engine.PaymentDeclined, Provider: c.Name(), DeclineCode: p.DeclineCode}, nil
	case r.status == http.StatusConflict:
		return engine.Payment{State: engine.PaymentUnknown, Provider: c.Name()}, nil // the same key is being worked on
	case p.Type == "idempotency_error":
		// There is a payment under this key, and this is not its story.
		return engine.Payment{}, unknown(cause, "the provider knows another payment under this key")
	}
	return engine.Payment{}, notTaken(cause, "the payment provider refused the request")
}
