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
	if err := reasoned(b.Reason, 200, "why the holds are extended"); err != nil {
		return err
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

// releaseHold gives a held reservation back to stock.
func (s *Server) releaseHold(w http.ResponseWriter, r *http.Request) error {
	id, ok := engine.ParseReservationID(r.PathValue("id"))
	if !ok {
		return engine.E(engine.CodeNotFound, "no such reservation: %q", r.PathValue("id"))
	}
	var b struct {
		Reason string `json:"reason"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if err := reasoned(b.Reason, 200, "why the hold is released"); err != nil {
		return err
	}
	act := engine.Act{Actor: actor(r), Reason: b.Reason, Key: strings.Trim(r.Header.Get("Idempotency-Key"), `"`)}
	h, err := s.Lifecycle.ReleaseHold(r.Context(), id, act)
	if err != nil {
		return err
	}
	s.Log.InfoContext(r.Context(), "hold released by an operator", "reservation", id.String(), "actor", act.Actor, "reason", act.Reason)
	reply(w, http.StatusOK, map[string]any{"id": id.String(), "state": h.State})
	return nil
}
