package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// server drives a backend that is a child process. What differs between Redis,
// Postgres and Kafka is in the function fields; the life cycle is here, once.
type server struct {
	name  string
	dir   string // log and pid file
	data  string // the server's working directory, with its files
	log   *slog.Logger
	ready time.Duration // how long a start may take

	prepare   func(context.Context) error                           // before the first start: create the data
	configure func(ports []int) error                               // before each start; may be nil
	command   func(ports []int) command                             // how to run it
	check     func(ctx context.Context, pid int, ports []int) error // does *this* process answer?
	pick      func(n int) ([]int, error)                            // free ports; a field so that tests can pick badly
	nports    int
	stopSig   syscall.Signal
	disk      *disk // the data is on; nil: the machine's

	ports []int // fixed after the first successful start
	proc  *child
}

// startAttempts bounds the retries on a port that somebody else was faster to
// take: between finding a free port and the child binding it, it is anybody's.
const startAttempts = 8

func (s *server) start(ctx context.Context) error {
	if s.proc != nil && s.proc.alive() {
		return nil
	}
	if err := refuseLeftover(s.pidFile(), s.data); err != nil {
		return fmt.Errorf("devstack: %s: %w", s.name, err)
	}
	if s.disk != nil && s.disk.sleeper == nil {
		data, err := s.disk.mount(ctx, s.data, filepath.Join(s.dir, "disk.log"))
		if err != nil {
			return fmt.Errorf("devstack: %s: %w", s.name, err)
		}
		s.data = data
	}
	if s.ports == nil && s.prepare != nil {
		if err := s.prepare(ctx); err != nil {
			return fmt.Errorf("devstack: %s: %w", s.name, err)
		}
	}
	var err error
	for range startAttempts {
		if err = s.launch(ctx); err == nil {
			return nil
		}
		if !worthAnotherTry(err.Error()) || ctx.Err() != nil {
			break
		}
		s.log.Warn("devstack: trying again", "backend", s.name, "error", err)
		sleep(ctx, 200*time.Millisecond)
	}
	return fmt.Errorf("devstack: %s: %w", s.name, err)
}

// launch makes one attempt: pick ports, start, wait until it answers.
func (s *server) launch(ctx context.Context) error {
	ports := s.ports
	if ports == nil {
		var err error
		if ports, err = s.pick(s.nports); err != nil {
			return err
		}
	}
	if s.configure != nil {
		if err := s.configure(ports); err != nil {
			return err
		}
	}
	begin := time.Now()
	cmd := s.command(ports)
	cmd.dir, cmd.logPath = s.workDir(), filepath.Join(s.dir, "log")
	proc, err := startChild(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.ready)
	defer cancel()
	gone, stopWatch := context.WithCancelCause(ctx)
	defer stopWatch(nil)
	go func() {
		select {
		case <-proc.done:
			stopWatch(errGone)
		case <-gone.Done():
		}
	}()
	err = waitHealthy(gone, func(ctx context.Context) error {
		err := s.check(ctx, proc.pid, ports)
		if err != nil && worthAnotherTry(proc.logTail()) {
			stopWatch(errHopeless) // Kafka takes ten seconds to die of it
		}
		return err
	})
	if err == nil {
		err = writePid(s.pidFile(), proc.pid)
	}
	if err != nil {
		return s.startError(gone, proc, err)
	}
	s.proc, s.ports = proc, ports
	go s.watch(proc)
	s.log.Info("devstack: up", "backend", s.name, "pid", proc.pid, "ports", ports, "took", time.Since(begin).Round(time.Millisecond))
	return nil
}

// watch says so when the server ends without having been told to. Nobody restarts
// it: a backend that dies is a fault the engine has to live with.
func (s *server) watch(proc *child) {
	<-proc.done
	if !proc.expected.Load() {
		s.log.Error("devstack: a server ended by itself", "backend", s.name, "pid", proc.pid, "exit", proc.exit, "log", proc.logTail())
	}
}

var (
	errGone     = errors.New("it ended at once")
	errHopeless = errors.New("it can't have what it needs")
)

// startError cleans up after a failed start and says why, in the server's own words.
func (s *server) startError(ctx context.Context, proc *child, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errGone) {
		err = fmt.Errorf("%w (%w)", errGone, proc.exit)
	} else if cause != nil {
		err = errors.Join(cause, err)
	}
	err = errors.Join(err, proc.kill())
	if tail := proc.logTail(); tail != "" {
		return fmt.Errorf("did not start: %w; the end of %s:\n%s", err, proc.logPath, tail)
	}
	return fmt.Errorf("did not start: %w; nothing in %s", err, proc.logPath)
}

// worthAnotherTry recognises a port collision in the words of all three servers,
// and Postgres waiting for the last process of its killed predecessor.
func worthAnotherTry(text string) bool {
	return strings.Contains(text, "already in use") || strings.Contains(text, "is still in use")
}

func (s *server) stop() error {
	if s.proc == nil {
		return nil
	}
	err := s.proc.stop(s.stopSig, 15*time.Second)
	return errors.Join(err, s.forget())
}

// revive starts the server if it has ended. It may be on its way out, or
// recovering by itself: only an answer says that nothing is to be done.
func (s *server) revive(ctx context.Context) error {
	if s.proc == nil {
		return s.start(ctx)
	}
	alive, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.proc.done:
			cancel()
		case <-alive.Done():
		}
	}()
	err := waitHealthy(alive, func(ctx context.Context) error { return s.check(ctx, s.proc.pid, s.ports) })
	if err == nil || s.proc.alive() {
		return err
	}
	return errors.Join(s.stop(), s.start(ctx))
}

func (s *server) kill() error {
	if s.proc == nil || !s.proc.alive() {
		return nil
	}
	return errors.Join(s.proc.kill(), s.forget())
}

func (s *server) signal(sig syscall.Signal) error {
	if s.proc == nil || !s.proc.alive() {
		return fmt.Errorf("devstack: %s is not running", s.name)
	}
	return s.proc.signalAll(sig)
}

// workDir is where the server is started. A process whose working directory is on
// a disk that it does not see mounted cannot say where it is, and Postgres wants to.
func (s *server) workDir() string {
	if s.disk != nil {
		return "/"
	}
	return s.data
}

const pidName = "devstack.pid"

func (s *server) pidFile() string { return filepath.Join(s.dir, pidName) }

func (s *server) forget() error {
	if err := os.Remove(s.pidFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// waitHealthy repeats check until it succeeds or ctx ends; each try is bounded,
// so that a server that accepts and never answers is asked again.
func waitHealthy(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	pause := 5 * time.Millisecond
	for {
		try, stop := context.WithTimeout(ctx, 3*time.Second)
		err := check(try)
		stop()
		if err == nil || ctx.Err() != nil {
			return err
		}
		sleep(ctx, pause)
		pause = min(2*pause, 100*time.Millisecond)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
