package admission

import (
	"context"
	"encoding/hex"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/flashsale-engine/flashsale/engine"
)

// Refresh is how long a node serves a room's document before it reads it again: a crowd
// that polls costs Redis four reads a second, whatever its size.
const Refresh = 250 * time.Millisecond

// staleFor is how long the last document is served while Redis does not answer.
const staleFor = 5 * time.Second

// viewCache keeps a room's document, or why there is none.
type viewCache struct {
	last  atomic.Pointer[seen]
	reads singleflight.Group

	mu     sync.Mutex
	epoch  int64
	fronts []moment // where the front was when, as far as this node has looked
}

type seen struct {
	at     time.Time // by this node's clock
	epoch  int64
	status Status
	view   *engine.RoomView
	err    error
}

// View gives a room's public document: CodeNotFound.
func (d *Desk) View(ctx context.Context, sale string) (*engine.RoomView, error) {
	s, err := d.room(ctx, sale)
	if err != nil {
		return nil, err
	}
	return d.view(ctx, s)
}

func (d *Desk) view(ctx context.Context, s *engine.Sale) (*engine.RoomView, error) {
	c := &d.of(s).view
	last := c.last.Load()
	if last == nil || last.epoch != s.Admission.Epoch || time.Since(last.at) >= Refresh {
		last = d.look(ctx, s)
	}
	return last.view, last.err
}

// look reads a room, for all who want it now.
func (d *Desk) look(ctx context.Context, s *engine.Sale) *seen {
	c := &d.of(s).view
	v, _, _ := c.reads.Do("", func() (any, error) {
		now := &seen{at: time.Now(), epoch: s.Admission.Epoch}
		now.status, now.err = d.queue.Status(context.WithoutCancel(ctx), roomOf(s))
		was := c.last.Load()
		switch {
		case now.err == nil:
			now.view = c.document(s, now.status)
		case engine.CodeOf(now.err) == engine.CodeGateFrozen && over(s):
			now.view, now.err = remembered(s), nil
		case engine.CodeOf(now.err) != engine.CodeGateFrozen && was != nil && was.view != nil && was.epoch == now.epoch && now.at.Sub(was.view.Now) < staleFor:
			now.view, now.err = was.view, nil
		}
		c.last.Store(now)
		return now, nil
	})
	return v.(*seen)
}

func (c *viewCache) document(s *engine.Sale, st Status) *engine.RoomView {
	v := &engine.RoomView{Sale: s.ID, State: string(st.State), Commitment: st.Commitment, Seed: st.Seed, N: st.N, OpensAt: st.OpensAt, OpenedAt: st.OpenedAt,
		Front: st.Front, Rate: st.Rate, Reach: st.Reach, Limit: string(st.Limit), Joined: st.Joined, Claimed: st.Claimed, Left: st.Left, Lapsed: st.Lapsed,
		Lease: s.Admission.Lease, Now: st.Now, Inside: st.Inside, Took: st.Took, Units: st.Units, Gone: st.Passed, Runner: st.Runner}
	if over(s) {
		v.State = string(Closed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != s.Admission.Epoch {
		c.epoch, c.fronts = s.Admission.Epoch, nil
	}
	if n := len(c.fronts); n == 0 || c.fronts[n-1].front != st.Front {
		c.fronts = append(c.fronts, moment{st.Now, st.Front})
	}
	lapsed := st.Now.Add(-v.Lease)
	for len(c.fronts) > 1 && !c.fronts[1].at.After(lapsed) {
		c.fronts = c.fronts[1:]
	}
	if !c.fronts[0].at.After(lapsed) {
		v.Over = c.fronts[0].front
	}
	return v
}

// remembered is the document of a room that is over and gone, from the record: places
// can be checked as long as somebody has kept N.
func remembered(s *engine.Sale) *engine.RoomView {
	a := s.Admission
	return &engine.RoomView{Sale: s.ID, State: string(Closed), Commitment: Commitment(s.ID, a.Seed), Seed: hex.EncodeToString(a.Seed[:]), N: -1,
		OpensAt: a.OpensAt, Reach: -1, Lease: a.Lease, Now: time.Now().UTC()}
}
