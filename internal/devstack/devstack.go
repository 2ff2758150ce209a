// Package devstack is the one place that finds, starts, health-checks and stops
// the three backends the engine stands on: Redis, Postgres and Kafka. The demo,
// the tests, the benchmarks and the chaos runs all come here, so "how do I get a
// Postgres" has one answer in this repository.
//
// Each backend is one of three kinds:
//
//   - external: somebody else runs it, we were given a URL;
//   - child: we start the real server as a child process on a free loopback port;
//   - embedded: we run a stand-in inside this process (miniredis, kfake).
//
// Children never outlive the process that started them, however it dies: see
// child.go. Data lives below Options.DataDir and is found again by the next
// Start with the same directory.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Mode says which kind of backend to use.
type Mode string

const (
	// Auto (also the zero value) takes the URL if one is given. Otherwise Redis
	// is a child if redis-server is installed and miniredis if not, Postgres is
	// a child, and Kafka is kfake: a JVM is asked for by Child, never by accident.
	Auto Mode = "auto"
	// Embedded runs inside this process. Postgres has no such thing, so for
	// Postgres Embedded means Child.
	Embedded Mode = "embedded"
	// Child runs the real server as a child process, or fails saying what to install.
	Child Mode = "child"
	// External uses Spec.URL and starts nothing.
	External Mode = "external"
	// Off leaves the backend out: its field in Stack stays nil.
	Off Mode = "off"
)

// ParseMode reads a mode as written on a command line; "" is Auto.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return Auto, nil
	case Auto, Embedded, Child, External, Off:
		return m, nil
	}
	return "", fmt.Errorf("devstack: unknown backend mode %q (auto, embedded, child, external or off)", s)
}

// Spec asks for one backend.
type Spec struct {
	// URL of an external backend: redis://host:port/db, postgres://…, or for
	// Kafka host:port[,host:port…]. Only with Auto or External.
	URL  string
	Mode Mode
	// Fast trades safety against power loss for speed (Postgres: fsync=off).
	// For tests. Killing the process still loses nothing.
	Fast bool
	// Advertise is the host:port at which a Kafka child tells its clients to find
	// it; "" is where it listens. For a proxy in front of it. Of several brokers,
	// one each, separated by commas.
	Advertise string
	// Brokers is how many brokers a Kafka child has: 1 (also 0), or KafkaBrokers,
	// a cluster whose members are in Backend.Members.
	Brokers int
	// Disk gives a Redis or Postgres child's data a file system of its own of so
	// many MiB, in memory, which FillDisk fills: see TryDisk. It is gone on Close.
	Disk int
}

// Options of a stack. The zero value starts everything in Auto mode in a
// throw-away directory.
type Options struct {
	// DataDir holds data, logs and pid files, one folder per backend. Empty
	// means a new temporary directory and Ephemeral.
	DataDir string
	// Ephemeral stops servers the quick way on Close and removes their data.
	Ephemeral bool

	Redis, Postgres, Kafka Spec

	// Log receives what happened; nil discards.
	Log *slog.Logger
}

// Stack is a set of running backends. A backend that was Off is nil.
type Stack struct {
	Redis, Postgres, Kafka *Backend

	dataDir string
	remove  bool // the directory is ours to remove
	lock    *os.File
	once    sync.Once
	err     error
}

var discard = slog.New(slog.DiscardHandler)

// Start brings up what opt asks for, in parallel, and returns when every backend
// has answered a real request. On error nothing is left running. Cancelling ctx
// aborts the start; it doesn't stop a stack that is up.
func Start(ctx context.Context, opt Options) (*Stack, error) {
	if opt.Log == nil {
		opt.Log = discard
	}
	specs := []*Spec{&opt.Redis, &opt.Postgres, &opt.Kafka}
	for i, name := range []string{"redis", "postgres", "kafka"} {
		if err := specs[i].resolve(); err != nil {
			return nil, fmt.Errorf("devstack: %s: %w", name, err)
		}
	}
	s, err := openDataDir(&opt)
	if err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, b := range []struct {
		into **Backend
		spec Spec
		make func(Options) (*Backend, error)
	}{
		{&s.Redis, opt.Redis, newRedis},
		{&s.Postgres, opt.Postgres, newPostgres},
		{&s.Kafka, opt.Kafka, newKafka},
	} {
		if b.spec.Mode == Off {
			continue
		}
		g.Go(func() error {
			backend, err := b.make(opt)
			if err != nil {
				return err
			}
			*b.into = backend
			return backend.start(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil { // report the caller's reason, not the knock-on error of a sibling
			err = errors.Join(context.Cause(ctx), err)
		}
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// resolve settles Auto where the URL decides and refuses contradictions.
func (s *Spec) resolve() error {
	mode, err := ParseMode(string(s.Mode))
	if err != nil {
		return err
	}
	s.Mode = mode
	switch {
	case s.URL != "" && mode == Auto:
		s.Mode = External
	case s.URL != "" && mode != External:
		return fmt.Errorf("a URL is given, but the mode is %s: use external, or drop the URL", mode)
	case s.URL == "" && mode == External:
		return errors.New("mode external needs a URL")
	case s.Brokers > 1 && (s.Brokers != KafkaBrokers || s.Mode != Child):
		return fmt.Errorf("%d brokers in mode %s: a Kafka child has 1 or %d", s.Brokers, s.Mode, KafkaBrokers)
	}
	return nil
}

// Close stops everything this stack started, last one first, and waits for it.
// It may be called more than once. External backends are left alone.
func (s *Stack) Close() error {
	s.once.Do(func() {
		for _, b := range []*Backend{s.Kafka, s.Postgres, s.Redis} {
			if b != nil {
				s.err = errors.Join(s.err, b.close())
			}
		}
		if s.remove {
			s.err = errors.Join(s.err, os.RemoveAll(s.dataDir))
		}
		if s.lock != nil {
			s.err = errors.Join(s.err, s.lock.Close())
		}
	})
	return s.err
}
