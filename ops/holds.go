package ops

import (
	"net/http"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// extendHolds has nobody's hold of a sale end within some seconds.
func (s *Server) extendHolds(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Seconds int64  `json:"seconds"`
		Reason  string `json:"reason"`
		DryRun  bool   `json:"dry_run"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if b.Seconds < 1 || b.Seconds > int64(engine.MaxHoldCap/time.Second) {
		return engine.E(engine.CodeInvalidRequest, "seconds: %d is not between 1 and %d", b.Seconds, int64(engine.MaxHoldCap/time.Second)).With("field", "seconds")
	}
	if strings.TrimSpace(b.Reason) == "" || len(b.Reason) > 200 {
		return engine.E(engine.CodeInvalidRequest, "reason: say why the holds are extended, in 1 to 200 bytes").With("field", "reason")
	}
	act := engine.Act{Actor: actor(r), Reason: b.Reason, Key: strings.Trim(r.Header.Get("Idempotency-Key"), `"`)}
	out, err := s.Lifecycle.ExtendHolds(r.Context(), r.PathValue("sale"), time.Duration(b.Seconds)*time.Second, b.DryRun, act)
	if err != nil {
		return err
	}
	if !b.DryRun {
		s.Log.InfoContext(r.Context(), "holds extended by an operator", "sale", r.PathValue("sale"), "until", out.Until, "extended", out.Extended, "actor", act.Actor, "reason", act.Reason)
	}
	reply(w, http.StatusOK, map[string]any{"dry_run": b.DryRun, "until": out.Until, "live": out.Live, "extended": out.Extended, "capped": out.Capped})
	return nil
}
