package api

import (
	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/engine"
)

// webhook takes an event from a payment provider. It is quick, because providers
// give up soon and try again: the signature is checked, the event is stored, and
// whoever acts on it asks the provider first. Nobody is authenticated but by the
// signature, so until that holds, nothing of the body is read.
func (s *Server) webhook(x *exchange) error {
	if s.opt.Webhooks == nil || !saleID(x.param) { // providers' names are written like sales'
		return engine.E(engine.CodeNotFound, "no webhooks are taken from this provider")
	}
	h := &x.http.Request.Header
	ev, err := s.opt.Webhooks.Event(x.param, x.http.Request.Body(), func(name string) string { return string(h.Peek(name)) })
	if err != nil {
		return err
	}
	ctx, done := s.work(x, 0)
	defer done()
	again, err := s.opt.Webhooks.Keep(ctx, ev)
	if err != nil {
		return err // not 2xx: it is delivered again
	}
	x.set(fasthttp.HeaderCacheControl, "no-store")
	x.replayed(again)
	return x.json(fasthttp.StatusOK, map[string]string{"status": "ok"})
}
