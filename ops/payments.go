package ops

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"github.com/flashsale-engine/flashsale/engine"
)

// Payments is the record's list of payment attempts as operators use it.
type Payments interface {
	// List gives the newest, in one state if that is given; or, stuck, the oldest
	// of those that nobody has brought to an end.
	List(ctx context.Context, stuck bool, state string, limit int) ([]engine.Attempt, error)
	// OfReservation gives all attempts of a reservation, oldest first.
	OfReservation(ctx context.Context, id engine.ReservationID) ([]engine.Attempt, error)
	// Refund notes, once and audited, that an order's money goes back: CodeNotFound.
	Refund(ctx context.Context, id engine.ReservationID, act engine.Act) (engine.Attempt, error)
	// Audit notes what was done to an attempt.
	Audit(ctx context.Context, id engine.AttemptID, act engine.Act, detail map[string]any) error
}

// Resolver brings one attempt to an end: *engine.Engine.
type Resolver interface {
	// Plan says what would be done: CodeNotFound.
	Plan(ctx context.Context, id engine.AttemptID) (engine.Plan, error)
	// ResolveAttempt does it.
	ResolveAttempt(ctx context.Context, a engine.Attempt) error
}

func (s *Server) paymentRoutes(m *http.ServeMux) {
	if s.Payments == nil {
		return
	}
	m.HandleFunc("GET /admin/v1/payments", s.allow(Viewer, s.listPayments))
	m.HandleFunc("GET /admin/v1/payments/{id}", s.allow(Viewer, s.getPayment))
	m.HandleFunc("POST /admin/v1/payments/{id}/resolve", s.allow(Operator, s.resolvePayment))
	m.HandleFunc("POST /admin/v1/orders/{id}/refund", s.allow(Owner, s.refundOrder))
}

// attemptView leaves out what operators do not need of a buyer: the address.
func attemptView(a engine.Attempt) map[string]any {
	v := map[string]any{"id": a.ID.String(), "reservation": a.Reservation.String(), "order": a.Reservation.Order(), "buyer": a.Buyer,
		"amount": a.Amount, "method": a.Method, "state": a.State, "provider": a.Provider, "provider_ref": a.ProviderRef, "reason": a.Reason,
		"begun_at": a.BegunAt, "lease_until": a.LeaseUntil}
	if a.Parked != engine.NotParked {
		v["parked"] = a.Parked
	}
	if a.Refund != "" {
		v["refund"] = a.Refund
	}
	if a.State == engine.PaymentNeedsAction {
		v["next_action"] = map[string]string{"type": a.Action.Type, "url": a.Action.URL}
	}
	return v
}

func planView(p engine.Plan) map[string]any {
	v := map[string]any{"payment": attemptView(p.Attempt), "step": p.Step, "reason": p.Reason}
	if p.Hold.State != "" {
		v["hold"] = map[string]any{"state": p.Hold.State, "expires_at": p.Hold.ExpiresAt.UTC()}
	}
	if p.Payment.State != "" {
		v["at_provider"] = map[string]any{"state": p.Payment.State, "ref": p.Payment.Ref, "amount": p.Payment.Amount}
	}
	return v
}

func (s *Server) listPayments(w http.ResponseWriter, r *http.Request) error {
	q, limit := r.URL.Query(), 50
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return engine.E(engine.CodeInvalidRequest, "limit: %q is not between 1 and 1000", text).With("field", "limit")
		}
		limit = n
	}
	state := q.Get("state")
	if state != "" && !slices.Contains(engine.States(engine.PaymentMoves), engine.PaymentState(state)) {
		return engine.E(engine.CodeInvalidRequest, "state: there is no payment state %q", state).With("field", "state")
	}
	stuck := q.Get("stuck")
	if stuck != "" && stuck != "true" && stuck != "false" {
		return engine.E(engine.CodeInvalidRequest, "stuck: true or false").With("field", "stuck")
	}
	list, err := s.Payments.List(r.Context(), stuck == "true", state, limit)
	if err != nil {
		return err
	}
	replyAttempts(w, list)
	return nil
}

func replyAttempts(w http.ResponseWriter, list []engine.Attempt) {
	out := make([]map[string]any, 0, len(list))
	for _, a := range list {
		out = append(out, attemptView(a))
	}
	reply(w, http.StatusOK, map[string]any{"payments": out})
}

// getPayment shows one attempt with what would be done about it, or all
// attempts of a reservation or an order.
func (s *Server) getPayment(w http.ResponseWriter, r *http.Request) error {
	text := r.PathValue("id")
	id, ok := engine.ParseReservationID(text)
	if !ok {
		id, ok = engine.ParseOrderID(text)
	}
	if ok {
		list, err := s.Payments.OfReservation(r.Context(), id)
		if err != nil {
			return err
		}
		replyAttempts(w, list)
		return nil
	}
	plan, err := s.plan(r)
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, planView(plan))
	return nil
}

func (s *Server) plan(r *http.Request) (engine.Plan, error) {
	id, ok := engine.ParseAttemptID(r.PathValue("id"))
	if !ok {
		return engine.Plan{}, engine.E(engine.CodeNotFound, "no payment %q", r.PathValue("id"))
	}
	return s.Resolver.Plan(r.Context(), id)
}

// resolvePayment does what the payments role would do by itself a little later.
func (s *Server) resolvePayment(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		DryRun bool   `json:"dry_run"`
		Reason string `json:"reason"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	plan, err := s.plan(r)
	if err != nil || b.DryRun {
		if err == nil {
			reply(w, http.StatusOK, planView(plan))
		}
		return err
	}
	act := engine.Act{Actor: actor(r), Name: "resolve payment", Reason: b.Reason}
	if err := s.Payments.Audit(r.Context(), plan.Attempt.ID, act, map[string]any{"step": plan.Step, "was": plan.Attempt.State}); err != nil {
		return err
	}
	if err := s.Resolver.ResolveAttempt(r.Context(), plan.Attempt); err != nil {
		return err
	}
	after, err := s.plan(r)
	if err != nil {
		return err
	}
	v := planView(after)
	v["did"] = plan.Step
	reply(w, http.StatusOK, v)
	return nil
}

func (s *Server) refundOrder(w http.ResponseWriter, r *http.Request) error {
	id, ok := engine.ParseOrderID(r.PathValue("id"))
	if !ok {
		return engine.E(engine.CodeNotFound, "no order %q", r.PathValue("id"))
	}
	var b struct {
		Reason string `json:"reason"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if err := reasoned(b.Reason, 200, "why the money goes back"); err != nil {
		return err
	}
	a, err := s.Payments.Refund(r.Context(), id, engine.Act{Actor: actor(r), Reason: b.Reason})
	if err != nil {
		return err
	}
	reply(w, http.StatusAccepted, attemptView(a)) // the payments role does it now
	return nil
}
