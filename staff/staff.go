// Package staff knows operators by the tokens of an identity provider, as OpenID
// Connect describes them: who somebody is comes from its signature, and what they may
// do from a claim that names their roles or groups.
//
// The provider is asked for its keys only, when there is a token to verify; it may be
// away when a node starts. While it is away and a token's key is not known, nobody can
// say who the bearer is: that is no refusal, and is told as such.
package staff

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/ops"
	"github.com/flashsale-engine/flashsale/outside"
)

// Config are the parts and settings of a Provider.
type Config struct {
	Issuer   string              // as in the tokens' iss; its keys are found through /.well-known/openid-configuration
	Audience string              // one of the tokens' aud
	Claim    string              // holds roles or groups; dots lead into objects, as in realm_access.roles
	Roles    map[string]ops.Role // what a value of the claim permits

	Board     *outside.Board
	Log       *slog.Logger
	Transport http.RoundTripper // nil: http.DefaultTransport
}

// Provider verifies tokens.
type Provider struct {
	c      Config
	client *http.Client

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier // nil until the provider has been asked
}

// algorithms are those with a public key: a secret that both sides know proves nothing.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA}

// New gives a provider that has asked nobody yet.
func New(c Config) (*Provider, error) {
	switch {
	case c.Issuer == "":
		return nil, errors.New("staff: the issuer is not set")
	case c.Audience == "":
		return nil, errors.New("staff: the audience is not set, so tokens for any other application would be taken")
	case c.Claim == "":
		return nil, errors.New("staff: the claim with the roles is not set")
	case len(c.Roles) == 0:
		return nil, errors.New("staff: no value of the claim stands for a role, so nobody could do anything")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	ask, err := newAsk(c)
	if err != nil {
		return nil, err
	}
	return &Provider{c: c, client: &http.Client{Transport: ask, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}, nil
}

// Who gives the bearer of a token: its Name is what the audit log calls them. Errors:
// CodeUnauthenticated, CodeForbidden for somebody without a role, CodeUnavailable if
// the provider cannot be asked.
func (p *Provider) Who(ctx context.Context, token string) (ops.Token, error) {
	v, err := p.open(ctx)
	if err != nil {
		p.c.Log.WarnContext(ctx, "the identity provider cannot be asked who an operator is", "issuer", p.c.Issuer, "err", err)
		return ops.Token{}, unavailable(err)
	}
	f := &failure{}
	t, err := v.Verify(context.WithValue(ctx, failureKey{}, f), token)
	switch {
	case f.err != nil:
		p.c.Log.WarnContext(ctx, "the identity provider's keys cannot be read", "issuer", p.c.Issuer, "err", f.err)
		return ops.Token{}, unavailable(f.err)
	case err != nil:
		return ops.Token{}, engine.Wrap(err, engine.CodeUnauthenticated, "the identity provider's token does not hold: %s", reason(err))
	}
	var claims map[string]any
	if err := t.Claims(&claims); err != nil {
		return ops.Token{}, engine.Wrap(err, engine.CodeUnauthenticated, "the token's claims cannot be read")
	}
	name, ok := called(t.Subject, claims)
	if !ok {
		return ops.Token{}, engine.E(engine.CodeUnauthenticated, "the token's sub names nobody that an audit log could")
	}
	who := ops.Token{Name: name}
	for _, value := range values(claims, p.c.Claim) {
		who.Role = max(who.Role, p.c.Roles[value])
	}
	if who.Role == 0 {
		return ops.Token{}, engine.E(engine.CodeForbidden, "no value of the claim %s of %s stands for a role here", p.c.Claim, name)
	}
	return who, nil
}

// Check asks the provider for its configuration, as doctor does.
func (p *Provider) Check(ctx context.Context) error {
	_, err := p.open(ctx)
	return err
}

func (p *Provider) open(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.verifier != nil {
		return p.verifier, nil
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.client), p.c.Issuer)
	if err != nil {
		return nil, err
	}
	var at struct {
		Keys string `json:"jwks_uri"`
	}
	if err := found.Claims(&at); err != nil {
		return nil, err
	}
	if err := outside.CheckURL(at.Keys); err != nil {
		return nil, fmt.Errorf("jwks_uri: %w", err)
	}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), p.client), at.Keys)
	p.verifier = oidc.NewVerifier(p.c.Issuer, keySet{keys}, &oidc.Config{ClientID: p.c.Audience, SupportedSigningAlgs: algorithms})
	return p.verifier, nil
}

func unavailable(err error) error {
	return engine.Wrap(err, engine.CodeUnavailable, "the identity provider cannot be asked who you are; an admin token of this node's configuration still works")
}

// reason is what the library says without the token's own content.
func reason(err error) string {
	var late *oidc.TokenExpiredError
	if errors.As(err, &late) {
		return "it expired at " + late.Expiry.UTC().Format("15:04:05 UTC")
	}
	return "its signature, issuer, audience or time is not what it must be"
}

// called is the name that the audit log has of somebody: the subject, which nobody
// else gets, and the address that people know them by.
func called(sub string, claims map[string]any) (string, bool) {
	odd := func(s string) bool {
		return s == "" || len(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || r == unicode.ReplacementChar })
	}
	if odd(sub) {
		return "", false
	}
	for _, claim := range []string{"email", "preferred_username"} {
		if s, ok := claims[claim].(string); ok && !odd(s) && s != sub {
			return "oidc:" + sub + " (" + s + ")", true
		}
	}
	return "oidc:" + sub, true
}

// values are a claim's: a text, or a list of texts. Its name is looked for as it is
// before its dots are followed: a URL has some.
func values(claims map[string]any, name string) (out []string) {
	v, there := claims[name]
	if first, rest, dotted := strings.Cut(name, "."); !there && dotted {
		if inner, ok := claims[first].(map[string]any); ok {
			return values(inner, rest)
		}
	}
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, one := range v {
			if s, ok := one.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}
