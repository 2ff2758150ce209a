package history

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Load is a crowd on one sale: sessions of buyers, two tabs each, that hold a
// few hot SKUs, repeat themselves, pay, give up, and let holds expire.
type Load struct {
	Nodes      []Source // the gates of as many nodes
	Sale       *engine.Sale
	Operations int
	Sessions   int // buyers at a time
	Seed       uint64
	// Faults: Redis dies meanwhile, so that calls go unanswered and are repeated
	// until they are answered.
	Faults bool
	// Overdue are payments that the reaper found unanswered; they are returned.
	Overdue <-chan engine.Hold
	// Done, if set, is told of progress: how many operations were sent.
	Done *atomic.Int64
}

const (
	tabs    = 2
	perTab  = 40
	nonces  = 12 // holds of a buyer; below the tombstones that the gate keeps of one, 16
	strayOf = 60 // one in so many ids is of no hold
)

// event is what a claim puts into the outbox.
var event = []byte("event")

// Run drives the crowd and gives the recording. An error is of the crowd itself:
// a caller that was left waiting, say.
func (l *Load) Run(ctx context.Context) (*Recorder, error) {
	r := NewRecorder()
	var (
		wg    sync.WaitGroup
		left  atomic.Int64
		buyer atomic.Uint64
	)
	left.Store(int64(l.Operations))
	for no := range l.Sessions {
		var tab [tabs]*Client
		for i := range tab {
			tab[i] = r.Client(l.Nodes[(no+i)%len(l.Nodes)])
		}
		wg.Go(func() {
			for left.Load() > 0 && ctx.Err() == nil {
				s := &session{Load: l, left: &left}
				// Keys of real buyers are hashes: spread them.
				binary.BigEndian.PutUint64(s.buyer[:], buyer.Add(1)*0x9e3779b97f4a7c15)
				var both sync.WaitGroup
				for i, c := range tab {
					dice := rand.New(rand.NewPCG(l.Seed, buyer.Load()<<8|uint64(i))) //nolint:gosec // a workload, no secret
					both.Go(func() { s.tab(ctx, c, i, dice) })
				}
				both.Wait()
			}
		})
	}
	resolver := r.Client(l.Nodes[0])
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case h := <-l.Overdue:
				_, _ = resolver.Return(ctx, l.Sale, h.ID, h.Fence)
			case <-stop:
				return
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-stopped
	if ctx.Err() != nil {
		return r, fmt.Errorf("history: the crowd was still waiting: %w", context.Cause(ctx))
	}
	return r, nil
}

// session is one buyer for a while.
type session struct {
	*Load
	buyer engine.BuyerKey
	left  *atomic.Int64

	mu   sync.Mutex
	used uint64
	asks map[engine.Nonce][]engine.Line
	ids  []engine.ReservationID
}

func (s *session) tab(ctx context.Context, c *Client, no int, dice *rand.Rand) {
	for range perTab {
		if s.left.Add(-1) < 0 || ctx.Err() != nil {
			return
		}
		if s.Done != nil {
			s.Done.Add(1)
		}
		s.step(ctx, c, no, dice)
		if dice.IntN(20) == 0 { // looks at something else, so that holds expire
			<-time.After(time.Duration(dice.Int64N(int64(min(s.Sale.HoldTTL, 50*time.Millisecond)))))
		}
	}
}

// again repeats a call until it is answered. Anything else that is transient is
// an answer too.
func (s *session) again(ctx context.Context, call func() error) {
	for {
		err := call()
		if !s.Faults || engine.CodeOf(err) != engine.CodeUnavailable || ctx.Err() != nil {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (s *session) step(ctx context.Context, c *Client, no int, dice *rand.Rand) {
	if dice.IntN(400) == 0 {
		_, _ = c.Counters(ctx, s.Sale)
		return
	}
	id, ok := s.pick(dice)
	// What an unanswered move did is seen by repeating it, before anybody moves
	// the hold on: with faults each hold belongs to one tab, and the other looks on.
	looksOn := s.Faults && int(id.Nonce[7])%tabs != no
	if p := dice.IntN(100); !ok || p < 45 {
		s.hold(ctx, c, dice, p < 12)
		return
	} else if p < 53 || looksOn {
		_, _ = c.Find(ctx, s.Sale, id)
		return
	} else if p < 65 {
		s.again(ctx, func() error { _, err := c.Release(ctx, s.Sale, id); return err })
		return
	}
	f := engine.Fence(id.Nonce) // most often the hold's first, so that tabs meet
	f[0] = byte(dice.IntN(10) / 8)
	switch p := dice.IntN(100); {
	case p < 55:
		s.again(ctx, func() error { _, err := c.BeginPayment(ctx, s.Sale, id, f); return err })
	case p < 90:
		s.again(ctx, func() error { _, err := c.Return(ctx, s.Sale, id, f); return err })
	default:
		s.again(ctx, func() error { _, _, err := c.Claim(ctx, s.Sale, id, f, event); return err })
	}
}

// pick gives an id that somebody of the session was given, now and then a wrong one.
func (s *session) pick(dice *rand.Rand) (engine.ReservationID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ids) == 0 {
		return engine.ReservationID{}, false
	}
	// The latest most often: those before are over.
	back := min(dice.IntN(len(s.ids)), dice.IntN(len(s.ids)), dice.IntN(3))
	id := s.ids[len(s.ids)-1-min(back, len(s.ids)-1)]
	if dice.IntN(strayOf) == 0 {
		id.Created--
	}
	return id, true
}

// hold asks for a new cart, or repeats a request that may be under way.
func (s *session) hold(ctx context.Context, c *Client, dice *rand.Rand, repeat bool) {
	s.mu.Lock()
	if s.asks == nil {
		s.asks = map[engine.Nonce][]engine.Line{}
	}
	n := s.used
	if repeat && n > 0 || n == nonces {
		n = 1 + dice.Uint64N(n)
	} else {
		n++
		s.used = n
	}
	r := engine.HoldRequest{Buyer: s.buyer}
	binary.BigEndian.PutUint64(r.Nonce[:], n)
	r.Nonce[0] = s.buyer[7] // so that two buyers' holds do not look alike
	if s.asks[r.Nonce] == nil {
		var lines []engine.Line
		for range 1 + max(0, dice.IntN(5)-2) {
			it := s.Sale.Items[dice.IntN(len(s.Sale.Items))]
			lines = append(lines, engine.Line{No: it.No, Quantity: 1 + dice.IntN(5)/4})
		}
		s.asks[r.Nonce] = lines
	}
	r.Lines = s.asks[r.Nonce]
	s.mu.Unlock()
	s.again(ctx, func() error {
		h, err := c.Hold(ctx, s.Sale, r)
		if err == nil {
			s.mu.Lock()
			if !slices.Contains(s.ids, h.ID) {
				s.ids = append(s.ids, h.ID)
			}
			s.mu.Unlock()
		}
		return err
	})
}

// Rest reads what the gate remembers, once everything is quiet.
func Rest(ctx context.Context, h *History, g interface {
	engine.GateReader
	engine.Outbox
}) (err error) {
	if err = g.Holds(ctx, h.Sale, func(x engine.Hold) error { h.Final = append(h.Final, x); return nil }); err != nil {
		return err
	}
	if h.Counters, err = g.Counters(ctx, h.Sale); err != nil {
		return err
	}
	h.Outbox, err = g.Pending(ctx, h.Sale, 0, 1<<30)
	return err
}
