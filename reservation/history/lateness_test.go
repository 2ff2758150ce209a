package history_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
	"github.com/flashsale-engine/flashsale/reservation"
)

// holds is how many live holds expire in the lateness test; `make soak` takes 100,000.
var holds = flag.Int("holds", 10_000, "live holds that expire while the reaper's lateness is measured")

// timed is a gate whose reaps are measured.
type timed struct {
	engine.GateControl
	mu    sync.Mutex
	calls []time.Duration
	most  int
}

func (g *timed) Reap(ctx context.Context, s *engine.Sale, limit int) (engine.Reaped, error) {
	began := time.Now()
	r, err := g.GateControl.Reap(ctx, s, limit)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls, g.most = append(g.calls, time.Since(began)), max(g.most, r.Expired+len(r.Overdue))
	return r, err
}

// Many holds are due one after the other, nobody asks for their units, and the
// reaper alone brings them back. The n-th unit to be available again is matched
// with the n-th deadline; its lateness is what lies between. The counters are
// looked at every few milliseconds, which counts as lateness too.
func TestExpiredUnitsAreBackWithinASecond(t *testing.T) {
	const bound = time.Second
	g, err := reservation.Open(reservation.Options{URL: testenv.Redis(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	// All must be live before the first is due.
	ttl := 2*time.Second + time.Duration(*holds)*50*time.Microsecond
	s := &engine.Sale{
		No: lastSale.Add(1), ID: "late", State: engine.SaleOpen, Epoch: 1, Version: 1, Shards: 1, HoldTTL: ttl, HoldCap: 10 * ttl,
		PerBuyerLimit: 1, Items: []engine.Item{{Stock: int64(*holds)}},
	}
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	due := make([]time.Time, *holds)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(*holds); i = next.Add(1) - 1 {
				r := engine.HoldRequest{Lines: []engine.Line{{Quantity: 1}}}
				binary.BigEndian.PutUint64(r.Buyer[:], uint64(i+1)*0x9e3779b97f4a7c15)
				h, err := g.Hold(context.Background(), s, r)
				if err != nil {
					t.Error(err)
					return
				}
				due[i] = h.ExpiresAt
			}
		})
	}
	wg.Wait()
	slices.SortFunc(due, time.Time.Compare)
	if first := time.Until(due[0]); first <= 0 {
		t.Fatalf("the machine is too slow: holds were due %s before all were made", -first)
	}

	control := &timed{GateControl: g}
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	reaper := reservation.Reaper{
		Gate: control, Overdue: func(*engine.Sale, engine.Hold) {},
		Sales: func(context.Context) ([]*engine.Sale, error) { return []*engine.Sale{s}, nil },
	}
	go func() { stopped <- reaper.Run(ctx) }()
	late := make([]time.Duration, 0, *holds)
	for deadline := time.Now().Add(ttl + time.Minute); len(late) < *holds; {
		cs, err := g.Counters(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		for int64(len(late)) < cs[0].Available {
			late = append(late, now.Sub(due[len(late)]))
		}
		if now.After(deadline) {
			t.Fatalf("%d of %d units came back", len(late), *holds)
		}
		<-time.After(4 * time.Millisecond)
	}
	stop()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("the reaper: %v", err)
	}
	slices.Sort(late)
	if late[0] < -2*time.Millisecond { // the gate's milliseconds are rounded down
		t.Errorf("a unit was back %s before its deadline", -late[0])
	}
	slices.Sort(control.calls)
	at := func(d []time.Duration, p float64) time.Duration {
		return d[int(p*float64(len(d)-1))].Round(time.Millisecond / 10)
	}
	t.Logf("%d holds due within %s: late p50 %s, p99 %s, most %s; %d reaps, at most %d holds each, p99 %s",
		*holds, due[len(due)-1].Sub(due[0]).Round(time.Millisecond), at(late, .5), at(late, .99), at(late, 1), len(control.calls), control.most, at(control.calls, .99))
	if p99 := at(late, .99); p99 > bound {
		t.Errorf("p99 of lateness is %s", p99)
	}
	if control.most > 256 {
		t.Errorf("one reap ended %d holds", control.most)
	}
}
