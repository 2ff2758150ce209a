package admission

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// begun is a room with so many who wait, and a node with a runner.
func begun(t *testing.T, waiters int, a engine.Admission) (*house, *Desk, func()) {
	t.Helper()
	h := newHouse(t, a)
	d := h.desk()
	h.arm(d)
	for i := range waiters {
		h.join(d, fmt.Sprint(i))
	}
	h.change(func(_ *engine.Sale, a *engine.Admission) { a.OpensAt = time.Now() })
	return h, d, h.run(d, "first")
}

func (h *house) set(edit func(h *house)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	edit(h)
}

// settled gives the room as it is once the runner decides on what the house is now. A
// runner visits a room again when its last visit is over, so it does not decide on
// anything older any more.
func (h *house) settled(d *Desk) Status {
	h.Helper()
	h.change(func(*engine.Sale, *engine.Admission) {}) // another one, to know it by
	h.eventually(func() bool {
		now := h.now()
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.decided == now
	}, func() string { return "the runner decides nothing" })
	s, err := d.queue.Status(h.Context(), roomOf(h.now()))
	if err != nil {
		h.Fatal(err)
	}
	return s
}

func TestTwoNodesDoNotAddUpAndADeadOnesRoomGoesOn(t *testing.T) {
	h, d, kill := begun(t, 400, engine.Admission{Lease: time.Minute, Use: time.Minute, RateCap: 20})
	other := h.desk()
	h.until(d, "the first move", func(v *engine.RoomView) bool { return v.Front > 0 })
	kills := map[string]func(){"first": kill, "second": h.run(other, "second")}
	from := h.until(other, "some way", func(v *engine.RoomView) bool { return v.Front > 10 })
	to := h.until(other, "some more", func(v *engine.RoomView) bool {
		return v.Now.Sub(from.Now) >= 4*time.Second && v.Front-from.Front >= 40
	})
	if made, most := to.Front-from.Front, 20*to.Now.Sub(from.Now).Seconds()+25; float64(made) > most {
		t.Errorf("%d places in %s by two nodes of which one moves; at 20 a second", made, to.Now.Sub(from.Now))
	}
	// One that was kept from the processor for as long as its lease has lost it by now.
	kills[to.Runner]()
	dead, err := d.queue.Status(t.Context(), roomOf(h.now()))
	if err != nil {
		t.Fatal(err)
	}
	at := h.until(other, "another one", func(v *engine.RoomView) bool { return v.Runner != to.Runner && v.Front > dead.Front })
	if dead.Runner == to.Runner && (dead.Runs.Sub(dead.Now) > lease || at.Now.Before(dead.Runs)) {
		t.Errorf("died at %s, nobody else may before %s, and another one has by %s", dead.Now, dead.Runs, at.Now)
	}
	t.Logf("the front stood still for %s at most", at.Now.Sub(dead.Now))
}

func TestAnOperatorAPauseAndAClosingStopTheFront(t *testing.T) {
	h, d, _ := begun(t, 300, engine.Admission{Lease: time.Minute, Use: time.Minute, RateCap: 20})
	h.until(d, "the first move", func(v *engine.RoomView) bool { return v.Front > 0 })
	still := func(what string) {
		t.Helper()
		v := h.settled(d)
		if w := h.until(d, "later", func(w *engine.RoomView) bool { return w.Now.Sub(v.Now) > time.Second }); w.Front != v.Front || w.Limit != string(LimitOperator) {
			t.Errorf("%s, and it went from %d to %d", what, v.Front, w.Front)
		}
		h.join(d, "late "+what) // joining goes on
	}
	goes := func() {
		t.Helper()
		v := h.until(d, "now", func(*engine.RoomView) bool { return true })
		h.until(d, "the front to go on", func(w *engine.RoomView) bool { return w.Front > v.Front })
	}
	h.change(func(_ *engine.Sale, a *engine.Admission) { a.Paused = true })
	still("paused by an operator")
	h.change(func(_ *engine.Sale, a *engine.Admission) { a.Paused = false })
	goes()
	h.change(func(s *engine.Sale, _ *engine.Admission) { s.State = engine.SalePaused })
	still("the sale is paused")
	h.change(func(s *engine.Sale, _ *engine.Admission) { s.State = engine.SaleOpen })
	goes()
	h.change(func(s *engine.Sale, _ *engine.Admission) { s.State = engine.SaleDraining })
	v := h.until(d, "the end", func(v *engine.RoomView) bool { return v.State == string(Closed) })
	if at, err := d.Ticket(t.Context(), "demo", 299); err != nil || at.State != engine.TicketClosed && at.State != engine.TicketReached {
		t.Errorf("%+v, %v; the front is at %d", at, err, v.Front)
	}
	var st Status
	var err error
	h.eventually(func() bool {
		st, err = d.queue.Status(t.Context(), roomOf(h.now()))
		return err == nil && st.State == Closed
	}, func() string { return fmt.Sprintf("the room itself is %+v, %v", st, err) })
}

func TestNobodyIsCalledWhileTheGateGivesNoWord(t *testing.T) {
	h, d, _ := begun(t, 300, engine.Admission{Lease: 2 * time.Second, Use: time.Minute, RateCap: 20})
	h.until(d, "the first move", func(v *engine.RoomView) bool { return v.Front > 0 })
	h.set(func(h *house) { h.away = engine.E(engine.CodeGateFrozen, "it is being rebuilt") })
	v := h.settled(d)
	w := h.until(d, "lapsed leases", func(w *engine.RoomView) bool { return w.Lapsed >= v.Front })
	if w.Front != v.Front || w.Limit != string(LimitGate) {
		t.Errorf("from %d to %d, %s", v.Front, w.Front, w.Limit)
	}
	h.set(func(h *house) { h.away = nil })
	h.until(d, "the front to go on", func(w *engine.RoomView) bool { return w.Front > v.Front })
}

func TestUnitsThatComeBackMoveTheFrontToWhoWaited(t *testing.T) {
	h, d, _ := begun(t, 200, engine.Admission{Lease: time.Minute, Use: time.Minute})
	h.set(func(h *house) { h.units = []engine.Counters{{Stock: 10, Sold: 10}} })
	v := h.until(d, "the end of stock", func(v *engine.RoomView) bool {
		return v.Limit == string(LimitStock) && v.Reach == v.Front && v.Front < 200
	})
	var last engine.RoomTicket
	for i := range 200 { // whose place is next?
		if last = h.join(d, fmt.Sprint(i)); last.Place == v.Front {
			break
		}
	}
	if last.State != engine.TicketUnreachable {
		t.Fatalf("nothing is left, and %+v", last)
	}
	h.set(func(h *house) { h.units = []engine.Counters{{Stock: 400, Sold: 10, Available: 390}} })
	h.until(d, "the front at the waitlist", func(w *engine.RoomView) bool { return w.Front > v.Front })
	if at, err := d.Ticket(t.Context(), "demo", last.Number); err != nil || at.State != engine.TicketReached {
		t.Errorf("%+v, %v", at, err)
	}
}

func TestWhatIsBehindHoldsTheFrontBack(t *testing.T) {
	h, d, _ := begun(t, 300, engine.Admission{Lease: time.Minute, Use: time.Minute, RateCap: 20})
	h.until(d, "the first move", func(v *engine.RoomView) bool { return v.Front > 0 })
	for limit, load := range map[Limit]Load{LimitPayment: {Payment: BreakerOpen}, LimitWriter: {WriterLag: time.Minute}} {
		h.set(func(h *house) { h.load = load })
		h.until(d, string(limit), func(v *engine.RoomView) bool { return v.Limit == string(limit) })
		h.set(func(h *house) { h.load = Load{} })
		h.until(d, "an end of it", func(v *engine.RoomView) bool { return v.Limit != string(limit) })
	}
}

func TestARoomThatIsLostIsMadeAnewOnce(t *testing.T) {
	h, d, _ := begun(t, 20, engine.Admission{Lease: time.Minute, Use: time.Minute})
	h.run(h.desk(), "second")
	h.until(d, "the front", func(v *engine.RoomView) bool { return v.Front == 20 })
	was := h.join(d, "3")
	if err := d.queue.client.FlushAll(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	v := h.until(d, "another room", func(v *engine.RoomView) bool { return v.State == string(Opened) && v.Joined == 0 })
	if _, err := d.Admit(h.now(), engine.BuyerKey{'3'}, was.Token); err != nil {
		t.Errorf("who was admitted: %v", err)
	}
	if again := h.join(d, "3"); !again.New || again.Number != 0 {
		t.Errorf("%+v of %+v", again, v)
	}
	h.remake.Lock()
	defer h.remake.Unlock()
	for _, epoch := range h.made {
		if epoch != h.made[0] {
			t.Errorf("made anew again and again: %v", h.made)
		}
	}
}
