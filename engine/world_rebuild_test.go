package engine

import (
	"bytes"
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// redisModel is a server process with the gate's memory.
type redisModel struct {
	name   string
	epoch  int64 // of the keys; 0: there are none
	frozen bool
	holds  map[ReservationID]*Hold
	stock  Counters
	outbox []OutboxEntry
	lag    *redisModel // what a replica has
}

// copy gives another process that knows as much.
func (m *redisModel) copy(name string) *redisModel {
	out := &redisModel{name: name, epoch: m.epoch, frozen: m.frozen, holds: map[ReservationID]*Hold{}, stock: m.stock, outbox: slices.Clone(m.outbox)}
	for id, h := range m.holds {
		kept := *h
		out.holds[id] = &kept
	}
	return out
}

// loss is a way to lose a gate.
type loss int

const (
	flushed   loss = iota // FLUSHALL: the same process, no keys
	killed                // another process, no keys
	restarted             // another process with all that it knew
	promoted              // a replica that had fallen behind takes over
)

var losses = map[loss]string{flushed: "flushed", killed: "killed", restarted: "restarted", promoted: "promoted"}

func (w *world) remember() { w.lag = w.copy("replica") }

// lose puts another process, or another memory, in the place of the gate's.
func (w *world) lose(how loss) { w.redisModel = w.after(how) }

// after gives what stands in the gate's place after a loss.
func (w *world) after(how loss) *redisModel {
	name := w.name + "'"
	switch {
	case how == restarted:
		return w.copy(name)
	case how == promoted && w.lag != nil:
		return w.lag.copy(name)
	case how == flushed:
		name = w.name
	}
	return &redisModel{name: name, holds: map[ReservationID]*Hold{}}
}

// inspect is what stands before each call of the gate.
func (w *world) inspect(s *Sale) error {
	l := s.Lease(0)
	switch {
	case l.Server != "" && l.Server != w.name:
		return E(CodeGateFrozen, "").With("lost", "server")
	case w.epoch == 0:
		return E(CodeGateFrozen, "").With("lost", "keys")
	case w.epoch != l.Epoch, w.frozen:
		return E(CodeGateFrozen, "").With("lost", "epoch")
	}
	return nil
}

func (w *world) rebuilder() *Rebuilder {
	return &Rebuilder{Gate: repairs{w}, Record: repairs{w}, Stream: repairs{w}, Clock: w, Log: slog.New(slog.DiscardHandler)}
}

// repairs is the gate's, the record's and the stream's side of a rebuild.
type repairs struct{ *world }

func (w repairs) Server(context.Context, *Sale, int) (name string, err error) {
	err = w.do("server", func() error { name = w.name; return nil })
	return name, err
}

func (w repairs) Inspect(_ context.Context, s *Sale, _ int) error {
	defer w.connect()()
	return w.inspect(s)
}

func (w repairs) Freeze(_ context.Context, s *Sale, _ int) error {
	return w.do("freeze", func() error { w.frozen = true; return nil })
}

func (w repairs) Remains(_ context.Context, _ *Sale, _ int, visit func(Hold) error) error {
	return w.do("remains", func() error {
		for _, h := range w.sortedHolds() {
			if (h.State == Held || h.State == Paying && w.now.Before(h.ID.CreatedAt().Add(w.sale.HoldTTL))) && w.epoch > 0 {
				if err := visit(*h); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (w repairs) Rebuild(_ context.Context, s *Sale, _ int, l GateLease, holds []Hold) error {
	return w.do("rebuild", func() error {
		if l.Server != w.name || w.epoch >= l.Epoch || w.epoch > 0 && !w.frozen {
			return E(CodeGateFrozen, "")
		}
		stock := Counters{Stock: s.Items[0].Stock, Available: s.Items[0].Stock}
		for _, h := range holds {
			to := map[ReservationState]*int64{Accepted: &stock.Sold, Paying: &stock.Paying, Held: &stock.Held}[h.State]
			w.move(&stock.Available, to, w.units(&h))
		}
		if stock.Available < 0 {
			return E(CodeSoldOut, "")
		}
		clear(w.holds)
		for _, h := range holds {
			w.holds[h.ID] = &h
		}
		w.stock, w.epoch, w.frozen = stock, l.Epoch, false
		return nil
	})
}

// change gives the record's copy of the sale a new snapshot.
func (w repairs) change(edit func(l *GateLease, r *Repair)) {
	s := *w.sale
	l, r := s.Lease(0), s.Repair(0)
	edit(&l, &r)
	s.Leases, s.Repairs, s.Epoch, s.Version = []GateLease{l}, []Repair{r}, l.Epoch, s.Version+1
	w.sale = &s
	w.changed()
}

func (w repairs) mine(l RebuildLease) error {
	if l.Token != w.token || !w.now.Before(w.until) {
		return E(CodeGateFrozen, "")
	}
	return nil
}

func (w repairs) Take(_ context.Context, s *Sale, shard int, why Cause, d time.Duration) (l RebuildLease, taken bool, err error) {
	err = w.do("take", func() error {
		was := w.sale.Repair(0)
		left := was.Reason == CauseHalted && why.Actor == KeeperActor
		if taken = s.Lease(0) == w.sale.Lease(0) && !w.now.Before(w.until) && !left; taken {
			w.token, w.until = w.token+1, w.now.Add(d)
			l = RebuildLease{Sale: s, Shard: shard, Token: w.token, Cause: why}
			w.change(func(_ *GateLease, r *Repair) {
				if was.Frozen.IsZero() {
					r.Reason = why.Lost
				}
				r.Frozen = w.now
			})
		}
		return nil
	})
	return l, taken, err
}

// Keep is called at the end only: a model's rebuild takes no real time. A process
// that died gives no lease back.
func (w repairs) Keep(_ context.Context, l RebuildLease, d time.Duration) error {
	if d == 0 && w.left != nil && w.left() && w.mine(l) == nil {
		w.until = w.now
	}
	return nil
}

func (w repairs) Raise(_ context.Context, l RebuildLease, server string) (*Sale, error) {
	err := w.do("raise", func() error {
		if err := w.mine(l); err != nil {
			return err
		}
		w.change(func(g *GateLease, r *Repair) { g.Epoch, g.Server, r.Granted = g.Epoch+1, server, w.now })
		return nil
	})
	return w.sale, err
}

func (w repairs) Live(_ context.Context, l RebuildLease, s *Sale, visit func(Hold)) error {
	return w.do("live", func() error {
		if err := w.mine(l); err != nil {
			return err
		}
		for _, id := range w.sortedOrders() {
			if o := w.orders[id]; o.State == Confirmed {
				visit(Hold{ID: id, State: Accepted, Lines: []Line{{0, o.Lines[0].Quantity}}, Fence: o.Attempt.Fence(), Attempts: 1})
			}
		}
		for _, a := range w.living() {
			f := a.ID.Fence()
			if a.Cancelled != "" {
				f = f.Barred()
			}
			visit(Hold{ID: a.Reservation, State: Paying, Lines: a.Lines, Fence: f, Attempts: 1, ExpiresAt: a.Reservation.CreatedAt().Add(s.HoldCap)})
		}
		return nil
	})
}

// living gives the unfinished attempt that counts of each reservation that has
// no order, by their age: the last one that nobody has begun to cancel.
func (w repairs) living() []*Attempt {
	last := map[ReservationID]*Attempt{}
	for _, a := range w.sortedTries() {
		_, ordered := w.orders[a.Reservation]
		if ordered || Final(PaymentMoves, a.State) || a.State == PaymentCaptured || a.Parked == Unsent {
			continue
		}
		if b := last[a.Reservation]; b == nil || b.Cancelled != "" && a.Cancelled == "" || (b.Cancelled != "") == (a.Cancelled != "") && a.BegunAt.After(b.BegunAt) {
			last[a.Reservation] = a
		}
	}
	return slices.SortedFunc(maps.Values(last), func(a, b *Attempt) int {
		return cmp.Or(a.BegunAt.Compare(b.BegunAt), bytes.Compare(a.ID[:], b.ID[:]))
	})
}

func (w repairs) Reopen(_ context.Context, l RebuildLease, _ Rebuilt) (time.Duration, error) {
	return time.Second, w.do("reopen", func() error {
		if err := w.mine(l); err != nil {
			return err
		}
		w.change(func(_ *GateLease, r *Repair) { r.Frozen, r.Took = time.Time{}, time.Second })
		return nil
	})
}

func (w repairs) MarkEpoch(context.Context, *Sale, int, int64) (m Mark, err error) {
	err = w.do("mark", func() error { m = Mark{0: int64(len(w.stream))}; return nil })
	return m, err
}

func (w repairs) Left(_ context.Context, m Mark) (left int64, err error) {
	err = w.do("drained", func() error {
		if !w.async {
			w.write()
		}
		if left = max(0, m[0]-int64(w.read)); left > 0 {
			return E(CodeUnavailable, "not drained in time")
		}
		return nil
	})
	return left, err
}
