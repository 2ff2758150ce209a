package ops

import (
	"context"
	"net/http"
	"strings"

	"github.com/flashsale-engine/flashsale/engine"
)

// Contacts are buyers' contact data, which operators can erase and not read.
type Contacts interface {
	// Erase makes a buyer's contacts unreadable for good, audited, and gives how
	// many there were. Repeatable.
	Erase(ctx context.Context, buyer string, act engine.Act) (int64, error)
}

func (s *Server) buyerRoutes(m *http.ServeMux) {
	if s.Contacts != nil {
		m.HandleFunc("POST /admin/v1/buyers/{buyer}/erase", s.allow(Owner, s.eraseContacts))
	}
}

func (s *Server) eraseContacts(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Reason string `json:"reason"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	buyer := r.PathValue("buyer")
	switch {
	case strings.TrimSpace(b.Reason) == "" || len(b.Reason) > 500:
		return engine.E(engine.CodeInvalidRequest, "reason: say why, in 1 to 500 bytes").With("field", "reason")
	case len(buyer) > 128:
		return engine.E(engine.CodeInvalidRequest, "buyer: longer than any buyer's id").With("field", "buyer")
	}
	n, err := s.Contacts.Erase(r.Context(), buyer, engine.Act{Actor: actor(r), Reason: b.Reason})
	if err == nil {
		reply(w, http.StatusOK, map[string]any{"buyer": buyer, "contacts": n})
	}
	return err
}
