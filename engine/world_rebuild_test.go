package engine

import (
	"context"
	"log/slog"
	"time"
)

// redisModel is the process that has the gate's memory, which is the world's
// holds, stock and outbox.
type redisModel struct {
	name   string
	epoch  int64 // of the keys; 0: there are none
	frozen bool
	lag    *memory // what a replica has
}

// memory is what a server may forget, or fall back to.
type memory struct {
	epoch  int64
	holds  map[ReservationID]Hold
	stock  Counters
	outbox []OutboxEntry
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

func (w *world) remember() {
	m := &memory{epoch: w.server.epoch, holds: map[ReservationID]Hold{}, stock: w.stock, outbox: append([]OutboxEntry(nil), w.outbox...)}
	for id, h := range w.holds {
		m.holds[id] = *h
	}
	w.server.lag = m
}

func (w *world) lose(how loss) {
	if how != flushed {
		w.server.name += "'"
	}
	m := &memory{}
	switch {
	case how == restarted:
		return
	case how == promoted && w.server.lag != nil:
		m = w.server.lag
	}
	w.server.epoch, w.server.frozen = m.epoch, false
	w.stock, w.outbox = m.stock, append([]OutboxEntry(nil), m.outbox...)
	clear(w.holds)
	for id, h := range m.holds {
		w.holds[id] = &h
	}
}

// inspect is what stands before each call of the gate.
func (w *world) inspect(s *Sale) error {
	l := s.Lease(0)
	switch {
	case l.Server != "" && l.Server != w.server.name:
		return E(CodeGateFrozen, "").With("lost", "server")
	case w.server.epoch == 0:
		return E(CodeGateFrozen, "").With("lost", "keys")
	case w.server.epoch != l.Epoch, w.server.frozen:
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
	err = w.do("server", func() error { name = w.server.name; return nil })
	return name, err
}

func (w repairs) Inspect(_ context.Context, s *Sale, _ int) error { return w.inspect(s) }

func (w repairs) Freeze(_ context.Context, s *Sale, _ int) error {
	return w.do("freeze", func() error { w.server.frozen = true; return nil })
}

func (w repairs) Remains(_ context.Context, _ *Sale, _ int, visit func(Hold) error) error {
	return w.do("remains", func() error {
		for _, h := range w.holds {
			if (h.State == Held || h.State == Paying && w.now.Before(h.ID.CreatedAt().Add(w.sale.HoldTTL))) && w.server.epoch > 0 {
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
		if l.Server != w.server.name || w.server.epoch >= l.Epoch || w.server.epoch > 0 && !w.server.frozen {
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
		w.stock, w.server.epoch, w.server.frozen = stock, l.Epoch, false
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
}

func (w repairs) mine(l RebuildLease) error {
	if l.Token != w.token || !w.now.Before(w.until) {
		return E(CodeGateFrozen, "")
	}
	return nil
}

func (w repairs) Take(_ context.Context, s *Sale, shard int, why Cause, d time.Duration) (l RebuildLease, taken bool, err error) {
	err = w.do("take", func() error {
		if taken = s.Lease(0) == w.sale.Lease(0) && !w.now.Before(w.until); taken {
			w.token, w.until = w.token+1, w.now.Add(d)
			l = RebuildLease{Sale: s, Shard: shard, Token: w.token, Cause: why}
			w.change(func(_ *GateLease, r *Repair) { r.Frozen = w.now })
		}
		return nil
	})
	return l, taken, err
}

// Keep does nothing: a process that died gives no lease back.
func (w repairs) Keep(context.Context, RebuildLease, time.Duration) error { return nil }

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
		for id, o := range w.orders {
			visit(Hold{ID: id, State: Accepted, Lines: []Line{{0, o.Lines[0].Quantity}}, Fence: o.Attempt.Fence(), Attempts: 1})
		}
		for _, cancelled := range []bool{false, true} {
			for _, a := range w.sortedTries() {
				_, ordered := w.orders[a.Reservation]
				if ordered || Final(PaymentMoves, a.State) || a.State == PaymentCaptured || a.Parked == Unsent || (a.Cancelled != "") != cancelled {
					continue
				}
				f := a.ID.Fence()
				if cancelled {
					f = f.Barred()
				}
				visit(Hold{ID: a.Reservation, State: Paying, Lines: a.Lines, Fence: f, Attempts: 1, ExpiresAt: a.Reservation.CreatedAt().Add(s.HoldCap)})
			}
		}
		return nil
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

func (w repairs) Passed(context.Context, Mark) (ok bool, err error) {
	err = w.do("drained", func() error { w.write(); ok = true; return nil })
	return ok, err
}
