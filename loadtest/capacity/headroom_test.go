package capacity

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestReservationsAloneAreAtTheKneeWhereTheLawHasIt(t *testing.T) {
	m := fitted(t)
	_, knee := m.Law().Knee()
	for _, processors := range []int{1, 4} {
		want := knee * float64(processors)
		idle := m.Headroom(processors, Mix{})
		if idle.Used != (Estimate{}) || math.Abs(idle.Knee.Value/want-1) > 1e-4 || idle.Binds != "this node's processors" {
			t.Errorf("%d processors, idle: %+v, the law says %.0f/s", processors, idle, want)
		}
		half := m.Headroom(processors, Mix{Decided: want / 2})
		if math.Abs(half.Used.Value-0.5) > 1e-4 || math.Abs(half.Knee.Value/want-1) > 1e-4 {
			t.Errorf("%d processors, half way: %+v", processors, half)
		}
		if half.Used.Low >= half.Used.Value || half.Used.High <= half.Used.Value || half.Knee.Low >= half.Knee.Value || half.Knee.High <= half.Knee.Value {
			t.Errorf("measurements that vary give an interval, not %+v", half)
		}
	}
}

func TestMoreOfAMixIsNearerToTheSameKnee(t *testing.T) {
	m := fitted(t)
	rapid.Check(t, func(t *rapid.T) {
		rate := func(name string, most float64) float64 {
			return rapid.Float64Range(0, most).Draw(t, name)
		}
		x := Mix{Decided: 1 + rate("decided", 5e4), Refused: rate("refused", 5e4), Bought: rate("bought", 2e3)}
		processors, by := rapid.IntRange(1, 32).Draw(t, "processors"), rapid.Float64Range(1.1, 50).Draw(t, "by")
		one, more := m.Headroom(processors, x), m.Headroom(processors, x.times(by))
		if math.Abs(more.Used.Value/one.Used.Value/by-1) > 1e-3 || math.Abs(more.Knee.Value/one.Knee.Value-1) > 1e-3 || one.Binds == "" {
			t.Fatalf("%+v by %.2f: %+v became %+v", x, by, one, more)
		}
		for _, e := range []Estimate{one.Used, one.Knee} {
			if !(e.Low <= e.Value && e.Value <= e.High) || e.Low <= 0 || math.IsInf(e.High, 0) {
				t.Fatalf("%+v of %+v", e, x)
			}
		}
		// At the knee itself something is full, and a little before it nothing is.
		at := x.times(1 / one.Used.Value)
		if used, _ := m.fullest(processors, at.times(1.001)); used < 1 {
			t.Fatalf("%+v: beyond the knee %.4f is used", x, used)
		}
		if used, _ := m.fullest(processors, at.times(0.999)); used > 1 {
			t.Fatalf("%+v: before the knee %.4f is used", x, used)
		}
	})
}

func TestPurchasesAreBoundByWhatTheyCostMost(t *testing.T) {
	m := fitted(t)
	h := m.Headroom(8, Mix{Bought: 200})
	if h.Binds != "Postgres" || h.Knee != (Estimate{}) {
		t.Errorf("%+v", h)
	}
	if all := 1 / h.Used.Value * 200 * m.Purchase.Postgres.At(200/h.Used.Value); math.Abs(all-1) > 1e-3 {
		t.Errorf("at the knee Postgres uses %.4f processors", all)
	}
}

func TestAForeignModelIsRefusedWithItsReason(t *testing.T) {
	text := string(shipped)
	for says, text := range map[string]string{
		"not a model: ":              "{",
		"before they had a version":  strings.Replace(text, `"version": 1,`, "", 1),
		"of version 2; this program": strings.Replace(text, `"version": 1,`, `"version": 2, "new": {},`, 1),
		`unknown field "colour"`:     strings.Replace(text, `"version": 1,`, `"version": 1, "colour": 1,`, 1),
		"does not say when":          `{"version": 1}`,
		"cannot unmarshal":           `{"version": "one"}`,
	} {
		if _, err := Read(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", says, err)
		}
	}
	m := fitted(t)
	again, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(strings.NewReader(string(again))); err != nil {
		t.Errorf("a model that was just fitted: %v", err)
	}
	m.Machine.Processors, m.Machine.CPU = 8, "Another"
	if err := m.Here(2); err == nil || !strings.Contains(err.Error(), "of 8 processors (Another, ") || !strings.Contains(err.Error(), "this one has 2") {
		t.Errorf("another machine's: %v", err)
	}
	if err := m.Here(8); err != nil {
		t.Error(err)
	}
}
