package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/fraud"
	"github.com/flashsale-engine/flashsale/notify"
	"github.com/flashsale-engine/flashsale/ops"
	"github.com/flashsale-engine/flashsale/orders/record"
	"github.com/flashsale-engine/flashsale/outside"
	"github.com/flashsale-engine/flashsale/payment"
)

// What the engine calls that is not ours: payment providers, a fraud score, the
// storefront.

func (s *Settings) validateOutside(p *problems, pays bool) {
	if s.PaymentURL != "" || s.StripeKey == "" && pays {
		checkURL(p, "payment-url", s.PaymentURL, "http", "https")
	}
	if s.PaymentReturnURL != "" {
		if err := payment.CheckReturnURL(s.PaymentReturnURL); err != nil {
			p.add("payment-return-url: %v", err)
		}
		if s.PaymentURL == "" {
			p.add("payment-return-url: nobody comes back from a sandbox that is not there; set payment-url")
		}
	}
	for _, secrets := range [][]string{s.PaymentWebhookSecret, s.StripeWebhookSecret} {
		if err := (payment.WebhookConfig{Secrets: secrets, Tolerance: s.WebhookTolerance}).Validate(); err != nil {
			p.add("payment-webhook-secret, stripe-webhook-secret: %v", err)
		}
	}
	if s.WebhookTolerance < time.Second || s.WebhookTolerance > time.Hour {
		p.add("webhook-tolerance: %s is not between 1s and 1h", s.WebhookTolerance)
	}
	if s.StripeKey != "" {
		if c, err := payment.NewStripe(s.stripe()); err != nil {
			p.add("stripe-key, stripe-url, stripe-return-url: %v", err)
		} else {
			c.Close()
		}
	}
	s.validateRoutes(p)
	if s.FraudURL != "" {
		checkURL(p, "fraud-url", s.FraudURL, "https", "http")
	}
	if s.FraudTimeout < 10*time.Millisecond || s.FraudTimeout > time.Second {
		p.add("fraud-timeout: %s is not between 10ms and 1s", s.FraudTimeout)
	}
	if s.NotifyURL != "" {
		checkURL(p, "notify-url", s.NotifyURL, "https", "http")
		if len(s.NotifySecret) == 0 {
			p.add("notify-secret: set one, or the storefront cannot tell who calls")
		}
	}
	if _, err := s.notifySecrets(); err != nil {
		p.add("notify-secret: %v", err)
	}
}

func (s *Settings) validateRoutes(p *problems) {
	rules, err := s.routes()
	if err != nil {
		p.add("payment-route: %v", err)
	}
	var there []string
	if s.PaymentURL != "" {
		there = append(there, "sandbox")
	}
	if s.StripeKey != "" {
		there = append(there, "stripe")
	}
	if len(there) > 1 && len(s.PaymentRoute) == 0 {
		p.add("payment-route: with sandbox and stripe both set up, say who takes what, such as 'sandbox method=pm_sandbox_*' and 'stripe'")
	}
	for _, r := range rules {
		if !slices.Contains(there, r.Provider) {
			p.add("payment-route: %q is not set up; payment-url sets up sandbox, stripe-key stripe", r.Provider)
		}
	}
}

func (s *Settings) routes() (out []payment.Rule, err error) {
	for _, text := range s.PaymentRoute {
		r, err := payment.ParseRule(text)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

func (s *Settings) stripe() payment.StripeConfig {
	return payment.StripeConfig{Key: s.StripeKey, URL: s.StripeURL, ReturnURL: s.StripeReturnURL, MaxConns: s.PaymentMax + 64,
		Webhooks: payment.WebhookConfig{Secrets: s.StripeWebhookSecret, Tolerance: s.WebhookTolerance}}
}

func (s *Settings) notifySecrets() (out []notify.Secret, err error) {
	for _, text := range s.NotifySecret {
		secret, err := notify.ParseSecret(text)
		if err != nil {
			return nil, err
		}
		out = append(out, secret)
	}
	return out, nil
}

// openOutside sets the payment providers up and takes over what operators have
// forced before anybody is called.
func (n *node) openOutside(ctx context.Context) (err error) {
	if n.board, err = outside.NewBoard(n.reg); err != nil {
		return err
	}
	providers, err := n.providers()
	if err != nil {
		return &exit{exitUsage, err}
	}
	rules, err := n.set.routes()
	if err != nil {
		return &exit{exitUsage, err}
	}
	c := payment.RouterConfig{Rules: rules, Log: n.log, Renote: func(ctx context.Context, a engine.Attempt, to string) error {
		return n.attempts.Reroute(ctx, a, to)
	}}
	for _, p := range providers {
		g, err := payment.NewGuard(p, payment.GuardConfig{Timeout: n.set.PaymentTimeout, Budget: n.set.paymentBudget(), Concurrency: n.set.PaymentMax, Board: n.board})
		if err != nil {
			return &exit{exitUsage, err}
		}
		c.Guards = append(c.Guards, g)
	}
	if n.router, err = payment.NewRouter(c); err != nil {
		return &exit{exitUsage, err}
	}
	n.pulse = &pulse{Payments: n.trace.Payments(n.fault.Payments(n.router))}
	n.payments = n.pulse
	n.forced = record.NewBreakers(n.db)
	return n.recordFailed(n.takeModes(ctx))
}

func (n *node) providers() (out []payment.Provider, err error) {
	if n.set.PaymentURL == "" && n.set.StripeKey == "" { // only roles that never pay may lack both; Validate has seen to that
		n.set.PaymentURL = "http://127.0.0.1:1"
	}
	if n.set.PaymentURL != "" {
		p, err := payment.NewSandbox(payment.SandboxConfig{URL: n.set.PaymentURL, ReturnURL: n.set.PaymentReturnURL, MaxConns: n.set.PaymentMax + 64,
			Webhooks: payment.WebhookConfig{Secrets: n.set.PaymentWebhookSecret, Tolerance: n.set.WebhookTolerance}})
		if err != nil {
			return nil, err
		}
		n.onClose(p.Close)
		out = append(out, p)
	}
	if n.set.StripeKey != "" {
		p, err := payment.NewStripe(n.set.stripe())
		if err != nil {
			return nil, err
		}
		n.onClose(p.Close)
		out = append(out, p)
	}
	return out, nil
}

// screen gives the fraud score's hook, or nil if nobody is asked.
func (n *node) score() (func(context.Context, engine.Attempt) (engine.Score, error), error) {
	if n.set.FraudURL == "" {
		return nil, nil
	}
	s, err := fraud.New(fraud.Config{URL: n.set.FraudURL, Token: n.set.FraudToken, Timeout: n.set.FraudTimeout, Concurrency: n.set.PaymentMax, Board: n.board})
	if err != nil {
		return nil, &exit{exitUsage, err}
	}
	n.onClose(s.Close)
	return s.Score, nil
}

func (n *node) notifier() (*notify.Sender, error) {
	secrets, err := n.set.notifySecrets()
	if err != nil {
		return nil, err
	}
	return notify.New(notify.Config{URL: n.set.NotifyURL, Secrets: secrets, Source: noticeShelf{record.NewNotices(n.db)}, Board: n.board, Trace: n.trace, Registerer: n.reg, Log: n.log})
}

// noticeShelf gives the sender its view of the record.
type noticeShelf struct{ *record.Notices }

func (s noticeShelf) Due(ctx context.Context, limit int, lease time.Duration) ([]notify.Notice, error) {
	list, err := s.Notices.Due(ctx, limit, lease)
	out := make([]notify.Notice, len(list))
	for i, n := range list {
		out[i] = notify.Notice(n)
	}
	return out, err
}

// breakerTick is how soon every node obeys an operator who forces a breaker.
const breakerTick = 2 * time.Second

// obeyBreakers keeps this node's breakers as operators have set them.
func (n *node) obeyBreakers(ctx context.Context) error {
	t := time.NewTicker(breakerTick)
	defer t.Stop()
	for {
		if err := n.takeModes(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("the record does not say which breakers are forced; they stay as they are", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (n *node) takeModes(ctx context.Context) error {
	forced, err := n.forced.Forced(ctx)
	if err != nil {
		return err
	}
	modes := map[string]outside.Mode{}
	for _, f := range forced {
		if modes[f.Name], err = outside.ParseMode(f.Mode); err != nil {
			return err
		}
	}
	n.board.Force(modes)
	return nil
}

// breakerDesk is the operators' view of the board.
type breakerDesk struct{ *node }

func (d breakerDesk) Breakers(ctx context.Context) ([]ops.Breaker, error) {
	forced, err := d.forced.Forced(ctx)
	why := map[string]record.ForcedBreaker{}
	for _, f := range forced {
		why[f.Name] = f
	}
	out := []ops.Breaker{}
	for _, dep := range d.board.All() {
		b := ops.Breaker{Name: dep.Name(), State: dep.State(), Mode: dep.Mode().String(), InFlight: dep.InFlight(), Limit: dep.Config().Concurrency}
		if f, ok := why[b.Name]; ok {
			b.Reason, b.Actor, b.Since = f.Reason, f.Actor, &f.At
		}
		out = append(out, b)
	}
	if engine.CodeOf(err) == engine.CodeUnavailable {
		err = nil // the states are known without the record, and now is when they are wanted
	}
	return out, err
}

func (d breakerDesk) SetBreaker(ctx context.Context, name, mode string, act engine.Act) error {
	if d.board.Find(name) == nil {
		return engine.E(engine.CodeNotFound, "no breaker is called %q; GET /admin/v1/breakers lists them", name)
	}
	if _, err := outside.ParseMode(mode); err != nil {
		return engine.E(engine.CodeInvalidRequest, "%v", err)
	}
	if err := d.forced.Set(ctx, name, mode, act); err != nil {
		return err
	}
	if err := d.takeModes(ctx); err != nil && !errors.Is(err, context.Canceled) {
		d.log.Warn("a breaker was set, and this node follows a little later", "breaker", name, "err", err)
	}
	return nil
}
