package payment

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/outside"
)

// fake is a provider whose every call is do; it counts them.
type fake struct {
	mu    sync.Mutex
	calls int
	do    func(ctx context.Context, n int) (engine.Payment, error)
}

func (f *fake) call(ctx context.Context) (engine.Payment, error) {
	f.mu.Lock()
	f.calls++
	n := f.calls
	f.mu.Unlock()
	return f.do(ctx, n)
}

func (f *fake) n() int { f.mu.Lock(); defer f.mu.Unlock(); return f.calls }

func (f *fake) Name() string { return "fake" }
func (f *fake) Authorise(ctx context.Context, _ engine.Attempt) (engine.Payment, error) {
	return f.call(ctx)
}
func (f *fake) Capture(ctx context.Context, _ engine.Attempt) (engine.Payment, error) {
	return f.call(ctx)
}
func (f *fake) Void(ctx context.Context, _ engine.Attempt) (engine.Payment, error) {
	return f.call(ctx)
}
func (f *fake) Refund(ctx context.Context, _ engine.Attempt) (engine.Payment, error) {
	return f.call(ctx)
}
func (f *fake) Lookup(ctx context.Context, _ engine.Attempt) (engine.Payment, error) {
	return f.call(ctx)
}

var (
	errNotTaken = notTaken(errors.New("refused"), "down")
	errNoAnswer = unknown(errors.New("reset"), "no answer")
	good        = engine.Payment{State: engine.PaymentAuthorised}
)

func board(t testing.TB, reg prometheus.Registerer) *outside.Board {
	t.Helper()
	b, err := outside.NewBoard(reg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func guard(t testing.TB, c GuardConfig, do func(ctx context.Context, n int) (engine.Payment, error)) (*Guard, *fake) {
	t.Helper()
	f := &fake{do: do}
	g, err := NewGuard(f, c)
	if err != nil {
		t.Fatal(err)
	}
	return g, f
}

func TestWhatIsTriedAgain(t *testing.T) {
	rejected := notTaken(ErrRejected, "400")
	for name, c := range map[string]struct {
		op      string
		answers []error
		calls   int
		want    string
	}{
		"an authorisation certainly not taken is repeated": {"authorise", []error{errNotTaken, errNotTaken, nil}, 3, "answered"},
		"but not for ever":                                             {"authorise", []error{errNotTaken, errNotTaken, errNotTaken, nil}, 3, "not taken"},
		"an unknown authorisation is not repeated":                     {"authorise", []error{errNoAnswer, nil}, 1, "unknown"},
		"an authorisation first not taken, then unknown, is unknown":   {"authorise", []error{errNotTaken, errNoAnswer, nil}, 2, "unknown"},
		"an unknown capture is repeated":                               {"capture", []error{errNoAnswer, nil}, 2, "answered"},
		"a capture once unknown does not become certain by a refusal":  {"capture", []error{errNoAnswer, errNotTaken, errNotTaken, nil}, 3, "unknown"},
		"a void is repeated":                                           {"void", []error{errNoAnswer, errNotTaken, nil}, 3, "answered"},
		"a look-up is repeated":                                        {"lookup", []error{errNotTaken, nil}, 2, "answered"},
		"a rejected request is not repeated":                           {"capture", []error{rejected, nil}, 1, "not taken"},
		"an error that says nothing is unknown, and so not repeated":   {"authorise", []error{errors.New("?"), nil}, 1, "unknown"},
		"a time-out that says nothing is unknown, and repeated":        {"capture", []error{context.DeadlineExceeded, nil}, 2, "answered"},
		"an answer is an answer":                                       {"authorise", []error{nil}, 1, "answered"},
		"a wrapped unknown inside a certain code is still not certain": {"authorise", []error{engine.Wrap(engine.ErrUnknown, engine.CodePaymentUnavailable, ""), nil}, 1, "unclassified: payment_unavailable: outcome unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, f := guard(t, GuardConfig{}, func(_ context.Context, n int) (engine.Payment, error) { return good, c.answers[n-1] })
				ops := map[string]func(context.Context, engine.Attempt) (engine.Payment, error){"authorise": g.Authorise, "capture": g.Capture, "void": g.Void, "lookup": g.Lookup}
				_, err := ops[c.op](t.Context(), engine.Attempt{})
				if f.n() != c.calls || verdict(err) != c.want {
					t.Fatalf("%d calls, %s: %v", f.n(), verdict(err), err)
				}
			})
		})
	}
}

func TestNotFoundIsTheProvidersWordAndNotRepeated(t *testing.T) {
	g, f := guard(t, GuardConfig{}, func(context.Context, int) (engine.Payment, error) {
		return engine.Payment{}, engine.E(engine.CodeNotFound, "never seen")
	})
	for range 30 {
		if _, err := g.Lookup(t.Context(), engine.Attempt{}); engine.CodeOf(err) != engine.CodeNotFound {
			t.Fatal(err)
		}
	}
	if f.n() != 30 || g.SettleState() != "closed" {
		t.Fatalf("%d calls, %s", f.n(), g.SettleState())
	}
}

func TestNoTryBeginsThatCannotHaveItsFullTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := GuardConfig{Timeout: 4 * time.Second, Budget: 6 * time.Second, Tries: 5}
		g, f := guard(t, c, func(ctx context.Context, _ int) (engine.Payment, error) {
			<-ctx.Done()
			return engine.Payment{}, unknown(ctx.Err(), "time-out")
		})
		began := time.Now()
		_, err := g.Capture(t.Context(), engine.Attempt{})
		if f.n() != 1 || time.Since(began) != 4*time.Second || !errors.Is(err, context.DeadlineExceeded) || verdict(err) != "unknown" {
			t.Fatalf("%d calls in %s: %v", f.n(), time.Since(began), err)
		}
		if g.Budget() != 6*time.Second {
			t.Fatal(g.Budget())
		}
	})
}

func TestACallersCancelDoesNotCancelTheProvidersCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g, _ := guard(t, GuardConfig{}, func(inner context.Context, _ int) (engine.Payment, error) {
			cancel()
			synctest.Wait()
			if inner.Err() != nil {
				return engine.Payment{}, unknown(inner.Err(), "cancelled")
			}
			return good, nil
		})
		if p, err := g.Authorise(ctx, engine.Attempt{}); err != nil || p != good {
			t.Fatalf("%+v, %v", p, err)
		}
		if _, err := g.Authorise(ctx, engine.Attempt{}); verdict(err) != "not taken" {
			t.Fatalf("a call after the cancel: %v", err)
		}
	})
}

func TestAFullBulkheadRefusesAtOnceAndLeavesTheOtherLaneFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		g, f := guard(t, GuardConfig{Concurrency: 10, SettleConcurrency: 10}, func(context.Context, int) (engine.Payment, error) { <-leave; return good, nil })
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { _, _ = g.Authorise(t.Context(), engine.Attempt{}) })
		}
		synctest.Wait()
		began := time.Now()
		_, err := g.Authorise(t.Context(), engine.Attempt{})
		if verdict(err) != "not taken" || !errors.Is(err, outside.ErrFull) || retryAfter(err) == 0 || time.Since(began) != 0 || f.n() != 10 {
			t.Fatalf("%d calls, %s: %v", f.n(), time.Since(began), err)
		}
		wg.Go(func() {
			if _, err := g.Lookup(t.Context(), engine.Attempt{}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if close(leave); f.n() != 11 {
			t.Fatalf("%d calls", f.n())
		}
		wg.Wait()
		if _, err := g.Authorise(t.Context(), engine.Attempt{}); err != nil {
			t.Fatalf("places are not given back: %v", err)
		}
	})
}

func TestABreakerOpensAfterFailuresAndRecoversThroughHalfOpen(t *testing.T) {
	for name, failure := range map[string]error{"not taken": errNotTaken, "unknown": errNoAnswer} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				healthy := false
				reg := prometheus.NewRegistry()
				g, f := guard(t, GuardConfig{Tries: 1, OpenFor: 5 * time.Second, Probes: 2, Board: board(t, reg)}, func(context.Context, int) (engine.Payment, error) {
					if healthy {
						return good, nil
					}
					return engine.Payment{}, failure
				})
				for range 10 {
					_, _ = g.Authorise(t.Context(), engine.Attempt{})
				}
				if g.State() != "open" || g.SettleState() != "closed" || metric(t, reg, "flashsale_dependency_breaker_state", "payment-fake-authorise") != 2 {
					t.Fatalf("%s, %s", g.State(), g.SettleState())
				}
				<-time.After(2 * time.Second)
				_, err := g.Authorise(t.Context(), engine.Attempt{})
				if f.n() != 10 || verdict(err) != "not taken" || !errors.Is(err, ErrBreakerOpen) || retryAfter(err) != 3*time.Second {
					t.Fatalf("%d calls, retry after %s: %v", f.n(), retryAfter(err), err)
				}
				<-time.After(3*time.Second + 1)
				if g.State() != "half-open" {
					t.Fatal(g.State())
				}
				_, _ = g.Authorise(t.Context(), engine.Attempt{}) // a probe that fails
				if g.State() != "open" {
					t.Fatal(g.State())
				}
				healthy = true
				<-time.After(5*time.Second + 1)
				for range 2 {
					if _, err := g.Authorise(t.Context(), engine.Attempt{}); err != nil {
						t.Fatal(err)
					}
				}
				if g.State() != "closed" {
					t.Fatal(g.State())
				}
			})
		})
	}
}

func TestRetriesEndWhenTheBreakerOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f := guard(t, GuardConfig{Tries: 100, MinCalls: 2, Budget: time.Minute}, func(context.Context, int) (engine.Payment, error) {
			return engine.Payment{}, errNotTaken
		})
		if _, err := g.Authorise(t.Context(), engine.Attempt{}); f.n() != 2 || !errors.Is(err, ErrBreakerOpen) {
			t.Fatalf("%d calls: %v", f.n(), err)
		}
	})
}

func TestWhatIsNoFaultOfTheProviderDoesNotOpenItsBreaker(t *testing.T) {
	for name, c := range map[string]struct {
		p   engine.Payment
		err error
	}{
		"declines":          {engine.Payment{State: engine.PaymentDeclined}, nil},
		"processing":        {engine.Payment{State: engine.PaymentUnknown}, nil},
		"rejected requests": {engine.Payment{}, notTaken(ErrRejected, "400")},
		"our own cancels":   {engine.Payment{}, unknown(context.Canceled, "left")},
	} {
		t.Run(name, func(t *testing.T) {
			g, _ := guard(t, GuardConfig{Tries: 1}, func(context.Context, int) (engine.Payment, error) { return c.p, c.err })
			for range 50 {
				_, _ = g.Authorise(t.Context(), engine.Attempt{})
			}
			if g.State() != "closed" {
				t.Fatal(g.State())
			}
		})
	}
}

func TestAProviderThatOnlyTimesOutOpensTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, f := guard(t, GuardConfig{Concurrency: 10}, func(ctx context.Context, _ int) (engine.Payment, error) {
			<-ctx.Done()
			return engine.Payment{}, ctx.Err()
		})
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for g.State() == "closed" && f.n() < 200 {
					_, _ = g.Authorise(t.Context(), engine.Attempt{})
				}
			})
		}
		wg.Wait()
		if f.n() > 40 {
			t.Fatalf("%d time-outs, and the breaker is %s", f.n(), g.State())
		}
	})
}

func TestAPanickingProviderFreesItsPlace(t *testing.T) {
	g, _ := guard(t, GuardConfig{}, func(context.Context, int) (engine.Payment, error) { panic("bug") })
	func() {
		defer func() { _ = recover() }()
		_, _ = g.Authorise(t.Context(), engine.Attempt{})
	}()
	if n := g.authorise.InFlight(); n != 0 {
		t.Fatalf("%d places are lost", n)
	}
}

func TestSettingsThatDoNotFitEachOtherAreRefused(t *testing.T) {
	if _, err := NewGuard(&fake{}, GuardConfig{}); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	if _, err := NewGuard(&fake{}, GuardConfig{Timeout: time.Minute, Backoff: 3 * time.Second}); err != nil {
		t.Fatalf("defaults follow what is given: %v", err)
	}
	for says, c := range map[string]GuardConfig{
		"twice the Timeout": {Timeout: 5 * time.Second, Interval: 10*time.Second - 1},
		"Budget":            {Timeout: 5 * time.Second, Budget: 4 * time.Second},
		"MaxBackoff":        {Backoff: 2 * time.Second, MaxBackoff: time.Second},
		"Timeout":           {Timeout: -1},
		"Tries":             {Tries: -1},
		"Concurrency":       {Concurrency: -1},
		"OpenFor":           {OpenFor: -1},
		"FailureRatio":      {FailureRatio: 1.5},
		"MinCalls":          {MinCalls: -1},
		"Probes":            {Probes: 65},
		"can time out":      {Concurrency: 9},
	} {
		if _, err := NewGuard(&fake{}, c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if _, err := NewGuard(nil, GuardConfig{}); err == nil {
		t.Error("no provider")
	}
}

func TestCallsAreCountedByOperationAndResult(t *testing.T) {
	reg := prometheus.NewRegistry()
	b := board(t, reg)
	g, _ := guard(t, GuardConfig{Tries: 1, Board: b}, func(_ context.Context, n int) (engine.Payment, error) {
		return engine.Payment{State: engine.PaymentDeclined}, map[int]error{2: errNoAnswer, 3: errNotTaken}[n]
	})
	for range 3 {
		_, _ = g.Authorise(t.Context(), engine.Attempt{})
	}
	for _, result := range []string{"declined", "no_answer", "unavailable"} {
		if n := metric(t, reg, "flashsale_dependency_calls_total", result); n != 1 {
			t.Errorf("%s: %g", result, n)
		}
	}
	if n := metric(t, reg, "flashsale_dependency_call_duration_seconds", "authorise"); n != 3 {
		t.Errorf("%g calls timed", n)
	}
	if _, err := NewGuard(&fake{}, GuardConfig{Board: b}); err == nil {
		t.Error("the same provider registered twice")
	}
}

// metric reads the one sample of a metric that has a label of this value.
func metric(t testing.TB, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == label {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	t.Fatalf("no %s with %s", name, label)
	return 0
}
