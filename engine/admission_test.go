package engine

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// doorman admits whoever shows "ok", with one right for each buyer.
type doorman struct {
	asked, took int
	units       int
}

func (d *doorman) Admit(s *Sale, b BuyerKey, token string) (r Right, err error) {
	d.asked++
	if token != "ok" {
		return r, NotAdmitted(s, AdmissionMissing, "no token")
	}
	copy(r.ID[:], b[:])
	r.ID[4] = 9
	return r, nil
}

func (d *doorman) Took(_ *Sale, _ Right, units int) { d.took++; d.units += units }

// alike is a gate that takes nonces which end alike for the same, as the real one does.
type alike struct{ *world }

func (g alike) Hold(ctx context.Context, s *Sale, r HoldRequest) (Hold, error) {
	for id, h := range g.holds {
		if id.Buyer == r.Buyer && slices.Equal(id.Nonce[admitted:], r.Nonce[admitted:]) {
			again := *h
			again.Replayed = true
			return again, nil
		}
	}
	return g.world.Hold(ctx, s, r)
}

func (g alike) HoldAll(ctx context.Context, s *Sale, rs []HoldRequest, each func(int, *Hold, error), pause func()) {
	holdEach(ctx, g, s, rs, each, pause)
}

func TestAnAdmissionMakesOneReservation(t *testing.T) {
	w := newWorld()
	w.sale.Admission = &Admission{Lease: time.Minute, Use: time.Minute, Epoch: 1}
	w.sale.PerBuyerLimit = 4
	door := &doorman{}
	e := w.engine()
	e.Gate, e.Admissions = alike{w}, door
	ask := func(buyer, key, token string, units int) ReserveRequest {
		return ReserveRequest{Sale: w.sale.ID, Buyer: buyer, IdempotencyKey: key, Admission: token, Lines: []CartLine{{SKU: w.sale.Items[0].SKU, Quantity: units}}}
	}
	ways := map[string]func(r ReserveRequest) (Reservation, error){
		"Reserve":     func(r ReserveRequest) (Reservation, error) { return e.Reserve(t.Context(), r) },
		"ReserveThen": func(r ReserveRequest) (Reservation, error) { return reserveThen(t, e, r) },
		"ReserveAll": func(r ReserveRequest) (out Reservation, err error) {
			e.ReserveAll(t.Context(), r.Sale, []ReserveRequest{r}, func(_ int, v *Reservation, bad error) { out, err = *v, bad }, func() {})
			return out, err
		},
	}
	for name, reserve := range ways {
		buyer := name[:3] + name[len(name)-3:]
		if _, err := reserve(ask(buyer, "abc", "", 1)); reason(err) != AdmissionMissing {
			t.Fatalf("%s without a token: %v", name, err)
		}
		was := *door
		first, err := reserve(ask(buyer, "abc", "ok", 2))
		if err != nil || first.Replayed || door.took != was.took+1 || door.units != was.units+2 {
			t.Fatalf("%s: %+v, %v, %+v", name, first, err, door)
		}
		if again, err := reserve(ask(buyer, "abc", "ok", 2)); err != nil || again.ID != first.ID || !again.Replayed {
			t.Errorf("%s again: %+v, %v", name, again, err)
		}
		if _, err := reserve(ask(buyer, "abc", "ok", 1)); CodeOf(err) != CodeKeyReused {
			t.Errorf("%s again, with other lines: %v", name, err)
		}
		if _, err := reserve(ask(buyer, "xyz", "ok", 2)); reason(err) != AdmissionUsed {
			t.Errorf("%s under another key: %v", name, err)
		}
		if door.took != was.took+1 {
			t.Errorf("%s: %d were told of", name, door.took-was.took)
		}
	}
	e.Admissions = nil
	if _, err := e.Reserve(t.Context(), ask("ann", "k", "ok", 1)); CodeOf(err) != CodeUnavailable {
		t.Errorf("a node without a waiting room: %v", err)
	}
	w.sale.Admission = nil
	e.Admissions = door
	was := door.asked
	if _, err := e.Reserve(t.Context(), ask("ann", "k", "", 1)); err != nil || door.asked != was {
		t.Errorf("a sale without one: %v, asked %d times", err, door.asked-was)
	}
}

func reason(err error) string {
	var x *Error
	if !errors.As(err, &x) || x.Code != CodeAdmissionRequired {
		return ""
	}
	return x.Fields["reason"].(string)
}

// deeds is a record of one sale, a gate that does as it is told, and rooms.
type deeds struct {
	GateControl
	GateReader
	sale  *Sale
	armed []Admission
	fails error // of Arm
	loses error // of the record's commit
	now   time.Time
}

func (d *deeds) Create(context.Context, *Sale) error                 { return nil }
func (d *deeds) Install(context.Context, *Sale) error                { return nil }
func (d *deeds) Counters(context.Context, *Sale) ([]Counters, error) { return nil, nil }
func (d *deeds) Now() time.Time                                      { return d.now }
func (d *deeds) Arm(_ context.Context, s *Sale) error {
	d.armed = append(d.armed, *s.Admission)
	return d.fails
}
func (d *deeds) Holds(context.Context, *Sale, func(Hold) error) error { return nil }

type store struct{ *deeds }

func (d store) Create(_ context.Context, s *Sale, _ string) (*Sale, bool, error) {
	if d.sale != nil {
		return d.sale, false, nil
	}
	d.sale = s
	return s, true, nil
}
func (d store) Get(context.Context, string) (*Sale, error) { return d.sale, nil }
func (d store) List(context.Context) ([]*Sale, error)      { return []*Sale{d.sale}, nil }
func (d store) Change(_ context.Context, _ string, _ Act, edit func(*Sale) error) (*Sale, error) {
	now := *d.sale
	if err := edit(&now); err != nil {
		return nil, err
	}
	if d.loses != nil {
		return nil, d.loses
	}
	d.sale = &now
	return &now, nil
}

func TestARoomFollowsItsSale(t *testing.T) {
	noon := time.UnixMilli(TimeZero).UTC()
	d := &deeds{now: noon}
	l := &Lifecycle{Store: store{d}, Gate: d, Reader: d, Rooms: d, Clock: d, PaymentTimeout: time.Second}
	put := func(a *Admission, opens time.Time) error {
		s := aSale()
		s.State, s.Epoch, s.Admission, s.OpensAt, s.ClosesAt = SaleDraft, 0, a, opens, time.Time{}
		_, _, err := l.Put(t.Context(), s, "test")
		return err
	}
	terms := Admission{Lease: time.Second, Use: time.Minute}
	for _, bad := range []Admission{{Use: time.Minute}, {Lease: time.Second}, {Lease: time.Second, Use: 2 * time.Hour}, {Lease: time.Second, Use: time.Minute, MaxRate: -1}, {Lease: time.Second, Use: time.Minute, Answer: time.Minute}} {
		if err := put(&bad, time.Time{}); CodeOf(err) != CodeInvalidRequest {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	opens := noon.Add(time.Hour)
	if err := put(&terms, opens); err != nil {
		t.Fatal(err)
	}
	move := func(to SaleState) error { _, err := l.Move(t.Context(), "drop", to, "test"); return err }

	// The record's commit fails once: the next arming is another one, of the same epoch.
	d.loses = E(CodeUnavailable, "")
	if err := move(SaleArmed); err == nil || d.sale.State != SaleDraft {
		t.Fatalf("%v, %+v", err, d.sale)
	}
	d.loses = nil
	if err := move(SaleArmed); err != nil {
		t.Fatal(err)
	}
	first := *d.sale.Admission
	if len(d.armed) != 2 || d.armed[1] != first || first.Epoch != 1 || !first.OpensAt.Equal(opens) || first.Seed == [32]byte{} || first.Seed == d.armed[0].Seed {
		t.Fatalf("%+v of %+v", first, d.armed)
	}
	if err := put(&terms, opens); err != nil {
		t.Errorf("the same terms again: %v", err)
	}
	if err := put(nil, opens); CodeOf(err) != CodeSaleLocked {
		t.Errorf("no room any more: %v", err)
	}

	// Lost before T0: T0 stays. Asked for twice, it is made anew once.
	for range 2 {
		if _, err := l.RemakeRoom(t.Context(), "drop", 1); err != nil {
			t.Fatal(err)
		}
	}
	if again := *d.sale.Admission; len(d.armed) != 3 || again.Epoch != 2 || !again.OpensAt.Equal(opens) || again.Seed == first.Seed {
		t.Fatalf("%+v of %+v", again, d.armed)
	}
	// Opened ahead of the clock, the room opens with it; lost after T0, buyers are gathered.
	d.now = noon.Add(time.Minute)
	if err := move(SaleOpen); err != nil || !d.sale.Admission.OpensAt.Equal(d.now) || !d.sale.OpensAt.Equal(d.now) {
		t.Fatalf("%+v, %v", d.sale.Admission, err)
	}
	d.now = d.now.Add(time.Minute)
	if _, err := l.RemakeRoom(t.Context(), "drop", 2); err != nil || !d.sale.Admission.OpensAt.Equal(d.now.Add(Regather)) {
		t.Fatalf("%+v, %v", d.sale.Admission, err)
	}
	for _, to := range []SaleState{SalePaused, SaleOpen} { // and nothing hastens that
		if err := move(to); err != nil || !d.sale.Admission.OpensAt.Equal(d.now.Add(Regather)) {
			t.Fatalf("%s: %+v, %v", to, d.sale.Admission, err)
		}
	}

	ten, yes := 10.0, true
	if _, err := l.SteerQueue(t.Context(), "drop", &ten, &yes, Act{}); err != nil || d.sale.Admission.RateCap != 10 || !d.sale.Admission.Paused || d.sale.Admission.Epoch != 3 {
		t.Errorf("%+v, %v", d.sale.Admission, err)
	}
	ten = -1
	if _, err := l.SteerQueue(t.Context(), "drop", &ten, nil, Act{}); CodeOf(err) != CodeInvalidRequest {
		t.Errorf("%v", err)
	}
	if err := move(SaleDraining); err != nil {
		t.Fatal(err)
	}
	if _, err := l.RemakeRoom(t.Context(), "drop", 3); err != nil || d.sale.Admission.Epoch != 3 {
		t.Errorf("a room of a sale that is over: %+v, %v", d.sale.Admission, err)
	}
}

func TestARoomThatCannotBeMadeKeepsItsSaleADraft(t *testing.T) {
	d := &deeds{now: time.UnixMilli(TimeZero), fails: E(CodeUnavailable, "Redis is away")}
	d.sale = aSale()
	d.sale.State, d.sale.Epoch, d.sale.Admission = SaleDraft, 0, &Admission{Lease: time.Second, Use: time.Second}
	l := &Lifecycle{Store: store{d}, Gate: d, Reader: d, Rooms: d, Clock: d}
	if _, err := l.Move(t.Context(), "drop", SaleArmed, "test"); CodeOf(err) != CodeUnavailable || d.sale.State != SaleDraft || d.sale.Admission.Epoch != 0 {
		t.Errorf("%v, %+v", err, d.sale)
	}
	l.Rooms = nil
	if _, err := l.Move(t.Context(), "drop", SaleArmed, "test"); CodeOf(err) != CodeUnavailable {
		t.Errorf("%v", err)
	}
}
