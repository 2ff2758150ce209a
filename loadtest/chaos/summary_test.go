package chaos

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest"
)

// A run that is played again counts once, as it went last; others add up.
func TestSummariesOfSeveralInvocationsAddUp(t *testing.T) {
	run := func(seed uint64, replay string, pass bool, verify string) Report {
		return Report{Seed: seed, Pass: pass, Replay: replay, Verify: json.RawMessage(verify), Acknowledged: 10, Normal: Normal{Ordering: float64(seed)},
			Plan: Plan{Events: []Event{{Fault: "node.kill", For: time.Second}, {Fault: "redis.kill", For: time.Second}}}}
	}
	first, err := Merge(nil, []Report{run(1, "a", true, `{"oversold":0,"lost":0,"drift":0,"unpaid":0}`), run(2, "b", true, `{"oversold":0,"lost":0,"drift":0,"unpaid":0}`)})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Merge(kept, []Report{run(2, "b", false, `{"oversold":0,"lost":3,"drift":0,"unpaid":1}`), run(9, "c", true, ``)})
	if err != nil {
		t.Fatal(err)
	}
	if s.Seeds != 3 || s.Passed != 2 || s.Zeros != [4]int{0, 3, 0, 1} || s.Orders != 30 || s.Faults["redis.kill"] != 3 || s.LeastAtOnce != 2 || s.SlowestSeed != 9 || s.Runs[2].Zeros != nil {
		t.Errorf("%+v", s)
	}
	if _, err := Merge([]byte("no summary"), nil); err == nil {
		t.Error("a file that is no summary was taken")
	}
}

// What was refused before the master died is not of the failover, and selling
// counts as begun only when nobody is refused any more.
func TestAFailoverIsSummedUpFromWhatBuyersHeard(t *testing.T) {
	t0 := time.Unix(0, 0)
	at := func(ms int, step loadtest.Step, status int) heard {
		return heard{t0.Add(time.Duration(ms) * time.Millisecond), "one", loadtest.Outcome{Step: step, Status: status}}
	}
	r, c := loadtest.StepReserve, loadtest.StepCheckout
	f := sumUp([]heard{at(100, r, 201), at(200, r, 503), at(500, c, 201), at(1500, r, 201), at(2010, r, 503), at(2100, r, 201), at(2200, r, 503), at(2300, c, 503), at(2500, r, 201), at(2600, r, 201)},
		t0, t0.Add(time.Second), t0.Add(2*time.Second))
	if f.HoldsPerSecond != 1 || f.CheckoutsPerSecond != 1 || f.LagSeconds != 1 || f.HoldsInLag != 1 || f.FrozenSeconds < 0.489 || f.FrozenSeconds > 0.491 {
		t.Errorf("%+v", f)
	}
}
