package reservation

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

var (
	schedules = flag.Uint64("schedules", 300, "how many schedules the simulation of the batcher plays")
	firstSeed = flag.Uint64("seed", 0, "the first one's seed; a failing one is played again with -schedules 1")
)

// TestSchedulesOfTheBatcherTellEveryCallerOneTrueAnswer plays crowds at a gate
// whose Redis is a model that answers late, not at all, or with an error, while
// callers leave, queues are full and the gate closes, in synctest's time. What each
// caller is told is compared with what the model decided. `make simulate` plays many.
func TestSchedulesOfTheBatcherTellEveryCallerOneTrueAnswer(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one order of what happens at one instant
	var sum laneCount
	began := time.Now()
	for seed := *firstSeed; seed < *firstSeed+*schedules; seed++ {
		x := playLane(t, seed)
		if len(x.wrong) > 0 {
			t.Fatalf("seed %d: %s\nagain: go test ./reservation -run %s -args -schedules 1 -seed %d\n%s", seed, strings.Join(x.wrong, "\n"), t.Name(), seed, strings.Join(x.story, "\n"))
		}
		sum.add(x.count)
	}
	t.Logf("%.0f schedules a minute: %+v", float64(*schedules)/time.Since(began).Minutes(), sum)
	for what, n := range map[string]int{"holds": sum.Held, "replays": sum.Replayed, "refusals": sum.SoldOut, "unknown": sum.Unknown, "certainly not": sum.Not, "overloaded": sum.Overloaded, "second calls in flight": sum.Side} {
		if uint64(n) < *schedules/10 {
			t.Errorf("%d %s in %d schedules", n, what, *schedules)
		}
	}
}

func TestASeedIsAScheduleOfTheBatcher(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for seed := range uint64(10) {
		a, b := playLane(t, seed), playLane(t, seed)
		slices.Sort(a.story) // who of those that one instant wakes is first does not matter
		slices.Sort(b.story)
		if !slices.Equal(a.story, b.story) {
			t.Fatalf("seed %d plays in two ways:\n%s\n\n%s", seed, strings.Join(a.story, "\n"), strings.Join(b.story, "\n"))
		}
	}
}

type laneCount struct{ Calls, Side, Held, Replayed, SoldOut, Unknown, Not, Overloaded int }

func (c *laneCount) add(d laneCount) {
	c.Calls += d.Calls
	c.Side += d.Side
	c.Held += d.Held
	c.Replayed += d.Replayed
	c.SoldOut += d.SoldOut
	c.Unknown += d.Unknown
	c.Not += d.Not
	c.Overloaded += d.Overloaded
}

// laneSim is one schedule.
type laneSim struct {
	seed  uint64
	gate  *Gate
	redis *modelRedis
	sales [2]*engine.Sale // under two leases; the second one's is over

	mu    sync.Mutex
	asks  map[engine.Nonce]*asked
	story []string
	wrong []string
	count laneCount
	began time.Time
}

// asked is one request, which may be repeated.
type asked struct {
	epoch    int64
	lines    []engine.Line
	answered int // by the gate's word: a hold or a refusal
	unknown  int
	told     int // answers in all
	tries    int
}

// emptyPool forgets operations that wait to be used again: a bubble's channels are its own.
func emptyPool() { pool = sync.Pool{New: pool.New} }

func playLane(t *testing.T, seed uint64) (x *laneSim) {
	defer emptyPool()
	synctest.Test(t, func(t *testing.T) {
		x = newLaneSim(seed)
		done := make(chan struct{})
		go func() { x.crowd(); close(done) }()
		select {
		case <-done:
		case <-time.After(time.Hour): // of synctest's: nothing takes a minute
			fmt.Fprintf(os.Stderr, "seed %d: somebody waits for ever\n%s\n", seed, strings.Join(x.story, "\n"))
			t.FailNow()
		}
		if err := x.gate.Close(); err != nil {
			x.note("close: %v", err)
		}
		synctest.Wait()
		time.Sleep(time.Minute) // what is decided late is
		x.check()
	})
	return x
}

func newLaneSim(seed uint64) *laneSim {
	dice := rand.New(rand.NewPCG(seed, 0))
	emptyPool()
	x := &laneSim{seed: seed, asks: map[engine.Nonce]*asked{}, began: time.Now()}
	m, _ := newMetrics(nil)
	o := Options{CallTimeout: 2 * time.Second, MaxQueue: 1 << (2 + dice.IntN(7)), Log: slog.New(slog.DiscardHandler)}
	x.redis = &modelRedis{sim: x, stock: dice.IntN(60), holds: map[engine.Nonce]*hold{}, reached: map[engine.Nonce]int{}, refused: map[engine.Nonce]int{},
		trouble: []float64{0, 0.1, 0.4}[dice.IntN(3)]}
	x.gate = &Gate{opt: o, client: x.redis, metrics: m, lanes: map[laneKey]*lane{}, wellFilled: 1 + dice.IntN(12)}
	x.gate.soldOut = newSoldOut(x.gate, -1)
	for i := range x.sales {
		x.sales[i] = &engine.Sale{No: 1, Epoch: int64(2 - i), PerBuyerLimit: 9, Items: []engine.Item{{}, {No: 1}}}
	}
	return x
}

// tell adds to the story; note is for what must not be.
func (x *laneSim) tell(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.story = append(x.story, fmt.Sprintf("%12s ", time.Since(x.began))+fmt.Sprintf(format, args...))
}

func (x *laneSim) note(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.wrong = append(x.wrong, fmt.Sprintf(format, args...))
}

// crowd is everybody, each with dice of its own, so that who is first draws nobody
// else's fate.
func (x *laneSim) crowd() {
	dice := rand.New(rand.NewPCG(x.seed, 1))
	within := time.Duration(1+dice.IntN(200)) * time.Millisecond
	var all sync.WaitGroup
	for i := range 1 + dice.IntN(60) {
		all.Go(func() {
			dice := rand.New(rand.NewPCG(x.seed, uint64(i)+100))
			time.Sleep(time.Duration(dice.Int64N(int64(within))))
			x.client(i, dice)
		})
	}
	if dice.IntN(4) == 0 {
		time.Sleep(time.Duration(dice.Int64N(int64(2 * within))))
		x.tell("the gate closes")
		if err := x.gate.Close(); err != nil {
			x.note("close: %v", err)
		}
		if x.redis.inFlight() > 0 {
			x.note("the gate is closed, and a call is in flight")
		}
	}
	all.Wait()
}

// client asks for one or more holds in one of the gate's ways, and repeats what is unknown.
func (x *laneSim) client(i int, dice *rand.Rand) {
	s := x.sales[0]
	if dice.IntN(12) == 0 {
		s = x.sales[1]
	}
	n := 1
	if dice.IntN(6) == 0 {
		n = 2 + dice.IntN(40)
	}
	rs := make([]engine.HoldRequest, n)
	for j := range rs {
		rs[j].Nonce = nonceOf(uint64(i*100 + j + 1))
		rs[j].Buyer = buyerKey(uint64(dice.IntN(40)))
		rs[j].Lines = []engine.Line{{No: uint16(dice.IntN(2)), Quantity: 1 + dice.IntN(3)}}
		x.mu.Lock()
		x.asks[rs[j].Nonce] = &asked{epoch: s.Epoch, lines: rs[j].Lines}
		x.mu.Unlock()
	}
	for range 3 {
		ctx, leave := x.patience(dice)
		again := x.ask(ctx, s, rs, dice.IntN(2) == 0)
		leave()
		if len(again) == 0 {
			return
		}
		rs = again
		time.Sleep(time.Duration(dice.Int64N(int64(3 * time.Second))))
	}
}

// patience is how long a caller stays.
func (x *laneSim) patience(dice *rand.Rand) (context.Context, context.CancelFunc) {
	stays := time.Duration(dice.Int64N(int64(200 * time.Millisecond)))
	switch dice.IntN(5) {
	case 0:
		return context.WithTimeout(context.Background(), stays)
	case 1:
		return context.WithTimeout(context.Background(), 20*stays+time.Second)
	case 2:
		ctx, leave := context.WithCancel(context.Background())
		timer := time.AfterFunc(stays, leave)
		return ctx, func() { timer.Stop(); leave() }
	}
	return context.WithCancel(context.Background())
}

// onHold is who hears an answer and does not wait.
type onHold func(h *engine.Hold, err error)

func (f onHold) Held(h *engine.Hold, err error) { f(h, err) }

// ask sends requests and gives those whose answer is unknown.
func (x *laneSim) ask(ctx context.Context, s *engine.Sale, rs []engine.HoldRequest, waits bool) (again []engine.HoldRequest) {
	for _, r := range rs {
		x.mu.Lock()
		x.asks[r.Nonce].tries++
		x.mu.Unlock()
	}
	var mu sync.Mutex
	hear := func(r engine.HoldRequest, h engine.Hold, err error) {
		x.hear(r, h, err)
		if errors.Is(err, engine.ErrUnknown) {
			mu.Lock()
			again = append(again, r)
			mu.Unlock()
		}
	}
	switch {
	case len(rs) > 1:
		x.gate.HoldAll(ctx, s, rs, func(i int, h *engine.Hold, err error) { hear(rs[i], *h, err) }, func() {})
	case waits:
		h, err := x.gate.Hold(ctx, s, rs[0])
		hear(rs[0], h, err)
	default:
		heard := make(chan struct{})
		x.gate.HoldThen(ctx, s, rs[0], onHold(func(h *engine.Hold, err error) {
			hear(rs[0], *h, err)
			close(heard) // twice would panic
		}))
		<-heard
	}
	slices.SortFunc(again, func(a, b engine.HoldRequest) int { return slices.Compare(a.Nonce[:], b.Nonce[:]) })
	return again
}

// hear takes one answer and compares it with the model.
func (x *laneSim) hear(r engine.HoldRequest, h engine.Hold, err error) {
	x.tell("%x hears %v %v", r.Nonce, err, h.Seq)
	made, refused := x.redis.word(r.Nonce)
	x.mu.Lock()
	defer x.mu.Unlock()
	a := x.asks[r.Nonce]
	a.told++
	code := engine.CodeOf(err)
	wrong := ""
	switch {
	case err == nil && (made == nil || made.seq != h.Seq || h.ID.Nonce != r.Nonce || h.ID.Buyer != r.Buyer || !slices.Equal(h.Lines, a.lines)):
		wrong = "the gate has no such hold"
	case err == nil:
		a.answered++
		x.count.Held++
		if h.Replayed {
			x.count.Replayed++
		}
	case errors.Is(err, engine.ErrUnknown):
		a.unknown++
		x.count.Unknown++
	case code == engine.CodeSoldOut:
		a.answered++
		x.count.SoldOut++
		if refused == 0 {
			wrong = "the gate has refused no such hold"
		}
	case code == engine.CodeOverloaded && len(x.asks) <= x.gate.opt.MaxQueue:
		wrong = "there was room for everybody"
	case code == engine.CodeOverloaded:
		x.count.Overloaded++
	case code == engine.CodeUnavailable, code == engine.CodeGateFrozen && a.epoch != 2:
		x.count.Not++
	default:
		wrong = "nobody should hear that"
	}
	if wrong != "" {
		x.wrong = append(x.wrong, fmt.Sprintf("%x is told %+v, %v: %s", r.Nonce, h, err, wrong))
	}
}

// check compares how often each request reached the gate with what its callers
// were told: once for each word of the gate, never for "it certainly did not happen".
func (x *laneSim) check() {
	x.redis.mu.Lock()
	defer x.redis.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	for nonce, a := range x.asks {
		n := x.redis.reached[nonce]
		if a.told != a.tries || n < a.answered || n > a.answered+a.unknown {
			x.wrong = append(x.wrong, fmt.Sprintf("%x was asked %d times, answered %d times (%d by the gate, %d unknown) and decided %d times", nonce, a.tries, a.told, a.answered, a.unknown, n))
		}
	}
	for _, l := range x.gate.lanes {
		l.mu.Lock()
		if l.drains != 0 || len(l.queue) != 0 {
			x.wrong = append(x.wrong, fmt.Sprintf("a lane is left with %d goroutines and %d operations", l.drains, len(l.queue)))
		}
		l.mu.Unlock()
	}
	x.count.Calls = x.redis.calls
}
