package api

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
)

// KeySet reads a JWK Set (RFC 7517): Ed25519 keys for EdDSA, P-256 for ES256, and,
// if secrets may be in it, oct for HS256. skipped tells of keys of other types,
// which are for others. Anything else that is odd refuses the whole set: half of a
// set that was meant otherwise is worse than the one before it.
func KeySet(text []byte, secrets bool) (keys []Key, skipped []string, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, nil, fmt.Errorf(`not a JWK Set, {"keys": [...]}: %w`, err)
	}
	for i, raw := range set.Keys {
		k, skip, err := jwk(raw, secrets)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("key %d of the JWK Set%w", i+1, err)
		case skip != "":
			skipped = append(skipped, fmt.Sprintf("key %d%s", i+1, skip))
		default:
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 && len(skipped) > 0 {
		return nil, nil, fmt.Errorf("no key of the JWK Set can be used; add one of kty OKP (Ed25519) or EC (P-256). Skipped: %s", strings.Join(skipped, "; "))
	}
	if len(keys) == 0 {
		return nil, nil, errors.New(`the JWK Set is empty; "keys" must list at least one`)
	}
	if _, err := checkKeys(keys); err != nil {
		return nil, nil, err
	}
	return keys, skipped, nil
}

// jwk reads one key of a set, or says why it is for others.
func jwk(raw []byte, secrets bool) (k Key, skip string, err error) {
	var head struct {
		Kid    string
		Kty    jwkset.KTY
		Crv    jwkset.CRV
		D      json.RawMessage
		Use    jwkset.USE
		Alg    string
		KeyOps []jwkset.KEYOPS `json:"key_ops"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return Key{}, "", fmt.Errorf(" is not a JWK: %w", err)
	}
	bad := func(format string, args ...any) (Key, string, error) {
		return Key{}, "", fmt.Errorf(" (kid %q) "+format, append([]any{head.Kid}, args...)...)
	}
	if len(head.D) > 0 {
		// Of any type: whoever can read the set could sign in somebody's name.
		return bad(`holds a private key, "d"; publish the public part only, and take this key for stolen`)
	}
	alg := algOf(head.Kty, head.Crv)
	switch {
	case alg == "":
		return Key{}, fmt.Sprintf(" (kid %q) is of kty %q, crv %q", head.Kid, head.Kty, head.Crv), nil
	case alg == "HS256" && !secrets:
		return bad("is a secret, kty oct, in a set from a URL: whoever fetches it could sign tokens; publish public keys, or give the set as a file")
	case head.Use != "" && head.Use != jwkset.UseSig:
		return bad(`has use %q; only "sig" can verify tokens: take it out of this set`, head.Use)
	case len(head.KeyOps) > 0 && !slices.Contains(head.KeyOps, jwkset.KeyOpsVerify):
		return bad(`has key_ops without "verify"; add it, or take the key out of this set`)
	case head.Alg != "" && head.Alg != alg:
		return bad("has alg %q, but a key of its type is for %s; make them agree", head.Alg, alg)
	}
	if k, err = material(raw, head.Kid, alg); err != nil {
		return bad("%w", err)
	}
	return k, "", nil
}

// algOf is the algorithm of a type of key; "": not one of ours.
func algOf(kty jwkset.KTY, crv jwkset.CRV) string {
	switch {
	case kty == jwkset.KtyOKP && crv == jwkset.CrvEd25519:
		return "EdDSA"
	case kty == jwkset.KtyEC && crv == jwkset.CrvP256:
		return "ES256"
	case kty == jwkset.KtyOct:
		return "HS256"
	}
	return ""
}

// material makes the key itself. Only its own members go to the library, so that
// certificates and addresses of such play no part. It panics over coordinates that
// are longer than the curve's.
func material(raw []byte, kid, alg string) (k Key, err error) {
	defer func() {
		if p := recover(); p != nil {
			k, err = Key{}, fmt.Errorf("is no key of its type: %v", p)
		}
	}()
	var all jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &all); err != nil {
		return Key{}, err
	}
	m := jwkset.JWKMarshal{KTY: all.KTY, CRV: all.CRV, X: all.X, Y: all.Y, K: all.K}
	parsed, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: alg == "HS256"}, jwkset.JWKValidateOptions{})
	if err != nil {
		return Key{}, err
	}
	switch k := parsed.Key().(type) {
	case ed25519.PublicKey:
		return Key{kid, alg, k}, nil
	case *ecdsa.PublicKey:
		if _, err := k.ECDH(); err != nil { // which checks that it is on its curve
			return Key{}, fmt.Errorf("is not a point of P-256: %w", err)
		}
		return Key{kid, alg, k}, nil
	case []byte:
		return HS256Key(kid, k)
	}
	return Key{}, fmt.Errorf("is of a type that is not known here, %T", parsed.Key())
}
