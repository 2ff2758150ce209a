package api

import (
	"bytes"
	"compress/gzip"
	_ "embed"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"github.com/flashsale-engine/flashsale/engine"
)

// The snippet that a storefront's page takes, and its types: see docs/storefront.md.

//go:embed flashsale.js
var storefrontJS []byte

//go:embed flashsale.d.ts
var storefrontTypes []byte

const javaScript = "text/javascript; charset=utf-8"

var (
	scriptPages = newAsset(lean(storefrontJS), javaScript)
	typesPages  = newAsset(storefrontTypes, "text/plain; charset=utf-8")
)

// asset is a file that never changes while the node runs.
type asset struct{ plain, packed page }

func newAsset(body []byte, kind string) asset {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is one of its own
	_, _ = z.Write(body)                                  // a buffer takes all
	_ = z.Close()
	return asset{page{body: body, tag: etag(body), kind: kind}, page{body: b.Bytes(), tag: etag(b.Bytes()), kind: kind}}
}

// lean leaves out the script's comments, which have a line of their own, and its indents.
func lean(source []byte) []byte {
	out := []byte("// docs/storefront.md of the engine describes this; flashsale.d.ts types it.\n")
	for line := range bytes.Lines(source) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && !bytes.HasPrefix(line, []byte("//")) && !bytes.HasPrefix(line, []byte("/**")) {
			out = append(append(out, line...), '\n')
		}
	}
	return out
}

func (s *Server) script(x *exchange) error { return x.asset(scriptPages) }

func (s *Server) scriptTypes(x *exchange) error { return x.asset(typesPages) }

// pages lets the demo's storefront answer. Everywhere else there is none.
func (s *Server) pages(x *exchange) error {
	if s.opt.Pages == nil {
		return engine.E(engine.CodeNotFound, "no such path")
	}
	fasthttpadaptor.NewFastHTTPHandler(s.opt.Pages)(x.http)
	h := &x.http.Response.Header
	own := string(h.PeekBytes(headerCSP))
	x.common(string(h.ContentType()))
	h.SetCanonical(headerCSP, []byte(own))
	return nil
}

func (x *exchange) asset(a asset) error {
	p, packed := a.plain, x.http.Request.Header.HasAcceptEncoding("gzip")
	if packed {
		p = a.packed
	}
	if err := x.cacheable(p, "public, max-age=300"); err != nil {
		return err
	}
	h := &x.http.Response.Header
	if packed && x.http.Response.StatusCode() == fasthttp.StatusOK {
		h.Set(fasthttp.HeaderContentEncoding, "gzip")
	}
	vary := "Accept-Encoding"
	if x.origin != nil {
		vary = "Accept-Encoding, Origin"
	}
	h.Set(fasthttp.HeaderVary, vary)
	return nil
}
