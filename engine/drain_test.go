package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

type virtualClock struct{}

func (virtualClock) Now() time.Time { return time.Now() }

// slowStream is read one place at a time, until it sticks.
type slowStream struct {
	began time.Time
	each  time.Duration
	stick int64
}

func (s *slowStream) MarkEpoch(context.Context, *Sale, int, int64) (Mark, error) {
	s.began = time.Now()
	return Mark{0: 100}, nil
}

func (s *slowStream) Left(_ context.Context, m Mark) (int64, error) {
	return max(s.stick, m[0]-int64(time.Since(s.began)/s.each)), nil
}

func TestARebuildWaitsForAWriterThatGetsOnAndNotForOneThatSticks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowStream{each: time.Second}
		b := &Rebuilder{Stream: slow, Clock: virtualClock{}, Drain: 5 * time.Second}
		if err := b.drain(t.Context(), nil, 0, 2); err != nil || time.Since(slow.began) != 100*time.Second {
			t.Errorf("a slow writer: %v after %s", err, time.Since(slow.began))
		}
		stuck := &slowStream{each: time.Second, stick: 70}
		b.Stream = stuck
		err := b.drain(t.Context(), nil, 0, 2)
		if took := time.Since(stuck.began); CodeOf(err) != CodeUnavailable || took < 35*time.Second || took > 36*time.Second {
			t.Errorf("a writer that stopped after 30 s: %v after %s", err, took)
		}
	})
}
