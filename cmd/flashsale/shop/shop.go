// Package shop is the demo's storefront: pages on /flashsale.js, and the one thing
// that a storefront's back end has to do, sign tokens for its visitors.
package shop

import (
	"crypto/rand"
	"embed"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
)

//go:embed index.html shop.css shop.js words.js
var pages embed.FS

// Config says what the shop sells from.
type Config struct {
	Base  string                             // the public listener's address, where buyers come back to from their bank
	Sales []string                           // that the pages link to
	Mint  func(buyer string) (string, error) // signs a buyer token
}

const (
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	cookie = "shop_visitor"
)

// Handler answers everything below /shop/.
func Handler(c Config) http.Handler {
	files := http.StripPrefix("/shop/", http.FileServerFS(pages))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /shop/{$}", func(w http.ResponseWriter, r *http.Request) {
		if to := c.elsewhere(r.Host); to != "" { // keys are kept by origin: there must be one
			http.Redirect(w, r, to+r.URL.RequestURI(), http.StatusFound) //nolint:gosec // to is one of two addresses of this listener
			return
		}
		files.ServeHTTP(w, r)
	})
	mux.Handle("GET /shop/{file}", files)
	mux.HandleFunc("POST /shop/session", c.session)
	mux.HandleFunc("GET /shop/sales", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"sales": c.Sales}) })
	mux.Handle("GET /shop", http.RedirectHandler("/shop/", http.StatusMovedPermanently))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}

// elsewhere is the shop's own address, if a buyer on this machine came by another of its names.
func (c Config) elsewhere(host string) string {
	own, err := url.Parse(c.Base)
	if err != nil || host == own.Host {
		return ""
	}
	if ip, err := netip.ParseAddr(own.Hostname()); err != nil || !ip.IsLoopback() {
		return ""
	}
	if name, _, err := net.SplitHostPort(host); err != nil || name != "localhost" && name != "127.0.0.1" && name != "::1" {
		return ""
	}
	return c.Base
}

// visitor is the only kind of buyer that this shop signs for: nobody can guess one, or
// ask to be somebody else.
var visitor = regexp.MustCompile(`^visitor-[A-Z2-7]{26}$`)

// session gives whoever comes a buyer token, and a cookie by which to be the same buyer next time.
func (c Config) session(w http.ResponseWriter, r *http.Request) {
	buyer := ""
	if k, err := r.Cookie(cookie); err == nil && visitor.MatchString(k.Value) {
		buyer = k.Value
	} else {
		buyer = "visitor-" + rand.Text()
	}
	token, err := c.Mint(buyer)
	if err != nil {
		http.Error(w, "no token could be signed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: buyer, Path: "/shop/", MaxAge: 7 * 24 * 3600, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode}) //nolint:gosec // the demo speaks plain HTTP on loopback
	answer(w, map[string]string{"buyer": buyer, "token": token})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the visitor may have left
}
