package api

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// trust is the keys of a time, and the tokens that they have verified. It does not
// change but for its cache: other keys are another trust, so that a request needs
// one atomic load to have keys and memory that belong together.
type trust struct {
	keys   []Key
	parser *jwt.Parser
	cache  *tokenCache
}

// set replaces the keys. Tokens that were verified by a key which has gone are
// forgotten, and so are all others with them: they cost a signature check each.
// Where keys only came, nothing is forgotten.
func (v *verifier) set(keys []Key) error {
	algs, err := checkKeys(keys)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	next := &trust{keys: slices.Clone(keys), parser: jwt.NewParser(jwt.WithValidMethods(algs), jwt.WithAudience(v.audience), jwt.WithExpirationRequired(),
		jwt.WithLeeway(tokenLeeway), jwt.WithTimeFunc(v.now), jwt.WithStrictDecoding())}
	if old := v.trust.Load(); old != nil && next.covers(old) {
		next.cache = old.cache
	} else {
		// Not the old one, emptied: whoever is verifying by the old keys now may
		// still write to that.
		next.cache = newTokenCache(v.cached)
	}
	v.trust.Store(next)
	return nil
}

// covers says whether every key of old is still here.
func (t *trust) covers(old *trust) bool {
	for _, k := range old.keys {
		if !slices.ContainsFunc(t.keys, k.same) {
			return false
		}
	}
	return true
}

func (k Key) same(other Key) bool {
	if k.id != other.id || k.alg != other.alg {
		return false
	}
	switch key := k.key.(type) {
	case []byte:
		secret, ok := other.key.([]byte)
		return ok && bytes.Equal(key, secret)
	case ed25519.PublicKey:
		return key.Equal(other.key)
	case *ecdsa.PublicKey:
		return key.Equal(other.key)
	}
	return false
}

// checkKeys refuses keys that cannot be told apart, and gives their algorithms.
func checkKeys(keys []Key) (algs []string, err error) {
	if len(keys) == 0 {
		return nil, errors.New("api: at least one key for buyer tokens must be given")
	}
	for i, k := range keys {
		if k.key == nil {
			return nil, errors.New("api: a Key must come from HS256Key, PublicKey or KeySet")
		}
		for _, other := range keys[:i] {
			if k.id == other.id && (k.id != "" || k.alg == other.alg) {
				return nil, fmt.Errorf("api: two keys for buyer tokens share the kid %q; give each its own", k.id)
			}
		}
		algs = append(algs, k.alg)
	}
	return algs, nil
}

// lacks says whether a token was refused that names a key which is not here.
func (t *trust) lacks(token *jwt.Token, why error) bool {
	kid, _ := token.Header["kid"].(string)
	if kid == "" || !errors.Is(why, jwt.ErrTokenSignatureInvalid) && !errors.Is(why, jwt.ErrTokenUnverifiable) {
		return false
	}
	return !slices.ContainsFunc(t.keys, func(k Key) bool { return k.id == kid })
}

// keyOf picks the key for a token: by kid, or the only one of its algorithm.
func (t *trust) keyOf(token *jwt.Token) (any, error) {
	if _, has := token.Header["crit"]; has {
		return nil, errors.New("crit names extensions that are not understood") // RFC 7515, section 4.1.11
	}
	kid := ""
	if named, has := token.Header["kid"]; has {
		var text bool
		if kid, text = named.(string); !text {
			return nil, errors.New("kid is not a string")
		}
	}
	alg := token.Method.Alg()
	var found *Key
	for i, k := range t.keys {
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
			found = &t.keys[i]
		}
	}
	if found == nil {
		return nil, errors.New("no such key")
	}
	return found.key, nil
}
