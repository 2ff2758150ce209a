package devstack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// openDataDir creates the data directory and takes its lock, so that two stacks
// never run servers on the same files.
func openDataDir(opt *Options) (*Stack, error) {
	s := &Stack{}
	if opt.DataDir == "" {
		dir, err := os.MkdirTemp("", "flashsale-devstack-")
		if err != nil {
			return nil, fmt.Errorf("devstack: %w", err)
		}
		// Postgres may run as another user, who must be able to walk through.
		if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // search permission only; what lies below is 0700
			return nil, fmt.Errorf("devstack: %w", err)
		}
		opt.DataDir, opt.Ephemeral, s.remove = dir, true, true
	}
	abs, err := filepath.Abs(opt.DataDir)
	if err != nil {
		return nil, fmt.Errorf("devstack: data dir: %w", err)
	}
	opt.DataDir, s.dataDir = abs, abs
	if err := os.MkdirAll(abs, 0o711); err != nil { //nolint:gosec // as above
		return nil, fmt.Errorf("devstack: data dir: %w", err)
	}
	if s.lock, err = lockDir(abs); err != nil {
		return nil, err
	}
	return s, nil
}

// lockDir takes the lock of a data directory. The kernel drops it when we die,
// so a lock file left behind by a killed run doesn't block the next one.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("devstack: data dir: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 20)
		n, _ := f.ReadAt(holder, 0)
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("devstack: lock %s: %w", dir, err)
		}
		return nil, fmt.Errorf("devstack: %s is in use by process %s: stop it or choose another data directory",
			dir, strings.TrimSpace(string(holder[:n])))
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // only there to be named in the error above
	}
	return f, nil
}

// leftoverGrace is how long a server of a killed run may take to go away.
var leftoverGrace = 5 * time.Second

// refuseLeftover fails if the process whose pid stands in the first line of
// pidFile still runs on dir. A server of a run that was just killed is on its
// way out, so it gets a moment. A pid that meanwhile belongs to something else
// is no obstacle: after a reboot, or in a container, small pids come round again.
func refuseLeftover(pidFile, dir string) error {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return nil // no pid file: nobody ran here before
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return nil // not a pid: nothing we could wait for
	}
	for end := time.Now().Add(leftoverGrace); runsIn(pid, dir); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("process %d of a former run still uses %s: stop it with `kill %d`", pid, dir, pid)
		}
	}
	return nil
}

// runsIn says if pid is a live process with dir as its working directory, which
// is where all our servers run. Without /proc, alive has to do.
func runsIn(pid int, dir string) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	if _, err := os.Stat("/proc/self/cwd"); err != nil {
		return true
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false // a zombie, or another user's process: not one of ours
	}
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	}
	return cwd == dir
}

func writePid(path string, pid int) error {
	return os.WriteFile(path, []byte(strconv.Itoa(pid)+"\n"), 0o600)
}
