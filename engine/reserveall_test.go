package engine

import (
	"context"
	"testing"
)

// HoldAll of the world is Hold, one after the other.
func (w *world) HoldAll(ctx context.Context, s *Sale, rs []HoldRequest, each func(int, *Hold, error), pause func()) {
	holdEach(ctx, w, s, rs, each, pause)
}

func holdEach(ctx context.Context, g Gate, s *Sale, rs []HoldRequest, each func(int, *Hold, error), pause func()) {
	for i, r := range rs {
		pause()
		h, err := g.Hold(ctx, s, r)
		each(i, &h, err)
	}
}

// remembering is a world whose gate knows a nonce again.
type remembering struct {
	*world
	made map[Nonce]Hold
}

func (g remembering) Hold(ctx context.Context, s *Sale, r HoldRequest) (Hold, error) {
	if h, ok := g.made[r.Nonce]; ok {
		h.Replayed = true
		return h, nil
	}
	h, err := g.world.Hold(ctx, s, r)
	if err == nil {
		g.made[r.Nonce] = h
	}
	return h, err
}

func (g remembering) HoldAll(ctx context.Context, s *Sale, rs []HoldRequest, each func(int, *Hold, error), pause func()) {
	holdEach(ctx, g, s, rs, each, pause)
}

func TestManyReservationsAreAnsweredLikeSingleOnes(t *testing.T) {
	w := newWorld()
	e := w.engine()
	e.Gate = remembering{w, map[Nonce]Hold{}}
	sku := w.sale.Items[0].SKU
	one := func(buyer, key string, n int) ReserveRequest {
		return ReserveRequest{Buyer: buyer, IdempotencyKey: key, Lines: []CartLine{{SKU: sku, Quantity: n}}}
	}
	var rs []ReserveRequest
	for range reserveAtOnce {
		rs = append(rs, one("ann", "k", 1)) // one hold, repeated
	}
	rs = append(rs, one("ann", "k", 2), one("bob", "k", 0), one("bob", "k", 1))
	got := map[int]Code{}
	var first ReservationID
	e.ReserveAll(t.Context(), w.sale.ID, rs, func(i int, r *Reservation, err error) {
		if _, again := got[i]; again {
			t.Errorf("request %d is answered twice", i)
		}
		got[i] = CodeOf(err)
		switch {
		case i == 0:
			first = r.ID
		case i < reserveAtOnce && (r.ID != first || !r.Replayed):
			t.Errorf("request %d: %+v, %v", i, r, err)
		case i == len(rs)-1 && r.Buyer != "bob":
			t.Errorf("bob got %+v", r)
		}
	}, func() {})
	if len(got) != len(rs) || got[0] != "" || got[reserveAtOnce] != CodeKeyReused || got[reserveAtOnce+1] != CodeInvalidRequest || got[reserveAtOnce+2] != "" {
		t.Errorf("%d answers: %v", len(got), got)
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	n := 0
	e.ReserveAll(ctx, w.sale.ID, rs[:3], func(_ int, _ *Reservation, err error) {
		if n++; err == nil {
			t.Error("a client that has left got a hold")
		}
	}, func() {})
	if n != 3 {
		t.Errorf("%d answers to one that has left", n)
	}
}
