package admission_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/admission"
	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

func TestTheQueueKeepsItsPromisesOnRedis(t *testing.T)     { conform(t, onRedis) }
func TestTheQueueKeepsItsPromisesOnMiniredis(t *testing.T) { conform(t, onMiniredis) }
func TestTheQueueKeepsItsPromisesOnARedisCluster(t *testing.T) {
	t.Parallel()
	url := testenv.OwnRedisCluster(t).URL
	run(t, func(t *testing.T) *world { return onServer(t, url) })
}

// conform runs every case on a room of its own, beside the other backends: most of the
// time is spent waiting for clocks.
func conform(t *testing.T, backend func(*testing.T) *world) {
	t.Parallel()
	run(t, backend)
}

// run lets the cases wait for the clock together: each begins once the one before it
// waits or is over, so none is kept from its next call by many that begin.
func run(t *testing.T, backend func(*testing.T) *world) {
	var all sync.WaitGroup
	for _, c := range cases {
		waits := make(chan struct{})
		next := sync.OnceFunc(func() { close(waits) })
		all.Go(func() {
			defer next()
			t.Run(c.name, func(t *testing.T) {
				w := backend(t)
				wait := w.wait
				w.wait = func(d time.Duration) { next(); wait(d) }
				c.run(w)
			})
		})
		<-waits
	}
	all.Wait()
}

// world is a case's queue, room and shorthand.
type world struct {
	*testing.T
	url string
	q   *admission.Queue
	r   admission.Room
	rdb redis.UniversalClient
	// wait brings Redis' clock forward: by waiting, if it is real.
	wait func(time.Duration)
	// tick is a span that the clock can afford to wait for, and a few calls do not take
	// on a machine that has other things to do.
	tick time.Duration
}

var lastSale atomic.Uint32

func init() { lastSale.Store(rand.Uint32()) } // runs on a shared Redis rarely share one

func newWorld(t *testing.T, url string, tick time.Duration) *world {
	q, err := admission.Open(admission.Options{URL: url, CallTimeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, url: url, q: q, r: admission.Room{Sale: lastSale.Add(1), ID: "demo", Epoch: 1}, rdb: client(t, url), tick: tick}
	t.Cleanup(func() {
		if err := q.Drop(context.Background(), w.r); err != nil {
			t.Error(err)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func client(t testing.TB, url string) redis.UniversalClient {
	t.Helper()
	var c redis.UniversalClient
	if strings.Contains(url, "addr=") {
		o, err := redis.ParseClusterURL(url)
		if err != nil {
			t.Fatal(err)
		}
		c = redis.NewClusterClient(o)
	} else {
		o, err := redis.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		c = redis.NewClient(o)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func onMiniredis(t *testing.T) *world {
	m := miniredis.RunT(t)
	now := noon
	m.SetTime(now)
	w := newWorld(t, "redis://"+m.Addr(), 10*time.Second)
	w.wait = func(d time.Duration) { now = now.Add(d); m.SetTime(now) }
	return w
}

func onRedis(t *testing.T) *world { return onServer(t, testenv.Redis(t)) }

func onServer(t *testing.T, url string) *world {
	w := newWorld(t, url, 3*time.Second)
	w.wait = func(d time.Duration) {
		for until := w.now().Add(d + time.Millisecond); ; {
			left := until.Sub(w.now())
			if left <= 0 {
				return
			}
			<-time.After(left)
		}
	}
	return w
}

func (w *world) now() time.Time {
	now, err := w.rdb.Time(context.Background()).Result()
	w.ok(err)
	return now
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) refused(err error, code engine.Code) {
	w.Helper()
	if engine.CodeOf(err) != code {
		w.Fatalf("%v, want %s", err, code)
	}
}

func is[T comparable](w *world, got, want T) {
	w.Helper()
	if got != want {
		w.Fatalf("got %v, want %v", got, want)
	}
}

// key gives a buyer's, as good as random.
func key(n int) (k engine.BuyerKey) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	sum := sha256.Sum256(b[:])
	copy(k[:], sum[:])
	return k
}

// terms are those of a room with a lease of two ticks and a use of four.
func (w *world) terms() admission.Terms {
	return admission.Terms{Seed: seedOf(1), Lease: 2 * w.tick, Use: 4 * w.tick}
}

func (w *world) arm() { w.Helper(); w.ok(w.q.Arm(w.Context(), w.r, w.terms())) }

func (w *world) join(buyer int) admission.Ticket {
	w.Helper()
	t, err := w.q.Join(w.Context(), w.r, key(buyer))
	w.ok(err)
	return t
}

func (w *world) start() { w.Helper(); w.ok(w.q.Start(w.Context(), w.r, w.now())) }

// open is a room with n buyers, 0 to n-1, that has been opened.
func (w *world) open(n int) {
	w.Helper()
	w.arm()
	for i := range n {
		w.join(i)
	}
	w.start()
}

func (w *world) claim(buyer int) admission.Ticket {
	w.Helper()
	t, err := w.q.Claim(w.Context(), w.r, key(buyer))
	w.ok(err)
	return t
}

func (w *world) leave(buyer int) admission.Standing {
	w.Helper()
	s, err := w.q.Leave(w.Context(), w.r, key(buyer))
	w.ok(err)
	return s
}

func (w *world) status() admission.Status {
	w.Helper()
	s, err := w.q.Status(w.Context(), w.r)
	w.ok(err)
	return s
}

// to moves the front from where it is.
func (w *world) to(front int64) admission.Status {
	w.Helper()
	s, err := w.q.Advance(w.Context(), w.r, admission.Step{From: w.status().Front, To: front, Rate: 12.5, Reach: 99, Limit: admission.LimitGate})
	w.ok(err)
	return s
}

// counted compares the counters.
func (w *world) counted(joined, claimed, left, lapsed int64) {
	w.Helper()
	s := w.status()
	if got, want := [4]int64{s.Joined, s.Claimed, s.Left, s.Lapsed}, [4]int64{joined, claimed, left, lapsed}; got != want {
		w.Fatalf("joined, claimed, left, lapsed are %v, want %v", got, want)
	}
}

// keysLeft lists what there is of the sale at Redis.
func (w *world) keysLeft() (all []string) {
	w.Helper()
	pattern := fmt.Sprintf("{fsq:%d}:*", w.r.Sale)
	var mu sync.Mutex // masters are asked at once
	scan := func(ctx context.Context, c redis.Cmdable) error {
		some, err := c.Keys(ctx, pattern).Result()
		mu.Lock()
		defer mu.Unlock()
		all = append(all, some...)
		return err
	}
	if c, ok := w.rdb.(*redis.ClusterClient); ok {
		w.ok(c.ForEachMaster(w.Context(), func(ctx context.Context, m *redis.Client) error { return scan(ctx, m) }))
	} else {
		w.ok(scan(w.Context(), w.rdb))
	}
	return all
}

// at gives the buyer, of 0 to n-1 in the order of joining, whose place it is.
func (w *world) at(place int64, n int) int {
	s := admission.NewShuffle(seedOf(1), uint64(n))
	for i := range n {
		if int64(s.Place(uint64(i))) == place {
			return i
		}
	}
	w.Fatalf("nobody has place %d", place)
	return 0
}
