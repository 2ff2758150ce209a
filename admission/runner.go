package admission

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Runner moves the fronts of a node's waiting rooms, opens and closes them with their
// sales, and has those made anew that were lost. Any number of nodes may run one: of
// each room, one moves the front, under a lease that lies where the front does, so a
// node that was away for too long moves nothing.
type Runner struct {
	Desk *Desk
	// Sales lists the sales that may have a room.
	Sales func() []*engine.Sale
	// Stock reads a sale's units at the gate.
	Stock func(ctx context.Context, s *engine.Sale) ([]engine.Counters, error)
	// Load says how those fare who must bear what is let in.
	Load func() Load
	// Remake makes a room anew of which an epoch was lost.
	Remake func(ctx context.Context, sale string, epoch int64) error
	// Name tells the runners apart.
	Name string
	Log  *slog.Logger

	mu    sync.Mutex
	under map[uint32]*running
}

// Load is what a node knows of what lies behind the gate.
type Load struct {
	WriterLag      time.Duration // age of the oldest order not yet written
	Payment        Breaker
	PaymentLatency time.Duration
}

// running is a room as this node's runner knows it.
type running struct {
	busy  bool // it is being visited
	pace  *Pace
	epoch int64 // of the pace
	said  string
}

// lease is for how long the front is one node's: so long it stands still after that
// node has died.
const lease = 2 * time.Second

// Run works until ctx ends.
func (r *Runner) Run(ctx context.Context) error {
	r.under = map[uint32]*running{}
	tick := time.NewTicker(Refresh)
	defer tick.Stop()
	var work sync.WaitGroup
	defer work.Wait()
	for {
		r.round(ctx, &work)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round begins to visit every room, but those whose last visit is not over: one whose
// Redis does not answer keeps no other waiting.
func (r *Runner) round(ctx context.Context, work *sync.WaitGroup) {
	for _, s := range r.Sales() {
		if s.Admission == nil || s.Admission.Epoch == 0 {
			continue
		}
		r.mu.Lock()
		at := r.under[s.No]
		if at == nil {
			at = &running{}
			r.under[s.No] = at
		}
		skip := at.busy
		at.busy = true
		r.mu.Unlock()
		if skip {
			continue
		}
		work.Go(func() {
			err := r.visit(ctx, s, at)
			r.say(ctx, s, at, err)
			r.mu.Lock()
			at.busy = false
			r.mu.Unlock()
		})
	}
}

// say logs a failure, once until it is over.
func (r *Runner) say(ctx context.Context, s *engine.Sale, at *running, err error) {
	now := ""
	if err != nil {
		now = string(engine.CodeOf(err))
	}
	if now == at.said || ctx.Err() != nil {
		return
	}
	if at.said = now; now == "" {
		r.Log.InfoContext(ctx, "a waiting room is run again", "sale", s.ID)
	} else {
		r.Log.WarnContext(ctx, "a waiting room cannot be run; it is tried again", "sale", s.ID, "err", err)
	}
}

// visit brings one room a tick forward.
func (r *Runner) visit(ctx context.Context, s *engine.Sale, at *running) error {
	if err := r.Desk.tellTaken(ctx, s); err != nil && engine.CodeOf(err) != engine.CodeGateFrozen {
		return err
	}
	seen := r.Desk.look(ctx, s)
	if engine.CodeOf(seen.err) == engine.CodeGateFrozen {
		at.pace = nil
		err := r.Remake(ctx, s.ID, s.Admission.Epoch)
		if err == nil {
			r.Log.WarnContext(ctx, "a waiting room was lost, and has been made anew", "sale", s.ID, "epoch", s.Admission.Epoch, "lost", seen.err)
		}
		return err
	}
	if seen.err != nil {
		return seen.err
	}
	room, st := roomOf(s), seen.status
	switch {
	case over(s) && st.State != Closed && st.State != "":
		return r.Desk.queue.Shut(ctx, room)
	case over(s):
		return nil
	case st.State == Armed && !s.Admission.OpensAt.IsZero() && !s.Admission.OpensAt.Equal(st.OpensAt):
		return r.Desk.queue.Start(ctx, room, s.Admission.OpensAt)
	case st.State != Opened:
		return nil
	case st.Runner != r.Name && st.Runs.After(st.Now):
		at.pace = nil // another one moves it
		return nil
	}
	return r.move(ctx, s, at, st)
}

// move decides a tick, and carries it out.
func (r *Runner) move(ctx context.Context, s *engine.Sale, at *running, st Status) error {
	room, a := roomOf(s), s.Admission
	if at.pace == nil || at.epoch != room.Epoch {
		at.pace, at.epoch = NewPace(Settings{Start: a.StartRate, Most: a.MaxRate, Answer: a.Answer}), room.Epoch
	}
	reading := r.Load().reading(st)
	reading.Cap, reading.Paused = a.RateCap, a.Paused || !s.Accepting(st.Now)
	began := time.Now()
	stock, err := r.Stock(ctx, s)
	reading.GateLatency = time.Since(began)
	// What is not known is not decided upon: without the gate's word nobody is called,
	// but those who were are still counted.
	step := Step{From: st.Front, To: st.Front, Reach: st.Reach, Limit: LimitGate}
	if err == nil {
		reading.units(stock, st)
		step = at.pace.Next(reading).Step(reading)
	}
	step.Runner, step.Lease = r.Name, lease
	_, moved := r.Desk.queue.Advance(ctx, room, step)
	if errors.Is(moved, ErrRunsElsewhere) {
		at.pace, moved = nil, nil
	}
	return errors.Join(err, moved)
}

// reading begins what the pace decides on.
func (l Load) reading(st Status) Reading {
	r := Reading{WriterLag: l.WriterLag, Payment: l.Payment, PaymentLatency: l.PaymentLatency,
		Inside: st.Inside, Took: st.Took, Passed: st.Passed}
	r.Heard(st)
	return r
}

// units adds what the gate says.
func (r *Reading) units(stock []engine.Counters, st Status) {
	for _, c := range stock {
		r.Available += c.Available + c.InFlight
		r.Held += c.Held + c.Paying
		r.Sold += c.Sold
	}
	r.Returned = max(st.Units-r.Held-r.Sold, 0)
	if st.Took > 0 {
		r.PerBuyer = float64(st.Units) / float64(st.Took)
	}
}
