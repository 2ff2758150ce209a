package staff

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/ops"
	"github.com/flashsale-engine/flashsale/outside"
)

// idp is an identity provider that can be away.
type idp struct {
	*httptest.Server
	keys  map[string]*rsa.PrivateKey
	away  atomic.Bool
	asked atomic.Int64 // for keys
}

func newIDP(t *testing.T, kids ...string) *idp {
	t.Helper()
	i := &idp{keys: map[string]*rsa.PrivateKey{}}
	s := &oidctest.Server{}
	for _, kid := range kids {
		i.keys[kid] = newKey(t)
		s.PublicKeys = append(s.PublicKeys, oidctest.PublicKey{PublicKey: i.keys[kid].Public(), KeyID: kid, Algorithm: "RS256"})
	}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.away.Load() {
			w.WriteHeader(502)
			return
		}
		if strings.Contains(r.URL.Path, "keys") {
			i.asked.Add(1)
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(i.Close)
	s.SetIssuer(i.URL)
	return i
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (i *idp) token(key crypto.PrivateKey, kid string, change map[string]any) string {
	claims := map[string]any{"iss": i.URL, "aud": "flashsale-admin", "sub": "u-1", "email": "jo@shop.example", "exp": time.Now().Add(time.Hour).Unix(), "roles": []string{"everybody", "sale-desk"}}
	maps.Copy(claims, change)
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	return oidctest.SignIDToken(key, kid, "RS256", string(text))
}

func (i *idp) provider(t *testing.T, change func(*Config)) *Provider {
	t.Helper()
	board, err := outside.NewBoard(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Issuer: i.URL, Audience: "flashsale-admin", Claim: "roles", Board: board,
		Roles: map[string]ops.Role{"sale-eyes": ops.Viewer, "sale-desk": ops.Operator, "sale-lead": ops.Owner}}
	if change != nil {
		change(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhoATokenIs(t *testing.T) {
	i := newIDP(t, "a")
	mine := i.keys["a"]
	for name, c := range map[string]struct {
		token string
		claim string
		want  string
	}{
		"a role in a list":                   {i.token(mine, "a", nil), "roles", "oidc:u-1 (jo@shop.example) operator"},
		"the greatest of several":            {i.token(mine, "a", map[string]any{"roles": []string{"sale-eyes", "sale-lead"}}), "roles", "oidc:u-1 (jo@shop.example) owner"},
		"a single text":                      {i.token(mine, "a", map[string]any{"roles": "sale-eyes", "email": nil}), "roles", "oidc:u-1 viewer"},
		"a claim within objects":             {i.token(mine, "a", map[string]any{"realm_access": map[string]any{"roles": []string{"sale-eyes"}}}), "realm_access.roles", "oidc:u-1 (jo@shop.example) viewer"},
		"a claim with dots in its name":      {i.token(mine, "a", map[string]any{"https://shop.example/roles": []string{"sale-eyes"}}), "https://shop.example/roles", "oidc:u-1 (jo@shop.example) viewer"},
		"no role":                            {i.token(mine, "a", map[string]any{"roles": []string{"everybody"}}), "roles", "forbidden"},
		"a role that is no text":             {i.token(mine, "a", map[string]any{"roles": []any{3, nil}}), "roles", "forbidden"},
		"no such claim":                      {i.token(mine, "a", nil), "groups", "forbidden"},
		"for another application":            {i.token(mine, "a", map[string]any{"aud": "wiki"}), "roles", "unauthenticated"},
		"from another provider":              {i.token(mine, "a", map[string]any{"iss": "https://elsewhere.example"}), "roles", "unauthenticated"},
		"expired":                            {i.token(mine, "a", map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), "roles", "unauthenticated"},
		"without an end":                     {i.token(mine, "a", map[string]any{"exp": nil}), "roles", "unauthenticated"},
		"nobody's":                           {i.token(mine, "a", map[string]any{"sub": ""}), "roles", "unauthenticated"},
		"a name that forges a line of audit": {i.token(mine, "a", map[string]any{"sub": "u-1\nowner"}), "roles", "unauthenticated"},
		"not a token":                        {"a.b.c", "roles", "unauthenticated"},
		"unsigned":                           {"eyJhbGciOiJub25lIn0." + strings.Split(i.token(mine, "a", nil), ".")[1] + ".", "roles", "unauthenticated"},
		"signed with a secret, not a key": {oidctest.SignIDToken([]byte(strings.Repeat("s", 32)), "a", "HS256",
			fmt.Sprintf(`{"iss":%q,"aud":"flashsale-admin","sub":"u-1","exp":4000000000,"roles":"sale-lead"}`, i.URL)), "roles", "unauthenticated"},
	} {
		t.Run(name, func(t *testing.T) {
			p := i.provider(t, func(cfg *Config) { cfg.Claim = c.claim })
			who, err := p.Who(t.Context(), c.token)
			got := who.Name + " " + who.Role.String()
			if err != nil {
				got = string(engine.CodeOf(err))
			}
			if got != c.want {
				t.Errorf("%s: %v, not %s", got, err, c.want)
			}
		})
	}
}

// Who somebody is when nobody can say is not known: neither let in nor refused.
func TestAProviderThatIsAwayRefusesNobody(t *testing.T) {
	i := newIDP(t, "a", "b")
	i.away.Store(true)
	p := i.provider(t, nil)
	good := i.token(i.keys["a"], "a", nil)
	if _, err := p.Who(t.Context(), good); engine.CodeOf(err) != engine.CodeUnavailable {
		t.Fatalf("before it was ever there: %v", err)
	}
	i.away.Store(false)
	p = i.provider(t, nil) // the one before asked a moment ago
	if who, err := p.Who(t.Context(), good); err != nil || who.Role != ops.Operator {
		t.Fatalf("%+v %v", who, err)
	}
	i.away.Store(true)
	if who, err := p.Who(t.Context(), good); err != nil || who.Role != ops.Operator {
		t.Errorf("a key that is known needs nobody: %+v %v", who, err)
	}
	clear(p.client.Transport.(*ask).last) // a second passes
	if _, err := p.Who(t.Context(), i.token(newKey(t), "new", nil)); engine.CodeOf(err) != engine.CodeUnavailable {
		t.Errorf("a key that may be new: %v", err)
	}
}

// Whoever invents keys does not make this node hammer the provider.
func TestInventedKeysAskForTheSetOnceASecond(t *testing.T) {
	i := newIDP(t, "a")
	p := i.provider(t, nil)
	began := time.Now()
	stranger := newKey(t)
	for n := range 50 {
		if _, err := p.Who(t.Context(), i.token(stranger, fmt.Sprint(n), nil)); engine.CodeOf(err) != engine.CodeUnauthenticated {
			t.Fatal(err) // the keys were read a moment ago: it is none of them
		}
	}
	if most := 1 + int64(time.Since(began)/asksOnce); i.asked.Load() > most {
		t.Errorf("asked %d times, at most %d", i.asked.Load(), most)
	}
}

func TestAProviderNeedsAllThatKeepsStrangersOut(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no issuer":                 func(c *Config) { c.Issuer = "" },
		"plain HTTP to elsewhere":   func(c *Config) { c.Issuer = "http://login.shop.example" },
		"no audience":               func(c *Config) { c.Audience = "" },
		"no claim":                  func(c *Config) { c.Claim = "" },
		"nothing stands for a role": func(c *Config) { c.Roles = nil },
	} {
		c := Config{Issuer: "https://login.shop.example", Audience: "a", Claim: "roles", Roles: map[string]ops.Role{"x": ops.Viewer}}
		if _, err := New(c); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
