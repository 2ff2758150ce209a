package trail

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhoAsksMostIsFoundWhileSomebodyWantsToKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New(1000, time.Now())
		tr.Of("early") // nobody wants to know
		if got := tr.Askers(3); got != nil {
			t.Fatalf("at first %v", got)
		}
		ask := func(seconds int) {
			for range seconds * 10 { // 200 a second by one, and 400 by as many
				for i := range 20 {
					tr.Of("greedy")
					tr.Of(fmt.Sprintf("once-%d", tr.askers.n.Load()))
					tr.Of(fmt.Sprintf("once-%d-%d", i, tr.askers.n.Load()))
				}
				time.Sleep(100 * time.Millisecond)
				tr.Askers(3)
			}
		}
		ask(8)
		got := tr.Askers(3)
		if len(got) != 1 || got[0].Buyer != "greedy" || math.Abs(got[0].Rate-200) > 40 {
			t.Fatalf("%v, want greedy at about 200 a second", got)
		}
		if n := len(tr.askers.spans[0]) + len(tr.askers.spans[1]); n > 2*mostNames {
			t.Errorf("%d names are kept", n)
		}
		time.Sleep(2 * unwanted)
		for range sampled {
			tr.Of("greedy")
		}
		if tr.askers.on.Load() || tr.askers.spans[1] != nil {
			t.Error("names are kept though nobody wants to know")
		}
	})
}
