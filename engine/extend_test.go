package engine

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// holdsWorld is a sale with holds, and a record that keeps acts by their keys.
type holdsWorld struct {
	SaleStore
	GateReader
	now   time.Time
	sale  *Sale
	mu    sync.Mutex
	holds []Hold
	acts  []Act
	fails error
}

func (w *holdsWorld) Now() time.Time                             { return w.now }
func (w *holdsWorld) Get(context.Context, string) (*Sale, error) { return w.sale, nil }
func (w *holdsWorld) Change(_ context.Context, _ string, act Act, edit func(*Sale) error) (*Sale, error) {
	for _, was := range w.acts {
		if was.Key == act.Key {
			return w.sale, nil
		}
	}
	if err := edit(w.sale); err != nil {
		return nil, err
	}
	w.acts = append(w.acts, act)
	return w.sale, nil
}

func (w *holdsWorld) Holds(_ context.Context, _ *Sale, visit func(Hold) error) error {
	for _, h := range w.holds {
		if err := visit(h); err != nil {
			return err
		}
	}
	return nil
}

func (w *holdsWorld) Extend(_ context.Context, _ *Sale, id ReservationID, until time.Time) (Hold, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fails != nil {
		return Hold{}, w.fails
	}
	for i := range w.holds {
		if h := &w.holds[i]; h.ID == id {
			if !h.ExpiresAt.Before(until) {
				out := *h
				out.Replayed = true
				return out, nil
			}
			h.ExpiresAt = until
			return *h, nil
		}
	}
	return Hold{}, E(CodeNotFound, "")
}

func TestExtendingHoldsGivesTimeAndNeverBeyondTheCap(t *testing.T) {
	w := &holdsWorld{now: time.UnixMilli(TimeZero).Add(time.Hour), sale: &Sale{ID: "drop", State: SaleOpen, Epoch: 1, HoldTTL: 2 * time.Minute, HoldCap: 10 * time.Minute}}
	add := func(n byte, state ReservationState, age time.Duration, left time.Duration) {
		h := Hold{State: state, ExpiresAt: w.now.Add(left)}
		h.ID.Nonce[0], h.ID.Created = n, w.now.Add(-age).UnixMilli()
		w.holds = append(w.holds, h)
	}
	add(1, Held, time.Minute, time.Minute)
	add(2, Held, 9*time.Minute, time.Second) // too old: a payment begun later than now would not end within the cap
	add(3, Held, 0, 30*time.Minute)          // lives long enough
	add(4, Accepted, time.Minute, 0)
	add(5, Paying, 7*time.Minute, 20*time.Second)
	l := &Lifecycle{Store: w, Reader: w, Holds: w, Clock: w, PaymentTimeout: 55 * time.Second, Log: slog.New(slog.DiscardHandler)}
	act := Act{Actor: "olga", Reason: "the bank is slow", Key: "k1"}

	dry, err := l.ExtendHolds(t.Context(), "drop", 5*time.Minute, true, act)
	if err != nil || dry.Live != 4 || dry.Capped != 2 || len(w.acts) != 0 {
		t.Fatalf("dry: %+v, %v; acts %v", dry, err, w.acts)
	}
	out, err := l.ExtendHolds(t.Context(), "drop", 5*time.Minute, false, act)
	if err != nil || out.Live != 4 || out.Extended != 2 || out.Capped != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	for i, want := range []time.Duration{5 * time.Minute, time.Second, 30 * time.Minute, 0, 2 * time.Minute} {
		if got := w.holds[i].ExpiresAt.Sub(w.now); got != want {
			t.Errorf("hold %d lives for %s, want %s", i+1, got, want)
		}
	}
	if len(w.acts) != 1 || w.acts[0].Name != "extend holds" || w.acts[0].Actor != "olga" {
		t.Errorf("audited: %+v", w.acts)
	}
	// Later, under the same key: nobody gets more.
	w.now = w.now.Add(time.Minute)
	if again, err := l.ExtendHolds(t.Context(), "drop", 5*time.Minute, false, act); err != nil || again.Extended != 0 || len(w.acts) != 1 {
		t.Errorf("again: %+v, %v", again, err)
	}
	// What was not done to the end is not on record as done, and may be repeated.
	w.fails, act.Key = E(CodeGateFrozen, "frozen"), "k2"
	if _, err := l.ExtendHolds(t.Context(), "drop", 6*time.Minute, false, act); CodeOf(err) != CodeGateFrozen || len(w.acts) != 1 {
		t.Errorf("at a frozen gate: %v, acts %v", err, w.acts)
	}
	w.fails = nil
	if out, err := l.ExtendHolds(t.Context(), "drop", 6*time.Minute, false, act); err != nil || out.Extended != 1 || len(w.acts) != 2 {
		t.Errorf("repeated: %+v, %v", out, err)
	}
	for _, d := range []time.Duration{0, -time.Second, MaxHoldCap + 1} {
		if _, err := l.ExtendHolds(t.Context(), "drop", d, false, act); CodeOf(err) != CodeInvalidRequest {
			t.Errorf("by %s: %v", d, err)
		}
	}
	w.sale.State = SaleClosed
	if _, err := l.ExtendHolds(t.Context(), "drop", time.Minute, false, Act{Key: "k3"}); CodeOf(err) != CodeSaleState {
		t.Errorf("of a closed sale: %v", err)
	}
}
