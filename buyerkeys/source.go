// Package buyerkeys keeps the keys of buyer tokens as a JWK Set says, in a file or
// at a URL, while they rotate. It looks again every few minutes, and at once when a
// token names a key that is not there. A set that cannot be read changes nothing:
// the keys that are there stay.
package buyerkeys

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/api"
	"github.com/flashsale-engine/flashsale/outside"
)

// Config are the parts and settings of a Source.
type Config struct {
	From  string        // a file, or https://host/path; http for loopback only
	Every time.Duration // between two looks at most; default 5 min

	Board      *outside.Board
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Source reads a key set again and again.
type Source struct {
	c      Config
	client *http.Client
	fetch  *outside.Call[string, []byte]
	failed prometheus.Counter
	count  atomic.Int64 // keys that can be used
	at     atomic.Int64 // Unix nanoseconds of the last look that succeeded
	asking atomic.Int64 // tokens that wait

	mu    sync.Mutex
	now   *look     // under way, or nil
	asked time.Time // when a token last made us look
	use   func([]api.Key) error

	last    []byte // the set in use; belongs to the look under way
	failing atomic.Bool
}

// New gives a source that has read nothing yet.
func New(c Config) (*Source, error) {
	if c.Every == 0 {
		c.Every = 5 * time.Minute
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if Remote(c.From) {
		if err := Check(c.From); err != nil {
			return nil, fmt.Errorf("buyerkeys: %w", err)
		}
	}
	s := &Source{c: c, client: newClient()}
	var err error
	if s.fetch, err = newFetch(c, s.client); err != nil {
		return nil, err
	}
	return s, s.measure()
}

func (s *Source) measure() error {
	s.failed = prometheus.NewCounter(prometheus.CounterOpts{Name: "flashsale_buyer_keys_refresh_failures_total", Help: "Looks at the buyers' key set that failed; the keys stayed as they were."})
	if s.c.Registerer == nil {
		return nil
	}
	for _, m := range []prometheus.Collector{s.failed,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "flashsale_buyer_keys", Help: "Keys of the buyers' key set that are in use."}, func() float64 { return float64(s.count.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "flashsale_buyer_keys_age_seconds", Help: "Time since the buyers' key set was last read."}, func() float64 {
			return time.Since(time.Unix(0, s.at.Load())).Seconds()
		})} {
		if err := s.c.Registerer.Register(m); err != nil {
			return fmt.Errorf("buyerkeys: metrics: %w", err)
		}
	}
	return nil
}

// Read reads the set for the first time.
func (s *Source) Read(ctx context.Context) ([]api.Key, error) {
	text, err := s.text(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := s.parse(text)
	if err != nil {
		return nil, err
	}
	s.took(text, keys)
	return keys, nil
}

// Use names who is given the keys when they change, from now on.
func (s *Source) Use(use func([]api.Key) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.use = use
}

// Close closes the idle connections.
func (s *Source) Close() { s.client.CloseIdleConnections() }

func (s *Source) text(ctx context.Context) ([]byte, error) {
	if Remote(s.c.From) {
		return s.fetch.Do(ctx, s.c.From)
	}
	return readFile(s.c.From)
}

func (s *Source) parse(text []byte) ([]api.Key, error) {
	keys, skipped, err := api.KeySet(text, !Remote(s.c.From))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSet, err)
	}
	for _, k := range skipped {
		s.c.Log.Info("a key of the buyers' key set is not for this engine and was skipped", "key", k)
	}
	return keys, nil
}

func (s *Source) took(text []byte, keys []api.Key) {
	s.last = text
	s.count.Store(int64(len(keys)))
	s.at.Store(time.Now().UnixNano())
}

// Shown is a place without the password in it.
func Shown(from string) string {
	if !Remote(from) {
		return from
	}
	u, err := url.Parse(from)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}
