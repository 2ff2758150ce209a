package payment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/payment/sandbox"
)

// ledger is a record in memory: attempts leave its lists when they are noted as final.
type ledger struct {
	mu        sync.Mutex
	uncapt    []engine.Attempt
	tovoid    []engine.Attempt
	owed      []engine.Attempt
	owes      map[engine.AttemptID]string
	notes     map[engine.AttemptID]string
	failNotes int
	settled   chan struct{} // closed when both lists are empty
}

func newLedger(capture, void []engine.Attempt) *ledger {
	return &ledger{uncapt: capture, tovoid: void, notes: map[engine.AttemptID]string{}, owes: map[engine.AttemptID]string{}, settled: make(chan struct{})}
}

func (l *ledger) Authorised(_ context.Context, limit int) (capture, void, lost []engine.Attempt, err error) {
	void = l.list(&l.tovoid, limit)
	return l.list(&l.uncapt, limit-len(void)), void, nil, nil
}

func (l *ledger) Owed(_ context.Context, limit int) ([]engine.Attempt, error) {
	return l.list(&l.owed, limit), nil
}

func (l *ledger) Owe(_ context.Context, id engine.AttemptID, reason string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owes[id] = reason
	return nil
}

func (l *ledger) Unresolved(context.Context) ([]engine.Unresolved, error) {
	return []engine.Unresolved{{State: engine.PaymentUnknown, Count: 3, Oldest: 7 * time.Second},
		{State: engine.PaymentNeedsAction, Count: 1, Oldest: time.Hour}, {State: engine.PaymentAuthorising, Parked: engine.Queued, Count: 2, Oldest: time.Minute}}, nil
}

func (l *ledger) list(from *[]engine.Attempt, limit int) []engine.Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]engine.Attempt(nil), (*from)[:min(limit, len(*from))]...)
}

func (l *ledger) Note(_ context.Context, at engine.Attempt, p engine.Payment, reason string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := at.ID
	if l.failNotes > 0 {
		l.failNotes--
		return engine.E(engine.CodeUnavailable, "the record is away")
	}
	l.notes[id] = string(p.State) + " " + reason
	before := len(l.uncapt) + len(l.tovoid)
	for _, list := range []*[]engine.Attempt{&l.uncapt, &l.tovoid, &l.owed} {
		for i, a := range *list {
			if a.ID == id {
				*list = append((*list)[:i:i], (*list)[i+1:]...)
				break
			}
		}
	}
	if before > 0 && len(l.uncapt)+len(l.tovoid) == 0 {
		close(l.settled)
	}
	return nil
}

func attempts(prefix string, n int) []engine.Attempt {
	out := make([]engine.Attempt, n)
	for i := range out {
		out[i] = attempt("pm_card_visa", fmt.Sprint(prefix, i))
	}
	return out
}

func noResolve(context.Context, *engine.Sale, engine.Hold) error { return nil }

// run runs a worker until the test ends it.
func run(t testing.TB, c WorkerConfig) (w *Worker, stop func()) {
	t.Helper()
	if c.Resolve == nil {
		c.Resolve = noResolve
	}
	w, err := NewWorker(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return w, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestEveryOrderIsCapturedExactlyOnceUnderRepeatedTimeouts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "books.jsonl")
	s, err := sandbox.New(sandbox.Config{DataFile: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var swallowed sync.Map // path → *atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := swallowed.LoadOrStore(r.URL.Path, new(atomic.Int32))
		if strings.HasSuffix(r.URL.Path, "/capture") && n.(*atomic.Int32).Add(1) <= 2 {
			s.Handler().ServeHTTP(httptest.NewRecorder(), r) // done, and nobody hears of it
			<-r.Context().Done()
			return
		}
		s.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	p := client(t, srv.URL)
	g, err := NewGuard(p, GuardConfig{Timeout: 100 * time.Millisecond, Tries: 1, MinCalls: 1000, Interval: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	list := attempts("o", 12)
	for i := range list {
		got, err := p.Authorise(t.Context(), list[i])
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			list[i].ProviderRef = got.Ref // the other half has lost its reference
		}
	}
	l := newLedger(list, nil)
	l.failNotes = 3
	_, stop := run(t, WorkerConfig{Payments: g, Ledger: l, Every: 5 * time.Millisecond, Backoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond})
	select {
	case <-l.settled:
	case <-time.After(2 * time.Minute):
		t.Error("not settled in time")
	}
	stop()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte(`"status":"succeeded"`)); n != len(list) {
		t.Fatalf("%d captures of %d orders", n, len(list))
	}
	for _, a := range list {
		if l.notes[a.ID] != "captured order_confirmed" {
			t.Fatalf("noted %q", l.notes[a.ID])
		}
	}
}

func TestTheWorkerNotesWhatTheProviderSays(t *testing.T) {
	for name, c := range map[string]struct {
		void  bool
		state engine.PaymentState
		note  string
	}{
		"a capture":                          {false, engine.PaymentCaptured, "captured order_confirmed"},
		"a capture that came too late":       {false, engine.PaymentVoided, "voided capture_impossible"},
		"a capture still processing":         {false, engine.PaymentUnknown, ""},
		"a void":                             {true, engine.PaymentVoided, "voided order_refused"},
		"a void of what was declined":        {true, engine.PaymentDeclined, "declined order_refused"},
		"a void of what was captured":        {true, engine.PaymentCaptured, "captured captured_though_refused"},
		"a void that the provider still has": {true, engine.PaymentAuthorised, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, f := guard(t, GuardConfig{}, func(context.Context, int) (engine.Payment, error) { return engine.Payment{State: c.state}, nil })
				list := attempts("x", 1)
				l := newLedger(list, nil)
				if c.void {
					l = newLedger(nil, list)
				}
				_, stop := run(t, WorkerConfig{Payments: g, Ledger: l})
				<-time.After(10 * time.Second)
				stop()
				if l.notes[list[0].ID] != c.note {
					t.Fatalf("noted %q", l.notes[list[0].ID])
				}
				if again := f.n() > 1; again != (c.note == "") {
					t.Fatalf("%d calls", f.n())
				}
			})
		})
	}
}

func TestHopelessAttemptsRestAndDoNotHideTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := attempts("x", 20)
		hopeless := map[engine.AttemptID]bool{}
		for _, a := range list[:8] {
			hopeless[a.ID] = true
		}
		calls := map[engine.AttemptID]int{}
		var mu sync.Mutex
		p := byAttempt(func(a engine.Attempt) (engine.Payment, error) {
			mu.Lock()
			defer mu.Unlock()
			calls[a.ID]++
			if hopeless[a.ID] {
				return engine.Payment{}, errNoAnswer
			}
			return engine.Payment{State: engine.PaymentCaptured}, nil
		})
		l := newLedger(list, nil)
		_, stop := run(t, WorkerConfig{Payments: p, Ledger: l, Batch: 4, Concurrency: 2})
		<-time.After(time.Minute)
		stop()
		if len(l.notes) != 12 {
			t.Fatalf("%d of 12 captured", len(l.notes))
		}
		for id := range hopeless {
			if n := calls[id]; n < 5 || n > 15 {
				t.Fatalf("a hopeless one was tried %d times in a minute", n)
			}
		}
	})
}

// byAttempt is a provider, and an engine.Payments, of one function.
type byAttempt func(a engine.Attempt) (engine.Payment, error)

func (f byAttempt) Choose(context.Context, engine.Attempt) (string, error) { return "fake", nil }
func (f byAttempt) Authorise(_ context.Context, a engine.Attempt) (engine.Payment, error) {
	return f(a)
}
func (f byAttempt) Capture(_ context.Context, a engine.Attempt) (engine.Payment, error) { return f(a) }
func (f byAttempt) Void(_ context.Context, a engine.Attempt) (engine.Payment, error)    { return f(a) }
func (f byAttempt) Refund(_ context.Context, a engine.Attempt) (engine.Payment, error)  { return f(a) }
func (f byAttempt) Lookup(_ context.Context, a engine.Attempt) (engine.Payment, error)  { return f(a) }

func TestAnOpenBreakerIsWaitedForAndNoFailureOfTheAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := attempts("x", 1)
		var times []time.Duration
		began := time.Now()
		p := byAttempt(func(engine.Attempt) (engine.Payment, error) {
			times = append(times, time.Since(began).Round(time.Second))
			if len(times) < 4 {
				return engine.Payment{}, notTaken(ErrBreakerOpen, "").After(3 * time.Second)
			}
			return engine.Payment{State: engine.PaymentCaptured}, nil
		})
		l := newLedger(list, nil)
		_, stop := run(t, WorkerConfig{Payments: p, Ledger: l})
		<-l.settled
		stop()
		if fmt.Sprint(times) != "[0s 3s 6s 9s]" {
			t.Fatal(times)
		}
	})
}

func TestAnOfferedHoldIsResolvedOnceAtATimeAndAFullQueueDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enter, leave := make(chan struct{}, 10), make(chan struct{})
		var got []string
		var mu sync.Mutex
		w, stop := run(t, WorkerConfig{
			Payments: byAttempt(nil), Ledger: newLedger(nil, nil), Queue: 2, Concurrency: 1,
			Resolve: func(_ context.Context, s *engine.Sale, h engine.Hold) error {
				enter <- struct{}{}
				<-leave
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprint(s.ID, h.ID.Created))
				return nil
			},
		})
		hold := func(n int64) engine.Hold { return engine.Hold{ID: engine.ReservationID{Created: n}} }
		sale := &engine.Sale{ID: "s"}
		if !w.Offer(sale, hold(1)) {
			t.Fatal("an empty queue dropped")
		}
		<-enter // 1 is in hand
		w.Offer(sale, hold(1))
		synctest.Wait() // the repetition is passed over
		w.Offer(sale, hold(2))
		synctest.Wait() // 2 waits for a place
		if !w.Offer(sale, hold(3)) || !w.Offer(sale, hold(4)) || w.Offer(sale, hold(5)) {
			t.Fatal("a queue of two holds two")
		}
		close(leave)
		synctest.Wait()
		stop()
		if fmt.Sprint(got) != "[s1 s2 s3 s4]" {
			t.Fatal(got)
		}
	})
}

func TestAShutdownFinishesTheCallsInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		enter, leave := make(chan struct{}), make(chan struct{})
		p := byAttempt(func(engine.Attempt) (engine.Payment, error) {
			close(enter) // a second call would panic
			<-leave
			return engine.Payment{State: engine.PaymentCaptured}, nil
		})
		l := newLedger(attempts("x", 3), nil)
		_, stop := run(t, WorkerConfig{Payments: p, Ledger: l, Concurrency: 1})
		<-enter
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		synctest.Wait()
		select {
		case <-stopped:
			t.Fatal("it did not wait for the call in hand")
		default:
		}
		close(leave)
		<-stopped
		if len(l.notes) != 1 {
			t.Fatalf("%d notes", len(l.notes))
		}
	})
}

func TestStaleAttemptsAreResolvedWhenTheWiringAsksForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n, looks atomic.Int32
		_, stop := run(t, WorkerConfig{
			Payments: byAttempt(nil), Ledger: newLedger(nil, nil),
			Stale: func(context.Context, int) ([]engine.Attempt, error) {
				if looks.Add(1) == 1 {
					return nil, errors.New("away")
				}
				return attempts("x", 2), nil
			},
			ResolveAttempt: func(context.Context, engine.Attempt) error { n.Add(1); return nil },
		})
		<-time.After(1500 * time.Millisecond) // the first look fails, the second comes a second later
		stop()
		if n.Load() != 2 {
			t.Fatal(n.Load())
		}
	})
}

func TestWakeMakesTheWorkerLookNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(nil, nil)
		w, stop := run(t, WorkerConfig{
			Payments: byAttempt(func(engine.Attempt) (engine.Payment, error) {
				return engine.Payment{State: engine.PaymentCaptured}, nil
			}), Ledger: l, Every: time.Hour,
		})
		synctest.Wait()
		l.mu.Lock()
		l.uncapt = attempts("x", 1)
		l.mu.Unlock()
		w.Wake()
		w.Wake()
		synctest.Wait()
		stop()
		if len(l.notes) != 1 {
			t.Fatal("it slept on")
		}
	})
}

func TestCapturesStandBackWhileBuyersPay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Bool
		busy.Store(true)
		l := newLedger(attempts("x", 5), nil)
		_, stop := run(t, WorkerConfig{
			Payments: byAttempt(func(engine.Attempt) (engine.Payment, error) {
				return engine.Payment{State: engine.PaymentCaptured}, nil
			}), Ledger: l, Batch: 1, Every: time.Second, Busy: busy.Load,
		})
		noted := func(want int) {
			t.Helper()
			synctest.Wait()
			l.mu.Lock()
			defer l.mu.Unlock()
			if len(l.notes) != want {
				t.Errorf("%d captured, not %d", len(l.notes), want)
			}
		}
		noted(1)
		time.Sleep(time.Second)
		noted(2)
		busy.Store(false)
		time.Sleep(time.Second)
		noted(5)
		stop()
	})
}

// slowNotes is a ledger whose notes wait.
type slowNotes struct {
	*ledger
	until chan struct{}
}

func (l slowNotes) Note(ctx context.Context, at engine.Attempt, p engine.Payment, reason string) error {
	<-l.until
	return l.ledger.Note(ctx, at, p, reason)
}

func TestTheNextCaptureDoesNotWaitForTheNoteOfTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var captured atomic.Int32
		l := slowNotes{newLedger(attempts("x", 3), nil), make(chan struct{})}
		_, stop := run(t, WorkerConfig{
			Payments: byAttempt(func(engine.Attempt) (engine.Payment, error) {
				captured.Add(1)
				return engine.Payment{State: engine.PaymentCaptured}, nil
			}), Ledger: l, Concurrency: 1, Every: time.Hour,
		})
		synctest.Wait()
		if captured.Load() != 3 {
			t.Errorf("%d captured while the notes wait", captured.Load())
		}
		close(l.until)
		stop() // what is begun is noted
		if len(l.notes) != 3 {
			t.Errorf("%d noted", len(l.notes))
		}
	})
}

func TestAWorkerWithoutItsPartsIsRefused(t *testing.T) {
	ok := WorkerConfig{Payments: byAttempt(nil), Ledger: newLedger(nil, nil), Resolve: noResolve}
	for name, spoil := range map[string]func(*WorkerConfig){
		"no payments":    func(c *WorkerConfig) { c.Payments = nil },
		"no ledger":      func(c *WorkerConfig) { c.Ledger = nil },
		"no resolve":     func(c *WorkerConfig) { c.Resolve = nil },
		"half a net":     func(c *WorkerConfig) { c.ResolveAttempt = func(context.Context, engine.Attempt) error { return nil } },
		"half an inbox":  func(c *WorkerConfig) { c.Heed = func(context.Context, engine.ProviderEvent) error { return nil } },
		"negative batch": func(c *WorkerConfig) { c.Batch = -1 },
	} {
		c := ok
		if spoil(&c); func() error { _, err := NewWorker(c); return err }() == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := NewWorker(ok); err != nil {
		t.Fatal(err)
	}
}
