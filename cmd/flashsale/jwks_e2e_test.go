package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestANodeWaitsForItsKeySetAndFollowsIt(t *testing.T) {
	r := newRig(t)
	var set atomic.Value
	set.Store("")
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if set.Load() == "" {
			w.WriteHeader(503)
		}
		_, _ = w.Write([]byte(set.Load().(string)))
	}))
	defer at.Close()
	key := func(kid string) (jwk, token string) {
		k := ed25519.NewKeyFromSeed([]byte(strings.Repeat(kid, ed25519.SeedSize)))
		tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": "ann", "aud": "flashsale", "exp": time.Now().Add(time.Hour).Unix()})
		tok.Header["kid"] = kid
		token, err := tok.SignedString(k)
		must(t, err)
		return fmt.Sprintf(`{"keys":[{"kid":%q,"kty":"OKP","crv":"Ed25519","x":%q}]}`, kid, base64.RawURLEncoding.EncodeToString(k.Public().(ed25519.PublicKey))), token
	}
	setA, ofA := key("a")
	setB, ofB := key("b")
	p := launch(t, r.node("--buyer-jwks", at.URL)...)
	eventually(t, "the node says what it waits for", func() (bool, string) {
		return strings.Contains(p.stderr.String(), "the buyers' key set"), p.stderr.String()
	})
	set.Store(setA)
	p.awaitReady()
	p.sale("drop", 10, 5, "1m")
	p.reserve(ofA, "drop", "1").must(t, 201)
	set.Store(setB)
	p.reserve(ofB, "drop", "2").must(t, 201) // at once: its kid is new
	p.reserve(ofA, "drop", "3").must(t, 401)
}
