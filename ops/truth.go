package ops

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Truth is what proves that nothing was lost, doubled or made up.
type Truth interface {
	// Verify compares everything with everything, with a plan for what it finds.
	// Callers at the same time share runs.
	Verify(ctx context.Context, settle time.Duration) (engine.Verdict, error)
	// VerifyFast compares the counters alone, in milliseconds.
	VerifyFast(ctx context.Context, settle time.Duration) (engine.Verdict, error)
	// Fix verifies, does the repairs that are safe, and verifies again.
	Fix(ctx context.Context, settle time.Duration, actor string) (engine.Mending, error)
	// CheckChain walks along the ledgers' hash chain from a seal on, and looks for
	// a hash that was kept. CodeInvalidRequest.
	CheckChain(ctx context.Context, since int64, expect string) (engine.ChainReport, error)
	// Head gives the chain's newest seal.
	Head(ctx context.Context) (engine.Seal, error)
}

func (s *Server) truthRoutes(m *http.ServeMux) {
	m.HandleFunc("GET /admin/v1/verify", s.allow(Viewer, s.verify))
	m.HandleFunc("POST /admin/v1/verify/fix", s.allow(Owner, s.fixFindings))
	m.HandleFunc("GET /admin/v1/audit/verify", s.allow(Viewer, s.checkChain))
	m.HandleFunc("GET /admin/v1/audit/head", s.allow(Viewer, func(w http.ResponseWriter, r *http.Request) error {
		head, err := s.Truth.Head(r.Context())
		if err == nil {
			reply(w, http.StatusOK, head)
		}
		return err
	}))
}

// Settling times: a full look waits for what is in flight; a fast one only looks twice.
const (
	defaultSettle     = 5 * time.Second
	defaultSettleFast = time.Second
	longestSettle     = time.Minute
)

func (s *Server) verify(w http.ResponseWriter, r *http.Request) error {
	run, settle := s.Truth.Verify, defaultSettle
	switch fast := r.URL.Query().Get("fast"); fast {
	case "true":
		run, settle = s.Truth.VerifyFast, defaultSettleFast
	case "", "false":
	default:
		return engine.E(engine.CodeInvalidRequest, "fast: true or false").With("field", "fast")
	}
	settle, err := duration("settle", r.URL.Query().Get("settle"), settle)
	if err != nil {
		return err
	}
	verdict, err := run(r.Context(), min(settle, longestSettle))
	if err == nil {
		reply(w, http.StatusOK, verdict)
	}
	return err
}

func (s *Server) fixFindings(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		DryRun bool   `json:"dry_run"`
		Settle string `json:"settle"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	settle, err := duration("settle", b.Settle, defaultSettle)
	if err != nil {
		return err
	}
	var out engine.Mending
	if settle = min(settle, longestSettle); b.DryRun {
		out.Before, err = s.Truth.Verify(r.Context(), settle)
	} else {
		out, err = s.Truth.Fix(r.Context(), settle, actor(r))
	}
	if err == nil {
		reply(w, http.StatusOK, out)
	}
	return err
}

func (s *Server) checkChain(w http.ResponseWriter, r *http.Request) error {
	var since int64
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = strconv.ParseInt(text, 10, 64); err != nil || since < 0 {
			return engine.E(engine.CodeInvalidRequest, "since: %q is not the number of a seal", text).With("field", "since")
		}
	}
	report, err := s.Truth.CheckChain(r.Context(), since, r.URL.Query().Get("expect"))
	if err == nil {
		reply(w, http.StatusOK, report)
	}
	return err
}
