package devstack

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// sysProcAttr puts the child into its own process group, so that Ctrl-C at the
// terminal reaches us and not the servers, and ties its life to ours.
func sysProcAttr(c command) *syscall.SysProcAttr {
	sig := c.deathSignal
	if sig == 0 {
		sig = syscall.SIGKILL
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: sig, Credential: c.cred}
}

// limitFiles sets how long a file the process may make.
func limitFiles(pid int, bytes uint64) error {
	return unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: bytes}, nil)
}
