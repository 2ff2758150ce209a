package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"
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
	p.held(t, ofA, "drop", "1")
	set.Store(setB)
	// Long before the next regular look: its kid is new.
	eventually(t, "the new key's buyers are let in", func() (bool, string) {
		got := p.reserve(ofB, "drop", "2")
		return got.Status == 201, got.Raw
	})
	p.reserve(ofA, "drop", "3").must(t, 401)
}

// An operator comes with a token of the identity provider, next to those with one of the
// node's own, and the audit log has who it was.
func TestAnOperatorOfTheIdentityProvider(t *testing.T) {
	r := newRig(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	idp := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: "k", Algorithm: "RS256"}}}
	at := httptest.NewServer(idp)
	defer at.Close()
	idp.SetIssuer(at.URL)
	bearer := func(sub, role string) string {
		return oidctest.SignIDToken(key, "k", "RS256", fmt.Sprintf(`{"iss":%q,"aud":"flashsale-admin","sub":%q,"exp":%d,"groups":[%q]}`, at.URL, sub, time.Now().Add(time.Hour).Unix(), role))
	}
	p := r.serve("--admin-oidc-issuer", at.URL, "--admin-oidc-audience", "flashsale-admin", "--admin-oidc-claim", "groups", "--admin-oidc-role", "eyes=viewer", "--admin-oidc-role", "desk=operator")
	p.sale("drop", 10, 5, "1m")
	sale := p.ready.Admin + "/admin/v1/sales/drop"
	send("GET", sale, bearer("eve", "eyes"), "", "").must(t, 200)
	send("POST", sale+"/pause", bearer("eve", "eyes"), "", "").must(t, 403)
	send("POST", sale+"/pause", bearer("bob", "cook"), "", "").must(t, 403)
	send("POST", sale+"/pause", bearer("ann", "desk")+"x", "", "").must(t, 401)
	send("POST", sale+"/pause", bearer("ann", "desk"), "", "").must(t, 200)
	p.admin("POST", "/sales/drop/open", "").must(t, 200)
	if n := r.query(`SELECT count(*) FROM audit_log WHERE actor = 'oidc:ann'`); n != 1 {
		t.Errorf("%d lines of the audit log name ann", n)
	}
}
