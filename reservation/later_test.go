package reservation_test

import (
	"context"
	"testing"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/reservation"
	"github.com/flashsale-engine/flashsale/reservation/gatetest"
)

// byHoldThen is a gate whose Hold goes by HoldThen.
type byHoldThen struct{ *reservation.Gate }

type heard struct {
	told chan struct{}
	hold engine.Hold
	err  error
}

func (h *heard) Held(got *engine.Hold, err error) {
	if h.err = err; err == nil {
		h.hold = *got
		h.hold.Lines = append([]engine.Line(nil), got.Lines...)
	}
	close(h.told) // twice would panic
}

func (g byHoldThen) Hold(ctx context.Context, s *engine.Sale, r engine.HoldRequest) (engine.Hold, error) {
	who := &heard{told: make(chan struct{})}
	g.HoldThen(ctx, s, r, who)
	<-who.told
	return who.hold, who.err
}

func laterOn(on func(*testing.T) gatetest.Backend) func(*testing.T) gatetest.Backend {
	return func(t *testing.T) gatetest.Backend {
		b := on(t)
		b.Gate = byHoldThen{b.Gate.(*reservation.Gate)}
		return b
	}
}

func TestTheGateKeepsItsPromisesToThoseWhoDoNotWait(t *testing.T) {
	t.Parallel()
	t.Run("on Redis", func(t *testing.T) { conform(t, laterOn(onRedis)) })
	t.Run("over four shards on miniredis", func(t *testing.T) { gatetest.Run(t, over(4, laterOn(onMiniredis))) })
}
