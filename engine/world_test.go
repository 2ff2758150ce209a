package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"
)

// world is a tiny exact model of everything around the engine, in memory, that
// can fail or die at any call. Real parts have their own tests in their own
// folders; this one exists to visit every boundary of the checkout.
type world struct {
	now     time.Time
	sale    *Sale
	holds   map[ReservationID]*Hold
	stock   Counters
	outbox  []OutboxEntry
	stream  []OutboxEntry
	events  map[ReservationID]AcceptedEvent
	orders  map[ReservationID]Order
	tries   map[AttemptID]*Attempt
	money   map[AttemptID]PaymentState
	answers map[string]string // payment method → what the provider does

	calls int
	at    int   // the call that fails; 0: none
	how   fault // how it fails
	trace []string
}

type fault int

const (
	dieBefore     fault = iota // the process dies before the call
	dieAfter                   // the call happened, then the process dies
	unknownBefore              // no answer, and it did not happen
	unknownAfter               // no answer, and it happened
	awayBefore                 // certainly did not happen
)

var faults = map[fault]string{dieBefore: "die before", dieAfter: "die after", unknownBefore: "unknown, not done", unknownAfter: "unknown, done", awayBefore: "unavailable"}

type death struct{}

// do runs one call of a port under the fault plan.
func (w *world) do(name string, act func() error) error {
	w.calls++
	w.trace = append(w.trace, name)
	if w.calls != w.at {
		return act()
	}
	lost := Wrap(ErrUnknown, CodeUnavailable, "%s: no answer", name)
	switch w.how {
	case dieBefore:
		panic(death{})
	case dieAfter:
		_ = act()
		panic(death{})
	case unknownBefore:
		return lost
	case unknownAfter:
		_ = act()
		return lost
	}
	if name == "authorise" || name == "void" || name == "lookup" {
		return E(CodePaymentUnavailable, "%s: away", name)
	}
	return E(CodeUnavailable, "%s: away", name)
}

func newWorld() *world {
	s := aSale()
	s.Items = s.Items[:1]
	return &world{now: time.UnixMilli(TimeZero + 1_000_000), sale: s, holds: map[ReservationID]*Hold{}, stock: Counters{Stock: 10, Available: 10},
		events: map[ReservationID]AcceptedEvent{}, orders: map[ReservationID]Order{}, tries: map[AttemptID]*Attempt{}, money: map[AttemptID]PaymentState{},
		answers: map[string]string{"pm_ok": "authorised", "pm_no": "declined", "pm_processing": "processing", "pm_charged_then_silent": "silent"}}
}

func (w *world) engine() *Engine {
	e, err := New(Ports{Sales: w, Gate: w, Reader: w, Attempts: attempts{w}, Payments: provider{w}, Stream: w, Outcomes: w, Orders: w, Hash: w, Clock: w,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, Options{PaymentTimeout: time.Second, DefaultWait: time.Second, MaxWait: time.Second})
	if err != nil {
		panic(err)
	}
	return e
}

func (w *world) Now() time.Time                                       { return w.now }
func (w *world) Sale(context.Context, string) (*Sale, error)          { return w.sale, nil }
func (w *world) SaleByNo(context.Context, uint32) (*Sale, error)      { return w.sale, nil }
func (w *world) Node() string                                         { return "n1" }
func (w *world) Buyer(_ *Sale, b string) (k BuyerKey)                 { copy(k[:], b); return k }
func (w *world) Nonce(_ *Sale, _, key string) (n Nonce)               { copy(n[:], key); return n }
func (w *world) Counters(context.Context, *Sale) ([]Counters, error)  { return []Counters{w.stock}, nil }
func (w *world) Holds(context.Context, *Sale, func(Hold) error) error { return nil }

func (w *world) units(h *Hold) int64 { return int64(h.Lines[0].Quantity) }

func (w *world) move(from, to *int64, n int64) { *from -= n; *to += n }

func (w *world) Hold(_ context.Context, s *Sale, r HoldRequest) (Hold, error) {
	id := ReservationID{Sale: s.No, Created: w.now.UnixMilli(), Buyer: r.Buyer, Nonce: r.Nonce}
	h := &Hold{ID: id, State: Held, Lines: r.Lines, ExpiresAt: w.now.Add(s.HoldTTL)}
	if w.stock.Available < w.units(h) {
		return Hold{}, E(CodeSoldOut, "")
	}
	w.move(&w.stock.Available, &w.stock.Held, w.units(h))
	w.holds[id] = h
	return *h, nil
}

func (w *world) BeginPayment(_ context.Context, _ *Sale, id ReservationID, f Fence) (out Hold, err error) {
	err = w.do("begin payment", func() error {
		h, ok := w.holds[id]
		switch {
		case !ok:
			return E(CodeNotFound, "")
		case h.State == Released:
			return E(CodeReservationReleased, "")
		case (h.State == Paying || h.State == Accepted) && h.Fence == f:
			out = *h
			out.Replayed = true
			return nil
		case h.State == Paying:
			return E(CodeAttemptInProgress, "")
		case h.State == Accepted:
			return E(CodeAlreadyPaid, "")
		}
		w.move(&w.stock.Held, &w.stock.Paying, w.units(h))
		h.State, h.Fence, h.ExpiresAt = Paying, f, id.CreatedAt().Add(w.sale.HoldCap)
		out = *h
		return nil
	})
	return out, err
}

func (w *world) Claim(_ context.Context, s *Sale, id ReservationID, f Fence, event []byte) (out Hold, entry OutboxEntry, err error) {
	err = w.do("claim", func() error {
		h, ok := w.holds[id]
		if !ok {
			return E(CodeNotFound, "")
		}
		entry = OutboxEntry{Sale: s.No, ID: id, Payload: event, EntryID: id.String()}
		if h.State == Accepted && h.Fence == f {
			out = *h
			return nil
		}
		if h.State != Paying || h.Fence != f {
			return E(CodeAttemptInProgress, "")
		}
		w.move(&w.stock.Paying, &w.stock.Sold, w.units(h))
		h.State = Accepted
		w.outbox = append(w.outbox, entry)
		out = *h
		return nil
	})
	return out, entry, err
}

func (w *world) Return(_ context.Context, _ *Sale, id ReservationID, f Fence) (out Hold, err error) {
	err = w.do("return", func() error {
		h, ok := w.holds[id]
		if !ok {
			return E(CodeNotFound, "")
		}
		if h.State == Paying && h.Fence == f {
			if w.now.Before(id.CreatedAt().Add(w.sale.HoldTTL)) {
				h.State = Held
				w.move(&w.stock.Paying, &w.stock.Held, w.units(h))
			} else {
				h.State = Released
				w.move(&w.stock.Paying, &w.stock.Available, w.units(h))
			}
		}
		out = *h
		return nil
	})
	return out, err
}

func (w *world) Release(context.Context, *Sale, ReservationID) (Hold, error) { return Hold{}, nil }

func (w *world) Find(_ context.Context, _ *Sale, id ReservationID) (Hold, error) {
	if h, ok := w.holds[id]; ok {
		return *h, nil
	}
	return Hold{}, E(CodeNotFound, "")
}

// attempts is the record's list of payment attempts.
type attempts struct{ *world }

func (w attempts) Begin(_ context.Context, a Attempt, lease time.Duration) (out Attempt, err error) {
	err = w.do("note attempt", func() error {
		if have, ok := w.tries[a.ID]; ok {
			out = *have
			out.Fresh = false
			return nil
		}
		a.LeaseUntil = w.now.Add(lease)
		kept := a
		w.tries[a.ID] = &kept
		out = a
		out.Fresh = true
		return nil
	})
	return out, err
}

func (w attempts) Resume(_ context.Context, id AttemptID, lease time.Duration) (Attempt, error) {
	a, ok := w.tries[id]
	if !ok {
		return Attempt{}, E(CodeNotFound, "")
	}
	if w.now.Before(a.LeaseUntil) || Final(PaymentMoves, a.State) {
		return Attempt{}, E(CodeAttemptInProgress, "")
	}
	a.LeaseUntil = w.now.Add(lease)
	return *a, nil
}

func (w attempts) ByFence(_ context.Context, id ReservationID, f Fence) (Attempt, error) {
	for _, a := range w.tries {
		if a.Reservation == id && a.ID.Fence() == f {
			return *a, nil
		}
	}
	return Attempt{}, E(CodeNotFound, "")
}

func (w attempts) Note(_ context.Context, id AttemptID, p Payment, reason string) error {
	return w.do("note "+string(p.State), func() error {
		a := w.tries[id]
		if CanMove(PaymentMoves, a.State, p.State) {
			a.State, a.Reason = p.State, reason
		}
		a.LeaseUntil = w.now
		return nil
	})
}

// provider is the payment provider: idempotent by attempt.
type provider struct{ *world }

func (w provider) Authorise(_ context.Context, a Attempt) (p Payment, err error) {
	err = w.do("authorise", func() error {
		state, seen := w.money[a.ID]
		if !seen {
			switch w.answers[a.Method] {
			case "authorised", "silent":
				state = PaymentAuthorised
			case "declined":
				state = PaymentDeclined
			default:
				state = PaymentUnknown
			}
			w.money[a.ID] = state
		}
		if w.answers[a.Method] == "silent" {
			return Wrap(ErrUnknown, CodeUnavailable, "silent")
		}
		p = Payment{State: state, DeclineCode: "generic_decline", Ref: "pi"}
		return nil
	})
	return p, err
}

func (w provider) Capture(_ context.Context, a Attempt) (Payment, error) {
	if w.money[a.ID] == PaymentAuthorised {
		w.money[a.ID] = PaymentCaptured
	}
	return Payment{State: w.money[a.ID]}, nil
}

func (w provider) Void(_ context.Context, a Attempt) (p Payment, err error) {
	err = w.do("void", func() error {
		if s := w.money[a.ID]; s != PaymentDeclined {
			w.money[a.ID] = PaymentVoided
		}
		p = Payment{State: w.money[a.ID]}
		return nil
	})
	return p, err
}

func (w provider) Refund(_ context.Context, a Attempt) (Payment, error) {
	if w.money[a.ID] == PaymentCaptured {
		w.money[a.ID] = PaymentRefunded
	}
	return Payment{State: w.money[a.ID]}, nil
}

func (w provider) Lookup(_ context.Context, a Attempt) (p Payment, err error) {
	err = w.do("lookup", func() error {
		s, ok := w.money[a.ID]
		if !ok {
			return E(CodeNotFound, "")
		}
		p = Payment{State: s, Ref: "pi"}
		return nil
	})
	return p, err
}

func (w *world) Encode(a AcceptedEvent) ([]byte, error) {
	w.events[a.ID] = a
	return []byte(a.ID.String()), nil
}

func (w *world) Publish(_ context.Context, e OutboxEntry) error {
	return w.do("publish", func() error {
		w.stream = append(w.stream, e)
		w.outbox = slices.DeleteFunc(w.outbox, func(o OutboxEntry) bool { return o.ID == e.ID })
		w.write()
		return nil
	})
}

// write is the order writer: idempotent by reservation.
func (w *world) write() {
	for _, e := range w.stream {
		if _, ok := w.orders[e.ID]; ok {
			continue
		}
		ev := w.events[e.ID]
		w.orders[e.ID] = Order{ID: e.ID, State: Confirmed, Buyer: ev.Buyer, Total: ev.Total, Attempt: ev.Attempt, PlacedAt: w.now}
		if a := w.tries[ev.Attempt]; a != nil && CanMove(PaymentMoves, a.State, PaymentAuthorised) {
			a.State = PaymentAuthorised
		}
	}
}

func (w *world) Order(_ context.Context, id ReservationID) (Order, error) {
	if o, ok := w.orders[id]; ok {
		return o, nil
	}
	return Order{}, E(CodeNotFound, "")
}

func (w *world) Expect(id ReservationID) (func(context.Context) (Outcome, error), func()) {
	return func(context.Context) (Outcome, error) {
		if o, ok := w.orders[id]; ok {
			return Outcome{ID: id, State: o.State, Payment: PaymentAuthorised, PlacedAt: o.PlacedAt}, nil
		}
		return Outcome{}, context.DeadlineExceeded
	}, func() {}
}

// recover is what the background roles do until nothing is left to do.
func (w *world) recover(e *Engine) error {
	ctx := context.Background()
	w.at = 0
	for range 10 {
		w.now = w.now.Add(time.Minute)
		for _, entry := range slices.Clone(w.outbox) {
			if err := w.Publish(ctx, entry); err != nil {
				return err
			}
		}
		for _, h := range w.holds {
			if h.State == Paying {
				if err := e.Resolve(ctx, w.sale, *h); err != nil {
					return fmt.Errorf("resolve: %w", err)
				}
			}
			if h.State == Held && !w.now.Before(h.ID.CreatedAt().Add(w.sale.HoldTTL)) {
				h.State = Expired
				w.move(&w.stock.Held, &w.stock.Available, w.units(h))
			}
		}
		for _, a := range w.tries {
			if _, ordered := w.orders[a.Reservation]; !ordered && !Final(PaymentMoves, a.State) {
				if err := e.ResolveAttempt(ctx, *a); err != nil {
					return fmt.Errorf("resolve attempt: %w", err)
				}
			}
			if o, ok := w.orders[a.Reservation]; ok && o.Attempt == a.ID {
				if _, err := (provider{w}).Capture(ctx, *a); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
