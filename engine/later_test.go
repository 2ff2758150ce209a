package engine

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// elsewhere is a gate that answers HoldThen from another goroutine.
type elsewhere struct{ Gate }

func (g elsewhere) HoldThen(ctx context.Context, s *Sale, r HoldRequest, who OnHold) {
	go func() {
		r.Lines = slices.Clone(r.Lines) // the model keeps them
		h, err := g.Hold(ctx, s, r)
		who.Held(&h, err)
	}()
}

type reserved struct {
	told chan struct{}
	r    Reservation
	err  error
}

func (x *reserved) Reserved(r *Reservation, err error) {
	if x.err = err; err == nil {
		x.r = *r
		x.r.Lines = append([]PricedLine(nil), r.Lines...)
	}
	close(x.told) // twice would panic
}

func reserveThen(t *testing.T, e *Engine, r ReserveRequest) (Reservation, error) {
	t.Helper()
	x := &reserved{told: make(chan struct{})}
	e.ReserveThen(t.Context(), r, x)
	select {
	case <-x.told:
	case <-time.After(time.Minute):
		t.Fatal("nobody was told")
	}
	return x.r, x.err
}

func TestWhoDoesNotWaitIsToldWhatReserveReturns(t *testing.T) {
	sku := newWorld().sale.Items[0].SKU
	one := func(buyer, key string, n int) ReserveRequest {
		return ReserveRequest{Buyer: buyer, IdempotencyKey: key, Lines: []CartLine{{SKU: sku, Quantity: n}}}
	}
	nowhere := one("ann", "k", 1)
	nowhere.Sale = "no-such-sale"
	for name, requests := range map[string][]ReserveRequest{
		"a hold":                        {one("ann", "k", 1)},
		"the same again":                {one("ann", "k", 1), one("ann", "k", 1)},
		"the same key with other lines": {one("ann", "k", 1), one("ann", "k", 2)},
		"nothing":                       {one("ann", "k", 0)},
		"more than anybody may":         {one("ann", "k", 99)},
		"another sale":                  {nowhere},
		"many":                          {one("ann", "k", 1), one("bob", "k", 1), one("cy", "k", 2)},
	} {
		t.Run(name, func(t *testing.T) {
			ask := func(gate func(Gate) Gate, how func(*Engine, ReserveRequest) (Reservation, error)) (rs []Reservation, errs []string) {
				w := newWorld()
				e := w.engine()
				e.Gate = gate(remembering{w, map[Nonce]Hold{}})
				for _, r := range requests {
					if r.Sale == "" {
						r.Sale = w.sale.ID
					}
					v, err := how(e, r)
					v.Sale, v.ID.Created, v.ExpiresAt = nil, 0, time.Time{}
					text := ""
					if err != nil {
						text = string(CodeOf(err)) + " " + err.Error()
					}
					rs, errs = append(rs, v), append(errs, text)
				}
				return rs, errs
			}
			same := func(g Gate) Gate { return g }
			later := func(g Gate) Gate { return elsewhere{g} }
			then := func(e *Engine, r ReserveRequest) (Reservation, error) { return reserveThen(t, e, r) }
			want, wantErrs := ask(same, func(e *Engine, r ReserveRequest) (Reservation, error) { return e.Reserve(t.Context(), r) })
			for _, gate := range []func(Gate) Gate{later, same} { // one that cannot do without a caller who waits, too
				if got, errs := ask(gate, then); !reflect.DeepEqual(got, want) || !reflect.DeepEqual(errs, wantErrs) {
					t.Errorf("told %+v %q\nwant %+v %q", got, errs, want, wantErrs)
				}
			}
		})
	}
}

func TestADraftIsNotAtTheGateForThoseWhoDoNotWait(t *testing.T) {
	w := newWorld()
	w.sale.Epoch, w.sale.State = 0, SaleDraft
	e := w.engine()
	e.Gate = elsewhere{w}
	_, err := reserveThen(t, e, ReserveRequest{Sale: w.sale.ID, Buyer: "ann", IdempotencyKey: "k", Lines: []CartLine{{SKU: w.sale.Items[0].SKU, Quantity: 1}}})
	if CodeOf(err) != CodeSaleNotOpen || !strings.Contains(err.Error(), "draft") {
		t.Errorf("%v", err)
	}
}

// sold is a gate that has sold everything to everybody before.
type sold struct{ Gate }

func (sold) HoldThen(_ context.Context, _ *Sale, r HoldRequest, who OnHold) {
	who.Held(&Hold{State: Accepted, Replayed: true, Lines: r.Lines}, nil)
}

func TestAPanicInAnAnswerIsToldAndNoMore(t *testing.T) {
	w := newWorld()
	e := w.engine()
	e.Gate, e.Orders = sold{w}, nil
	_, err := reserveThen(t, e, ReserveRequest{Sale: w.sale.ID, Buyer: "ann", IdempotencyKey: "k", Lines: []CartLine{{SKU: w.sale.Items[0].SKU, Quantity: 1}}})
	var x *Error
	if !errors.As(err, &x) || x.Code != CodeInternal || !strings.Contains(x.Err.Error(), "panic") {
		t.Errorf("%v", err)
	}
}

// atOnce is a gate that answers HoldThen with one hold before it returns.
type atOnce struct {
	Gate
	hold Hold
}

func (g *atOnce) HoldThen(_ context.Context, _ *Sale, _ HoldRequest, who OnHold) {
	who.Held(&g.hold, nil)
}

type counted struct{ held int }

func (c *counted) Reserved(r *Reservation, err error) {
	if err == nil && r.State == Held {
		c.held++
	}
}

// A crowd's every reservation comes this way: what it leaves behind has to be
// collected while others wait.
func TestReserveThenLeavesNoGarbage(t *testing.T) {
	w := newWorld()
	g := &atOnce{w, Hold{ID: ReservationID{Sale: w.sale.No}, State: Held, Lines: []Line{{No: w.sale.Items[0].No, Quantity: 1}}}}
	e := w.engine()
	e.Gate = g
	lines, who := []CartLine{{SKU: w.sale.Items[0].SKU, Quantity: 1}}, &counted{}
	r := ReserveRequest{Sale: w.sale.ID, Buyer: "ann", IdempotencyKey: "k", Lines: lines}
	n := testing.AllocsPerRun(1000, func() { e.ReserveThen(t.Context(), r, who) })
	if n > 0 {
		t.Errorf("%v allocations per reservation", n)
	}
	if who.held != 1001 {
		t.Errorf("%d of 1001 were told of their hold", who.held)
	}
}
