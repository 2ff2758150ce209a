package api

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/flashsale-engine/flashsale/api/buyertoken"
	"github.com/flashsale-engine/flashsale/engine"
)

func publicPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func claims(change ...func(jwt.MapClaims)) jwt.MapClaims {
	c := jwt.MapClaims{"sub": anyBuyer, "aud": "flashsale", "exp": time.Now().Add(time.Hour).Unix()}
	for _, f := range change {
		f(c)
	}
	return c
}

func sign(t *testing.T, m jwt.SigningMethod, kid any, key any, c jwt.MapClaims) string {
	t.Helper()
	tok := jwt.NewWithClaims(m, c)
	if kid != nil {
		tok.Header["kid"] = kid
	}
	s, err := tok.SignedString(key)
	must(t, err)
	return s
}

func TestBuyerTokensAreVerified(t *testing.T) {
	edPub, edKey, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	_, otherEd, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	hs, err := HS256Key("secret-1", testSecret)
	must(t, err)
	ed, err := PublicKey("ed-1", publicPEM(t, edPub))
	must(t, err)
	es, err := PublicKey("", publicPEM(t, &ecKey.PublicKey))
	must(t, err)
	v, err := newVerifier([]Key{hs, ed, es}, "flashsale", 100, time.Now)
	must(t, err)

	set := func(name string, value any) func(jwt.MapClaims) {
		return func(c jwt.MapClaims) { c[name] = value }
	}
	without := func(name string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { delete(c, name) } }
	hsToken := func(change ...func(jwt.MapClaims)) string {
		return sign(t, jwt.SigningMethodHS256, "secret-1", testSecret, claims(change...))
	}
	critical := jwt.NewWithClaims(jwt.SigningMethodHS256, claims())
	critical.Header["kid"], critical.Header["crit"] = "secret-1", []string{"x"}
	crit, err := critical.SignedString(testSecret)
	must(t, err)
	good := hsToken()
	parts := strings.Split(good, ".")

	for _, c := range []struct {
		name, token string
		ok          bool
	}{
		{"HS256 by kid", good, true},
		{"EdDSA by kid", sign(t, jwt.SigningMethodEdDSA, "ed-1", edKey, claims()), true},
		{"ES256 by the only key of its algorithm", sign(t, jwt.SigningMethodES256, nil, ecKey, claims()), true},
		{"ES256 with a kid that its nameless key cannot contradict", sign(t, jwt.SigningMethodES256, "any", ecKey, claims()), true},
		{"HS256 without a kid", sign(t, jwt.SigningMethodHS256, nil, testSecret, claims()), true},
		{"several audiences", hsToken(set("aud", []string{"other", "flashsale"})), true},
		{"expired within the leeway", hsToken(set("exp", time.Now().Add(-3*time.Second).Unix())), true},
		{"valid from a moment ahead", hsToken(set("nbf", time.Now().Add(3*time.Second).Unix())), true},
		{"a long buyer", hsToken(set("sub", strings.Repeat("b", 128))), true},

		{"nothing", "", false},
		{"no JWT", "a.b.c", false},
		{"alg none", sign(t, jwt.SigningMethodNone, "secret-1", jwt.UnsafeAllowNoneSignatureType, claims()), false},
		{"alg none by hand", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".", false},
		{"HS512", sign(t, jwt.SigningMethodHS512, "secret-1", testSecret, claims()), false},
		{"a public key taken for a secret", sign(t, jwt.SigningMethodHS256, "ed-1", []byte(edPub), claims()), false},
		{"a public key's text taken for a secret", sign(t, jwt.SigningMethodHS256, "ed-1", publicPEM(t, edPub), claims()), false},
		{"a stranger's secret", sign(t, jwt.SigningMethodHS256, "secret-1", []byte(strings.Repeat("x", 32)), claims()), false},
		{"a stranger's key", sign(t, jwt.SigningMethodEdDSA, "ed-1", otherEd, claims()), false},
		{"an unknown kid", sign(t, jwt.SigningMethodEdDSA, "ed-2", edKey, claims()), false},
		{"a kid that is no string", sign(t, jwt.SigningMethodEdDSA, 1, edKey, claims()), false},
		{"a changed claim", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"me","aud":"flashsale","exp":9999999999}`)) + "." + parts[2], false},
		{"no signature", parts[0] + "." + parts[1] + ".", false},
		{"something behind it", good + ".x", false},
		{"an extension that must be understood", crit, false},
		{"expired", hsToken(set("exp", time.Now().Add(-6*time.Second).Unix())), false},
		{"not yet", hsToken(set("nbf", time.Now().Add(time.Minute).Unix())), false},
		{"no exp", hsToken(without("exp")), false},
		{"no aud", hsToken(without("aud")), false},
		{"another aud", hsToken(set("aud", "other")), false},
		{"no sub", hsToken(without("sub")), false},
		{"an empty sub", hsToken(set("sub", "")), false},
		{"a sub that is too long", hsToken(set("sub", strings.Repeat("b", 129))), false},
		{"a sub with a newline", hsToken(set("sub", "a\nb")), false},
		{"a sub that is no string", hsToken(set("sub", 7)), false},
		{"a token that is too long", hsToken(set("x", strings.Repeat("x", 4096))), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // the second time from the cache, if it got there
				buyer, err := v.verify([]byte(c.token), v.now())
				if (err == nil) != c.ok {
					t.Fatalf("%v, %v", buyer, err)
				}
				if err != nil && engine.CodeOf(err) != engine.CodeUnauthenticated {
					t.Errorf("code %s", engine.CodeOf(err))
				}
			}
		})
	}
}

func TestAKidIsNeededWhereSeveralKeysCouldSign(t *testing.T) {
	a, err := HS256Key("a", testSecret)
	must(t, err)
	b, err := HS256Key("b", []byte(strings.Repeat("b", 32)))
	must(t, err)
	v, err := newVerifier([]Key{a, b}, "flashsale", 10, time.Now)
	must(t, err)
	if _, err := v.verify([]byte(sign(t, jwt.SigningMethodHS256, nil, testSecret, claims())), v.now()); err == nil {
		t.Error("a token without kid was accepted")
	}
	if _, err := v.verify([]byte(sign(t, jwt.SigningMethodHS256, "b", testSecret, claims())), v.now()); err == nil {
		t.Error("a kid's key was not the one that counts")
	}
	if _, err := v.verify([]byte(sign(t, jwt.SigningMethodHS256, "b", []byte(strings.Repeat("b", 32)), claims())), v.now()); err != nil {
		t.Error(err)
	}
}

func TestKeysThatCannotWorkAreRefused(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	if _, err := HS256Key("", make([]byte, 31)); err == nil {
		t.Error("a short secret")
	}
	for name, text := range map[string][]byte{"no PEM": []byte("x"), "no key": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "P-384": publicPEM(t, &p384.PublicKey)} {
		if _, err := PublicKey("", text); err == nil {
			t.Error(name)
		}
	}
}

func TestARememberedTokenStillDies(t *testing.T) {
	key, err := HS256Key("", testSecret)
	must(t, err)
	now := time.Now()
	v, err := newVerifier([]Key{key}, "flashsale", 100, func() time.Time { return now })
	must(t, err)
	tok, err := buyertoken.Mint(testSecret, anyBuyer, "flashsale", time.Minute)
	must(t, err)
	for _, step := range []struct {
		after time.Duration
		ok    bool
	}{{0, true}, {59 * time.Second, true}, {63 * time.Second, true}, {67 * time.Second, false}} {
		start := now
		now = now.Add(step.after)
		if _, err := v.verify([]byte(tok), v.now()); (err == nil) != step.ok {
			t.Errorf("after %s: %v", step.after, err)
		}
		now = start
	}
	if buyer, err := v.verify([]byte(tok), v.now()); err != nil || buyer.buyer != anyBuyer || v.trust.Load().cache.len() != 1 {
		t.Errorf("%v %v, %d remembered", buyer, err, v.trust.Load().cache.len())
	}
}

func TestTheTokenCacheIsBounded(t *testing.T) {
	c := newTokenCache(640)
	now := time.Unix(1000, 0)
	for i := range 10_000 {
		name := nameToken(fmt.Append(nil, i))
		c.put(&name, bearer{buyer: "b"}, now.Add(time.Hour), now)
	}
	if n := c.len(); n > 640 || n < 500 {
		t.Errorf("%d entries", n)
	}
	name := nameToken(fmt.Append(nil, 9_999))
	if _, ok := c.get(&name, now); !ok {
		t.Error("the newest was not kept")
	}
}

func TestA401SaysWhatIsWanted(t *testing.T) {
	d := open(t, &fake{})
	for auth, want := range map[string]string{
		"":                  `Bearer realm="flashsale"`,
		"Basic dTpw":        `Bearer realm="flashsale"`,
		"Bearer":            `Bearer realm="flashsale"`,
		"Bearer not.a.jwt":  `Bearer realm="flashsale", error="invalid_token"`,
		"bearer  not.a.jwt": `Bearer realm="flashsale", error="invalid_token"`,
	} {
		a := d.do("GET", orderPath, "", header{"Authorization": auth})
		a.expect(t, 401, engine.CodeUnauthenticated)
		if got := a.header.Get("WWW-Authenticate"); got != want {
			t.Errorf("%q: %q, want %q", auth, got, want)
		}
	}
	d.do("GET", orderPath, "", header{"Authorization": "bEARER " + token(t, anyBuyer)}).expect(t, 200, "")
}
