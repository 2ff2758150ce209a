package admission

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/devstack/testenv"
)

// house is a sale with a room, at a Redis of its own, and nodes that serve it.
type house struct {
	*testing.T
	url string

	mu      sync.Mutex
	sale    *engine.Sale
	units   []engine.Counters
	away    error // of the gate
	load    Load
	decided *engine.Sale // what a runner decided on last

	remake sync.Mutex
	made   []int64 // epochs that were asked to be made anew

	rounds chan struct{} // filled when a runner begins a round
}

var houseNo atomic.Uint32

func newHouse(t *testing.T, a engine.Admission) *house {
	t.Parallel()
	h := &house{T: t, url: testenv.OwnRedis(t).URL, units: []engine.Counters{{Stock: 1000, Available: 1000}}, rounds: make(chan struct{}, 1)}
	h.sale = &engine.Sale{No: 1<<20 + houseNo.Add(1), ID: "demo", State: engine.SaleOpen, Epoch: 1, Admission: &a}
	_, _ = rand.Read(h.sale.Secret[:]) // never fails
	a.Epoch = 1
	_, _ = rand.Read(a.Seed[:])
	return h
}

func (h *house) change(edit func(s *engine.Sale, a *engine.Admission)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, a := *h.sale, *h.sale.Admission
	edit(&s, &a)
	s.Admission = &a
	h.sale = &s
}

func (h *house) now() *engine.Sale {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sale
}

// Sale implements engine.Sales.
func (h *house) Sale(_ context.Context, id string) (*engine.Sale, error) {
	if s := h.now(); s.ID == id {
		return s, nil
	}
	return nil, engine.E(engine.CodeNotFound, "no such sale")
}

// SaleByNo implements engine.Sales.
func (h *house) SaleByNo(context.Context, uint32) (*engine.Sale, error) { return h.now(), nil }

// plainHash takes names for keys.
type plainHash struct{}

func (plainHash) Buyer(_ *engine.Sale, buyer string) (k engine.BuyerKey) { copy(k[:], buyer); return k }
func (plainHash) Nonce(*engine.Sale, string, string) (n engine.Nonce)    { return n }

// desk is a node.
func (h *house) desk() *Desk {
	h.Helper()
	q, err := Open(Options{URL: h.url, CallTimeout: 30 * time.Second}) // on a machine that may be busy
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { _ = q.Close() })
	return NewDesk(q, h, plainHash{}, time.Now)
}

// run starts a node's runner; end ends it as a crash would.
func (h *house) run(d *Desk, name string) (end func()) {
	r := &Runner{Desk: d, Name: name, Log: slog.New(slog.DiscardHandler), Sales: func() []*engine.Sale {
		select {
		case h.rounds <- struct{}{}:
		default:
		}
		return []*engine.Sale{h.now()}
	},
		Stock: func(_ context.Context, s *engine.Sale) ([]engine.Counters, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.decided = s
			return h.units, h.away
		},
		Load: func() Load {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.load
		},
		Remake: func(ctx context.Context, _ string, epoch int64) error {
			h.remake.Lock() // as the record does: nobody sees the next epoch before it is armed
			defer h.remake.Unlock()
			h.made = append(h.made, epoch)
			next, a := *h.now(), *h.now().Admission
			if a.Epoch != epoch {
				return nil // somebody else's doing
			}
			a.Epoch, a.Seed[0], a.OpensAt = a.Epoch+1, a.Seed[0]+1, time.Now()
			next.Admission = &a
			if err := d.Arm(ctx, &next); err != nil {
				return err
			}
			h.change(func(_ *engine.Sale, was *engine.Admission) { *was = a })
			return nil
		}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = r.Run(ctx) }()
	end = func() { cancel(); <-ended }
	h.Cleanup(end)
	return end
}

func (h *house) arm(d *Desk) {
	h.Helper()
	if err := d.Arm(h.Context(), h.now()); err != nil {
		h.Fatal(err)
	}
}

func (h *house) join(d *Desk, buyer string) engine.RoomTicket {
	h.Helper()
	t, err := d.Join(h.Context(), "demo", buyer)
	if err != nil {
		h.Fatal(err)
	}
	return t
}

// until waits for a condition of the room's document.
func (h *house) until(d *Desk, what string, is func(v *engine.RoomView) bool) *engine.RoomView {
	h.Helper()
	var v *engine.RoomView
	var err error
	h.eventually(func() bool {
		v, err = d.View(h.Context(), "demo")
		return err == nil && is(v)
	}, func() string { return fmt.Sprintf("%s never came: %+v, %v", what, v, err) })
	return v
}

// eventually looks again whenever a runner begins a round, or, where none runs, a
// node may read the document again.
func (h *house) eventually(is func() bool, otherwise func() string) {
	h.Helper()
	late := time.After(time.Minute)
	reread := time.NewTicker(Refresh)
	defer reread.Stop()
	for !is() {
		select {
		case <-h.rounds:
		case <-reread.C:
		case <-late:
			h.Fatal(otherwise())
		}
	}
}

func reasonOf(err error) string {
	var x *engine.Error
	if !errors.As(err, &x) || x.Code != engine.CodeAdmissionRequired {
		return fmt.Sprint(err)
	}
	return x.Fields["reason"].(string)
}

func TestATokenIsDemandedAndJudgedWithoutALookUp(t *testing.T) {
	h := newHouse(t, engine.Admission{Lease: time.Minute, Use: time.Minute})
	d := h.desk()
	h.change(func(_ *engine.Sale, a *engine.Admission) { a.OpensAt = time.Now() })
	h.arm(d)
	h.run(d, "a")
	h.join(d, "ann")
	h.until(d, "the front", func(v *engine.RoomView) bool { return v.Front == 1 })
	ticket := h.join(d, "ann")
	if ticket.State != engine.TicketAdmitted || ticket.Token == "" {
		t.Fatalf("%+v", ticket)
	}
	s := h.now()
	ann, bob := engine.BuyerKey{'a', 'n', 'n'}, engine.BuyerKey{'b', 'o', 'b'}
	right, err := d.Admit(s, ann, ticket.Token)
	if err != nil || right.Since != ticket.Expires.Add(-time.Minute).UnixMilli() {
		t.Fatalf("%+v, %v", right, err)
	}
	if again, err := h.desk().Admit(s, ann, h.join(d, "ann").Token); err != nil || again.ID != right.ID {
		t.Fatalf("another node, and the token again: %+v, %v", again, err)
	}
	other, twin := *s, *s
	other.No++
	twin.Secret[0]++
	twin.No += 2
	for want, try := range map[string]func() (engine.Right, error){
		engine.AdmissionMissing: func() (engine.Right, error) { return d.Admit(s, ann, "") },
		engine.AdmissionOther:   func() (engine.Right, error) { return d.Admit(s, bob, ticket.Token) },
		engine.AdmissionForged:  func() (engine.Right, error) { return d.Admit(&twin, ann, ticket.Token) },
	} {
		if _, err := try(); reasonOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := d.Admit(&other, ann, ticket.Token); reasonOf(err) != engine.AdmissionForged {
		t.Errorf("another sale with the same secret: %v", err)
	}
	for i := range ticket.Token {
		if _, err := d.Admit(s, ann, ticket.Token[:i]); reasonOf(err) == fmt.Sprint(err) {
			t.Fatalf("%d characters of it: %v", i, err)
		}
	}
	late := NewDesk(d.queue, h, plainHash{}, func() time.Time { return time.Now().Add(time.Minute) })
	if _, err := late.Admit(s, ann, ticket.Token); reasonOf(err) != engine.AdmissionExpired {
		t.Errorf("%v", err)
	}
	// A room that is made anew does not take away what was given.
	h.change(func(_ *engine.Sale, a *engine.Admission) { a.Epoch = 7 })
	if again, err := d.Admit(h.now(), ann, ticket.Token); err != nil || again.ID != right.ID {
		t.Errorf("after a loss: %v", err)
	}
}

// counting counts what a node asks of Redis.
type counting struct{ n atomic.Int64 }

func (c *counting) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.n.Add(1); return next(ctx, cmd) }
}
func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}

func TestACrowdThatPollsCostsRedisNothing(t *testing.T) {
	h := newHouse(t, engine.Admission{Lease: time.Minute, Use: time.Minute})
	d := h.desk()
	h.arm(d)
	for i := range 50 {
		h.join(d, fmt.Sprint(i))
	}
	if err := d.queue.Start(t.Context(), roomOf(h.now()), time.Now()); err != nil {
		t.Fatal(err)
	}
	h.until(d, "the opening", func(v *engine.RoomView) bool { return v.N == 50 })
	if _, err := d.Ticket(t.Context(), "demo", 0); err != nil { // from here on it knows the seed
		t.Fatal(err)
	}
	var asked counting
	d.queue.client.AddHook(&asked)
	var crowd sync.WaitGroup
	began := time.Now()
	for range 50 {
		crowd.Go(func() {
			for i := range uint64(200) {
				_, err := d.Ticket(t.Context(), "demo", i%50)
				_, again := d.View(t.Context(), "demo")
				if err != nil || again != nil {
					t.Errorf("%v, %v", err, again)
				}
			}
		})
	}
	crowd.Wait()
	if most := int64(time.Since(began)/Refresh) + 1; asked.n.Load() > most {
		t.Errorf("20,000 polls cost %d calls in %s, want %d at most", asked.n.Load(), time.Since(began), most)
	}
}

func TestATicketIsKnownAtOnceWhereItWasGivenOut(t *testing.T) {
	h := newHouse(t, engine.Admission{Lease: time.Minute, Use: time.Minute})
	d := h.desk()
	h.arm(d)
	h.until(d, "the room", func(v *engine.RoomView) bool { return v.Joined == 0 })
	got := h.join(d, "ann")
	if !got.New || got.State != engine.TicketWaiting || got.Place != -1 {
		t.Fatalf("%+v", got)
	}
	if at, err := d.Ticket(t.Context(), "demo", got.Number); err != nil || at.State != engine.TicketWaiting {
		t.Errorf("%+v, %v", at, err)
	}
	if _, err := d.Ticket(t.Context(), "demo", got.Number+1); engine.CodeOf(err) != engine.CodeNotFound {
		t.Errorf("%v", err)
	}
	if _, err := d.View(t.Context(), "nowhere"); engine.CodeOf(err) != engine.CodeNotFound {
		t.Errorf("%v", err)
	}
	h.change(func(s *engine.Sale, _ *engine.Admission) { s.State = engine.SaleDraining })
	if _, err := d.Join(t.Context(), "demo", "bob"); engine.CodeOf(err) != engine.CodeSaleNotOpen {
		t.Errorf("%v", err)
	}
}

func TestWhoIsOutOfReachIsToldAtOnceAndStays(t *testing.T) {
	v := &engine.RoomView{Sale: "demo", State: "open", N: 10, Front: 3, Reach: 6, Rate: 2, Over: 1}
	for place, want := range map[int64]engine.RoomTicket{
		-1: {State: engine.TicketWaiting, Position: -1, Wait: -1},
		0:  {State: engine.TicketPassed},
		2:  {State: engine.TicketReached},
		3:  {State: engine.TicketWaiting},
		5:  {State: engine.TicketWaiting, Position: 2, Wait: time.Second},
		6:  {State: engine.TicketUnreachable, Position: 3, Wait: -1},
	} {
		want.Sale, want.Number, want.Place = "demo", 7, place
		if got := placed(v, 7, place); got != want {
			t.Errorf("place %d: %+v, want %+v", place, got, want)
		}
	}
	v.Limit = string(LimitRamp)
	if got := placed(v, 7, 5); got.Wait != -1 || got.Position != 2 {
		t.Errorf("while the front doubles its speed each second, the wait is said to be %s", got.Wait)
	}
}
