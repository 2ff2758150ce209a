package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// SaleStore is the record's copy of sales. Every change is audited under the
// actor's name and raises the sale's version.
type SaleStore interface {
	// Create writes a draft, or gives the one of that name that exists
	// (created unset). It fills No, Secret, State and Version.
	Create(ctx context.Context, s *Sale, actor string) (_ *Sale, created bool, _ error)
	// Get reads a sale by name from the record: CodeNotFound.
	Get(ctx context.Context, id string) (*Sale, error)
	// List reads all sales, newest first.
	List(ctx context.Context) ([]*Sale, error)
	// Change locks the sale, lets edit alter a copy, writes the terms, state,
	// epoch and stock that differ (stock through the ledger, with the reason),
	// and commits. edit's error rolls everything back and is returned.
	Change(ctx context.Context, id string, act Act, edit func(s *Sale) error) (*Sale, error)
}

// Act says who changes a sale, and why.
type Act struct {
	Actor  string // who: a token's name, or the clock
	Name   string // what: create, arm, open, stock …
	Reason string
	Key    string // idempotency key; an act repeated under its key changes nothing
}

// Lifecycle moves sales through their states in the record and at the gate.
//
// Order matters where a crash may lie between the two: the gate is told of
// whatever gives buyers less before the record commits, and of whatever gives
// them more after. So the gate never offers what the record has not promised,
// and Sync brings it up to date: at the end of each act, and by the clock.
type Lifecycle struct {
	Store          SaleStore
	Gate           GateControl
	Reader         GateReader
	Shards         GateShards
	Holds          GateHolds
	Repair         GateRepair // names the servers of leases; nil: they stay unnamed
	Rooms          Rooms      // makes waiting rooms; nil: no sale that wants one is armed
	PaymentTimeout time.Duration
	Clock          Clock
	Log            *slog.Logger
}

// Put creates a sale, or rewrites the terms of a draft. A sale past draft keeps
// its terms: the same ones again are accepted, others refused.
func (l *Lifecycle) Put(ctx context.Context, s *Sale, actor string) (_ *Sale, created bool, _ error) {
	if err := ValidateSale(s, l.PaymentTimeout); err != nil {
		return nil, false, err
	}
	for i := range s.Items {
		s.Items[i].No = uint16(i)
	}
	was, created, err := l.Store.Create(ctx, s, actor)
	if err != nil || created {
		return was, created, err
	}
	if sameTerms(was, s) {
		return was, false, nil
	}
	now, err := l.Store.Change(ctx, s.ID, Act{Actor: actor, Name: "put"}, func(was *Sale) error {
		if was.State != SaleDraft {
			return E(CodeSaleLocked, "sale %q is %s; its terms are fixed since it was armed", was.ID, was.State).With("state", string(was.State))
		}
		keep := *was
		*was = *s
		was.No, was.Secret, was.State, was.Epoch, was.Version = keep.No, keep.Secret, keep.State, keep.Epoch, keep.Version // of a draft: no leases
		return nil
	})
	return now, false, err
}

// Move brings a sale to a state. Repeated, it changes nothing.
func (l *Lifecycle) Move(ctx context.Context, id string, to SaleState, actor string) (*Sale, error) {
	now, err := l.Store.Change(ctx, id, Act{Actor: actor, Name: string(to)}, func(s *Sale) error {
		if s.State == to {
			return nil
		}
		if !CanMove(SaleMoves, s.State, to) {
			return E(CodeSaleState, "sale %q is %s and cannot become %s", s.ID, s.State, to).
				With("state", string(s.State)).With("allowed", SaleMoves[s.State])
		}
		if err := l.ready(ctx, s, to); err != nil {
			return err
		}
		s.State = to
		switch to {
		case SaleArmed:
			s.Epoch = 1
			// Closed to buyers until it opens. Only here: keys that are lost later
			// must not come back empty.
			if err := l.Gate.Create(ctx, s); err != nil {
				return err
			}
			if s.Admission != nil {
				if err := l.armRoom(ctx, s, s.OpensAt); err != nil {
					return err
				}
			}
			return l.grant(ctx, s)
		case SaleOpen:
			now := l.Clock.Now()
			early := s.OpensAt.After(now)
			if early {
				s.OpensAt = now.Truncate(time.Millisecond) // opened by hand, ahead of the clock
			}
			openRoom(s, now, early)
			return nil
		default:
			if s.Epoch == 0 {
				return nil // a draft that is thrown away was never at the gate
			}
			return l.Gate.Install(ctx, s) // less for buyers: the gate first
		}
	})
	if err != nil {
		return nil, err
	}
	return now, l.Sync(ctx, now)
}

// ready checks what a state needs beyond the table.
func (l *Lifecycle) ready(ctx context.Context, s *Sale, to SaleState) error {
	switch {
	case to == SaleArmed:
		total := int64(0)
		for _, it := range s.Items {
			total += it.Stock
		}
		if total == 0 {
			return E(CodeSaleState, "sale %q has no stock; add some before arming it", s.ID).With("state", string(s.State))
		}
	case to == SaleClosed && s.Epoch > 0:
		cs, err := l.Reader.Counters(ctx, s)
		if err != nil {
			return err
		}
		var live int64
		for _, c := range cs {
			live += c.Held + c.Paying
		}
		if live > 0 {
			return E(CodeSaleState, "sale %q still has %d units held or being paid; drain it until there are none", s.ID, live).
				With("state", string(s.State)).With("live_units", live)
		}
	}
	return nil
}

// AddStock changes a SKU's stock by delta units.
func (l *Lifecycle) AddStock(ctx context.Context, id, sku string, delta int64, act Act) (*Sale, error) {
	if delta == 0 {
		return nil, E(CodeInvalidRequest, "delta: must not be 0").With("field", "delta")
	}
	if delta > MaxStock || delta < -MaxStock {
		return nil, E(CodeInvalidRequest, "delta: %d is beyond ±%d", delta, MaxStock).With("field", "delta")
	}
	act.Name = "stock"
	now, err := l.Store.Change(ctx, id, act, func(s *Sale) error {
		it, ok := s.Item(sku)
		if !ok {
			return E(CodeInvalidRequest, "sku: the sale has no SKU %q", clip(sku)).With("field", "sku")
		}
		if s.State == SaleClosed {
			return E(CodeSaleState, "sale %q is closed; its stock cannot change", s.ID).With("state", string(s.State))
		}
		next := it.Stock + delta
		if next < 0 || next > MaxStock {
			return E(CodeInvalidRequest, "delta: %d would bring the stock of %q from %d to %d", delta, sku, it.Stock, next).With("field", "delta")
		}
		s.Items[it.No].Stock = next
		if delta < 0 && s.Epoch > 0 {
			return l.Gate.SetStock(ctx, s, it.No, next)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return now, l.Sync(ctx, now)
}

// MoveStock moves available units of a SKU from one shard of a sale to another.
// The record's stock does not change. The act is audited; repeated under its key
// it changes nothing, unless a crash came between the gate and the record.
func (l *Lifecycle) MoveStock(ctx context.Context, id, sku string, from, to int, units int64, act Act) (*Sale, error) {
	act.Name = "move stock"
	act.Reason = fmt.Sprintf("%d units of %s from shard %d to shard %d: %s", units, clip(sku), from, to, act.Reason)
	if act.Key == "" {
		act.Key = rand.Text() // without one, an act that changes no term leaves no trace
	}
	return l.Store.Change(ctx, id, act, func(s *Sale) error {
		it, ok := s.Item(sku)
		switch {
		case !ok:
			return E(CodeInvalidRequest, "sku: the sale has no SKU %q", clip(sku)).With("field", "sku")
		case s.Epoch == 0 || s.State == SaleClosed:
			return E(CodeSaleState, "sale %q is %s; it has no stock at the gate to move", s.ID, s.State).With("state", string(s.State))
		}
		_, err := l.Shards.Transfer(ctx, s, it.No, from, to, units)
		return err
	})
}

// Sync brings the gate's terms and stock up to what the record has committed.
// It holds the sale's lock meanwhile, so that no other change can lie between
// reading the record and telling the gate.
func (l *Lifecycle) Sync(ctx context.Context, s *Sale) error {
	if s.Epoch == 0 {
		return nil
	}
	_, err := l.Store.Change(ctx, s.ID, Act{Actor: "engine", Name: "sync"}, func(s *Sale) error {
		if err := l.Gate.Install(ctx, s); err != nil {
			return err
		}
		if err := l.grant(ctx, s); err != nil {
			return err
		}
		cs, err := l.Reader.Counters(ctx, s)
		if err != nil {
			return err
		}
		for _, c := range cs {
			it, ok := s.ItemByNo(c.No)
			if !ok || it.Stock == c.Stock {
				continue
			}
			if err := l.Gate.SetStock(ctx, s, it.No, it.Stock); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// grant names the server of each lease that names none: of a sale that is being
// armed, and of one that an older program has armed. A server that is replaced
// before the record commits shows as lost at the first look.
func (l *Lifecycle) grant(ctx context.Context, s *Sale) error {
	if l.Repair == nil {
		return nil
	}
	leases := make([]GateLease, max(s.Shards, 1))
	for shard := range leases {
		leases[shard] = s.Lease(shard)
		if leases[shard].Server != "" {
			continue
		}
		server, err := l.Repair.Server(ctx, s, shard)
		if err != nil {
			return err
		}
		leases[shard].Server = server
	}
	s.Leases = leases
	return nil
}

// Tick moves sales by the clock, opens armed ones and drains those whose time
// is over, and brings every live gate up to the record.
func (l *Lifecycle) Tick(ctx context.Context) error {
	sales, err := l.Store.List(ctx)
	if err != nil {
		return err
	}
	var all []error
	for _, s := range sales {
		if s.Epoch == 0 || s.State == SaleClosed {
			continue
		}
		now := l.Clock.Now()
		switch {
		case !s.ClosesAt.IsZero() && !now.Before(s.ClosesAt) && s.State != SaleDraining:
			_, err = l.Move(ctx, s.ID, SaleDraining, "clock")
		case s.State == SaleArmed && !s.OpensAt.IsZero() && !now.Before(s.OpensAt):
			_, err = l.Move(ctx, s.ID, SaleOpen, "clock")
		default:
			err = l.Sync(ctx, s)
		}
		if err != nil {
			all = append(all, fmt.Errorf("sale %s: %w", s.ID, err))
		}
	}
	return errors.Join(all...)
}

func sameTerms(a, b *Sale) bool {
	if a.Name != b.Name || a.Currency != b.Currency || !a.OpensAt.Equal(b.OpensAt) || !a.ClosesAt.Equal(b.ClosesAt) ||
		a.HoldTTL != b.HoldTTL || a.HoldCap != b.HoldCap || a.PerBuyerLimit != b.PerBuyerLimit || a.Shards != b.Shards || len(a.Items) != len(b.Items) || !sameAdmission(a.Admission, b.Admission) {
		return false
	}
	for i := range a.Items {
		if a.Items[i] != b.Items[i] {
			return false
		}
	}
	return true
}
