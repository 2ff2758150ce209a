package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// command describes a process to start.
type command struct {
	path string
	args []string
	env  []string            // nil: ours
	dir  string              // working directory; also how a leftover is recognised
	cred *syscall.Credential // nil: the current user
	// deathSignal is what the kernel sends when we die; 0 means SIGKILL.
	deathSignal syscall.Signal
	// mounts lets it mount file systems that only it and its children see.
	mounts  bool
	logPath string
}

// child is a process we started and will reap.
type child struct {
	pid      int
	done     chan struct{} // closed once the process is reaped
	exit     error         // how it ended; read after done
	expected atomic.Bool   // we ended it
	logPath  string
	logStart int64 // where this run's part of the log begins
}

// startChild starts c so that it can't outlive us.
//
// On Linux the kernel signals a child when the *thread* that forked it ends
// (Pdeathsig), and Go ends threads as it likes. So one goroutine, locked to its
// thread, starts the process and then waits for it: the thread lives exactly as
// long as the child, and dies early only with our whole process.
func startChild(c command) (*child, error) {
	logFile, err := os.OpenFile(c.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	ch := &child{done: make(chan struct{}), logPath: c.logPath}
	if st, err := logFile.Stat(); err == nil {
		ch.logStart = st.Size()
	}
	cmd := exec.Command(c.path, c.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, logFile, logFile
	cmd.SysProcAttr = sysProcAttr(c)

	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer logFile.Close()
		err := cmd.Start()
		if err == nil {
			ch.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		ch.exit = cmd.Wait()
		close(ch.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(c.path), err)
	}
	return ch, nil
}

// runToEnd runs a helper (initdb, a formatter) and fails with what it said.
func runToEnd(ctx context.Context, c command) error {
	ch, err := startChild(c)
	if err != nil {
		return err
	}
	select {
	case <-ch.done:
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), ch.kill())
	}
	if ch.exit != nil {
		return fmt.Errorf("%s: %w; it said:\n%s", filepath.Base(c.path), ch.exit, ch.logTail())
	}
	return nil
}

func (c *child) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// stop sends sig, and SIGKILL if that hasn't helped within patience.
func (c *child) stop(sig syscall.Signal, patience time.Duration) error {
	if !c.alive() {
		return nil
	}
	if sig == syscall.SIGKILL {
		return c.kill()
	}
	c.expected.Store(true)
	if err := c.signal(sig); err != nil {
		return err
	}
	// A paused process only sees the signal once it, and those it waits for, run again.
	if err := c.signalAll(syscall.SIGCONT); err != nil {
		return err
	}
	select {
	case <-c.done:
		return nil
	case <-time.After(patience):
		return c.kill()
	}
}

// kill ends the process and its own children and waits until it is reaped.
// Postgres' backends would notice by themselves, but not at once, and the next
// postmaster refuses to start while one of them is attached.
func (c *child) kill() error {
	c.expected.Store(true)
	family := descendants(c.pid)
	if err := c.signal(syscall.SIGKILL); err != nil {
		return err
	}
	for _, pid := range family {
		_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
	}
	<-c.done
	return nil
}

// signalAll sends sig to the process and its descendants, parent first, so that
// a frozen parent can't start new ones behind our back.
func (c *child) signalAll(sig syscall.Signal) error {
	if err := c.signal(sig); err != nil {
		return err
	}
	for _, pid := range descendants(c.pid) {
		_ = syscall.Kill(pid, sig) // it may have ended meanwhile
	}
	return nil
}

func (c *child) signal(sig syscall.Signal) error {
	if !c.alive() {
		return nil
	}
	if err := syscall.Kill(c.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %v to process %d: %w", sig, c.pid, err)
	}
	return nil
}

// logTail returns the end of what this run has logged.
func (c *child) logTail() string {
	const most = 4 << 10
	f, err := os.Open(c.logPath)
	if err != nil {
		return ""
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(io.NewSectionReader(f, max(c.logStart, size-most), most))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// descendants lists the children of pid and theirs, as far as /proc tells.
func descendants(pid int) []int {
	var found []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // empty where there is no /proc
	parents := make(map[int][]int)
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // ended while we looked
		}
		// "pid (name with ) and blanks) state ppid …": count from the last bracket.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		self, err1 := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if len(fields) < 2 || err1 != nil {
			continue
		}
		if ppid, err := strconv.Atoi(fields[1]); err == nil {
			parents[ppid] = append(parents[ppid], self)
		}
	}
	for next := []int{pid}; len(next) > 0; next = next[1:] {
		found = append(found, parents[next[0]]...)
		next = append(next, parents[next[0]]...)
	}
	return found
}
