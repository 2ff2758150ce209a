package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrUnsupported is returned where a backend can't be treated that way: an
// external one can't be killed, an embedded one can't be paused.
var ErrUnsupported = errors.New("devstack: this kind of backend can't do that")

// Backend is one running Redis, Postgres or Kafka. The exported fields don't
// change once Start has returned; the methods may be called from any goroutine.
type Backend struct {
	// URL: redis://host:port/db, postgres://…, or for Kafka the brokers as
	// host:port separated by commas. It stays the same over Restart.
	URL string
	// Kind is for people: "external", "child redis-server 7.0.15",
	// "embedded miniredis". Code should look at Mode.
	Kind string
	// Mode is External, Child or Embedded: what Auto came to.
	Mode Mode
	// Durable is true if acknowledged data survives the death of the process.
	// External backends are taken at their word.
	Durable bool
	// Note says what is not durable, or anything else the user should know.
	Note string
	// Dir holds the data and the log of what we started; "" if external.
	Dir string
	// Members are the brokers of a Kafka cluster, to kill, pause and restart one by
	// one; what is done to the Backend is done to all of them. Otherwise nil.
	Members []*Backend

	mu     sync.Mutex
	driver driver
	remove func() error // forgets the data; nil to keep it
}

// driver is what differs between the kinds of backend. Backend serialises the calls.
type driver interface {
	start(context.Context) error // returns when healthy; same address and data every time
	stop() error                 // the polite way; nil if it isn't running
	kill() error                 // the way a crash looks; nil if it isn't running
	signal(syscall.Signal) error
}

func (b *Backend) start(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.driver.start(ctx)
}

// settle fills in what only a running server knows. Once: readers of the fields
// don't lock, and a restart changes neither address nor version.
func (b *Backend) settle(url, kind string) {
	if b.URL == "" {
		b.URL, b.Kind = url, kind
	}
}

// Stop shuts the server down politely and waits until it is gone.
func (b *Backend) Stop() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.driver.stop()
}

// Kill ends the server as a crash would (SIGKILL) and waits until it is gone.
func (b *Backend) Kill() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.driver.kill()
}

// Restart starts the server again on the same address and the same data,
// stopping it politely first if it runs. It returns when the server is healthy.
func (b *Backend) Restart(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.driver.stop(); err != nil {
		return err
	}
	return b.driver.start(ctx)
}

// Alive says whether the server's process runs.
func (b *Backend) Alive() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.driver.(*server)
	return ok && s.proc != nil && s.proc.alive()
}

// Revive starts a server again that has ended by itself, on the same address and
// data. It returns when the server is healthy.
func (b *Backend) Revive(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.driver.(*server); ok {
		return s.revive(ctx)
	}
	return ErrUnsupported
}

// Pause freezes the server and its helpers (SIGSTOP): connections stay open and
// nothing is answered, which is what a machine looks like that swaps or hangs.
func (b *Backend) Pause() error { return b.signal(syscall.SIGSTOP) }

// Continue wakes a paused server up (SIGCONT).
func (b *Backend) Continue() error { return b.signal(syscall.SIGCONT) }

func (b *Backend) signal(sig syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.driver.signal(sig)
}

func (b *Backend) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Mode == External {
		return nil
	}
	err := b.driver.stop()
	if s, ok := b.driver.(*server); ok {
		err = errors.Join(err, s.disk.close())
	}
	if b.remove != nil {
		err = errors.Join(err, b.remove())
	}
	return err
}

// external is the driver of a backend that isn't ours: we only look if it answers.
type external struct {
	name  string
	check func(context.Context) error
}

// externalPatience is how long we wait for a backend somebody else may just be starting.
const externalPatience = 15 * time.Second

func (e external) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, externalPatience)
	defer cancel()
	if err := waitHealthy(ctx, e.check); err != nil {
		return fmt.Errorf("devstack: external %s doesn't answer: %w", e.name, err)
	}
	return nil
}
func (external) stop() error                 { return ErrUnsupported }
func (external) kill() error                 { return ErrUnsupported }
func (external) signal(syscall.Signal) error { return ErrUnsupported }

// PID is the process of a child backend, which the processes that it starts have as
// their ancestor; 0 if it has none, as an embedded or an external one.
func (b *Backend) PID() int {
	if b.Mode != Child {
		return 0
	}
	text, err := os.ReadFile(filepath.Join(b.Dir, pidName))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}
