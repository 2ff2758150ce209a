package ops

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Rooms reads waiting rooms.
type Rooms interface {
	// View gives a room's document: CodeNotFound.
	View(ctx context.Context, sale string) (*engine.RoomView, error)
}

// admissionBody is a waiting room's terms.
type admissionBody struct {
	Lease     string  `json:"lease,omitempty"`
	Use       string  `json:"use,omitempty"`
	StartRate float64 `json:"start_rate,omitempty"`
	MaxRate   float64 `json:"max_rate,omitempty"`
	Answer    string  `json:"answer,omitempty"`
}

func (b *admissionBody) terms() (*engine.Admission, error) {
	if b == nil {
		return nil, nil
	}
	a := &engine.Admission{StartRate: b.StartRate, MaxRate: b.MaxRate}
	for _, f := range []struct {
		name, text string
		otherwise  time.Duration
		into       *time.Duration
	}{{"lease", b.Lease, engine.DefaultLease, &a.Lease}, {"use", b.Use, engine.DefaultUse, &a.Use}, {"answer", b.Answer, 0, &a.Answer}} {
		var err error
		if *f.into, err = duration("admission."+f.name, f.text, f.otherwise); err != nil {
			return nil, err
		}
		*f.into = f.into.Truncate(time.Millisecond)
	}
	return a, nil
}

func admissionView(a *engine.Admission) *admissionBody {
	if a == nil {
		return nil
	}
	b := &admissionBody{Lease: a.Lease.String(), Use: a.Use.String(), StartRate: a.StartRate, MaxRate: a.MaxRate}
	if a.Answer > 0 {
		b.Answer = a.Answer.String()
	}
	return b
}

// Queue is a waiting room as operators see it.
type Queue struct {
	Sale     string           `json:"sale"`
	State    string           `json:"state"`
	Sales    engine.SaleState `json:"sale_state"`
	Epoch    int64            `json:"epoch"`
	OpensAt  *time.Time       `json:"opens_at,omitempty"`
	OpenedAt *time.Time       `json:"opened_at,omitempty"`
	N        *int64           `json:"n,omitempty"`
	Front    int64            `json:"front"`
	Rate     float64          `json:"rate"`
	Limit    string           `json:"limit,omitempty"`
	Reach    *int64           `json:"reach,omitempty"`
	Joined   int64            `json:"joined"`
	Waiting  int64            `json:"waiting"`
	Claimed  int64            `json:"claimed"`
	Left     int64            `json:"left"`
	Lapsed   int64            `json:"lapsed"`
	Inside   int64            `json:"inside"`
	Took     int64            `json:"took"`
	Units    int64            `json:"units"`
	Gone     int64            `json:"gone"`
	RateCap  float64          `json:"rate_cap"` // 0: none
	Paused   bool             `json:"paused"`
	Runner   string           `json:"runner,omitempty"`
	Now      time.Time        `json:"now"`
}

func (s *Server) getQueue(w http.ResponseWriter, r *http.Request) error {
	sale, err := s.Lifecycle.Store.Get(r.Context(), r.PathValue("sale"))
	if err != nil {
		return err
	}
	return s.showQueue(w, r, sale)
}

// steerQueue caps how fast people are called, or stops and goes on.
func (s *Server) steerQueue(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		RateCap *float64 `json:"rate_cap"`
		Paused  *bool    `json:"paused"`
		Reason  string   `json:"reason"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if b.RateCap == nil && b.Paused == nil {
		return engine.E(engine.CodeInvalidRequest, "rate_cap or paused: say what is to change").With("field", "rate_cap")
	}
	if err := reasoned(b.Reason, 200, "why the queue is steered by hand"); err != nil {
		return err
	}
	act := engine.Act{Actor: actor(r), Reason: b.Reason, Key: strings.Trim(r.Header.Get("Idempotency-Key"), `"`)}
	sale, err := s.Lifecycle.SteerQueue(r.Context(), r.PathValue("sale"), b.RateCap, b.Paused, act)
	if err != nil {
		return err
	}
	s.Log.InfoContext(r.Context(), "queue steered by an operator", "sale", sale.ID, "rate_cap", sale.Admission.RateCap, "paused", sale.Admission.Paused, "actor", act.Actor, "reason", act.Reason)
	return s.showQueue(w, r, sale)
}

func (s *Server) showQueue(w http.ResponseWriter, r *http.Request, sale *engine.Sale) error {
	if s.Rooms == nil || sale.Admission == nil {
		return engine.E(engine.CodeNotFound, "sale %q has no waiting room", sale.ID)
	}
	v, err := s.Rooms.View(r.Context(), sale.ID)
	if err != nil {
		return err
	}
	a := sale.Admission
	reply(w, http.StatusOK, Queue{Sale: sale.ID, State: v.State, Sales: sale.State, Epoch: a.Epoch, OpensAt: timeOrNone(v.OpensAt), OpenedAt: timeOrNone(v.OpenedAt), N: orNone(v.N),
		Front: v.Front, Rate: v.Rate, Limit: v.Limit, Reach: orNone(v.Reach), Joined: v.Joined, Waiting: v.Joined - v.Claimed - v.Left - v.Lapsed, Claimed: v.Claimed, Left: v.Left, Lapsed: v.Lapsed,
		Inside: v.Inside, Took: v.Took, Units: v.Units, Gone: v.Gone, RateCap: a.RateCap, Paused: a.Paused, Runner: v.Runner, Now: v.Now})
	return nil
}

func timeOrNone(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orNone(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}
