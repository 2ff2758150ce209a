package api

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/golang-jwt/jwt/v5"
)

// Key verifies buyer tokens. It belongs to one algorithm: a public key can
// never be taken for a shared secret, whatever a token's header says.
type Key struct {
	id  string // the kid; "" is the only key of its algorithm
	alg string
	key any
}

// HS256Key takes a secret shared with the storefront, its bytes as given: at
// least 32 of them (RFC 7518, section 3.2). kid may be empty.
func HS256Key(kid string, secret []byte) (Key, error) {
	if len(secret) < 32 {
		return Key{}, fmt.Errorf("api: an HS256 secret needs at least 32 bytes, not %d", len(secret))
	}
	return Key{kid, "HS256", bytes.Clone(secret)}, nil
}

// PublicKey takes the storefront's public key in PEM (PKIX, "PUBLIC KEY"):
// Ed25519 for EdDSA, or P-256 for ES256. kid may be empty.
func PublicKey(kid string, text []byte) (Key, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return Key{}, errors.New("api: a public key must be in PEM")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Key{}, fmt.Errorf("api: public key: %w", err)
	}
	switch k := parsed.(type) {
	case ed25519.PublicKey:
		return Key{kid, "EdDSA", k}, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return Key{kid, "ES256", k}, nil
		}
	}
	return Key{}, errors.New("api: a public key must be Ed25519 or P-256")
}

// tokenLeeway is how far the clocks of storefront and engine may differ.
const tokenLeeway = 5 * time.Second

// verifier learns the buyer from a request's bearer token.
type verifier struct {
	trust    atomic.Pointer[trust]
	mu       sync.Mutex // of whoever changes the keys
	audience string
	cached   int
	now      func() time.Time
	unknown  func() // Options.UnknownKid, or nil
}

func newVerifier(keys []Key, audience string, cached int, now func() time.Time) (*verifier, error) {
	v := &verifier{audience: audience, cached: cached, now: now}
	return v, v.set(keys)
}

// errNoToken marks a request that does not try to authenticate.
var errNoToken = engine.E(engine.CodeUnauthenticated, "the Authorization header has no bearer token")

func badToken(detail string) error { return engine.E(engine.CodeUnauthenticated, "%s", detail) }

// challenge gives the WWW-Authenticate header of a 401 (RFC 6750, section 3).
func challenge(err error) string {
	const scheme = `Bearer realm="flashsale"`
	if err == error(errNoToken) { //nolint:errorlint // this very value, not its code
		return scheme
	}
	return scheme + `, error="invalid_token"`
}

func (v *verifier) authenticate(f field, now time.Time) (bearer, error) {
	const scheme = "Bearer "
	auth := f.value
	if f.times != 1 || len(auth) <= len(scheme) || !bytes.EqualFold(auth[:len(scheme)], []byte(scheme)) {
		return bearer{}, errNoToken
	}
	return v.verify(auth[len(scheme):], now)
}

// bearer is who sent a request.
type bearer struct {
	buyer string // the token's sub
	batch bool   // a service that may name buyers: its scope has ScopeBatch
}

// tokenClaims are what a token says. scope is that of RFC 8693, section 4.2: names
// with spaces between.
type tokenClaims struct {
	jwt.RegisteredClaims
	Scope any `json:"scope"` // of another type than a string, it is none of ours
}

// verify gives the bearer of a token. A token that was verified before and has
// not ended needs no cryptography.
func (v *verifier) verify(token []byte, now time.Time) (bearer, error) {
	if len(token) > maxToken {
		return bearer{}, badToken("the token is too long")
	}
	name := nameToken(token)
	t := v.trust.Load()
	if who, ok := t.cache.get(&name, now); ok {
		return who, nil
	}
	who, kid, err := t.check(token, &name, now)
	if err != nil && kid && v.unknown != nil {
		v.unknown()
		if next := v.trust.Load(); next != t {
			who, _, err = next.check(token, &name, now)
		}
	}
	return who, err
}

// check verifies a token and remembers it. unknown says that it was refused, and
// names a key that is not here: it may be good under newer keys.
func (t *trust) check(token []byte, name *tokenName, now time.Time) (who bearer, unknown bool, err error) {
	var claims tokenClaims
	if parsed, err := t.parser.ParseWithClaims(string(token), &claims, t.keyOf); err != nil {
		return bearer{}, parsed != nil && t.lacks(parsed, err), badToken(whyBad(err))
	}
	if !fitBuyer(claims.Subject) {
		return bearer{}, false, badToken("the token's sub, the buyer, must have 1 to 128 bytes and no control characters")
	}
	scope, _ := claims.Scope.(string)
	who = bearer{claims.Subject, slices.Contains(strings.Fields(scope), ScopeBatch)}
	t.cache.put(name, who, claims.ExpiresAt.Time, now)
	return who, false, nil
}

// whyBad tells what a storefront's developer can act on, and nothing of keys.
func whyBad(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return "the token is not a JWT"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return "the token is not signed with a key and algorithm that this engine accepts"
	case errors.Is(err, jwt.ErrTokenExpired):
		return "the token has expired"
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return "the token is not valid yet"
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return "the token's aud is not this engine"
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return "the token lacks exp or aud"
	}
	return "the token's claims are not valid"
}

func fitBuyer(sub string) bool {
	if sub == "" || len(sub) > 128 || !utf8.ValidString(sub) {
		return false
	}
	for _, r := range sub {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}
