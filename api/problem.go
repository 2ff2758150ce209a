package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/flashsale-engine/flashsale/internal/problem"
)

// refuse writes err as a problem. A fault is logged under the request's id, and
// its text stays inside.
func (s *Server) refuse(x *exchange, err error) {
	p := problem.Of(err)
	x.code = p.Code
	x.blame(err)
	if x.status != 0 { // HTTP knows a closer one
		p.Status = x.status
	}
	id := string(x.id)
	s.logFault(p, id, x.route)
	if after := p.RetryAfter(); after > 0 {
		x.retryAfter(time.Duration(after) * time.Second)
	}
	if p.Status == fasthttp.StatusUnauthorized {
		x.set(fasthttp.HeaderWWWAuthenticate, challenge(err))
	}
	x.http.SetStatusCode(p.Status)
	x.http.Response.Header.SetCanonical(headerCacheControl, noStore) // some are kept by caches unless told not to be
	x.common(problem.ContentType)
	x.http.Response.SetBodyRaw(p.Document(id))
}

func (s *Server) logFault(p problem.Problem, id string, r *route) {
	if p.Status < 500 || p.Fault == nil {
		return
	}
	level := slog.LevelWarn
	if p.Status == 500 {
		level = slog.LevelError
	}
	s.faults.report(level, "request failed", "request_id", id, "route", r.pattern, "code", string(p.Code), "err", p.Fault)
}

// faultLog logs faults, but never more than a few per second: when a backend is
// away every request meets it, and the log must not become the bottleneck.
type faultLog struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	second  int64
	written int
	skipped int
}

const faultsPerSecond = 20

func (f *faultLog) report(level slog.Level, msg string, args ...any) {
	f.mu.Lock()
	if now := f.now().Unix(); now != f.second {
		f.second, f.written = now, 0
	}
	if f.written++; f.written > faultsPerSecond {
		f.skipped++
		f.mu.Unlock()
		return
	}
	if f.skipped > 0 {
		args = append(args, "not_logged_before", f.skipped)
		f.skipped = 0
	}
	f.mu.Unlock()
	f.log.Log(context.Background(), level, msg, args...)
}
