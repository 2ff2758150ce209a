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

// lateness is what `make soak` allows at p99. A test that is kept from the processor
// is late whatever the reaper does, so `make test` judges the reaper's own steps.
var lateness = flag.Duration("lateness", 0, "p99 of the reaper's lateness at most; 0: only its steps are judged")

// reap is one of the reaper's calls.
type reap struct {
	began, ended time.Time
	limit        int
	engine.Reaped
}

// timed is a gate whose reaps are noted.
type timed struct {
	engine.GateControl
	calls   []reap // of the reaper's goroutine
	expired int
	all     chan struct{} // closed when the last hold has expired
}

func (g *timed) Reap(ctx context.Context, s *engine.Sale, limit int) (engine.Reaped, error) {
	began := time.Now()
	r, err := g.GateControl.Reap(ctx, s, limit)
	g.calls = append(g.calls, reap{began, time.Now(), limit, r})
	if g.expired += r.Expired; g.expired == *holds && r.Expired > 0 {
		close(g.all)
	}
	return r, err
}

// Many holds are due one after the other, nobody asks for their units, and the
// reaper alone brings them back. A hold is late by the pause before the next call and
// by the calls until its turn, so: a call that leaves something due says so, and has
// done all that it may; the next one follows at once, or after the pause.
func TestExpiredUnitsAreBackWithinASecond(t *testing.T) {
	const idle = 100 * time.Millisecond
	g, err := reservation.Open(reservation.Options{URL: testenv.Redis(t), CallTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	// Unless the machine is very slow all are live before the first is due.
	ttl := 2*time.Second + time.Duration(*holds)*50*time.Microsecond
	s := &engine.Sale{
		No: lastSale.Add(1), ID: "late", State: engine.SaleOpen, Epoch: 1, Version: 1, Shards: 1, HoldTTL: ttl, HoldCap: 10 * ttl,
		PerBuyerLimit: 1, Items: []engine.Item{{Stock: int64(*holds)}},
	}
	if err := g.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	control := &timed{GateControl: g, all: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stopped := make(chan error, 1)
	reaper := reservation.Reaper{
		Gate: control, Overdue: func(*engine.Sale, engine.Hold) {}, Idle: idle,
		Sales: func(context.Context) ([]*engine.Sale, error) { return []*engine.Sale{s}, nil },
	}
	go func() { stopped <- reaper.Run(ctx) }()
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
	select {
	case <-control.all:
	case <-time.After(ttl + 2*time.Minute):
	}
	stop()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("the reaper: %v", err)
	}
	if cs, err := g.Counters(t.Context(), s); err != nil || control.expired != *holds || cs[0].Available != int64(*holds) {
		t.Fatalf("%d of %d holds expired: %+v, %v", control.expired, *holds, cs, err)
	}
	control.judge(t, due, idle)
}

// judge takes the deadlines in their order: the n-th hold that expired is the n-th due.
func (g *timed) judge(t *testing.T, due []time.Time, idle time.Duration) {
	var late, took, atOnce, later []time.Duration
	for i, c := range g.calls {
		before := len(late)
		for range c.Expired {
			late = append(late, c.ended.Sub(due[len(late)]))
		}
		switch left := earliest(due, len(late)); {
		case c.Expired > 0 && late[len(late)-1] < 0:
			t.Errorf("call %d brought a unit back %s before its deadline", i, -late[len(late)-1])
		case c.Expired > c.limit || c.limit > 256:
			t.Errorf("call %d ended %d holds of %d", i, c.Expired, c.limit)
		case c.More && c.Expired < c.limit:
			t.Errorf("call %d ended %d holds, might have ended %d, and left some", i, c.Expired, c.limit)
		case !c.More && left.Before(c.began.Add(-2*time.Millisecond)): // a deadline is rounded to milliseconds
			t.Errorf("call %d ended holds %d to %d, and left one due %s before", i, before, len(late), c.began.Sub(left))
		}
		took = append(took, c.ended.Sub(c.began))
		if i+1 < len(g.calls) {
			if gap := g.calls[i+1].began.Sub(c.ended); c.More {
				atOnce = append(atOnce, gap)
			} else {
				later = append(later, gap)
			}
		}
	}
	at := func(d []time.Duration, p float64) time.Duration {
		if len(d) == 0 {
			return 0
		}
		slices.Sort(d)
		return d[int(p*float64(len(d)-1))].Round(time.Millisecond / 10)
	}
	t.Logf("%d holds due within %s: late p50 %s, p99 %s, most %s; %d calls, p99 %s; %d followed at once, after %s in the median, others after %s",
		len(due), due[len(due)-1].Sub(due[0]).Round(time.Millisecond), at(late, .5), at(late, .99), at(late, 1), len(took), at(took, .99), len(atOnce), at(atOnce, .5), at(later, .5))
	if at(atOnce, .5) > idle/2 || at(later, .5) > 3*idle {
		t.Error("the reaper rests for too long between its calls")
	}
	if p99 := at(late, .99); *lateness > 0 && p99 > *lateness {
		t.Errorf("p99 of lateness is %s", p99)
	}
}

// earliest is the deadline of the first hold that has not expired.
func earliest(due []time.Time, expired int) time.Time {
	if expired == len(due) {
		return time.Now()
	}
	return due[expired]
}
