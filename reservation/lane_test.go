package reservation

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/flashsale-engine/flashsale/engine"
)

// gated is a gate on a miniredis whose scripts wait until they are let through.
type gated struct {
	*Gate
	s       *engine.Sale
	m       *miniredis.Miniredis
	arrived chan int      // the number of operations of a call that waits
	pass    chan struct{} // lets one through
}

func newGated(t *testing.T, o Options) *gated {
	t.Helper()
	m := miniredis.RunT(t)
	x := &gated{m: m, arrived: make(chan int, 64), pass: make(chan struct{}, 64)}
	x.Gate = openInside(t, "redis://"+m.Addr(), o)
	x.wellFilled = maxBatch * 100 // one call at a time, unless a test says otherwise
	x.s = &engine.Sale{No: 1, Epoch: 1, State: engine.SaleOpen, PerBuyerLimit: 9, HoldTTL: time.Hour, HoldCap: 2 * time.Hour, Items: []engine.Item{{Stock: 10000}}}
	if err := x.Create(t.Context(), x.s); err != nil {
		t.Fatal(err)
	}
	m.Server().SetPreHook(func(_ *server.Peer, cmd string, args ...string) bool {
		if strings.EqualFold(cmd, "EVALSHA") && args[1] == "8" { // of the gate's script
			n := 0
			for _, c := range args[2+8+2] {
				n = n*10 + int(c-'0')
			}
			x.arrived <- n
			<-x.pass
		}
		return false
	})
	t.Cleanup(func() { close(x.pass) })
	return x
}

func (x *gated) hold(ctx context.Context, buyer uint64) error {
	_, err := x.Hold(ctx, x.s, engine.HoldRequest{Buyer: buyerKey(buyer), Lines: []engine.Line{{Quantity: 1}}})
	return err
}

// waiting returns once n operations wait behind the one in flight.
func (x *gated) waiting(t *testing.T, n int) {
	t.Helper()
	l := x.lane(x.s, 0)
	for deadline := time.Now().Add(time.Minute); ; {
		l.mu.Lock()
		got := len(l.queue)
		l.mu.Unlock()
		if got == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, not %d", got, n)
		}
		<-time.After(time.Millisecond)
	}
}

func TestWhatArrivesDuringACallGoesIntoTheNextOne(t *testing.T) {
	x := newGated(t, Options{})
	var wg sync.WaitGroup
	send := func(b uint64) {
		wg.Go(func() {
			if err := x.hold(context.Background(), b); err != nil {
				t.Error(err)
			}
		})
	}
	send(0)
	if n := <-x.arrived; n != 1 { // a first miss of the script's digest is a call of its own, by EVAL
		t.Fatalf("%d operations in the first call", n)
	}
	for b := range uint64(300) {
		send(b + 1)
	}
	x.waiting(t, 300)
	x.pass <- struct{}{}
	sizes := []int{}
	for total := 0; total < 300; {
		n := <-x.arrived
		sizes, total = append(sizes, n), total+n
		x.pass <- struct{}{}
	}
	wg.Wait()
	if len(sizes) != 2 || sizes[0] != maxBatch || sizes[1] != 300-maxBatch {
		t.Errorf("batches of %v", sizes)
	}
}

func TestASecondCallLeavesOnceItIsWellFilled(t *testing.T) {
	x := newGated(t, Options{})
	x.wellFilled = 20
	var wg sync.WaitGroup
	send := func(n int, from uint64) {
		for b := range uint64(n) {
			wg.Go(func() {
				if err := x.hold(context.Background(), from+b); err != nil {
					t.Error(err)
				}
			})
		}
	}
	send(1, 0)
	if n := <-x.arrived; n != 1 {
		t.Fatalf("%d operations in the first call", n)
	}
	send(19, 100)
	x.waiting(t, 19)
	send(1, 200) // the twentieth
	if n := <-x.arrived; n != 20 {
		t.Errorf("%d operations in the second call", n)
	}
	send(40, 300) // two are in flight: these wait
	x.waiting(t, 40)
	x.pass <- struct{}{}
	if n := <-x.arrived; n != 40 {
		t.Errorf("%d operations in the third call", n)
	}
	x.pass <- struct{}{}
	x.pass <- struct{}{}
	wg.Wait()
}

func TestAFullQueueRefusesAtOnce(t *testing.T) {
	x := newGated(t, Options{MaxQueue: maxBatch})
	var wg sync.WaitGroup
	for b := range uint64(maxBatch + 1) {
		wg.Go(func() {
			if err := x.hold(context.Background(), b); err != nil {
				t.Error(err)
			}
		})
		if b == 0 {
			<-x.arrived
		}
	}
	x.waiting(t, maxBatch)
	err := x.hold(context.Background(), 9999)
	var e *engine.Error
	if !errors.As(err, &e) || e.Code != engine.CodeOverloaded || e.RetryAfter != time.Second || errors.Is(err, engine.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	x.pass <- struct{}{}
	<-x.arrived
	x.pass <- struct{}{}
	wg.Wait()
}

func TestACallerWhoLeavesLearnsWhetherTheRequestWasSent(t *testing.T) {
	x := newGated(t, Options{})
	first, leaveFirst := context.WithCancel(context.Background())
	second, leaveSecond := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := x.hold(first, 1)
		if !errors.Is(err, engine.ErrUnknown) || !errors.Is(err, context.Canceled) || engine.CodeOf(err) != engine.CodeUnavailable {
			t.Errorf("sent: %v", err)
		}
	})
	<-x.arrived
	wg.Go(func() {
		err := x.hold(second, 2)
		if errors.Is(err, engine.ErrUnknown) || !errors.Is(err, context.Canceled) || engine.CodeOf(err) != engine.CodeUnavailable {
			t.Errorf("not sent: %v", err)
		}
	})
	x.waiting(t, 1)
	leaveFirst()
	leaveSecond()
	wg.Wait()
	x.pass <- struct{}{}
	go func() { <-x.arrived; x.pass <- struct{}{} }()
	if err := x.hold(context.Background(), 3); err != nil {
		t.Fatal(err)
	}
	cs, err := x.Counters(t.Context(), x.s)
	if err != nil || cs[0].Held != 2 { // the first was made all the same, the second was not
		t.Errorf("%+v, %v", cs, err)
	}
}

func TestSnapshotsOfTwoEpochsDoNotShareACall(t *testing.T) {
	x := newGated(t, Options{})
	other := *x.s
	other.Epoch = 2
	var wg sync.WaitGroup
	wg.Go(func() { _ = x.hold(context.Background(), 0) })
	<-x.arrived
	wg.Go(func() {
		if err := x.hold(context.Background(), 1); err != nil {
			t.Error(err)
		}
	})
	x.waiting(t, 1)
	wg.Go(func() {
		_, err := x.Hold(context.Background(), &other, engine.HoldRequest{Lines: []engine.Line{{Quantity: 1}}})
		if engine.CodeOf(err) != engine.CodeGateFrozen {
			t.Errorf("the other epoch: %v", err)
		}
	})
	x.waiting(t, 2)
	for range 3 {
		x.pass <- struct{}{}
	}
	wg.Wait()
}

func TestARedisThatTakesNoConnectionIsUnavailableAndNothingIsUnknown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	g := openInside(t, "redis://"+l.Addr().String(), Options{})
	s := &engine.Sale{No: 1, Epoch: 1}
	_, err = g.Hold(t.Context(), s, engine.HoldRequest{Lines: []engine.Line{{Quantity: 1}}})
	if engine.CodeOf(err) != engine.CodeUnavailable || errors.Is(err, engine.ErrUnknown) {
		t.Errorf("hold: %v", err)
	}
	_, err = g.Find(t.Context(), s, engine.ReservationID{})
	if engine.CodeOf(err) != engine.CodeUnavailable || errors.Is(err, engine.ErrUnknown) {
		t.Errorf("find: %v", err)
	}
}

func TestAnUnansweredCallIsUnknownAndItsQueueIsNot(t *testing.T) {
	t.Parallel()
	x := newGated(t, Options{CallTimeout: 5 * time.Second}) // the second comes within it
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := x.hold(context.Background(), 1); !errors.Is(err, engine.ErrUnknown) || engine.CodeOf(err) != engine.CodeUnavailable {
			t.Errorf("in flight: %v", err)
		}
	})
	<-x.arrived
	wg.Go(func() {
		if err := x.hold(context.Background(), 2); errors.Is(err, engine.ErrUnknown) || engine.CodeOf(err) != engine.CodeUnavailable {
			t.Errorf("in the queue: %v", err)
		}
	})
	x.waiting(t, 1)
	wg.Wait()
	x.pass <- struct{}{}
}

func TestAClosedGateTakesNothing(t *testing.T) {
	m := miniredis.RunT(t)
	g := openInside(t, "redis://"+m.Addr(), Options{})
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := g.Hold(t.Context(), &engine.Sale{}, engine.HoldRequest{Lines: []engine.Line{{Quantity: 1}}})
	if engine.CodeOf(err) != engine.CodeUnavailable || errors.Is(err, engine.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

func TestCountersThatDoNotAddUpStopTheScriptBeforeItWrites(t *testing.T) {
	m := miniredis.RunT(t)
	g := openInside(t, "redis://"+m.Addr(), Options{})
	s := &engine.Sale{No: 1, Epoch: 1, State: engine.SaleOpen, PerBuyerLimit: 9, HoldTTL: time.Hour, HoldCap: time.Hour, Items: []engine.Item{{Stock: 5}}}
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, broken := range []string{"5 0 0 0 6", "6 -1 0 0 5", "4 0 0 0 5"} {
		m.HSet(keysOf(1, 0).sku, "0", broken)
		before := m.Dump()
		_, err := g.Hold(t.Context(), s, engine.HoldRequest{Lines: []engine.Line{{Quantity: 1}}})
		if engine.CodeOf(err) != engine.CodeInternal || !strings.Contains(err.Error(), "conservation") || errors.Is(err, engine.ErrUnknown) {
			t.Errorf("%q: %v", broken, err)
		}
		if m.Dump() != before {
			t.Errorf("%q: something was written", broken)
		}
	}
}

func TestDecisionsAreCounted(t *testing.T) {
	m := miniredis.RunT(t)
	reg := prometheus.NewRegistry()
	g := openInside(t, "redis://"+m.Addr(), Options{Registerer: reg})
	s := &engine.Sale{No: 1, Epoch: 1, State: engine.SaleOpen, PerBuyerLimit: 9, HoldTTL: time.Hour, HoldCap: time.Hour, Items: []engine.Item{{Stock: 1}}}
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, b := range []uint64{1, 1, 2} {
		_, _ = g.Hold(t.Context(), s, engine.HoldRequest{Buyer: buyerKey(b), Lines: []engine.Line{{Quantity: 1}}})
	}
	for _, result := range []string{"ok", "replayed", "sold_out"} {
		if n := testutil.ToFloat64(g.metrics.decisions.WithLabelValues("hold", result)); n != 1 {
			t.Errorf("%s is counted %v times", result, n)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if _, err := Open(Options{URL: "redis://x", Registerer: reg}); err == nil {
		t.Error("a second gate registered the same metrics")
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for _, o := range []Options{
		{}, {URL: "http://x"}, {URL: "redis://x", Keep: 1}, {URL: "redis://x", MaxAttempts: 256}, {URL: "redis://x", Lease: -1},
		{URL: "redis://x", MaxQueue: 1}, {URL: "redis://x", CallTimeout: 1}, {URL: "redis://x", PoolSize: 1}, {URL: "redis://x y:z@\x7f"},
	} {
		if g, err := Open(o); err == nil {
			t.Errorf("%+v was accepted", o)
			_ = g.Close()
		}
	}
}
