package notify

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/outside"
)

// Source is where notices wait, durably. Its errors are read as "later".
type Source interface {
	// Want switches notices on. Repeatable.
	Want(ctx context.Context) error
	// Due takes at most limit due notices; undone after lease, they are due again.
	Due(ctx context.Context, limit int, lease time.Duration) ([]Notice, error)
	// Delivered forgets notices that have arrived.
	Delivered(ctx context.Context, ids []engine.ReservationID) error
	// Later puts one off.
	Later(ctx context.Context, id engine.ReservationID, in time.Duration, why string) error
	// Pending counts what waits, and says since when the oldest does.
	Pending(ctx context.Context) (int64, time.Time, error)
}

// Config are the sender's parts and settings; zero settings take defaults.
type Config struct {
	URL     string
	Secrets []Secret
	Source  Source

	Timeout     time.Duration // of one delivery. Default 5 s
	Concurrency int           // deliveries at once. Default 16
	Every       time.Duration // between two looks at an empty source. Default 500 ms
	Backoff     time.Duration // before a failed one is tried again; doubles. Default 2 s
	MaxBackoff  time.Duration // default 15 min

	Trace      *telemetry.Telemetry // nil: nothing is traced
	Board      *outside.Board
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

func (c Config) withDefaults() (Config, error) {
	or(&c.Timeout, 5*time.Second)
	or(&c.Concurrency, 16)
	or(&c.Every, 500*time.Millisecond)
	or(&c.Backoff, 2*time.Second)
	or(&c.MaxBackoff, max(15*time.Minute, c.Backoff))
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Source == nil {
		return c, errors.New("notify: a Sender needs a Source")
	}
	if c.Every < 0 || c.Backoff < 0 || c.MaxBackoff < c.Backoff {
		return c, errors.New("notify: Every and Backoff must be positive, and MaxBackoff at least Backoff")
	}
	return c, nil
}

func or[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// Sender delivers notices. Several nodes may run one each.
type Sender struct {
	c       Config
	to      *endpoint
	deliver *outside.Call[message, struct{}]
	waiting prometheus.Gauge
	oldest  prometheus.Gauge
}

// margin is what a lease has on top of a delivery.
const margin = 5 * time.Second

// New makes a sender; Run starts it. Its dependency is called "notify".
func New(c Config) (*Sender, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sender{c: c,
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "flashsale_notices_pending", Help: "Orders that the storefront is still to be told of."}),
		oldest:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "flashsale_notices_oldest_seconds", Help: "How long the oldest of them has waited."}),
	}
	if s.to, err = newEndpoint(c.URL, c.Secrets, c.Concurrency); err != nil {
		return nil, err
	}
	if s.deliver, err = s.to.call(c.Board, outside.Config{Name: "notify", Timeout: c.Timeout, Budget: c.Timeout, Tries: 1, Concurrency: c.Concurrency}); err != nil {
		return nil, err
	}
	if c.Registerer == nil {
		return s, nil
	}
	return s, errors.Join(c.Registerer.Register(s.waiting), c.Registerer.Register(s.oldest))
}

// Run delivers until ctx ends, then finishes what is in hand and returns nil.
func (s *Sender) Run(ctx context.Context) error {
	defer s.to.client.CloseIdleConnections()
	tick := time.NewTicker(s.c.Every)
	defer tick.Stop()
	wanted, counted := false, time.Time{}
	for ctx.Err() == nil {
		more := false
		if !wanted {
			wanted = s.said(ctx, s.c.Source.Want(ctx))
		}
		if wanted {
			more = s.round(ctx)
		}
		if wanted && time.Since(counted) > 10*time.Second {
			counted = time.Now()
			s.count(ctx)
		}
		if more {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

func (s *Sender) said(ctx context.Context, err error) bool {
	if err != nil && ctx.Err() == nil {
		s.c.Log.WarnContext(ctx, "notices: the record does not answer; it is asked again", "err", err)
	}
	return err == nil
}

// round delivers one batch and says whether there is certainly more. The batch is
// as large as can be delivered at once, so its lease need cover one delivery.
func (s *Sender) round(ctx context.Context) (more bool) {
	due, err := s.c.Source.Due(ctx, s.c.Concurrency, s.c.Timeout+margin)
	if !s.said(ctx, err) || len(due) == 0 {
		return false
	}
	work := context.WithoutCancel(ctx) // what was taken is finished, or its lease would have to end first
	var mu sync.Mutex
	var delivered []engine.ReservationID
	var wg sync.WaitGroup
	for _, n := range due {
		wg.Go(func() {
			m, err := of(n)
			if err == nil {
				ctx, span := s.c.Trace.Resume(work, n.Order.Traceparent, "notify storefront")
				_, err = s.deliver.Do(ctx, m)
				span.End(err)
			}
			if err != nil {
				s.later(work, n, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			delivered = append(delivered, n.Order.ID)
		})
	}
	wg.Wait()
	if len(delivered) > 0 {
		// Unnoted, they are delivered once more.
		s.said(ctx, s.c.Source.Delivered(work, delivered))
	}
	return len(delivered) == s.c.Concurrency
}

// later puts a notice off: by the breaker's word if there was no call at all.
func (s *Sender) later(ctx context.Context, n Notice, why error) {
	wait := s.c.Backoff << min(max(n.Tries-1, 0), 20)
	if wait <= 0 || wait > s.c.MaxBackoff {
		wait = s.c.MaxBackoff
	}
	var refused *outside.Refused
	if errors.As(why, &refused) {
		wait = max(refused.After, s.c.Backoff)
	}
	wait = wait/2 + rand.N(wait/2+1) //nolint:gosec // jitter, not a secret
	s.said(ctx, s.c.Source.Later(ctx, n.Order.ID, wait, why.Error()))
}

// count measures what waits.
func (s *Sender) count(ctx context.Context) {
	n, oldest, err := s.c.Source.Pending(ctx)
	if !s.said(ctx, err) {
		return
	}
	s.waiting.Set(float64(n))
	s.oldest.Set(0)
	if n > 0 {
		s.oldest.Set(max(time.Since(oldest), 0).Seconds())
	}
}
