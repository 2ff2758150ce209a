package waiters

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/admission"
	"github.com/flashsale-engine/flashsale/loadtest/rest"
)

const (
	saleID = "crowd"
	sku    = "SHOE"
)

// run is one under way.
type run struct {
	cfg    Config
	e      *engineUnderTest
	c      *client
	minter *minter
	queue  string // path of the room

	holder  []atomic.Uint32 // by ticket: its owner's number + 1
	shuffle *admission.Shuffle
	n       int64

	mu         sync.Mutex
	scanned    int64 // places below were looked up when the front passed them
	soldOut    chan struct{}
	wrong      []string // contradictions, the first of them
	wrongs     int
	claims     []claim
	lates      []lateJoin
	placed     map[int64]int64 // ticket → place, as the server said
	estimates  []estimate
	glances    []glance
	told       []float64 // delays of the event stream, in seconds
	ends       [endings]int64
	confirmed  map[string]string // order → buyer
	repeats    atomic.Int64
	polls      atomic.Int64
	turnedAway atomic.Int64 // tries to push in that were refused

	buyers   sync.WaitGroup
	timeline timeline
	before   document // the last one before the opening
	marks    marks
}

// marks are what the figures are differences of.
type marks struct {
	joining, joined, opened, sold, ended time.Time
	memory                               [2]int64
	cpu                                  [3]map[string]time.Duration // before joining, at the opening, at the end
}

// Run brings the crowd and judges. The error is about the run itself; an engine that
// misbehaved is no error: that is in the report.
func Run(ctx context.Context, cfg Config) (Report, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return Report{}, err
	}
	e, stop, err := newWorld(ctx, cfg)
	if err != nil {
		return Report{}, err
	}
	defer stop()
	return drive(ctx, cfg, e)
}

// drive is Run at an engine that runs.
func drive(ctx context.Context, cfg Config, e *engineUnderTest) (Report, error) {
	r := &run{cfg: cfg, e: e, c: newClient(e.api, cfg.Connections), queue: "/v1/sales/" + saleID + "/queue", soldOut: make(chan struct{}),
		minter: newMinter(buyerKey, time.Now(), 3*time.Hour), holder: make([]atomic.Uint32, cfg.Waiters+cfg.late()+cfg.Waiters/10+1000),
		placed: map[int64]int64{}, confirmed: map[string]string{}}
	for _, step := range []func(context.Context) error{r.arm, r.joinAll, r.open, r.sell} {
		if err := step(ctx); err != nil {
			return Report{}, err
		}
	}
	r.askPlaces(ctx)
	return r.judge(ctx)
}

func (r *run) say(format string, args ...any) {
	if r.cfg.Progress != nil {
		fmt.Fprintf(r.cfg.Progress, format+"\n", args...)
	}
}

// contradict notes something that must not be.
func (r *run) contradict(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wrongs++; len(r.wrong) < 20 {
		r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
	}
}

func buyerID(i int) string { return fmt.Sprintf("crowd-%07d", i) }

func (r *run) token(i int) string { return r.minter.token(buyerID(i)) }

func (r *run) admin(ctx context.Context, method, path string, body any) error {
	return rest.JSON(ctx, method, r.e.admin+"/admin/v1/sales/"+saleID+path, adminToken, body, nil)
}

// arm puts the sale up; its pre-queue is open from then on.
func (r *run) arm(ctx context.Context) error {
	c := r.cfg
	body := map[string]any{"name": "A crowd", "currency": "USD", "hold_ttl": c.Hold.String(), "hold_cap": (c.Hold + 2*time.Minute).String(), "per_buyer_limit": oneUnit,
		"items":     []map[string]any{{"sku": sku, "title": "A shoe", "unit_price": price, "stock": c.Units}},
		"admission": map[string]any{"lease": c.Lease.String(), "use": c.Use.String(), "answer": c.Come.String()}}
	if err := r.admin(ctx, http.MethodPut, "", body); err != nil {
		return err
	}
	if err := r.admin(ctx, http.MethodPost, "/arm", nil); err != nil {
		return err
	}
	m, err := r.awaitState(ctx, "armed")
	if err != nil {
		return err
	}
	if m.Seed != "" {
		r.contradict("the seed is public before the opening")
	}
	if r.marks.memory[0], err = r.e.memory(ctx); err != nil {
		return err
	}
	r.marks.cpu[0] = r.e.cpu()
	return nil
}

// awaitState waits until the public document says so: a node may go by what it knew
// for a moment.
func (r *run) awaitState(ctx context.Context, state string) (moment, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		m, err := r.look(ctx)
		if err == nil && m.State == state {
			return m, nil
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return m, errors.Join(fmt.Errorf("waiters: the room does not become %s, it is %q", state, m.State), err)
		}
	}
}

// open is T0. What was published before is kept, to hold the room to it.
func (r *run) open(ctx context.Context) error {
	m, err := r.look(ctx)
	for err == nil && !m.Now.After(r.marks.joined) && sleep(ctx, 100*time.Millisecond) { // the document is of a moment ago
		m, err = r.look(ctx)
	}
	if err != nil {
		return err
	}
	r.before = m.document
	if there := int64(r.cfg.Waiters) - r.ends[left]; m.Joined-m.Left != there {
		r.contradict("%d have joined and not left, and the document counts %d who joined and %d who left", there, m.Joined, m.Left)
	}
	if r.marks.memory[1], err = r.e.memory(ctx); err != nil {
		return err
	}
	r.marks.cpu[1] = r.e.cpu()
	if err := r.admin(ctx, http.MethodPost, "/open", nil); err != nil {
		return err
	}
	if m, err = r.awaitState(ctx, "open"); err != nil {
		return err
	}
	seed, err := hex.DecodeString(m.Seed)
	if err != nil || len(seed) != len(admission.Seed{}) || m.N == nil {
		return fmt.Errorf("waiters: the room is open, and its seed is %q and its n %v", m.Seed, m.N)
	}
	r.n, r.marks.opened = *m.N, m.OpenedAt
	r.shuffle = admission.NewShuffle(admission.Seed(seed), uint64(r.n))
	r.timeline = append(r.timeline, m)
	r.say("opened: %d tickets are shuffled", r.n)
	return nil
}

// sell follows the room until there is nothing more to sell, or nobody to sell to.
func (r *run) sell(ctx context.Context) error {
	all, cancel := context.WithTimeout(ctx, r.cfg.Most)
	defer cancel()
	watching, stop := context.WithCancel(all)
	var others sync.WaitGroup
	r.startWatchers(watching, &others)
	others.Go(func() { r.comeLate(all) })
	err := r.follow(all)
	stop()
	done := make(chan struct{})
	go func() { r.buyers.Wait(); others.Wait(); close(done) }()
	<-done
	if err == nil {
		err = r.settle(ctx)
	}
	r.marks.ended, r.marks.cpu[2] = time.Now(), r.e.cpu()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// follow is the edge: it fetches the document for all, and calls whom the front has
// passed. It returns when the sale is over, as far as the crowd can take it.
func (r *run) follow(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Edge)
	defer tick.Stop()
	said := time.Now()
	for failures := 0; ; {
		m, err := r.look(ctx)
		if failures++; err != nil && (failures > 10 || ctx.Err() != nil) {
			if ctx.Err() != nil {
				r.contradict("the sale is not over %s after the opening", r.cfg.Most)
				r.stopBuyers()
				return nil
			}
			return err
		}
		if err == nil {
			failures = 0
			r.timeline = append(r.timeline, m)
			r.call(ctx, m)
			if m.Sold == int64(r.cfg.Units) {
				r.marks.sold = m.at
				r.stopBuyers()
				return nil
			}
			if r.nobodyLeft(m) {
				r.stopBuyers()
				return nil
			}
			if time.Since(said) > 5*time.Second {
				said = time.Now()
				r.say("%4.0f s: front %d, claimed %d, %d held, %d sold, bound by %s", m.at.Sub(r.marks.opened).Seconds(), m.Front, m.Claimed, m.Held+m.Paying, m.Sold, m.Limit)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (r *run) stopBuyers() { close(r.soldOut) }

// nobodyLeft: everybody was called, came to an end, and has left nothing on hold.
func (r *run) nobodyLeft(m moment) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return m.Front == m.Joined && m.Held+m.Paying == 0 && r.ends[shopping] == 0 && m.at.Sub(r.marks.opened) > 2*r.cfg.Lease+time.Duration(mostLate*float64(time.Second)/r.cfg.Hurry)
}

// call lets those go whom the front has passed.
func (r *run) call(ctx context.Context, m moment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; r.scanned < m.Front; r.scanned++ {
		if ticket := int64(r.shuffle.Ticket(uint64(r.scanned))); ticket < int64(len(r.holder)) {
			if i := int(r.holder[ticket].Load()) - 1; i >= 0 {
				r.called(ctx, i, ticket, r.scanned)
			}
		}
	}
}

// settle waits until the room has said its last word: the front stands, and whoever
// is behind it has been told.
func (r *run) settle(ctx context.Context) error {
	for deadline := time.Now().Add(20 * time.Second); ; {
		m, err := r.look(ctx)
		if err != nil {
			return err
		}
		r.timeline = append(r.timeline, m)
		if m.Reach != nil && *m.Reach <= m.Front || m.Front == m.Joined || time.Now().After(deadline) {
			return nil
		}
		if !sleep(ctx, r.cfg.Edge) {
			return ctx.Err()
		}
	}
}
