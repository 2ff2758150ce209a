package ops

import (
	"context"
	"net/http"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/trail"
)

// Contacts are buyers' contact data, which operators can erase and not read.
type Contacts interface {
	// Erase makes a buyer's contacts unreadable for good, audited, and gives how
	// many there were. Repeatable.
	Erase(ctx context.Context, buyer string, act engine.Act) (int64, error)
}

// Buyers tell what became of a buyer's requests. No contact data is in it.
type Buyers interface {
	// Story gives what this node has answered a buyer and, with record, what gate and
	// record know; of one sale, or with "" of all. CodeNotFound: no such sale.
	Story(ctx context.Context, buyer, sale string, record bool) (Story, error)
	// TimeLine tells what gate and record have noted of one reservation, the oldest
	// first, and of its payments, orders and money. CodeNotFound.
	TimeLine(ctx context.Context, id engine.ReservationID) (TimeLine, error)
}

// TimeLine is what became of a reservation.
type TimeLine struct {
	Reservation string   `json:"reservation"`
	Events      []Event  `json:"events"`
	Traces      []string `json:"traces"` // in which its payments were begun
	Unknown     []string `json:"unknown"`
}

func (s *Server) timeLine(w http.ResponseWriter, r *http.Request) error {
	id, err := namedReservation(r.PathValue("id"))
	if err != nil {
		return err
	}
	line, err := s.Buyers.TimeLine(r.Context(), id)
	if err == nil {
		reply(w, http.StatusOK, line)
	}
	return err
}

// Story is what one node knows of a buyer.
type Story struct {
	Node      string    `json:"node"`
	Since     time.Time `json:"complete_since"` // before that the node was not there or has forgotten
	Decisions []Told    `json:"decisions"`
	Events    []Event   `json:"events"` // from gate and record
	Unknown   []string  `json:"unknown"`
}

// Told is an answer to a buyer.
type Told struct {
	trail.Decision
	Sale string `json:"sale,omitempty"`
	SKU  string `json:"sku,omitempty"`
}

// Event is something that gate or record have noted of a buyer.
type Event struct {
	At   time.Time `json:"at"`
	From string    `json:"from"` // gate, payments or orders
	ID   string    `json:"id"`
	Sale string    `json:"sale"`
	What string    `json:"what"`
}

func (s *Server) buyerStory(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	story, err := s.Buyers.Story(r.Context(), r.PathValue("buyer"), q.Get("sale"), q.Get("record") != "false")
	if err == nil {
		reply(w, http.StatusOK, story)
	}
	return err
}

func (s *Server) buyerRoutes(m *http.ServeMux) {
	if s.Buyers != nil {
		m.HandleFunc("GET /admin/v1/buyers/{buyer}/decisions", s.allow(Viewer, s.buyerStory))
		m.HandleFunc("GET /admin/v1/orders/{id}/events", s.allow(Viewer, s.timeLine))
	}
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
	if err := reasoned(b.Reason, 500, "why"); err != nil {
		return err
	}
	if len(buyer) > 128 {
		return engine.E(engine.CodeInvalidRequest, "buyer: longer than any buyer's id").With("field", "buyer")
	}
	n, err := s.Contacts.Erase(r.Context(), buyer, engine.Act{Actor: actor(r), Reason: b.Reason})
	if err == nil {
		reply(w, http.StatusOK, map[string]any{"buyer": buyer, "contacts": n})
	}
	return err
}
