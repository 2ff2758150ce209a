package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// RouterConfig are a router's parts.
type RouterConfig struct {
	Guards []*Guard
	// Rules may be left out if there is one provider: it takes everything.
	Rules []Rule
	// Renote moves a noted attempt to another provider, durably, before that one
	// is called. Nil: there is no failover.
	Renote func(ctx context.Context, a engine.Attempt, provider string) error
	Log    *slog.Logger
}

// Router is engine.Payments over several providers. Who may have seen an attempt
// is the only one that can tell what became of it, so an attempt belongs to one:
//
//  1. Choose names it, before anything is noted;
//  2. the engine notes the attempt with its provider, durably;
//  3. Authorise calls that provider, and so do look-up, capture, void and refund,
//     whichever node makes them.
//
// It moves to another only if its first and only call certainly had no effect,
// and only once that is noted in turn (RouterConfig.Renote).
type Router struct {
	c      RouterConfig
	byName map[string]*Guard
}

var (
	_ engine.Payments = (*Router)(nil)
	_ engine.Books    = (*Router)(nil)
)

// NewRouter checks the rules and gives a router.
func NewRouter(c RouterConfig) (*Router, error) {
	if len(c.Guards) == 0 {
		return nil, errors.New("payment: a Router needs a provider")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	r := &Router{c: c, byName: map[string]*Guard{}}
	for _, g := range c.Guards {
		if r.byName[g.Name()] != nil {
			return nil, fmt.Errorf("payment: two providers are called %s", g.Name())
		}
		r.byName[g.Name()] = g
	}
	if len(c.Rules) == 0 {
		if len(c.Guards) > 1 {
			return nil, fmt.Errorf("payment: with several providers (%s), rules must say which takes what", strings.Join(r.names(), ", "))
		}
		r.c.Rules = []Rule{{Provider: c.Guards[0].Name()}}
	}
	for i, rule := range r.c.Rules {
		if err := rule.validate(); err != nil {
			return nil, fmt.Errorf("payment: rule %d: %w", i+1, err)
		}
		if r.byName[rule.Provider] == nil {
			return nil, fmt.Errorf("payment: rule %d: no provider is called %s; there is %s", i+1, rule.Provider, strings.Join(r.names(), ", "))
		}
	}
	return r, nil
}

func (r *Router) names() (out []string) {
	for _, g := range r.c.Guards {
		out = append(out, g.Name())
	}
	return out
}

// Budget is the longest that a call takes, a failover included: the engine's
// PaymentTimeout.
func (r *Router) Budget() (most time.Duration) {
	for _, g := range r.c.Guards {
		most = max(most, g.Budget())
	}
	return most
}

// State is the authorise breaker's, or all of them with their names.
func (r *Router) State() string {
	if len(r.c.Guards) == 1 {
		return r.c.Guards[0].State()
	}
	var out []string
	for _, g := range r.c.Guards {
		out = append(out, g.Name()+" "+g.State())
	}
	return strings.Join(out, ", ")
}

// Choose names the provider for an attempt that is about to be noted. If none
// takes it, that is a decline: the buyer can change the payment method.
func (r *Router) Choose(_ context.Context, a engine.Attempt) (string, error) {
	for _, g := range r.ranked(a) {
		return g.Name(), nil
	}
	return "", engine.E(engine.CodePaymentDeclined, "no payment provider takes this payment method for %s", a.Amount.Currency).
		With("decline_code", "payment_method_not_supported")
}

// ranked lists who takes an attempt: those whose breaker lets calls through
// first, then the cheaper, then as the rules stand.
func (r *Router) ranked(a engine.Attempt) []*Guard {
	type candidate struct {
		guard *Guard
		shut  int
		cost  int64
	}
	var list []candidate
	for _, rule := range r.c.Rules {
		if !rule.fits(a) {
			continue
		}
		c := candidate{guard: r.byName[rule.Provider], cost: rule.cost(a.Amount.Amount)}
		if c.guard.State() == "open" {
			c.shut = 1
		}
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(x, y candidate) int { return cmp.Or(cmp.Compare(x.shut, y.shut), cmp.Compare(x.cost, y.cost)) })
	var out []*Guard
	for _, c := range list {
		if !slices.Contains(out, c.guard) {
			out = append(out, c.guard)
		}
	}
	return out
}

// placed fills in the provider where there is no choice.
func (r *Router) placed(a engine.Attempt) engine.Attempt {
	if a.Provider == "" && len(r.c.Guards) == 1 {
		a.Provider = r.c.Guards[0].Name()
	}
	return a
}

// of gives an attempt's provider.
func (r *Router) of(a engine.Attempt) (*Guard, error) {
	if g := r.byName[a.Provider]; g != nil {
		return g, nil
	}
	return nil, engine.E(engine.CodePaymentUnavailable, "attempt %s was made at provider %q, which this node is not set up for", a.ID, a.Provider)
}

// Authorise asks the attempt's provider, and another one only if the attempt is
// fresh, the first certainly did not take it, and the change is noted.
func (r *Router) Authorise(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	if a = r.placed(a); a.Provider == "" {
		return engine.Payment{}, engine.E(engine.CodePaymentUnavailable, "attempt %s was noted without its provider, so it is not sent", a.ID)
	}
	g, err := r.of(a)
	if err != nil {
		return engine.Payment{}, err
	}
	end := time.Now().Add(r.Budget())
	p, err := g.Authorise(ctx, a)
	if !r.mayMove(a, err) {
		return p, err
	}
	return r.failover(ctx, a, g, end, err)
}

// failover tries the others, each once, and each noted before it is called.
func (r *Router) failover(ctx context.Context, a engine.Attempt, first *Guard, end time.Time, err error) (p engine.Payment, _ error) {
	for _, next := range r.ranked(a) {
		if next == first || next.State() == "open" || time.Until(end) < next.authorise.Config().Timeout {
			continue
		}
		if noted := r.c.Renote(ctx, a, next.Name()); noted != nil {
			r.c.Log.WarnContext(ctx, "payments: no failover, because it could not be noted", "attempt", a.ID.String(), "to", next.Name(), "err", noted)
			return p, err
		}
		r.c.Log.InfoContext(ctx, "payments: failover", "attempt", a.ID.String(), "from", a.Provider, "to", next.Name())
		a.Provider = next.Name()
		within, cancel := context.WithDeadline(ctx, end)
		p, err = next.Authorise(within, a)
		cancel()
		if !r.mayMove(a, err) {
			break
		}
	}
	return p, err
}

// mayMove says whether an attempt may go to another provider. One that was
// taken up again may have reached its provider before, whatever it says now.
func (r *Router) mayMove(a engine.Attempt, err error) bool {
	return err != nil && a.Fresh && r.c.Renote != nil && retriable(err)
}

// Capture takes the money where it was authorised.
func (r *Router) Capture(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return r.where(ctx, a, (*Guard).Capture)
}

// Refund gives it back there.
func (r *Router) Refund(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	return r.where(ctx, a, (*Guard).Refund)
}

// where acts at the attempt's provider. If that is not on record, the one that
// has the payment is looked for first.
func (r *Router) where(ctx context.Context, a engine.Attempt, act func(*Guard, context.Context, engine.Attempt) (engine.Payment, error)) (engine.Payment, error) {
	if a = r.placed(a); a.Provider == "" {
		p, err := r.Lookup(ctx, a)
		if err != nil {
			return p, notTaken(withoutUnknown(err), "the provider of attempt %s could not be found", a.ID)
		}
		a.Provider, a.ProviderRef = p.Provider, p.Ref
	}
	g, err := r.of(a)
	if err != nil {
		return engine.Payment{}, err
	}
	return act(g, ctx, a)
}

// Lookup asks the attempt's provider, or all of them if it is not on record. It
// is never seen only if all say so.
func (r *Router) Lookup(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	if a = r.placed(a); a.Provider != "" {
		return r.where(ctx, a, (*Guard).Lookup)
	}
	var found engine.Payment
	var failed error
	for _, g := range r.c.Guards {
		p, err := g.Lookup(ctx, a)
		switch {
		case err == nil && (found.State == "" || weight(p.State) > weight(found.State)):
			found = p
		case err != nil && !neverSeen(err):
			failed = errors.Join(failed, err)
		}
	}
	switch {
	case found.State != "" && weight(found.State) == heaviest:
		return found, nil // the money is there, whatever the others would have said
	case failed != nil:
		return engine.Payment{}, notTaken(withoutUnknown(failed), "not every provider could be asked for attempt %s", a.ID)
	case found.State == "":
		return found, engine.E(engine.CodeNotFound, "no provider ever saw attempt %s", a.ID)
	}
	return found, nil
}

// Void cancels the attempt at its provider, or everywhere if that is not on record.
func (r *Router) Void(ctx context.Context, a engine.Attempt) (engine.Payment, error) {
	if a = r.placed(a); a.Provider != "" {
		return r.where(ctx, a, (*Guard).Void)
	}
	var result engine.Payment
	for _, g := range r.c.Guards {
		p, err := g.Void(ctx, a)
		if err != nil {
			return engine.Payment{}, err // repeated: those that are done say so again
		}
		if result.State == "" || weight(p.State) > weight(result.State) {
			result = p
		}
	}
	return result, nil
}

const heaviest = 3

// weight orders what several providers say of one attempt: money first, then
// what may yet become money, then ends.
func weight(s engine.PaymentState) int {
	switch s {
	case engine.PaymentAuthorised, engine.PaymentCaptured, engine.PaymentRefunded:
		return heaviest
	case engine.PaymentUnknown, engine.PaymentNeedsAction, engine.PaymentAuthorising:
		return 2
	}
	return 1
}

// Payments walks all providers' books: engine.Books.
func (r *Router) Payments(ctx context.Context, visit func(engine.AttemptID, engine.Payment) error) error {
	for _, g := range r.c.Guards {
		books, ok := g.provider.(engine.Books)
		if !ok {
			return engine.E(engine.CodeNotFound, "provider %s cannot list its payments", g.Name())
		}
		if err := books.Payments(ctx, visit); err != nil {
			return err
		}
	}
	return nil
}

// Event verifies a webhook of a provider and says what it is about: a hint,
// after which the provider is asked. CodeNotFound: no such provider, or none that
// sends webhooks here. CodeInvalidRequest: it is forged, too old or no event.
func (r *Router) Event(provider string, body []byte, header func(name string) string) (engine.ProviderEvent, error) {
	if g := r.byName[provider]; g != nil {
		if e, ok := g.provider.(Events); ok {
			return e.Event(body, header(SignatureHeader))
		}
	}
	return engine.ProviderEvent{}, engine.E(engine.CodeNotFound, "no webhooks are taken from %q", provider)
}
