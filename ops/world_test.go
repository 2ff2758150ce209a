package ops

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/ops/live"
)

// world is behind the listener: one draft sale, and nothing else to be found.
type world struct{ did []string }

func (w *world) note(what string) { w.did = append(w.did, what) }

func draft() *engine.Sale {
	return &engine.Sale{No: 1, ID: "drop", Name: "Drop", Currency: "USD", State: engine.SaleDraft, HoldTTL: 2 * time.Minute, HoldCap: 10 * time.Minute,
		PerBuyerLimit: 2, Shards: 1, Items: []engine.Item{{SKU: "A", Title: "A thing", UnitPrice: 1000, Stock: 5}}}
}

var nothing = engine.E(engine.CodeNotFound, "nothing of that name")

func (w *world) Create(_ context.Context, s *engine.Sale, _ string) (*engine.Sale, bool, error) {
	w.note("create " + s.ID)
	return s, true, nil
}
func (w *world) Get(_ context.Context, id string) (*engine.Sale, error) {
	if id != "drop" {
		return nil, nothing
	}
	return draft(), nil
}
func (w *world) List(context.Context) ([]*engine.Sale, error) { return []*engine.Sale{draft()}, nil }
func (w *world) Change(_ context.Context, _ string, act engine.Act, edit func(s *engine.Sale) error) (*engine.Sale, error) {
	s := draft()
	if err := edit(s); err != nil {
		return nil, err
	}
	w.note(act.Name)
	return s, nil
}

func (w *world) Breakers(context.Context) ([]Breaker, error) { return nil, nil }
func (w *world) SetBreaker(_ context.Context, name, mode string, _ engine.Act) error {
	w.note(name + " " + mode)
	return nil
}

// dead, paying and truth find nothing.
type dead struct{ *world }

func (dead) List(context.Context, engine.DeadLetterFilter) ([]engine.DeadLetter, error) {
	return nil, nil
}
func (dead) Retry(context.Context, int64, engine.Act, bool) (engine.Retried, error) {
	return engine.Retried{}, nothing
}
func (dead) Drop(context.Context, int64, engine.Act) (engine.DeadLetter, error) {
	return engine.DeadLetter{}, nothing
}

type paying struct{ *world }

func (paying) List(context.Context, bool, string, int) ([]engine.Attempt, error) { return nil, nil }
func (paying) OfReservation(context.Context, engine.ReservationID) ([]engine.Attempt, error) {
	return nil, nil
}
func (paying) Refund(context.Context, engine.ReservationID, engine.Act) (engine.Attempt, error) {
	return engine.Attempt{}, nothing
}
func (paying) Audit(context.Context, engine.AttemptID, engine.Act, map[string]any) error { return nil }
func (paying) Plan(context.Context, engine.AttemptID) (engine.Plan, error) {
	return engine.Plan{}, nothing
}
func (paying) ResolveAttempt(context.Context, engine.Attempt) error { return nothing }

type truth struct{ *world }

func (truth) Verify(context.Context, time.Duration) (engine.Verdict, error) {
	return engine.Verdict{}, nil
}
func (truth) VerifyFast(context.Context, time.Duration) (engine.Verdict, error) {
	return engine.Verdict{}, nil
}
func (t truth) Fix(context.Context, time.Duration, string) (engine.Mending, error) {
	t.note("fix")
	return engine.Mending{}, nil
}
func (truth) CheckChain(context.Context, int64, string) (engine.ChainReport, error) {
	return engine.ChainReport{}, nil
}
func (truth) Head(context.Context) (engine.Seal, error) { return engine.Seal{}, nil }

type orderBook struct{ *world }

func (orderBook) Order(context.Context, engine.ReservationID) (engine.Order, error) {
	return engine.Order{}, nothing
}
func (orderBook) Recent(context.Context, uint32, int) ([]engine.Order, error) { return nil, nil }

// secretOf is the token of a role.
func secretOf(r Role) string { return "the-secret-of-a-" + r.String() }

func serving(tb testing.TB) (*Server, *world) {
	tb.Helper()
	w := &world{}
	var tokens []Token
	for name, role := range roleNames {
		tokens = append(tokens, Token{name, role, secretOf(role)})
	}
	look := live.New(live.Sources{Active: func() []*engine.Sale { return nil }, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	tb.Cleanup(look.Close)
	s, err := New(Options{Lifecycle: &engine.Lifecycle{Store: w, Clock: clock{}, Log: slog.New(slog.DiscardHandler)}, Orders: orderBook{w}, Payments: paying{w}, Resolver: paying{w}, Truth: truth{w}, Dead: dead{w},
		Ready: func(context.Context) error { return nil }, Breakers: w, Gates: &Gates{}, Contacts: people{w}, Buyers: people{w}, Live: look, Tokens: tokens, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return s, w
}

type clock struct{}

func (clock) Now() time.Time { return time.Now() }

func (s *Server) ask(method, path, secret, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w
}

type people struct{ *world }

func (p people) Erase(_ context.Context, buyer string, _ engine.Act) (int64, error) {
	p.did = append(p.did, "erase "+buyer)
	return 1, nil
}

func (people) Story(context.Context, string, string, bool) (Story, error) { return Story{}, nil }

func (people) TimeLine(context.Context, engine.ReservationID) (TimeLine, error) {
	return TimeLine{}, nil
}
