package engine

import (
	"context"
	"log/slog"
	"strings"
	"testing"
)

func (w *holdsWorld) List(context.Context) ([]*Sale, error) { return []*Sale{w.sale}, nil }

func (w *holdsWorld) Release(_ context.Context, _ *Sale, id ReservationID) (Hold, error) {
	for i := range w.holds {
		if h := &w.holds[i]; h.ID == id {
			if h.State == Paying {
				return Hold{}, E(CodePaymentInProgress, "")
			}
			out := *h
			out.Replayed = h.State == Released
			h.State, out.State = Released, Released
			return out, nil
		}
	}
	return Hold{}, E(CodeNotFound, "")
}

func TestAHoldThatAnOperatorReleasesIsOnRecord(t *testing.T) {
	w := &holdsWorld{sale: &Sale{No: 3, ID: "drop", State: SaleOpen, Epoch: 1}}
	held, paying := ReservationID{Sale: 3, Created: 1}, ReservationID{Sale: 3, Created: 2}
	w.holds = []Hold{{ID: held, State: Held}, {ID: paying, State: Paying}}
	l := &Lifecycle{Store: w, Holds: w, Log: slog.New(slog.DiscardHandler)}
	act := Act{Actor: "olga", Reason: "asked for by phone"}

	if h, err := l.ReleaseHold(t.Context(), held, act); err != nil || h.State != Released || w.holds[0].State != Released {
		t.Fatalf("%+v, %v", h, err)
	}
	if len(w.acts) != 1 || w.acts[0].Name != "release hold" || w.acts[0].Actor != "olga" || w.acts[0].Reason != held.String()+": asked for by phone" {
		t.Fatalf("audited: %+v", w.acts)
	}
	// A refusal leaves no line, and neither does what is not there.
	if _, err := l.ReleaseHold(t.Context(), paying, act); CodeOf(err) != CodePaymentInProgress || len(w.acts) != 1 {
		t.Errorf("a paying one: %v, audited %+v", err, w.acts)
	}
	for _, id := range []ReservationID{{Sale: 3, Created: 9}, {Sale: 4, Created: 1}} {
		if _, err := l.ReleaseHold(t.Context(), id, act); CodeOf(err) != CodeNotFound || len(w.acts) != 1 {
			t.Errorf("%s: %v, audited %+v", id, err, w.acts)
		}
	}
	// Under one key the act has one line, whoever's hold it is about has its own, and the answer is that of the gate.
	act.Key = "k"
	w.holds[0].State, w.holds[1].State = Held, Held
	for _, id := range []ReservationID{held, held, paying} {
		if h, err := l.ReleaseHold(t.Context(), id, act); err != nil || h.State != Released {
			t.Errorf("%s: %+v, %v", id, h, err)
		}
	}
	if len(w.acts) != 3 || !strings.HasPrefix(w.acts[2].Reason, paying.String()) {
		t.Errorf("audited: %+v", w.acts)
	}
}
