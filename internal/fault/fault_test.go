package fault

import (
	"errors"
	"testing"
)

func TestAPlanKillsAtItsPointAndTime(t *testing.T) {
	p, err := Parse("kill@claim.after#3")
	if err != nil {
		t.Fatal(err)
	}
	died := 0
	p.die = func() { died++ }
	fails := errors.New("refused")
	call := func(what string, err error) {
		_, _ = Around(t.Context(), p, what, func() (int, error) { return 0, err })
	}
	for range 5 {
		call("publish", nil)
		call("claim", fails) // what did not happen is not behind us
	}
	call("claim", nil)
	call("claim", nil)
	if died != 0 {
		t.Fatal("it died too early")
	}
	call("claim", nil)
	call("claim", nil)
	if died != 1 {
		t.Errorf("it died %d times", died)
	}
}

func TestNoPlanIsInNobodysWay(t *testing.T) {
	p, err := Parse("")
	if p != nil || err != nil {
		t.Fatal(p, err)
	}
	if v, err := Around(t.Context(), p, "claim", func() (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Error(v, err)
	}
	if p.Attempts(nil) != nil || p.Payments(nil) != nil || p.Gate(nil) != nil || p.Stream(nil) != nil {
		t.Error("a port is wrapped without a plan")
	}
}

func TestABadPlanSaysWhatIsPossible(t *testing.T) {
	for _, text := range []string{"x", "kill@", "kill@claim", "kill@claim.after", "kill@claim.after#0", "dice@", "dice@1", "dice@x#5", "dice@1#101", "kill@claim.after#x", "kill@lunch.after#1"} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}
