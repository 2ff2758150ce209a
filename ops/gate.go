package ops

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Gates are how the gates of all sales stand, and how lost ones come back.
type Gates struct {
	Rebuilder *engine.Rebuilder
	Taken     engine.Taken
	Automatic bool // a lost gate is rebuilt without being told
}

// gateView is one shard's gate as operators see it.
type gateView struct {
	Sale        string     `json:"sale"`
	Shard       int        `json:"shard"`
	State       string     `json:"state"` // open, frozen, or lost (nobody rebuilds it yet)
	Reason      string     `json:"reason,omitempty"`
	Since       *time.Time `json:"since,omitempty"`
	Epoch       int64      `json:"epoch"`
	Server      string     `json:"server"`                // of the lease
	Decides     string     `json:"decides,omitempty"`     // who answers now
	Unreachable string     `json:"unreachable,omitempty"` // why nobody does
	RebuiltAt   *time.Time `json:"rebuilt_at,omitempty"`
	TookMS      int64      `json:"took_ms,omitempty"` // how long it was frozen the last time
}

func gateViewOf(g engine.GateReport) gateView {
	l, r := g.Sale.Lease(g.Shard), g.Sale.Repair(g.Shard)
	v := gateView{Sale: g.Sale.ID, Shard: g.Shard, State: "open", Epoch: l.Epoch, Server: l.Server, Decides: g.Server, TookMS: r.Took.Milliseconds()}
	switch {
	case !r.Frozen.IsZero():
		v.State, v.Reason, v.Since = "frozen", r.Reason, &r.Frozen
	case g.Lost != "":
		v.State, v.Reason = "lost", g.Lost
	}
	if !r.Granted.IsZero() {
		v.RebuiltAt = &r.Granted
	}
	if g.Away != nil {
		v.Unreachable = g.Away.Error()
	}
	return v
}

// gatePlanView is what a rebuild would do.
type gatePlanView struct {
	gateView
	Accepted int `json:"accepted"`
	Paying   int `json:"paying"`
	Held     int `json:"held"` // -1: known only once it is frozen
}

func (s *Server) gateRoutes(m *http.ServeMux) {
	if s.Gates == nil {
		return
	}
	m.HandleFunc("GET /admin/v1/gate", s.allow(Viewer, s.listGates))
	m.HandleFunc("POST /admin/v1/gate/rebuild", s.allow(Operator, s.rebuildGates))
	m.HandleFunc("POST /admin/v1/gate/freeze", s.allow(Operator, s.freezeGate))
}

// gatesOf gives the sales that a request means: one by name, or all that are live.
func (s *Server) gatesOf(ctx context.Context, name string) ([]*engine.Sale, error) {
	if name != "" {
		sale, err := s.Lifecycle.Store.Get(ctx, name)
		if err == nil && sale.Epoch == 0 {
			err = engine.E(engine.CodeSaleState, "sale %q is a draft; it is not at the gate", name).With("state", string(sale.State))
		}
		return []*engine.Sale{sale}, err
	}
	all, err := s.Lifecycle.Store.List(ctx)
	var live []*engine.Sale
	for _, sale := range all {
		if sale.Epoch > 0 && sale.State != engine.SaleClosed {
			live = append(live, sale)
		}
	}
	return live, err
}

func (s *Server) listGates(w http.ResponseWriter, r *http.Request) error {
	sales, err := s.gatesOf(r.Context(), r.URL.Query().Get("sale"))
	if err != nil {
		return err
	}
	out := []gateView{}
	for _, sale := range sales {
		for shard := range max(sale.Shards, 1) {
			out = append(out, gateViewOf(s.Gates.Rebuilder.Report(r.Context(), sale, shard)))
		}
	}
	reply(w, http.StatusOK, map[string]any{"automatic": s.Gates.Automatic, "gates": out})
	return nil
}

// rebuildGates rebuilds the shards that the body names; without a sale, those of
// all live sales that are lost or were left frozen.
func (s *Server) rebuildGates(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Sale   string `json:"sale"`
		Shard  *int   `json:"shard"`
		Reason string `json:"reason"`
		DryRun bool   `json:"dry_run"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if err := reasoned(b.Reason, 200, "why the gate is rebuilt by hand"); err != nil {
		return err
	}
	which, err := s.shardsOf(r.Context(), b.Sale, b.Shard)
	if err != nil {
		return err
	}
	if b.DryRun {
		return s.planGates(w, r, which)
	}
	cause := engine.Cause{Actor: actor(r), Reason: b.Reason}
	return s.rebuildEach(w, r, which, cause)
}

// shardsOf gives the shards that are meant; without a sale, those that are lost or frozen.
func (s *Server) shardsOf(ctx context.Context, name string, only *int) (which []engine.GateReport, err error) {
	if only != nil && name == "" {
		return nil, engine.E(engine.CodeInvalidRequest, "shard: name the sale, too").With("field", "shard")
	}
	sales, err := s.gatesOf(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, sale := range sales {
		if only != nil && (*only < 0 || *only >= max(sale.Shards, 1)) {
			return nil, engine.E(engine.CodeInvalidRequest, "shard: sale %q has shards 0 to %d", sale.ID, max(sale.Shards, 1)-1).With("field", "shard")
		}
		for shard := range max(sale.Shards, 1) {
			if only != nil && *only != shard {
				continue
			}
			g := s.Gates.Rebuilder.Report(ctx, sale, shard)
			if name != "" || g.Lost != "" || !sale.Repair(shard).Frozen.IsZero() {
				which = append(which, g)
			}
		}
	}
	return which, nil
}

// freezeGate closes a sale's gate, or one shard of it, until it is rebuilt by hand.
func (s *Server) freezeGate(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Sale   string `json:"sale"`
		Shard  *int   `json:"shard"`
		Reason string `json:"reason"`
	}
	if err := decode(w, r, &b); err != nil {
		return err
	}
	if b.Sale == "" {
		return engine.E(engine.CodeInvalidRequest, "sale: name the sale whose gate is to be frozen").With("field", "sale")
	}
	if err := reasoned(b.Reason, 200, "why the gate is frozen"); err != nil {
		return err
	}
	which, err := s.shardsOf(r.Context(), b.Sale, b.Shard)
	if err != nil {
		return err
	}
	out, ctx := []gateView{}, context.WithoutCancel(r.Context())
	for _, g := range which {
		// Each note raises the sale's version: the next begins with what is now.
		sale, err := s.Lifecycle.Store.Get(ctx, g.Sale.ID)
		if err == nil {
			err = s.Gates.Rebuilder.Halt(ctx, sale, g.Shard, engine.Cause{Actor: actor(r), Reason: b.Reason})
		}
		if errors.Is(err, engine.ErrElsewhere) {
			return engine.Wrap(err, engine.CodeGateFrozen, "shard %d of sale %q is being rebuilt; freeze it again in a moment", g.Shard, g.Sale.ID).After(time.Second)
		}
		if err == nil {
			sale, err = s.Lifecycle.Store.Get(ctx, g.Sale.ID)
		}
		if err != nil {
			return err
		}
		s.Log.InfoContext(ctx, "gate frozen by an operator", "sale", sale.ID, "shard", g.Shard, "actor", actor(r), "reason", b.Reason)
		out = append(out, gateViewOf(s.Gates.Rebuilder.Report(ctx, sale, g.Shard)))
	}
	reply(w, http.StatusOK, map[string]any{"gates": out})
	return nil
}

func (s *Server) planGates(w http.ResponseWriter, r *http.Request, which []engine.GateReport) error {
	out := []gatePlanView{}
	for _, g := range which {
		p, err := s.Gates.Rebuilder.DryRun(r.Context(), g.Sale, g.Shard, s.Gates.Taken, s.Reader)
		if err != nil {
			return err
		}
		out = append(out, gatePlanView{gateViewOf(p), p.Accepted, p.Paying, p.Held})
	}
	reply(w, http.StatusOK, map[string]any{"dry_run": true, "plan": out})
	return nil
}

func (s *Server) rebuildEach(w http.ResponseWriter, r *http.Request, which []engine.GateReport, cause engine.Cause) error {
	out := []engine.Rebuilt{}
	// Whoever hangs up does not leave a shard frozen in the middle of it.
	ctx := context.WithoutCancel(r.Context())
	for _, g := range which {
		// One rebuild raises the sale's version: the next begins with what is now.
		sale, err := s.Lifecycle.Store.Get(ctx, g.Sale.ID)
		if err != nil {
			return err
		}
		why := cause
		if why.Lost = g.Lost; why.Lost == "" {
			why.Lost = engine.CauseOperator
		}
		done, err := s.Gates.Rebuilder.Rebuild(ctx, sale, g.Shard, why)
		if errors.Is(err, engine.ErrElsewhere) {
			return engine.Wrap(err, engine.CodeGateFrozen, "shard %d of sale %q is being rebuilt by another node; see gate status", g.Shard, sale.ID).After(time.Second)
		}
		if err != nil {
			return err
		}
		out = append(out, done)
	}
	reply(w, http.StatusOK, map[string]any{"rebuilt": out})
	return nil
}
