package shop

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// reply is an answer as it was recorded.
type reply struct {
	StatusCode int
	Header     http.Header
	Body       io.Reader
	cookies    []*http.Cookie
}

func ask(t *testing.T, method, url string, change func(*http.Request)) reply {
	t.Helper()
	h := Handler(Config{Base: "http://127.0.0.1:8080", Sales: []string{"demo"}, Mint: func(buyer string) (string, error) { return "token of " + buyer, nil }})
	r := httptest.NewRequest(method, url, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	res := w.Result()
	defer func() { _ = res.Body.Close() }()
	return reply{w.Code, w.Header(), w.Body, res.Cookies()}
}

func TestPagesRunNoScriptOfAnybodyElse(t *testing.T) {
	for path, kind := range map[string]string{"": "text/html", "shop.js": "text/javascript", "words.js": "text/javascript", "shop.css": "text/css"} {
		res := ask(t, "GET", "http://127.0.0.1:8080/shop/"+path, nil)
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), kind) {
			t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
		}
		csp := res.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'; script-src 'self';") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s", path, csp)
		}
	}
	page, err := pages.ReadFile("index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"<style", " style=", "onclick", "javascript:", "<script>"} {
		if strings.Contains(string(page), bad) {
			t.Errorf("the page has %s, which its policy forbids", bad)
		}
	}
	for path, want := range map[string]int{"shop.go": 404, "../shop.go": 307, "sales": 200} { // the mux cleans paths
		if res := ask(t, "GET", "http://127.0.0.1:8080/shop/"+path, nil); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

func TestTheShopHasOneAddress(t *testing.T) {
	for host, want := range map[string]string{
		"localhost:8080": "http://127.0.0.1:8080/shop/?sale=x", "[::1]:8080": "http://127.0.0.1:8080/shop/?sale=x", "127.0.0.1:8080": "", "shop.test:8080": "", "evil.example": "",
	} {
		res := ask(t, "GET", "http://127.0.0.1:8080/shop/?sale=x", func(r *http.Request) { r.Host = host })
		if got := res.Header.Get("Location"); got != want {
			t.Errorf("%s: leads to %q, want %q", host, got, want)
		}
	}
}

func TestAVisitorStaysTheSameBuyerAndNobodyElse(t *testing.T) {
	session := func(cookies ...*http.Cookie) (buyer string, set *http.Cookie) {
		t.Helper()
		res := ask(t, "POST", "http://127.0.0.1:8080/shop/session", func(r *http.Request) {
			for _, c := range cookies {
				r.AddCookie(c)
			}
		})
		var v struct{ Buyer, Token string }
		if err := json.NewDecoder(res.Body).Decode(&v); err != nil || v.Token != "token of "+v.Buyer || len(res.cookies) != 1 {
			t.Fatalf("%v %+v %v", err, v, res.cookies)
		}
		return v.Buyer, res.cookies[0]
	}
	ann, hers := session()
	if !hers.HttpOnly || hers.SameSite != http.SameSiteStrictMode || hers.Path != "/shop/" {
		t.Errorf("%v", hers)
	}
	if again, _ := session(hers); again != ann {
		t.Errorf("%s has become %s", ann, again)
	}
	if bob, _ := session(); bob == ann {
		t.Errorf("two visitors are one: %s", bob)
	}
	for _, name := range []string{"ann", "visitor-", "visitor-short", "visitor-" + strings.Repeat("a", 26), ann + "X"} {
		if got, _ := session(&http.Cookie{Name: cookie, Value: name}); got == name {
			t.Errorf("whoever says so is %s", name)
		}
	}
}

func TestATokenThatCannotBeSignedIsSaid(t *testing.T) {
	h := Handler(Config{Mint: func(string) (string, error) { return "", errors.New("no key") }})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("POST", "/shop/session", nil))
	if w.Code != 500 || len(w.Result().Cookies()) != 0 {
		t.Errorf("%d %v", w.Code, w.Result().Cookies())
	}
}
