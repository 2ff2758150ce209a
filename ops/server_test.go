package ops

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// routesInSource reads the routes and their roles out of the code, so that one which
// is added and not thought of here is noticed.
func routesInSource(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	route := regexp.MustCompile(`m\.Handle(?:Func)?\("([A-Z]+ [^"]+)", (?:s\.allow\((\w+),)?`)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range route.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = strings.ToLower(m[2])
		}
	}
	return found
}

// Who may do what. "" is anybody who reaches the listener.
var mayDo = map[string]string{
	"GET /healthz": "", "GET /readyz": "", "GET /metrics": "",
	"GET /debug/pprof/": "viewer", "GET /debug/pprof/profile": "viewer", "GET /debug/pprof/symbol": "viewer", "GET /debug/pprof/trace": "viewer",
	"GET /admin/v1/sales": "viewer", "GET /admin/v1/sales/{sale}": "viewer", "PUT /admin/v1/sales/{sale}": "owner",
	"POST /admin/v1/sales/{sale}/{move}": "operator", "POST /admin/v1/sales/{sale}/stock": "operator", "POST /admin/v1/sales/{sale}/stock/move": "operator",
	"GET /admin/v1/buyers/{buyer}/decisions": "viewer", "POST /admin/v1/buyers/{buyer}/erase": "owner",
	"GET /admin/v1/sales/{sale}/queue": "viewer", "POST /admin/v1/sales/{sale}/queue": "operator",
	"GET /admin/v1/sales/{sale}/shards": "viewer", "GET /admin/v1/sales/{sale}/holds": "viewer", "GET /admin/v1/sales/{sale}/orders": "viewer",
	"GET /admin/v1/orders/{id}": "viewer", "GET /admin/v1/orders/{id}/events": "viewer", "POST /admin/v1/reservations/{id}/release": "operator", "POST /admin/v1/orders/{id}/refund": "owner",
	"GET /admin/v1/breakers": "viewer", "POST /admin/v1/breakers/{name}/{verb}": "operator",
	"GET /admin/v1/payments": "viewer", "GET /admin/v1/payments/{id}": "viewer", "POST /admin/v1/payments/{id}/resolve": "operator",
	"GET /admin/v1/verify": "viewer", "POST /admin/v1/verify/fix": "owner", "GET /admin/v1/audit/verify": "viewer", "GET /admin/v1/audit/head": "viewer",
	"GET /admin/v1/dead-letters": "viewer", "POST /admin/v1/dead-letters/{id}/retry": "operator", "POST /admin/v1/dead-letters/{id}/drop": "operator",
	"POST /admin/v1/gate/freeze": "operator", "POST /admin/v1/sales/{sale}/holds/extend": "operator", "POST /admin/v1/sales/{sale}/import": "owner",
	"GET /console/": "", "GET /admin/v1/me": "viewer", "GET /admin/v1/live": "viewer",
	"GET /admin/v1/gate": "viewer", "POST /admin/v1/gate/rebuild": "operator",
}

func TestEveryAdminRouteKnowsItsRole(t *testing.T) {
	if found := routesInSource(t); fmt.Sprint(found) != fmt.Sprint(mayDo) {
		t.Fatalf("the code has  %v\nthe table has %v", found, mayDo)
	}
	s, w := serving(t)
	for route, need := range mayDo {
		method, path, _ := strings.Cut(route, " ")
		path = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "x")
		if strings.HasPrefix(path, "/debug/pprof/") {
			path = "/debug/pprof/symbol" // the others take their time
		}
		for _, secret := range []string{"", "no-such-secret-is-known", secretOf(Viewer) + "x", strings.ToUpper(secretOf(Owner))} {
			if got := s.ask(method, path, secret, "{}"); need != "" && (got.Code != 401 || got.Header().Get("WWW-Authenticate") == "" || !strings.Contains(got.Body.String(), "unauthenticated")) {
				t.Errorf("%s with %q: %d %s", route, secret, got.Code, got.Body)
			}
		}
		if len(w.did) > 0 {
			t.Fatalf("%s: a stranger did %v", route, w.did)
		}
		for name, role := range roleNames {
			got := s.ask(method, path, secretOf(role), "{}")
			if refused := got.Code == 403 || got.Code == 401; refused != (role < roleNames[need]) {
				t.Errorf("%s by the %s: %d %s", route, name, got.Code, got.Body)
			} else if refused && !strings.Contains(got.Body.String(), "forbidden") {
				t.Errorf("%s by the %s: %s", route, name, got.Body)
			}
		}
		w.did = nil
	}
}

// Who tries tokens is counted and named by address, and no token is written down.
func TestRefusedAdminRequestsAreCountedAndLoggedWithoutTheirToken(t *testing.T) {
	s, _ := serving(t)
	var lines bytes.Buffer
	s.Log = slog.New(slog.NewTextHandler(&lines, nil))
	for _, c := range []struct{ method, path, secret string }{
		{"GET", "/admin/v1/sales", ""}, {"GET", "/admin/v1/sales", "guess-number-one-of-many"}, {"GET", "/debug/pprof/", "guess-number-two-of-many"},
		{"POST", "/admin/v1/verify/fix", secretOf(Viewer)}, {"GET", "/admin/v1/sales", secretOf(Viewer)},
	} {
		s.ask(c.method, c.path, c.secret, "{}")
	}
	for code, want := range map[string]float64{"unauthenticated": 3, "forbidden": 1} {
		if got := testutil.ToFloat64(s.refused.WithLabelValues(code)); got != want {
			t.Errorf("%v were %s, not %v", got, code, want)
		}
	}
	if !strings.Contains(s.ask("GET", "/metrics", "", "").Body.String(), `flashsale_admin_requests_refused_total{code="unauthenticated"} 3`) {
		t.Error("they are not exported")
	}
	log := lines.String()
	if n := strings.Count(log, "an admin request was refused"); n != 3 || !strings.Contains(log, "from=192.0.2.1:1234") || !strings.Contains(log, "code=forbidden") {
		t.Errorf("%d lines:\n%s", n, log)
	}
	if strings.Contains(log, "guess-number") || strings.Contains(log, secretOf(Viewer)) {
		t.Errorf("a token is in the log:\n%s", log)
	}
}

// Bodies that do what they say, for the routes that take one.
var bodies = map[string]string{
	"PUT /admin/v1/sales/next":               `{"name":"N","currency":"USD","hold_ttl":"2m","hold_cap":"10m","per_buyer_limit":2,"items":[{"sku":"A","title":"t","unit_price":1,"stock":1}]}`,
	"POST /admin/v1/sales/drop/stock":        `{"sku":"A","delta":1,"reason":"found"}`,
	"POST /admin/v1/sales/drop/stock/move":   `{"sku":"A","from":0,"to":1,"units":1,"reason":"r"}`,
	"POST /admin/v1/breakers/payment/open":   `{"reason":"r"}`,
	"POST /admin/v1/orders/x/refund":         `{"reason":"r"}`,
	"POST /admin/v1/payments/x/resolve":      `{"reason":"r"}`,
	"POST /admin/v1/verify/fix":              `{}`,
	"POST /admin/v1/dead-letters/1/retry":    `{"reason":"r"}`,
	"POST /admin/v1/dead-letters/1/drop":     `{"reason":"r"}`,
	"POST /admin/v1/gate/rebuild":            `{"reason":"r"}`,
	"POST /admin/v1/gate/freeze":             `{"sale":"none","reason":"r"}`,
	"POST /admin/v1/sales/drop/import":       `{"csv":"sku,title,unit_price,stock\nA,t,1,1\n"}`,
	"POST /admin/v1/sales/none/holds/extend": `{"seconds":9,"reason":"r"}`,
	"POST /admin/v1/reservations/x/release":  `{"reason":"r"}`,
	"POST /admin/v1/buyers/x/erase":          `{"reason":"r"}`,
}

func TestAFieldThatNobodyKnowsChangesNothing(t *testing.T) {
	s, w := serving(t)
	for route, body := range bodies {
		method, path, _ := strings.Cut(route, " ")
		for what, spoiled := range map[string]string{
			"an unknown field":   strings.Replace(body, "{", `{"state":"open",`, 1),
			"an epoch":           strings.Replace(body, "{", `{"epoch":9,`, 1),
			"a second value":     body + "{}",
			"something after it": body + "}",
			"a list":             "[" + body + "]",
		} {
			w.did = nil
			got := s.ask(method, path, secretOf(Owner), spoiled)
			if what == "an epoch" || what == "an unknown field" {
				if id := strings.Contains(got.Body.String(), "no such"); got.Code == 404 && id {
					continue // it has not come to the body: the id in its path is nobody's
				}
			}
			if got.Code/100 != 4 || len(w.did) > 0 {
				t.Errorf("%s with %s: %d %s; it did %v", route, what, got.Code, got.Body, w.did)
			}
		}
	}
	w.did = nil
	if got := s.ask("PUT", "/admin/v1/sales/next", secretOf(Owner), bodies["PUT /admin/v1/sales/next"]); got.Code != 201 || len(w.did) != 1 {
		t.Errorf("the good one: %d %s; it did %v", got.Code, got.Body, w.did)
	}
	big := `{"name":"` + strings.Repeat("x", maxBody) + `"}`
	if got := s.ask("PUT", "/admin/v1/sales/next", secretOf(Owner), big); got.Code != 413 {
		t.Errorf("a body of more than %d bytes: %d", maxBody, got.Code)
	}
}

func TestEveryAdminAnswerTellsBrowsersAndCachesToKeepOff(t *testing.T) {
	s, _ := serving(t)
	for _, secure := range []bool{false, true} {
		s.Secure = secure
		for _, path := range []string{"/healthz", "/metrics", "/admin/v1/sales", "/admin/v1/sales/none", "/nowhere", "/debug/pprof/symbol", "/console/", "/console/main.js", "/admin/v1/live"} {
			h := s.ask("GET", path, secretOf(Viewer), "").Header()
			if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || (h.Get("Strict-Transport-Security") != "") != secure {
				t.Errorf("%s: %v", path, h)
			}
		}
	}
}

func TestAPanicOfAnAdminRequestIsItsOwn(t *testing.T) {
	s, _ := serving(t)
	s.Lifecycle = nil
	got := s.ask("GET", "/admin/v1/sales", secretOf(Viewer), "")
	if got.Code != 500 || strings.Contains(got.Body.String(), "nil pointer") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if got := s.ask("GET", "/healthz", "", ""); got.Code != 200 {
		t.Errorf("afterwards: %d", got.Code)
	}
}

// FuzzAnAdminBodyIsTakenOrRefused: no body breaks the admin API, and one with a field
// that is not documented is never taken.
func FuzzAnAdminBodyIsTakenOrRefused(f *testing.F) {
	for route, body := range bodies {
		f.Add(route, body)
	}
	f.Add("PUT /admin/v1/sales/next", `{"opens_at":"2026-11-27T09:00:00Z","closes_at":"x","shards":65,"items":[{"stock":-1}]}`)
	s, w := serving(f)
	f.Fuzz(func(t *testing.T, route, body string) {
		if _, known := bodies[route]; !known || route == "POST /admin/v1/gate/rebuild" || strings.HasSuffix(route, "stock/move") {
			return // these two need a gate behind them
		}
		w.did = nil
		method, path, _ := strings.Cut(route, " ")
		got := s.ask(method, path, secretOf(Owner), body)
		if got.Code >= 500 || got.Code/100 != 2 && len(w.did) > 0 || !json.Valid(got.Body.Bytes()) {
			t.Fatalf("%s %q: %d %s; it did %v", route, body, got.Code, got.Body, w.did)
		}
		if len(w.did) > 0 && len(body) > 0 && !json.Valid([]byte(body)) {
			t.Fatalf("%s %q is no JSON and was taken", route, body)
		}
	})
}
