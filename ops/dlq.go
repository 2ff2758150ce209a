package ops

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/flashsale-engine/flashsale/engine"
)

// DeadLetters are the events that could not become orders.
type DeadLetters interface {
	// List gives those that a filter chooses, oldest first.
	List(ctx context.Context, f engine.DeadLetterFilter) ([]engine.DeadLetter, error)
	// Retry has one decided again, audited, or says what would become of it. One
	// that is settled stays as it is: CodeNotFound.
	Retry(ctx context.Context, id int64, act engine.Act, dry bool) (engine.Retried, error)
	// Drop says why one will never be an order, audited: CodeNotFound.
	Drop(ctx context.Context, id int64, act engine.Act) (engine.DeadLetter, error)
}

var deadStates = []string{engine.DeadLetterOpen, engine.DeadLetterRetried, engine.DeadLetterDropped}

func (s *Server) listDead(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := engine.DeadLetterFilter{Sale: q.Get("sale"), Reason: q.Get("reason"), State: engine.DeadLetterOpen, Limit: 100}
	if q.Has("state") {
		f.State = q.Get("state")
	}
	switch {
	case f.State == "all":
		f.State = ""
	case !slices.Contains(deadStates, f.State):
		return engine.E(engine.CodeInvalidRequest, "state: one of all, %s", strings.Join(deadStates, ", ")).With("field", "state")
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 10_000 {
			return engine.E(engine.CodeInvalidRequest, "limit: %q is not between 1 and 10000", text).With("field", "limit")
		}
		f.Limit = n
	}
	list, err := s.Dead.List(r.Context(), f)
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, map[string]any{"dead_letters": slices.Concat([]engine.DeadLetter{}, list)})
	return nil
}

func deadID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id < 1 {
		return 0, engine.E(engine.CodeNotFound, "no dead letter %q", r.PathValue("id"))
	}
	return id, nil
}

type deadBody struct {
	DryRun bool   `json:"dry_run"`
	Reason string `json:"reason"`
}

func (s *Server) retryDead(w http.ResponseWriter, r *http.Request) error {
	id, err := deadID(r)
	if err != nil {
		return err
	}
	var b deadBody
	if err := decode(w, r, &b); err != nil {
		return err
	}
	out, err := s.Dead.Retry(r.Context(), id, engine.Act{Actor: actor(r), Reason: b.Reason}, b.DryRun)
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, out)
	return nil
}

func (s *Server) dropDead(w http.ResponseWriter, r *http.Request) error {
	id, err := deadID(r)
	if err != nil {
		return err
	}
	var b deadBody
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if err := reasoned(b.Reason, 500, "why it will never be an order"); err != nil {
		return err
	}
	if b.DryRun {
		list, err := s.Dead.List(r.Context(), engine.DeadLetterFilter{ID: id, Limit: 1})
		if err == nil && len(list) == 0 {
			err = engine.E(engine.CodeNotFound, "no dead letter %d", id)
		}
		if err == nil {
			reply(w, http.StatusOK, list[0])
		}
		return err
	}
	letter, err := s.Dead.Drop(r.Context(), id, engine.Act{Actor: actor(r), Reason: b.Reason})
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, letter)
	return nil
}
