package sandbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
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
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Server is the sandbox. Use New.
type Server struct {
	config  Config
	handler http.Handler
	wait    func(d time.Duration, stop <-chan struct{}) bool // tests replace it
	closing chan struct{}

	mu        sync.Mutex
	journal   *journal
	control   Control
	dice      *rand.Rand
	order     []string           // intent ids, oldest first
	place     map[string]int     // id → index in order
	intents   map[string]*Intent // by id
	byAttempt map[string]string  // attempt → id
	keys      map[string]*keyed  // by Idempotency-Key
	server    *http.Server
	url       string
	served    chan struct{}
	closed    bool
}

// keyed is what is known of an Idempotency-Key.
type keyed struct {
	print   string
	id      string
	working bool    // a request is at it
	answer  *answer // nil: not answered before a crash
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
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{
		config: c, wait: pause, closing: make(chan struct{}),
		place: map[string]int{}, intents: map[string]*Intent{}, byAttempt: map[string]string{}, keys: map[string]*keyed{},
	}
	_ = s.setControl(Control{})
	if c.DataFile != "" {
		j, err := openJournal(c.DataFile, func(r record) error {
			if r.Intent == nil || r.Intent.ID == "" {
				return errors.New("no intent")
			}
			s.take(r)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("sandbox journal: %w", err)
		}
		s.journal = j
	}
	s.handler = s.routes()
	return s, nil
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
	s.mu.Lock() // whoever is inside save has written its line
	defer s.mu.Unlock()
	return errors.Join(err, j.close())
}
