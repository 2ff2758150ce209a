package devstack

import "syscall"

// sysProcAttr puts the child into its own process group, so that Ctrl-C at the
// terminal reaches us and not the servers, and ties its life to ours.
func sysProcAttr(c command) *syscall.SysProcAttr {
	sig := c.deathSignal
	if sig == 0 {
		sig = syscall.SIGKILL
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: sig, Credential: c.cred}
}
