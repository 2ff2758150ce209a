// Package console is the operators' page: plain HTML, CSS and ES modules, embedded as
// they are. It asks the admin API for everything, with the token that is typed into it.
package console

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed web
var web embed.FS

// policy lets the page load its own files, ask its own server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// Handler serves the page below prefix. It is no secret: what it shows is asked for
// with a token.
func Handler(prefix string) http.Handler {
	root, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	files := http.StripPrefix(prefix, http.FileServerFS(root))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		files.ServeHTTP(w, r)
	})
}
