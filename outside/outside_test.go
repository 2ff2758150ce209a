package outside_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/flashsale-engine/flashsale/outside"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errDown = errors.New("down")
var errDoubt = errors.New("perhaps")

type spec = outside.Spec[string, int]

// dependency makes one whose every call is do; n counts from 1.
func dependency(t testing.TB, b *outside.Board, c outside.Config, s spec, do func(ctx context.Context, n int) (int, error)) (*outside.Dependency, *outside.Call[string, int], func() int) {
	t.Helper()
	if c.Name == "" {
		c.Name = "thing"
	}
	d, err := outside.New(b, c)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	s.Op = "op"
	s.Do = func(ctx context.Context, _ string) (int, error) {
		mu.Lock()
		n++
		now := n
		mu.Unlock()
		return do(ctx, now)
	}
	return d, outside.NewCall(d, s), func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func TestACallIsRepeatedAsItsSpecSays(t *testing.T) {
	for name, c := range map[string]struct {
		spec    spec
		answers []error
		calls   int
		err     error
	}{
		"an answer is an answer":                         {spec{Again: outside.Always}, []error{nil}, 1, nil},
		"an error is repeated if that may mend it":       {spec{Again: outside.Always}, []error{errDown, nil}, 2, nil},
		"and not if it may not":                          {spec{}, []error{errDown, nil}, 1, errDown},
		"and not for ever":                               {spec{Again: outside.Always}, []error{errDown, errDown, errDown, nil}, 3, errDown},
		"an answer in the form of an error ends it":      {spec{Again: outside.Always, Answers: func(error) bool { return true }}, []error{errDown, nil}, 1, errDown},
		"a doubt outlives a later error that is certain": {spec{Again: outside.Always, Doubt: errDoubt}, []error{errDoubt, errDown, errDown}, 3, errDoubt},
		"and an answer ends the doubt":                   {spec{Again: outside.Always, Doubt: errDoubt}, []error{errDoubt, nil}, 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, call, n := dependency(t, nil, outside.Config{}, c.spec, func(_ context.Context, n int) (int, error) { return n, c.answers[n-1] })
				_, err := call.Do(t.Context(), "")
				if n() != c.calls || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
					t.Fatalf("%d calls, %v", n(), err)
				}
			})
		})
	}
}

func TestTheStatedAnswerStandsInWhenThereIsNone(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := board(t, reg)
	s := spec{Degraded: func(in string, err error) (int, error) { return len(in), nil }}
	d, call, n := dependency(t, b, outside.Config{}, s, func(context.Context, int) (int, error) { return 0, errDown })
	if v, err := call.Do(t.Context(), "abc"); v != 3 || err != nil {
		t.Fatal(v, err)
	}
	d.Force(outside.Open)
	if v, err := call.Do(t.Context(), "ab"); v != 2 || err != nil || n() != 1 {
		t.Fatal(v, err, n())
	}
	want := `
		# HELP flashsale_dependency_calls_total Tries by dependency, operation and result, refused ones included; result degraded counts whole calls that got the stated answer, retry_budget_spent those that were not repeated for want of budget.
		# TYPE flashsale_dependency_calls_total counter
		flashsale_dependency_calls_total{dependency="thing",op="op",result="breaker_open"} 1
		flashsale_dependency_calls_total{dependency="thing",op="op",result="degraded"} 2
		flashsale_dependency_calls_total{dependency="thing",op="op",result="error"} 1
		# HELP flashsale_dependency_breaker_state What callers meet: 0 closed, 1 half-open, 2 open.
		# TYPE flashsale_dependency_breaker_state gauge
		flashsale_dependency_breaker_state{dependency="thing"} 2
		# HELP flashsale_dependency_breaker_forced Who decides: 0 the breaker, 1 an operator forced it open, 2 closed.
		# TYPE flashsale_dependency_breaker_forced gauge
		flashsale_dependency_breaker_forced{dependency="thing"} 1
	`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "flashsale_dependency_calls_total", "flashsale_dependency_breaker_state", "flashsale_dependency_breaker_forced"); err != nil {
		t.Error(err)
	}
}

func board(t testing.TB, reg prometheus.Registerer) *outside.Board {
	t.Helper()
	b, err := outside.NewBoard(reg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnOperatorDecidesOverTheBreaker(t *testing.T) {
	down := true
	d, call, n := dependency(t, nil, outside.Config{Tries: 1, MinCalls: 2}, spec{}, func(context.Context, int) (int, error) {
		if down {
			return 0, errDown
		}
		return 1, nil
	})
	fails := func(because error) {
		t.Helper()
		if _, err := call.Do(t.Context(), ""); !errors.Is(err, because) {
			t.Fatalf("want %v, got %v", because, err)
		}
	}
	d.Force(outside.Open)
	var refused *outside.Refused
	if _, err := call.Do(t.Context(), ""); n() != 0 || !errors.As(err, &refused) || refused.After != 5*time.Second || d.State() != "open" {
		t.Fatalf("forced open: %d calls, %v, %s", n(), err, d.State())
	}
	d.Force(outside.Auto)
	fails(errDown)
	fails(errDown)
	fails(outside.ErrOpen)
	d.Force(outside.Closed)
	for range 20 {
		fails(errDown)
	}
	down = false
	if _, err := call.Do(t.Context(), ""); err != nil || d.State() != "closed" {
		t.Fatalf("forced closed: %v, %s", err, d.State())
	}
	d.Force(outside.Auto)
	if fails(outside.ErrOpen); d.State() != "open" {
		t.Fatalf("the breaker goes on from where it stood, not %s", d.State())
	}
}

func TestRetriesAreBoundedByTheirShareOfTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := outside.Config{Tries: 10, Budget: time.Hour, MinCalls: 10_000, RetryRatio: 0.1, RetryBurst: 5, Concurrency: 10_000}
		_, call, n := dependency(t, nil, c, spec{Again: outside.Always}, func(context.Context, int) (int, error) { return 0, errDown })
		for range 100 {
			_, _ = call.Do(t.Context(), "")
		}
		if n() < 100+5+9-1 || n() > 100+5+10 {
			t.Fatalf("100 calls made %d tries", n())
		}
	})
}

func TestACallersDeadlineKeepsRetriesOutAndTheTryWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, call, n := dependency(t, nil, outside.Config{Timeout: 2 * time.Second, Budget: time.Minute}, spec{Again: outside.Always}, func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			return 0, ctx.Err()
		})
		began := time.Now()
		if _, err := call.Do(ctx, ""); !errors.Is(err, context.DeadlineExceeded) || n() != 1 || time.Since(began) != 2*time.Second {
			t.Fatalf("%d calls in %s: %v", n(), time.Since(began), err)
		}
	})
}

func TestAPanicFreesItsPlaceAndCountsAsAFailure(t *testing.T) {
	d, call, _ := dependency(t, nil, outside.Config{Tries: 1, MinCalls: 1}, spec{}, func(context.Context, int) (int, error) { panic("bug") })
	func() {
		defer func() { _ = recover() }()
		_, _ = call.Do(t.Context(), "")
	}()
	if d.InFlight() != 0 || d.State() != "open" {
		t.Fatalf("%d in flight, %s", d.InFlight(), d.State())
	}
}

func TestABoardForcesByNameAndGivesTheRestBackToTheBreakers(t *testing.T) {
	b := board(t, nil)
	one, _, _ := dependency(t, b, outside.Config{Name: "one"}, spec{}, nil)
	two, _, _ := dependency(t, b, outside.Config{Name: "two"}, spec{}, nil)
	two.Force(outside.Open)
	if b.Force(map[string]outside.Mode{"one": outside.Closed, "gone": outside.Open}); one.Mode() != outside.Closed || two.Mode() != outside.Auto {
		t.Fatal(one.Mode(), two.Mode())
	}
	if b.Find("one") != one || b.Find("gone") != nil || len(b.All()) != 2 || b.All()[1] != two {
		t.Fatal(b.All())
	}
	if _, err := outside.New(b, outside.Config{Name: "one"}); err == nil || !strings.Contains(err.Error(), "two dependencies are called one") {
		t.Fatal(err)
	}
}

// A window full of successes must not stand up for a dependency that has just
// fallen silent.
func TestABusyDependencyThatFallsSilentIsShutAfterSoManyFailuresInARow(t *testing.T) {
	const well, inARow = 1000, 15
	_, call, n := dependency(t, nil, outside.Config{Tries: 1, InARow: inARow}, spec{}, func(_ context.Context, n int) (int, error) {
		if n > well || n%10 == 0 { // a failure now and then is no row
			return 0, errDown
		}
		return 1, nil
	})
	for range well + inARow + 5 {
		_, _ = call.Do(t.Context(), "")
	}
	if n() < well+inARow-1 || n() > well+inARow {
		t.Errorf("%d calls were made, not %d and a row of %d failures", n(), well, inARow)
	}
}

// A burst of calls that time out is counted wherever in a window it falls.
func TestCallsThatTimeOutAreCountedWhenTheWindowTurnsMeanwhile(t *testing.T) {
	const timeout, window = time.Second, 10 * time.Second
	for turn := range 20 {
		synctest.Test(t, func(t *testing.T) {
			d, call, _ := dependency(t, nil, outside.Config{Tries: 1, Timeout: timeout, Interval: window}, spec{}, func(ctx context.Context, _ int) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			})
			<-time.After(window/2 + time.Duration(turn)*window/20)
			var burst sync.WaitGroup
			for range 10 {
				burst.Go(func() { _, _ = call.Do(t.Context(), "") })
			}
			burst.Wait()
			if d.State() != "open" {
				t.Errorf("after ten time-outs at tick %d the breaker is %s", turn, d.State())
			}
		})
	}
}

func TestSettingsThatDoNotFitEachOtherAreRefused(t *testing.T) {
	for says, c := range map[string]outside.Config{
		"twice the Timeout": {Timeout: 5 * time.Second, Interval: 10*time.Second - 1},
		"Budget":            {Timeout: 5 * time.Second, Budget: 4 * time.Second},
		"MaxBackoff":        {Backoff: 2 * time.Second, MaxBackoff: time.Second},
		"Timeout":           {Timeout: -1},
		"Tries":             {Tries: -1},
		"RetryRatio":        {RetryRatio: -1},
		"Concurrency":       {Concurrency: -1},
		"OpenFor":           {OpenFor: -1},
		"FailureRatio":      {FailureRatio: 1.5},
		"MinCalls":          {MinCalls: -1},
		"InARow":            {InARow: -1},
		"Probes":            {Probes: 65},
		"can time out":      {Concurrency: 9},
		"lower-case":        {Name: "A thing"},
	} {
		if c.Name == "" {
			c.Name = "thing"
		}
		if _, err := outside.New(nil, c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if _, err := outside.ParseMode("ajar"); err == nil {
		t.Error("ajar is a mode")
	}
}
