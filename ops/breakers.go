package ops

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Breakers are the circuit breakers around what the engine calls outside.
type Breakers interface {
	// Breakers lists this node's, by name.
	Breakers(ctx context.Context) ([]Breaker, error)
	// SetBreaker forces one open or closed on every node, or gives the decision
	// back to it: mode open, closed or auto. CodeNotFound.
	SetBreaker(ctx context.Context, name, mode string, act engine.Act) error
}

// Breaker is one as operators see it.
type Breaker struct {
	Name     string     `json:"name"`
	State    string     `json:"state"` // what callers meet on this node: closed, half-open or open
	Mode     string     `json:"mode"`  // auto, or what an operator forced: open or closed
	Reason   string     `json:"reason,omitempty"`
	Actor    string     `json:"actor,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
	InFlight int        `json:"in_flight"`
	Limit    int        `json:"limit"`
}

func (s *Server) listBreakers(w http.ResponseWriter, r *http.Request) error {
	list := []Breaker{}
	if s.Breakers != nil {
		var err error
		if list, err = s.Breakers.Breakers(r.Context()); err != nil {
			return err
		}
	}
	reply(w, http.StatusOK, map[string]any{"breakers": list})
	return nil
}

// breakerModes maps the path's verb to the mode that it sets.
var breakerModes = map[string]string{"open": "open", "close": "closed", "auto": "auto"}

func (s *Server) setBreaker(w http.ResponseWriter, r *http.Request) error {
	mode, name := breakerModes[r.PathValue("verb")], r.PathValue("name")
	if mode == "" {
		return engine.E(engine.CodeNotFound, "no verb %q: use open, close or auto", r.PathValue("verb"))
	}
	var b struct {
		Reason string `json:"reason"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if err := reasoned(b.Reason, 200, "why the breaker is set by hand"); err != nil {
		return err
	}
	if s.Breakers == nil {
		return engine.E(engine.CodeNotFound, "no breaker is called %q", name)
	}
	act := engine.Act{Actor: actor(r), Reason: b.Reason, Key: strings.Trim(r.Header.Get("Idempotency-Key"), `"`)}
	if err := s.Breakers.SetBreaker(r.Context(), name, mode, act); err != nil {
		return err
	}
	s.Log.InfoContext(r.Context(), "breaker set by an operator", "breaker", name, "mode", mode, "actor", act.Actor, "reason", act.Reason)
	return s.listBreakers(w, r)
}
