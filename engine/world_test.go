package engine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// world is a tiny exact model of everything around the engine, in memory, that
// can fail or die at any call. Real parts have their own tests in their own
// folders; this one exists to visit every boundary of the checkout.
type world struct {
	*redisModel // the server that decides

	now     time.Time
	sale    *Sale
	stream  []OutboxEntry
	read    int                      // how far the order writer has read it
	events  map[string]AcceptedEvent // by payload
	orders  map[ReservationID]Order
	tries   map[AttemptID]*Attempt
	barred  map[AttemptID]bool // no event makes an order of it
	money   map[AttemptID]PaymentState
	answers map[string]string // payment method → what the provider does
	seenBy  map[AttemptID]string
	away    bool // the provider refuses authorisations, certainly untaken
	chosen  int  // how often one was chosen: the second time it is another
	queue   int  // the engine's MaxQueued
	score   func(context.Context, Attempt) (Score, error)

	calls int
	plan  map[int]fault // which calls fail, and how
	trace []string
	freed []string // units that were freed while their payment was alive

	// In a simulation several stories run at once; see sim_test.go.
	async   bool                            // the order writer has turns of its own
	pass    func(name string)               // lets others go on
	fate    func(name string) (fault, bool) // instead of plan
	reach   func() *redisModel              // the server that whoever calls now is connected to
	late    func() bool                     // whether an event is on its way for long
	left    func() bool                     // whether whoever calls now can give something back, or has died
	changed func()                          // hears of each change of the sale

	lazy    bool // the order writer writes each minute, not at once
	slow    bool // what is published arrives after some minutes, and nobody is told
	wire    []OutboxEntry
	sold    int64 // units of confirmed orders
	refused int   // orders that the stock did not cover
	unpaid  int   // events whose money had been given back

	losses map[int]loss // before which calls the gate is lost, and how
	token  int64        // of the last rebuild
	until  time.Time    // of its lease
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
	if l, ok := w.losses[w.calls]; ok {
		w.lose(l)
	}
	how, fails := w.plan[w.calls]
	if w.fate != nil {
		how, fails = w.fate(name)
	}
	w.pass(name)
	defer w.pass(name)
	defer w.connect()()
	if !fails {
		return act()
	}
	lost := Wrap(ErrUnknown, CodeUnavailable, "%s: no answer", name)
	switch how {
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
	if name == "authorise" || name == "void" || name == "lookup" || name == "refund" || name == "capture" {
		return E(CodePaymentUnavailable, "%s: away", name)
	}
	return E(CodeUnavailable, "%s: away", name)
}

// connect makes the server that the caller reaches the one that decides, until
// the function that it gives is called.
func (w *world) connect() func() {
	if w.reach == nil {
		return func() {}
	}
	was := w.redisModel
	w.redisModel = w.reach()
	return func() { w.redisModel = was }
}

func newWorld() *world {
	s := aSale()
	s.Items = s.Items[:1]
	server := &redisModel{name: "redis-1", epoch: 1, holds: map[ReservationID]*Hold{}, stock: Counters{Stock: 10, Available: 10}}
	return &world{redisModel: server, pass: func(string) {}, changed: func() {}, now: time.UnixMilli(TimeZero + 1_000_000), sale: s,
		events: map[string]AcceptedEvent{}, orders: map[ReservationID]Order{}, tries: map[AttemptID]*Attempt{}, barred: map[AttemptID]bool{}, money: map[AttemptID]PaymentState{}, seenBy: map[AttemptID]string{},
		answers: map[string]string{"pm_ok": "authorised", "pm_no": "declined", "pm_processing": "processing", "pm_charged_then_silent": "silent", "pm_action": "action"}}
}

func (w *world) engine() *Engine {
	e, err := New(Ports{Sales: w, Gate: w, Reader: w, Attempts: attempts{w}, Payments: provider{w}, Stream: w, Outcomes: w, Orders: w, Hash: w, Clock: w, Score: w.score,
		Log: slog.New(slog.DiscardHandler)}, Options{PaymentTimeout: time.Second, DefaultWait: time.Second, MaxWait: time.Second, MaxQueued: w.queue})
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
	w.pass("hold")
	defer w.connect()()
	if err := w.inspect(s); err != nil {
		return Hold{}, err
	}
	for id, h := range w.holds {
		if id.Buyer == r.Buyer && id.Nonce == r.Nonce {
			again := *h
			again.Replayed = true
			return again, nil
		}
	}
	id := ReservationID{Sale: s.No, Created: w.now.UnixMilli(), Buyer: r.Buyer, Nonce: r.Nonce}
	h := &Hold{ID: id, State: Held, Lines: r.Lines, ExpiresAt: w.now.Add(s.HoldTTL)}
	if w.stock.Available < w.units(h) {
		return Hold{}, E(CodeSoldOut, "")
	}
	w.move(&w.stock.Available, &w.stock.Held, w.units(h))
	w.holds[id] = h
	return *h, nil
}

func (w *world) BeginPayment(_ context.Context, s *Sale, id ReservationID, f Fence) (out Hold, err error) {
	err = w.do("begin payment", func() error {
		h, ok := w.holds[id]
		switch err := w.inspect(s); {
		case err != nil:
			return err
		case !ok:
			return E(CodeNotFound, "")
		case h.State == Released:
			return E(CodeReservationReleased, "")
		case h.State == Expired:
			return E(CodeReservationExpired, "")
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
		if err := w.inspect(s); err != nil {
			return err
		}
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

func (w *world) Return(_ context.Context, s *Sale, id ReservationID, f Fence) (out Hold, err error) {
	err = w.do("return", func() error {
		if err := w.inspect(s); err != nil {
			return err
		}
		h, ok := w.holds[id]
		if !ok {
			return E(CodeNotFound, "")
		}
		if h.State == Paying && h.Fence == f {
			w.mustBeDead(id, f)
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

// mustBeDead notes units that go back to buyer or stock while the provider may
// still take money for them: the payment is to be cancelled first. Where stories
// interleave it may be noted and sent while a reaper that saw no note is on its way.
func (w *world) mustBeDead(id ReservationID, f Fence) {
	if w.async {
		return
	}
	for _, a := range w.tries {
		if m := w.money[a.ID]; a.Reservation == id && (a.ID.Fence() == f || a.ID.Fence().Barred() == f) && (m == PaymentAuthorised || m == PaymentUnknown || m == PaymentNeedsAction) {
			w.freed = append(w.freed, fmt.Sprintf("%s was returned while attempt %s was %s", id, a.ID, m))
		}
	}
}

// rob takes a hold from a payment that is alive, as the engine never does.
func (w *world) rob(id ReservationID, f Fence) (Hold, error) {
	defer func(was bool) { w.async = was }(w.async)
	w.async = true
	return w.Return(context.Background(), w.sale, id, f)
}

func (w *world) Bar(_ context.Context, s *Sale, id ReservationID, f Fence) (out Hold, err error) {
	err = w.do("bar", func() error {
		if err := w.inspect(s); err != nil {
			return err
		}
		h, ok := w.holds[id]
		if !ok {
			return E(CodeNotFound, "")
		}
		if h.State == Paying && h.Fence == f {
			h.Fence = f.Barred()
		}
		out = *h
		return nil
	})
	return out, err
}

func (w *world) Release(context.Context, *Sale, ReservationID) (Hold, error) { return Hold{}, nil }

func (w *world) Find(_ context.Context, s *Sale, id ReservationID) (Hold, error) {
	w.pass("find")
	defer w.connect()()
	if err := w.inspect(s); err != nil {
		return Hold{}, err
	}
	if h, ok := w.holds[id]; ok {
		return *h, nil
	}
	return Hold{}, E(CodeNotFound, "")
}

func (w *world) Encode(a AcceptedEvent) ([]byte, error) {
	event := a.ID.String() + " " + a.Attempt.String()
	w.events[event] = a
	return []byte(event), nil
}

func (w *world) Publish(_ context.Context, e OutboxEntry) error {
	return w.do("publish", func() error {
		if w.slow || w.late != nil && w.late() {
			w.wire = append(w.wire, e)
			return Wrap(ErrUnknown, CodeUnavailable, "the stream does not answer")
		}
		w.stream = append(w.stream, e)
		w.outbox = slices.DeleteFunc(w.outbox, func(o OutboxEntry) bool { return o.ID == e.ID })
		if !w.async && !w.lazy {
			w.write()
		}
		return nil
	})
}

// write is the order writer: idempotent by reservation. It reads each event once.
func (w *world) write() {
	for ; w.read < len(w.stream); w.read++ {
		w.decide(w.stream[w.read])
	}
}

func (w *world) decide(e OutboxEntry) {
	ev := w.events[string(e.Payload)]
	a := w.tries[ev.Attempt]
	if o, ok := w.orders[e.ID]; ok {
		if a != nil && o.Attempt != a.ID {
			w.authorised(a) // another one's money: the payments role gives it back
		}
		return
	}
	if a != nil && (Final(PaymentMoves, a.State) || w.barred[a.ID]) {
		w.unpaid++
		return
	}
	o := Order{ID: e.ID, SaleID: ev.SaleID, State: Confirmed, Buyer: ev.Buyer, Lines: ev.Lines, Total: ev.Total, Attempt: ev.Attempt, Provider: ev.Provider, PlacedAt: w.now}
	if units := int64(ev.Lines[0].Quantity); w.sold+units > w.sale.Items[0].Stock {
		w.refused++ // the last guard
		o.State = Refused
	} else {
		w.sold += units
	}
	w.orders[e.ID] = o
	w.authorised(a)
}

// authorised notes that an attempt's event has come, and ends its lease.
func (w *world) authorised(a *Attempt) {
	if a != nil && CanMove(PaymentMoves, a.State, PaymentAuthorised) {
		a.State, a.LeaseUntil = PaymentAuthorised, w.now
	}
}

func (w *world) Order(_ context.Context, id ReservationID) (Order, error) {
	w.pass("order")
	if o, ok := w.orders[id]; ok {
		return o, nil
	}
	return Order{}, E(CodeNotFound, "")
}

func (w *world) Contact(_ context.Context, o Order) (Contact, error) {
	return w.tries[o.Attempt].Contact, nil
}

func (w *world) Expect(id ReservationID) (func(context.Context) (Outcome, error), func()) {
	return func(context.Context) (Outcome, error) {
		for range 3 {
			w.pass("await")
			if o, ok := w.orders[id]; ok {
				return Outcome{ID: id, State: o.State, Provider: o.Provider, Payment: PaymentAuthorised, PlacedAt: o.PlacedAt}, nil
			}
		}
		return Outcome{}, context.DeadlineExceeded
	}, func() {}
}
