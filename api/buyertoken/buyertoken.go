// Package buyertoken mints buyer tokens, as a storefront's back end does. It
// serves the command line, the load generator and tests; production storefronts
// sign their own.
package buyertoken

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// DefaultAudience is the aud of tokens for this engine.
const DefaultAudience = "flashsale"

// Mint signs an HS256 token that names the buyer for ttl from now. The secret
// is taken as the bytes that it is, at least 32; an empty audience means
// DefaultAudience.
func Mint(secret []byte, buyer, audience string, ttl time.Duration) (string, error) {
	return MintScoped(secret, buyer, audience, "", ttl)
}

// claims are what a token says.
type claims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope,omitempty"`
}

// MintScoped does the same for a service: scope names what it may do beyond a
// buyer, such as reservations:batch.
func MintScoped(secret []byte, buyer, audience, scope string, ttl time.Duration) (string, error) {
	switch {
	case len(secret) < 32:
		return "", errors.New("buyertoken: the secret needs at least 32 bytes")
	case buyer == "" || len(buyer) > 128:
		return "", errors.New("buyertoken: a buyer has 1 to 128 bytes")
	case ttl < time.Second:
		return "", errors.New("buyertoken: a token lives at least a second")
	}
	if audience == "" {
		audience = DefaultAudience
	}
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims{jwt.RegisteredClaims{
		Subject: buyer, Audience: jwt.ClaimStrings{audience},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
	}, scope}).SignedString(secret)
}
