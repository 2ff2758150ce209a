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
	keys   []Key
	parser *jwt.Parser
	cache  *tokenCache
	now    func() time.Time
}

func newVerifier(keys []Key, audience string, cached int, now func() time.Time) (*verifier, error) {
	if len(keys) == 0 {
		return nil, errors.New("api: at least one key for buyer tokens must be given")
	}
	var algs []string
	for i, k := range keys {
		if k.key == nil {
			return nil, errors.New("api: a Key must come from HS256Key or PublicKey")
		}
		for _, other := range keys[:i] {
			if k.id == other.id && (k.id != "" || k.alg == other.alg) {
				return nil, fmt.Errorf("api: two keys for buyer tokens share the kid %q", k.id)
			}
		}
		algs = append(algs, k.alg)
	}
	return &verifier{
		keys: keys, now: now, cache: newTokenCache(cached),
		parser: jwt.NewParser(jwt.WithValidMethods(algs), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
			jwt.WithLeeway(tokenLeeway), jwt.WithTimeFunc(now), jwt.WithStrictDecoding()),
	}, nil
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
	if who, ok := v.cache.get(&name, now); ok {
		return who, nil
	}
	var claims tokenClaims
	if _, err := v.parser.ParseWithClaims(string(token), &claims, v.keyOf); err != nil {
		return bearer{}, badToken(whyBad(err))
	}
	if !fitBuyer(claims.Subject) {
		return bearer{}, badToken("the token's sub, the buyer, must have 1 to 128 bytes and no control characters")
	}
	scope, _ := claims.Scope.(string)
	who := bearer{claims.Subject, slices.Contains(strings.Fields(scope), ScopeBatch)}
	v.cache.put(&name, who, claims.ExpiresAt.Time, now)
	return who, nil
}

// keyOf picks the key for a token: by kid, or the only one of its algorithm.
func (v *verifier) keyOf(t *jwt.Token) (any, error) {
	if _, has := t.Header["crit"]; has {
		return nil, errors.New("crit names extensions that are not understood") // RFC 7515, section 4.1.11
	}
	kid := ""
	if named, has := t.Header["kid"]; has {
		var text bool
		if kid, text = named.(string); !text {
			return nil, errors.New("kid is not a string")
		}
	}
	alg := t.Method.Alg()
	var found *Key
	for i, k := range v.keys {
		switch {
		case kid != "" && k.id == kid:
			if k.alg != alg {
				return nil, errors.New("kid names a key of another algorithm")
			}
			return k.key, nil
		case k.alg != alg || kid != "" && k.id != "":
		case found != nil:
			return nil, errors.New("several keys could have signed this; a kid is needed")
		default:
			found = &v.keys[i]
		}
	}
	if found == nil {
		return nil, errors.New("no such key")
	}
	return found.key, nil
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
