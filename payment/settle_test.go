package payment

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

func TestMoneyThatIsOwedIsRefundedUntilTheProviderSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := attempts("x", 2)
		list[0].Refund, list[1].Refund = "operator: damaged", "hold_gone"
		var calls atomic.Int32
		p := byAttempt(func(engine.Attempt) (engine.Payment, error) {
			if calls.Add(1) <= 2 {
				return engine.Payment{}, errNoAnswer
			}
			return engine.Payment{State: engine.PaymentRefunded}, nil
		})
		l := newLedger(nil, nil)
		l.owed = append([]engine.Attempt(nil), list...)
		_, stop := run(t, WorkerConfig{Payments: p, Ledger: l})
		<-time.After(10 * time.Second)
		stop()
		if l.notes[list[0].ID] != "refunded operator: damaged" || l.notes[list[1].ID] != "refunded hold_gone" || calls.Load() != 4 {
			t.Fatal(l.notes, calls.Load())
		}
	})
}

func TestMoneyCapturedForARefusedOrderIsOwedBeforeItIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := attempts("x", 1)
		l := newLedger(nil, list)
		l.failNotes = 1 // it dies between the two, once
		_, stop := run(t, WorkerConfig{Ledger: l, Payments: byAttempt(func(engine.Attempt) (engine.Payment, error) {
			return engine.Payment{State: engine.PaymentCaptured}, nil
		})})
		<-l.settled
		stop()
		if l.owes[list[0].ID] != "captured_though_refused" {
			t.Fatal(l.owes)
		}
	})
}

// inbox gives each event until it is heeded.
type inbox struct {
	mu     sync.Mutex
	events []engine.ProviderEvent
	forgot int
}

func (i *inbox) Unheeded(context.Context, int) ([]engine.ProviderEvent, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]engine.ProviderEvent(nil), i.events...), nil
}

func (i *inbox) Heeded(_ context.Context, ev engine.ProviderEvent) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.events = slices.DeleteFunc(i.events, func(e engine.ProviderEvent) bool { return e.ID == ev.ID })
	return nil
}

func (i *inbox) Forget(_ context.Context, olderThan time.Duration, _ int) (int64, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if olderThan != 7*24*time.Hour {
		return 0, fmt.Errorf("after %s", olderThan)
	}
	i.forgot++
	return 0, nil
}

func TestAProvidersEventIsHeededUntilItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &inbox{events: []engine.ProviderEvent{{Provider: "p", ID: "evt_1"}, {Provider: "p", ID: "evt_2"}}}
		var mu sync.Mutex
		heeds := map[string]int{}
		reg := prometheus.NewRegistry()
		_, stop := run(t, WorkerConfig{
			Payments: byAttempt(nil), Ledger: newLedger(nil, nil), Inbox: in, Registerer: reg,
			Heed: func(_ context.Context, ev engine.ProviderEvent) error {
				mu.Lock()
				defer mu.Unlock()
				if heeds[ev.ID]++; ev.ID == "evt_2" && heeds[ev.ID] < 3 {
					return errNoAnswer
				}
				return nil
			},
		})
		<-time.After(11 * time.Minute)
		stop()
		if fmt.Sprint(heeds) != "map[evt_1:1 evt_2:3]" || len(in.events) != 0 || in.forgot != 1 {
			t.Fatal(heeds, in.events, in.forgot)
		}
		got := map[string]float64{}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				if m.GetGauge() != nil {
					name := f.GetName()
					for _, l := range m.GetLabel() {
						name += " " + l.GetValue()
					}
					if v := m.GetGauge().GetValue(); v > 0 {
						got[name] = v
					}
				}
			}
		}
		want := "map[flashsale_payments_oldest_unresolved_seconds:7 flashsale_payments_unresolved action_required:1 flashsale_payments_unresolved queued:2 flashsale_payments_unresolved unknown:3 flashsale_payments_unresolved_oldest_seconds action_required:3600 flashsale_payments_unresolved_oldest_seconds queued:60 flashsale_payments_unresolved_oldest_seconds unknown:7]"
		if fmt.Sprint(got) != want {
			t.Fatal(got)
		}
	})
}
