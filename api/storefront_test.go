package api

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestTheSnippetIsSmall(t *testing.T) {
	const most = 5 << 10
	if n := len(scriptPages.packed.body); n >= most {
		t.Errorf("flashsale.js is %d bytes compressed; it must stay below %d", n, most)
	}
	if bytes.Contains(scriptPages.plain.body, []byte("/**")) || bytes.Count(scriptPages.plain.body, []byte("\n//")) > 0 {
		t.Error("its comments are served")
	}
	for _, want := range []string{"export class Refusal", "export function flashsale(", "function work("} {
		if !bytes.Contains(scriptPages.plain.body, []byte(want)) {
			t.Errorf("it lacks %q", want)
		}
	}
}

func TestTheSnippetIsServed(t *testing.T) {
	d := open(t, &fake{}, func(o *Options) { o.Origins = []string{"https://shop.example"} })
	for path, want := range map[string]asset{"/flashsale.js": scriptPages, "/flashsale.d.ts": typesPages} {
		for _, packed := range []bool{false, true} {
			h := header{"Authorization": "", "Origin": "https://shop.example", "Accept-Encoding": "identity"}
			if packed {
				h["Accept-Encoding"] = "br, gzip"
			}
			a := d.do("GET", path, "", h)
			a.expect(t, 200, "")
			text := a.text
			if packed {
				z, err := gzip.NewReader(strings.NewReader(a.text))
				must(t, err)
				all, err := io.ReadAll(z)
				must(t, err)
				text = string(all)
			}
			if text != string(want.plain.body) {
				t.Errorf("%s, compressed %t: other bytes", path, packed)
			}
			for name, value := range map[string]string{"Content-Type": want.plain.kind, "X-Content-Type-Options": "nosniff", "Cache-Control": "public, max-age=300",
				"Vary": "Accept-Encoding, Origin", "Access-Control-Allow-Origin": "https://shop.example", "Content-Encoding": map[bool]string{true: "gzip"}[packed]} {
				if got := a.header.Get(name); got != value {
					t.Errorf("%s, compressed %t: %s is %q, want %q", path, packed, name, got, value)
				}
			}
			h["If-None-Match"] = a.header.Get("ETag")
			if a := d.do("GET", path, "", h); a.status != http.StatusNotModified || a.text != "" || a.header.Get("Content-Encoding") != "" {
				t.Errorf("%s: %d with %d bytes", path, a.status, len(a.text))
			}
		}
	}
	if scriptPages.plain.tag == scriptPages.packed.tag {
		t.Error("two encodings have one tag")
	}
	d.do("POST", "/flashsale.js", "", nil).expect(t, 405, engine.CodeMethodNotAllowed)
}

func TestOnlyADemoHasPages(t *testing.T) {
	d := open(t, &fake{})
	for _, path := range []string{"/shop", "/shop/", "/shop/session"} {
		d.do("GET", path, "", nil).expect(t, 404, engine.CodeNotFound)
		d.do("POST", path, "", nil).expect(t, 404, engine.CodeNotFound)
	}
	d = open(t, &fake{}, func(o *Options) {
		o.Pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", "script-src 'self'")
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, r.Method+" "+r.URL.Path)
		})
	})
	a := d.do("GET", "/shop/x", "", nil)
	if a.status != 200 || a.text != "GET /shop/x" {
		t.Fatalf("%d %s", a.status, a.text)
	}
	for name, want := range map[string]string{"Content-Security-Policy": "script-src 'self'", "X-Content-Type-Options": "nosniff", "Content-Type": "text/html; charset=utf-8"} {
		if got := a.header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if a.header.Get("X-Request-Id") == "" {
		t.Error("the answer has no id")
	}
	d.do("PUT", "/shop/x", "", nil).expect(t, 405, engine.CodeMethodNotAllowed)
}
