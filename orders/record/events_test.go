package record_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

func TestAProvidersEventIsKeptOnceAndGivenUntilItIsHeeded(t *testing.T) {
	db, url := openRecord(t)
	e := record.NewEvents(db)
	ev := engine.ProviderEvent{Provider: "p", ID: "evt_1", Type: "payment_intent.succeeded", Attempt: engine.AttemptID{7}, At: time.Now().UTC().Truncate(time.Millisecond)}
	nobodys := engine.ProviderEvent{Provider: "p", ID: "evt_2", Type: "balance.available", At: ev.At}
	elsewhere := ev
	elsewhere.Provider = "q" // another provider's ids are its own
	var fresh atomic.Int32
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			again, err := e.Keep(t.Context(), []engine.ProviderEvent{ev, nobodys, elsewhere}[i%3])
			if err != nil {
				t.Error(err)
			}
			if !again {
				fresh.Add(1)
			}
		})
	}
	wg.Wait()
	if fresh.Load() != 3 {
		t.Errorf("%d of three events were new", fresh.Load())
	}
	got, err := e.Unheeded(t.Context(), 10)
	if err != nil || len(got) != 2 || got[0].Attempt != ev.Attempt || !got[0].At.Equal(ev.At) {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := e.Unheeded(t.Context(), 10); err != nil || len(got) != 0 {
		t.Fatalf("given twice: %v, %v", got, err)
	}
	if err := e.Heeded(t.Context(), ev); err != nil {
		t.Fatal(err)
	}
	if err := psql(t, url, `UPDATE provider_events SET listed_at = '-infinity'`); err != nil {
		t.Fatal(err)
	}
	if got, err := e.Unheeded(t.Context(), 10); err != nil || len(got) != 1 || got[0].Provider != "q" {
		t.Fatalf("%+v, %v", got, err)
	}
	if n, err := e.Forget(t.Context(), 0, 10); err != nil || n != 2 {
		t.Fatalf("%d forgotten, %v", n, err)
	}
	if n := ask(t, url, `SELECT count(*) FROM provider_events`); n != 1 {
		t.Errorf("%d are left", n)
	}
}
