package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Config are the sandbox's settings; the zero value works and forgets at exit.
type Config struct {
	// DataFile is the journal that survives a restart; empty keeps memory only.
	DataFile string
	// SlowFor is how long pm_sandbox_slow takes. Default 3 s.
	SlowFor time.Duration
	// HangFor is how long pm_sandbox_timeoutAfterCharge leaves a patient caller
	// without an answer. Default 60 s.
	HangFor time.Duration
	// ProcessingFor is how long pm_sandbox_processing is processing. Default
	// 5 s; below zero, for ever.
	ProcessingFor time.Duration
	// MaxKeys is how many Idempotency-Keys are remembered at most, for 24 hours.
	// Default 1,000,000.
	MaxKeys int
	// PublicURL is where the browsers of buyers reach the sandbox. Default: the
	// host that the request was sent to.
	PublicURL string
	// Webhooks are told of what happens; more can be added while it runs.
	Webhooks []Webhook
	// WebhookRetry is the wait after a webhook's first failed delivery; it
	// doubles up to a minute. Default 500 ms.
	WebhookRetry time.Duration
	// Control is how the sandbox misbehaves from the beginning.
	Control Control
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Server is the sandbox. Use New.
type Server struct {
	config  Config
	handler http.Handler
	wait    func(d time.Duration, stop <-chan struct{}) bool // tests replace it
	closing chan struct{}

	run    string // drawn at start: part of new ids
	faults faults
	busy   inFlight
	hooks  *hooks

	mu        sync.Mutex
	journal   *journal
	order     []string            // intent ids, oldest first
	intents   map[string]entry    // by id
	byAttempt map[string]string   // attempt → id of its first payment
	moreOf    map[string][]string // attempt → ids of its further ones
	recent    []changed           // what a lagging search does not see yet
	keys      keyring
	server    *http.Server
	url       string
	served    chan struct{}
	closed    bool
}

// entry is an intent in the books.
type entry struct {
	*Intent
	place int // index in order
}

// New makes a sandbox and reads its journal, if it has one.
func New(c Config) (*Server, error) {
	if c.SlowFor == 0 {
		c.SlowFor = 3 * time.Second
	}
	if c.HangFor == 0 {
		c.HangFor = time.Minute
	}
	if c.ProcessingFor == 0 {
		c.ProcessingFor = 5 * time.Second
	}
	if c.MaxKeys == 0 {
		c.MaxKeys = 1_000_000
	}
	if c.WebhookRetry == 0 {
		c.WebhookRetry = 500 * time.Millisecond
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	s := &Server{
		config: c, wait: pause, closing: make(chan struct{}), run: random(3),
		busy:    inFlight{keys: map[string]struct{}{}},
		intents: map[string]entry{}, byAttempt: map[string]string{}, moreOf: map[string][]string{},
		keys: keyring{known: map[string]keyed{}},
	}
	s.faults.clock = c.Now
	if err := s.SetControl(c.Control); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	s.hooks = newHooks(c, &s.faults, s.closing)
	if err := s.load(); err != nil {
		return nil, err
	}
	for _, h := range c.Webhooks {
		if err := s.hooks.add(h); err != nil {
			return nil, errors.Join(fmt.Errorf("sandbox: %w", err), s.Close())
		}
	}
	s.handler = s.routes()
	return s, nil
}

// load reads the journal, if there is to be one, and goes on from it.
func (s *Server) load() error {
	if s.config.DataFile == "" {
		return nil
	}
	j, err := openJournal(s.config.DataFile, func(r record) error {
		if r.Intent == nil || r.Intent.ID == "" {
			return errors.New("no intent")
		}
		if r.At == 0 {
			r.At = r.Intent.Created
		}
		s.take(r)
		return nil
	})
	if err != nil {
		return fmt.Errorf("sandbox journal: %w", err)
	}
	s.journal = j
	for _, e := range s.intents {
		if in := e.Intent; in.Status == Processing && in.SettlesAt > 0 {
			s.settleLater(in)
		}
	}
	return nil
}

// random gives n random bytes in hexadecimal.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// Handler serves the API in process.
func (s *Server) Handler() http.Handler { return s.handler }

// Start listens on an address such as 127.0.0.1:0 and serves until Close.
// URL says where.
func (s *Server) Start(listen string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", listen)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.server != nil {
		_ = l.Close()
		return errors.New("sandbox: started or closed before")
	}
	s.url = "http://" + l.Addr().String()
	s.served = make(chan struct{})
	s.server = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       3 * time.Minute, // longer than clients keep theirs, so that they are the ones who close
		// No WriteTimeout: being slow is this server's trade.
	}
	go func(srv *http.Server, served chan struct{}) {
		defer close(served)
		_ = srv.Serve(l)
	}(s.server, s.served)
	return nil
}

// URL is where Start listens, such as http://127.0.0.1:40123.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// Shutdown takes no more requests, lets those under way end until ctx does, and
// closes. Repeatable.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	srv := s.server
	s.mu.Unlock()
	if srv != nil {
		_ = srv.Shutdown(ctx) // what is left when ctx ends is cut by Close
	}
	return s.Close()
}

// Close cuts every connection, wakes what waits, and closes the journal.
// Repeatable.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	srv, served, j := s.server, s.served, s.journal
	s.mu.Unlock()
	var err error
	if srv != nil {
		err = srv.Close()
		<-served
	}
	s.hooks.close()
	s.mu.Lock() // whoever is inside save has written its line
	defer s.mu.Unlock()
	return errors.Join(err, j.close())
}
