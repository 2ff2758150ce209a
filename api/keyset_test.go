package api

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// pair is a key of a storefront: how it signs, and how it is published.
type pair struct {
	method jwt.SigningMethod
	kid    string
	secret any
	public []byte // its bytes
	jwk    string // without the braces
}

func edPair(t testing.TB, kid string) pair {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pair{jwt.SigningMethodEdDSA, kid, key, pub, fmt.Sprintf(`"kid":%q,"kty":"OKP","crv":"Ed25519","x":%q`, kid, b64(pub))}
}

func ecPair(t testing.TB, kid string) pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey.ECDH()
	if err != nil {
		t.Fatal(err)
	}
	at := public.Bytes() // 4, x, y
	return pair{jwt.SigningMethodES256, kid, key, at, fmt.Sprintf(`"kid":%q,"kty":"EC","crv":"P-256","x":%q,"y":%q`, kid, b64(at[1:33]), b64(at[33:]))}
}

func octPair(kid string, secret []byte) pair {
	return pair{jwt.SigningMethodHS256, kid, secret, secret, fmt.Sprintf(`"kid":%q,"kty":"oct","k":%q`, kid, b64(secret))}
}

func (p pair) token(t *testing.T) string { return sign(t, p.method, p.kid, p.secret, claims()) }

func setOf(jwks ...string) []byte {
	return []byte(`{"keys":[{` + strings.Join(jwks, "},{") + `}]}`)
}

const rsaJWK = `"kid":"r","kty":"RSA","n":"AQAB","e":"AQAB","use":"enc"`

func TestEachTypeOfKeyInASetVerifies(t *testing.T) {
	ed, ec, oct := edPair(t, "ed"), ecPair(t, "ec"), octPair("oct", testSecret)
	keys, skipped, err := KeySet(setOf(ed.jwk+`,"use":"sig","alg":"EdDSA"`, ec.jwk+`,"alg":"ES256","key_ops":["verify"]`, oct.jwk+`,"alg":"HS256"`,
		rsaJWK, `"kty":"EC","crv":"P-384","x":"AA","y":"AA"`, `"kty":"new"`), true)
	must(t, err)
	if len(keys) != 3 || len(skipped) != 3 || !strings.Contains(skipped[0], `kty "RSA"`) {
		t.Fatalf("%d keys, skipped %q", len(keys), skipped)
	}
	v, err := newVerifier(keys, "flashsale", 100, time.Now)
	must(t, err)
	for _, p := range []pair{ed, ec, oct} {
		if _, err := v.verify([]byte(p.token(t)), v.now()); err != nil {
			t.Errorf("%s: %v", p.kid, err)
		}
		other := p
		other.kid = "unknown"
		if _, err := v.verify([]byte(other.token(t)), v.now()); err == nil {
			t.Errorf("%s under another kid was accepted", p.kid)
		}
	}
	// Whatever anyone can read must not be a secret.
	for _, p := range []pair{ed, ec} {
		for name, secret := range map[string][]byte{"bytes": p.public, "coordinates": p.public[max(0, len(p.public)-64):], "JWK": []byte("{" + p.jwk + "}")} {
			for _, kid := range []any{p.kid, nil, "oct"} {
				if _, err := v.verify([]byte(sign(t, jwt.SigningMethodHS256, kid, secret, claims())), v.now()); err == nil {
					t.Errorf("HS256 under the %s of the public key %s, kid %v", name, p.kid, kid)
				}
			}
		}
	}
}

func TestASetThatIsNotMeantForThisIsRefused(t *testing.T) {
	ed, ec := edPair(t, "ed"), ecPair(t, "ec")
	short := octPair("s", testSecret[:31])
	for says, text := range map[string][]byte{
		"not a JWK Set":           []byte("<html>"),
		"is empty":                []byte(`{"keys":[]}`),
		`"keys" must list`:        []byte(`{}`),
		"no key of the JWK Set":   setOf(rsaJWK),
		"is not a JWK":            []byte(`{"keys":[7]}`),
		`has use "enc"`:           setOf(ed.jwk + `,"use":"enc"`),
		`without "verify"`:        setOf(ed.jwk + `,"key_ops":["sign"]`),
		`has alg "ES256"`:         setOf(ed.jwk + `,"alg":"ES256"`),
		`has alg "HS256"`:         setOf(ec.jwk + `,"alg":"HS256"`),
		`share the kid "ed"`:      setOf(ed.jwk, edPair(t, "ed").jwk),
		`share the kid ""`:        setOf(edPair(t, "").jwk, edPair(t, "").jwk),
		"private key":             setOf(ed.jwk + `,"d":"AAAA"`),
		"take this key for":       setOf(ed.jwk, rsaJWK+`,"d":"AAAA"`),
		"at least 32 bytes":       setOf(short.jwk),
		"32 bytes":                setOf(`"kty":"OKP","crv":"Ed25519","x":"AAAA"`),
		"not a point":             setOf(`"kty":"EC","crv":"P-256","x":"` + b64(make([]byte, 32)) + `","y":"` + b64(make([]byte, 32)) + `"`),
		`requires parameter`:      setOf(`"kty":"EC","crv":"P-256"`),
		"illegal base64":          setOf(`"kty":"OKP","crv":"Ed25519","x":"!"`),
		"invalid character 'x' a": []byte(`{"keys":[]}x`),
	} {
		if _, _, err := KeySet(text, true); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", says, err)
		}
	}
	if _, _, err := KeySet(setOf(octPair("o", testSecret).jwk), false); err == nil || !strings.Contains(err.Error(), "from a URL") {
		t.Errorf("a secret from a URL: %v", err)
	}
}

func TestAKeyThatIsTooLongForItsCurveIsRefused(t *testing.T) {
	_, _, err := KeySet([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"00000000000000000000000000000000000000000000","y":"00"}]}`), true)
	if err == nil || !strings.Contains(err.Error(), "no key of its type") {
		t.Errorf("got %v", err)
	}
}

func FuzzKeySet(f *testing.F) {
	f.Add(setOf(edPair(f, "a").jwk, ecPair(f, "b").jwk, octPair("c", testSecret).jwk, rsaJWK))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":"","x5u":"http://x","x5c":["!"]}]}`))
	f.Add([]byte(`{"keys":[null]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, _, err := KeySet(text, false)
		if err != nil {
			return
		}
		if _, err := newVerifier(keys, "flashsale", 1, time.Now); err != nil {
			t.Errorf("a set was accepted and its keys are refused: %v", err)
		}
		for _, k := range keys {
			if k.alg == "HS256" || !k.same(k) {
				t.Errorf("a key of %s", k.alg)
			}
		}
	})
}
