package api

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/singleflight"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/problem"
)

// The endpoints that anyone may read.

//go:embed openapi.json
var openapiJSON []byte

var openapiTag = etag(openapiJSON)

func (s *Server) openAPI(x *exchange) error {
	return x.cacheable(page{body: openapiJSON, tag: openapiTag}, "public, max-age=60")
}

// health says that the process answers, and nothing about what it needs.
func (s *Server) health(x *exchange) error {
	x.set(fasthttp.HeaderCacheControl, "no-store")
	return x.json(fasthttp.StatusOK, map[string]string{"status": "ok"})
}

// ready says whether buyers should be sent here.
func (s *Server) ready(x *exchange) error {
	x.set(fasthttp.HeaderCacheControl, "no-store")
	if s.draining.Load() {
		return engine.E(engine.CodeUnavailable, "this node is shutting down")
	}
	ctx, done := context.WithTimeout(s.base, 2*time.Second)
	defer done()
	if err := s.opt.Views.Ready(ctx); err != nil {
		if e := problem.Of(err); e.Code != engine.CodeInternal {
			return engine.Wrap(err, engine.CodeUnavailable, "not ready: %s", e.Detail)
		}
		return engine.Wrap(err, engine.CodeUnavailable, "not ready")
	}
	return x.json(fasthttp.StatusOK, map[string]string{"status": "ready"})
}

func (s *Server) getSale(x *exchange) error {
	if !saleID(x.param) {
		return engine.E(engine.CodeNotFound, "no such sale")
	}
	p, err := s.sales.page(x.param)
	if err != nil {
		return err
	}
	err = x.cacheable(s.dated(p), aSecond)
	x.set(fasthttp.HeaderETag, "W/"+p.tag) // weak: it says the same, at another time
	return err
}

// dated says what time it is, so that a page can count down by this clock and not by its own.
func (s *Server) dated(p page) page {
	if n := len(p.body) - 1; n > 0 {
		p.body = append(p.body[:n:n], `,"now":"`+stamp(s.opt.Now())+`"}`...)
	}
	return p
}

// page is an answer that is the same for everyone.
type page struct {
	body []byte
	tag  string
	read time.Time
	last bool   // nothing new will come
	kind string // its media type; "": JSON
}

func etag(body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// cacheable writes a page, or 304 if the client has it already.
func (x *exchange) cacheable(p page, control string) error {
	x.set(fasthttp.HeaderETag, p.tag)
	x.set(fasthttp.HeaderCacheControl, control)
	kind := p.kind
	if kind == "" {
		kind = "application/json"
	}
	x.common(kind)
	for _, v := range x.http.Request.Header.PeekAll(fasthttp.HeaderIfNoneMatch) {
		if tagMatches(string(v), p.tag) {
			x.http.Response.Header.SetContentType("")
			x.http.SetStatusCode(fasthttp.StatusNotModified)
			return nil
		}
	}
	x.http.Response.SetBodyRaw(p.body) // shared by all readers, changed by none
	return nil
}

// saleCache keeps the last page of each sale for a moment, and lets one request
// refresh it while the others wait for that one. Only sales that exist are
// kept, so strangers cannot fill it.
type saleCache struct {
	base  context.Context
	views Views
	keep  time.Duration
	limit time.Duration
	now   func() time.Time
	pages sync.Map // sale id → page
	reads singleflight.Group
}

func newSaleCache(base context.Context, o Options) *saleCache {
	return &saleCache{base: base, views: o.Views, keep: o.SaleCacheFor, limit: o.RequestTimeout, now: o.Now}
}

func (c *saleCache) page(id string) (page, error) {
	if p, ok := c.pages.Load(id); ok {
		if p := p.(page); c.now().Sub(p.read) < c.keep {
			return p, nil
		}
	}
	if c.keep < 0 {
		return c.read(id)
	}
	p, err, _ := c.reads.Do(id, func() (any, error) { return c.read(id) })
	if err != nil {
		return page{}, err
	}
	return p.(page), nil
}

func (c *saleCache) read(id string) (page, error) {
	ctx, done := context.WithTimeout(c.base, c.limit)
	defer done()
	at := c.now()
	sale, counters, err := c.views.SaleView(ctx, id)
	if err != nil {
		return page{}, err
	}
	body := problem.Compact(formSale(sale, counters))
	p := page{body: body, tag: etag(body), read: at, last: sale.State == engine.SaleClosed}
	c.pages.Store(id, p)
	return p, nil
}
