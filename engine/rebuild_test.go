package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// lossy begins a world whose sale names its server, as armed ones do.
func lossy(t *testing.T) (*world, ReservationID) {
	t.Helper()
	w := newWorld()
	w.sale.Leases = []GateLease{{Epoch: 1, Server: w.name}}
	w.lazy = true
	id := hold(t, w, "ann")
	w.remember()
	return w, id
}

// Whenever in a checkout the gate is lost, and however: it comes back, and what
// holds after any other fault holds, though somebody else buys what is given away.
func TestAGateLostAtAnyCallOfACheckoutHurtsNobody(t *testing.T) {
	visited := 0
	for _, s := range scenarios() {
		for how, name := range losses {
			for _, late := range []int{0, 1, 20} {
				for at := 1; ; at++ {
					w, id, confirmed := s.playLossy(t, map[int]loss{at: how}, nil, late)
					if w.calls < at {
						break
					}
					visited++
					w.mustSurvive(t, fmt.Sprintf("%s: %s before call %d (%s), events %d minutes late", s.name, name, at, w.trace[at-1], late), id, confirmed)
				}
			}
		}
	}
	t.Logf("%d losses visited", visited)
}

// And whatever call of the rebuild fails then, however it fails.
func TestAFaultAtAnyCallOfARebuildHurtsNobody(t *testing.T) {
	visited := 0
	for _, s := range scenarios()[:12] {
		for how, name := range losses {
			for _, lostAt := range []int{2, 4, 5} {
				for fails, word := range faults {
					for at := lostAt + 1; at < lostAt+40; at++ {
						w, id, confirmed := s.playLossy(t, map[int]loss{lostAt: how}, map[int]fault{at: fails}, 0)
						if w.calls < at {
							break
						}
						visited++
						w.mustSurvive(t, fmt.Sprintf("%s: %s before call %d, %s call %d (%s)", s.name, name, lostAt, word, at, w.trace[at-1]), id, confirmed)
					}
				}
			}
		}
	}
	t.Logf("%d faults visited", visited)
}

// The gate is lost again and again, in the middle of rebuilds too, and calls fail.
func TestManyLossesAndFaultsInOneStoryHurtNobody(t *testing.T) {
	all := scenarios()
	for seed := range uint64(6000) {
		dice := rand.New(rand.NewPCG(seed, 2))
		s, lost, plan := all[dice.IntN(len(all))], map[int]loss{}, map[int]fault{}
		for range 1 + dice.IntN(4) {
			lost[1+dice.IntN(60)] = loss(dice.IntN(len(losses)))
		}
		for range dice.IntN(5) {
			plan[1+dice.IntN(60)] = fault(dice.IntN(len(faults)))
		}
		w, id, confirmed := s.playLossy(t, lost, plan, dice.IntN(4))
		w.mustSurvive(t, fmt.Sprintf("seed %d: %s with %v, %v", seed, s.name, lost, plan), id, confirmed)
		if t.Failed() {
			t.Fatal(w.trace)
		}
	}
}

// rival buys whatever the gate gives away, at once.
func (w *world) rival() {
	plan, away, lost := w.plan, w.away, w.losses
	w.plan, w.away, w.losses = nil, false, nil
	calls, trace := w.calls, w.trace
	e := w.engine()
	r, err := e.Reserve(context.Background(), ReserveRequest{Sale: "drop", Buyer: "bob", IdempotencyKey: "r", Lines: []CartLine{{"A", 2}}})
	if err == nil {
		_, _ = e.Checkout(context.Background(), pay(r.ID, "bob", "k", "pm_ok"))
	}
	w.calls, w.trace = calls, trace
	w.plan, w.away, w.losses = plan, away, lost
}

// mustSurvive is mustRecover where somebody else may have bought the units.
func (w *world) mustSurvive(t *testing.T, label string, id ReservationID, confirmed bool) {
	t.Helper()
	w.away, w.losses, w.slow = false, nil, false
	w.stream, w.wire = append(w.stream, w.wire...), nil
	if err := w.recover(w.engine()); err != nil {
		t.Errorf("%s: %v", label, err)
	}
	if !w.stock.Conserved() || w.stock.Sold != w.sold || w.sold > 2 || w.refused > 0 || len(w.orders) > 1 {
		t.Errorf("%s: the gate says %+v; %d sold in %d orders, %d refused", label, w.stock, w.sold, len(w.orders), w.refused)
	}
	if _, ordered := w.orders[id]; confirmed && !ordered {
		t.Errorf("%s: an order that was answered is not there", label)
	}
	for a, at := range w.tries {
		o, ordered := w.orders[at.Reservation]
		switch paid, m := ordered && o.Attempt == a, w.money[a]; {
		case at.State != PaymentCaptured && !Final(PaymentMoves, at.State):
			t.Errorf("%s: attempt %s has not ended: %+v", label, a, *at)
		case paid != (m == PaymentCaptured), m == PaymentAuthorised, m == PaymentUnknown, m == PaymentNeedsAction:
			t.Errorf("%s: attempt %s, paid for an order: %v, and its money is %s", label, a, paid, m)
		}
	}
}

// playLossy is play in a world whose gate is lost at some calls.
// What is published meanwhile arrives late minutes later; nobody knows of it before.
func (s scenario) playLossy(t *testing.T, lost map[int]loss, plan map[int]fault, late int) (*world, ReservationID, bool) {
	t.Helper()
	w, id := lossy(t)
	w.sale.Items[0].Stock, w.stock.Stock, w.stock.Available = 2, 2, 0 // all there is is ann's
	w.remember()
	w.slow = late > 0
	w.queue, w.away, w.losses, w.plan = s.queue, s.away > 0, lost, plan
	began := w.now
	confirmed := s.checkout(t, w, id, "k1", s.method)
	if s.second != "" {
		confirmed = s.checkout(t, w, id, "k2", s.second) || confirmed
	}
	for i := range 12 {
		if w.away = w.now.Sub(began) < s.away; i == late {
			w.stream, w.wire, w.slow = append(w.stream, w.wire...), nil, false
		}
		if s.acts {
			w.completeActions(PaymentAuthorised)
		}
		surviving(func() { w.minute(w.engine()) })
		w.rival()
		if s.retry && i < 2 {
			confirmed = s.checkout(t, w, id, "k1", s.method) || confirmed
		}
	}
	return w, id, confirmed
}

func rebuilt(t *testing.T, w *world) Rebuilt {
	t.Helper()
	r, err := w.rebuilder().Rebuild(context.Background(), w.sale, 0, Cause{Lost: LostWhat(w.inspect(w.sale))})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAHoldThatARebuildCouldNotKeepIsCalledLost(t *testing.T) {
	ctx := context.Background()
	w, id := lossy(t)
	if _, err := w.engine().Reservation(ctx, "ann", id); err != nil {
		t.Fatal(err)
	}
	w.lose(killed)
	stale := 0
	e := w.engine()
	e.Stale = func(uint32) { stale++ }
	if _, err := e.Checkout(ctx, pay(id, "ann", "k1", "pm_ok")); CodeOf(err) != CodeGateFrozen || retryAfter(err) < time.Second || retryAfter(err) > 5*time.Second || stale == 0 {
		t.Fatalf("frozen: %v, to be retried after %s, the snapshot was doubted %d times", err, retryAfter(err), stale)
	}
	w.now = w.now.Add(time.Second)
	if r := rebuilt(t, w); r.Epoch != 2 || r.Accepted+r.Paying+r.Kept+r.Lost != 0 || r.Cause != "server" {
		t.Fatalf("rebuilt: %+v", r)
	}
	_, readErr := e.Reservation(ctx, "ann", id)
	_, payErr := e.Checkout(ctx, pay(id, "ann", "k1", "pm_ok"))
	for what, err := range map[string]error{"reading": readErr, "paying": payErr} {
		if CodeOf(err) != CodeReservationLost {
			t.Errorf("%s it: %v", what, err)
		}
	}
	stray := id // given by the server that was replaced, to a node that had not heard yet
	stray.Created = w.now.Add(strayFor / 2).UnixMilli()
	if _, err := e.Reservation(ctx, "ann", stray); CodeOf(err) != CodeReservationLost {
		t.Errorf("a stray one: %v", err)
	}
	w.sale.Repairs[0].Opened = id.CreatedAt().Add(w.sale.HoldTTL)
	if _, err := e.Reservation(ctx, "ann", id); CodeOf(err) != CodeReservationExpired {
		t.Errorf("one whose time was over before the gate was open again: %v", err)
	}
	w.sale.Repairs[0].Opened = id.CreatedAt().Add(w.sale.HoldTTL - 1)
	if _, err := e.Reservation(ctx, "ann", id); CodeOf(err) != CodeReservationLost {
		t.Errorf("one whose time was over just after: %v", err)
	}
	never := id
	never.Created = w.now.Add(2 * strayFor).UnixMilli()
	if _, err := e.Reservation(ctx, "ann", never); CodeOf(err) != CodeNotFound {
		t.Errorf("one that never was: %v", err)
	}
	if again := hold(t, w, "ann"); again == id {
		t.Error("reserving again gives the lost one")
	}
}

func TestARebuildKeepsWhatTheGateRemembers(t *testing.T) {
	w, id := lossy(t)
	w.lazy = false
	w.lose(restarted)
	if r := rebuilt(t, w); r.Kept != 1 || w.stock.Held != 2 || w.stock.Available != 8 {
		t.Fatalf("rebuilt: %+v, %+v", r, w.stock)
	}
	if r, err := w.engine().Checkout(context.Background(), pay(id, "ann", "k1", "pm_ok")); err != nil || r.Order == nil || r.Order.Epoch != 2 {
		t.Fatalf("paying for it: %+v, %v", r, err)
	}
}

func TestWhatNoLongerFitsGoesNewestFirst(t *testing.T) {
	s := aSale() // ten of each
	at := func(n int64, state ReservationState, no uint16, units int) Hold {
		return Hold{ID: ReservationID{Sale: 1, Created: TimeZero + n, Buyer: BuyerKey{byte(n)}}, State: state, Lines: []Line{{no, units}}}
	}
	p := newRebuildPlan(s)
	for _, h := range []Hold{at(1, Accepted, 0, 4), at(2, Paying, 0, 3), at(3, Paying, 1, 1)} {
		p.live(h)
	}
	for _, h := range []Hold{at(1, Held, 0, 4), at(4, Held, 0, 2), at(5, Held, 0, 2), at(6, Held, 0, 1), at(7, Held, 1, 9)} {
		p.remains(h)
	}
	if p.accepted != 1 || p.paying != 2 || p.kept != 3 || p.lost != 1 || len(p.holds()) != 6 {
		t.Errorf("%+v", p)
	}
	if !p.drop(1) || p.kept != 2 || !p.drop(3) || p.kept != 0 || p.paying != 1 || !p.drop(8) || p.paying != 0 || p.drop(1) || len(p.holds()) != 1 || p.lost != 6 {
		t.Errorf("after dropping: %+v", p)
	}
}

func TestAPaymentThatDoesNotKnowItsLinesHasWhatTheGateRemembers(t *testing.T) {
	s := aSale()
	p := newRebuildPlan(s)
	old := Hold{ID: ReservationID{Sale: 1, Buyer: BuyerKey{1}}, State: Paying, Fence: Fence{7}}
	gone := Hold{ID: ReservationID{Sale: 1, Buyer: BuyerKey{2}}, State: Paying}
	p.live(old)
	p.live(gone)
	held := old
	held.State, held.Fence, held.Lines = Held, Fence{}, []Line{{0, 2}}
	p.remains(held)
	p.close()
	if got := p.holds(); p.paying != 1 || p.lost != 1 || len(got) != 1 || got[0].State != Paying || got[0].Fence != old.Fence || got[0].Lines[0].Quantity != 2 {
		t.Errorf("%+v, %+v", p, got)
	}
}

func TestAPaymentKeepsTheEndThatTheGateRemembers(t *testing.T) {
	later := time.UnixMilli(TimeZero + 9000)
	hold := func(n byte, state ReservationState, lines ...Line) Hold {
		return Hold{ID: ReservationID{Sale: 1, Created: TimeZero + int64(n), Buyer: BuyerKey{n}}, State: state, Lines: lines}
	}
	p := newRebuildPlan(aSale())
	for _, h := range []Hold{hold(1, Accepted, Line{0, 1}), hold(2, Paying, Line{0, 1}), hold(3, Paying, Line{0, 1}), hold(4, Paying)} {
		p.live(h)
	}
	for _, h := range []Hold{hold(1, Held, Line{0, 1}), hold(2, Held, Line{0, 1}), hold(4, Held, Line{0, 1}), hold(5, Held, Line{0, 1})} {
		h.ExpiresAt = later
		p.remains(h)
	}
	for _, h := range p.holds() {
		knows := h.ID.Buyer[0] == 2 || h.ID.Buyer[0] == 4 // of 3 the gate remembers nothing; the others are not being paid for
		if h.OwnEnd.IsZero() == knows || knows && !h.OwnEnd.Equal(later) {
			t.Errorf("%+v", h)
		}
	}
}

func TestHowLongBuyersAreToldToWait(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		what string
		r    Repair
		want time.Duration
	}{
		{"nothing is known", Repair{}, 2 * time.Second},
		{"it has just begun and took three seconds before", Repair{Frozen: now, Took: 3 * time.Second}, 3 * time.Second},
		{"it is nearly over", Repair{Frozen: now.Add(-2900 * time.Millisecond), Took: 3 * time.Second}, 1450 * time.Millisecond},
		{"it takes far longer", Repair{Frozen: now.Add(-time.Minute), Took: time.Second}, 5 * time.Second},
		{"it was over in no time", Repair{Frozen: now, Took: 30 * time.Millisecond}, time.Second},
	} {
		if got := c.r.ComeBack(now); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}
