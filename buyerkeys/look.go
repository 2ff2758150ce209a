package buyerkeys

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/flashsale-engine/flashsale/api"
)

const (
	asksEvery  = 10 * time.Second // between two looks for the sake of unknown kids
	asksWait   = time.Second      // from a look's begin, for the tokens that want it
	mostAsking = 1024             // tokens that wait at once; they hold connections
	soon       = 30 * time.Second // after a look that failed, if that is sooner
)

// look is one reading of the set. There is one at a time.
type look struct {
	began time.Time
	done  chan struct{}
}

// Run looks again until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	for {
		pause := s.c.Every
		if s.failing.Load() {
			pause = min(pause, soon)
		}
		// A part of it at random, so that nodes do not come all at once; never more, so
		// that a key which was taken out is gone by then.
		select {
		case <-time.After(pause - rand.N(pause/5+1)): //nolint:gosec // jitter, not a secret
		case <-ctx.Done():
			return nil
		}
		select {
		case <-s.begin(false).done:
		case <-ctx.Done():
			return nil
		}
	}
}

// Unknown is api.Options' UnknownKid: it has the set looked at, unless that was
// done lately for the same reason, and waits a moment.
func (s *Source) Unknown() {
	defer s.asking.Add(-1)
	if s.asking.Add(1) > mostAsking {
		return
	}
	l := s.begin(true)
	if l == nil {
		return
	}
	end := time.NewTimer(time.Until(l.began.Add(asksWait)))
	defer end.Stop()
	select {
	case <-l.done:
	case <-end.C:
	}
}

// begin gives the look that is under way, or a new one; nil if a token wants one
// too soon after another.
func (s *Source) begin(token bool) *look {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		return s.now
	}
	began := time.Now()
	if token && began.Sub(s.asked) < asksEvery {
		return nil
	}
	if token {
		s.asked = began
	}
	l := &look{began: began, done: make(chan struct{})}
	s.now = l
	use := s.use
	go func() {
		s.told(s.again(use))
		s.mu.Lock()
		s.now = nil
		s.mu.Unlock()
		close(l.done)
	}()
	return l
}

// again reads the set and has it used if it has changed.
func (s *Source) again(use func([]api.Key) error) error {
	text, err := s.text(context.Background())
	if err != nil {
		return err
	}
	if bytes.Equal(text, s.last) {
		s.at.Store(time.Now().UnixNano())
		return nil
	}
	keys, err := s.parse(text)
	if err != nil {
		return err
	}
	if err := use(keys); err != nil {
		return fmt.Errorf("%w: %w", errSet, err)
	}
	s.took(text, keys)
	s.c.Log.Info("the buyers' key set has changed", "keys", len(keys))
	return nil
}

// told counts a failure, and speaks of an outage once.
func (s *Source) told(err error) {
	if err == nil {
		if s.failing.Swap(false) {
			s.c.Log.Info("the buyers' key set can be read again")
		}
		return
	}
	s.failed.Inc()
	if !s.failing.Swap(true) {
		s.c.Log.Warn("the buyers' key set cannot be read; the keys stay as they are", "from", Shown(s.c.From), "err", err)
	}
}
