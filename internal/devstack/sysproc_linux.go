package devstack

import (
	"os"
	"syscall"
)

// sysProcAttr puts the child into its own process group, so that Ctrl-C at the
// terminal reaches us and not the servers, and ties its life to ours.
func sysProcAttr(c command) *syscall.SysProcAttr {
	sig := c.deathSignal
	if sig == 0 {
		sig = syscall.SIGKILL
	}
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: sig, Credential: c.cred}
	switch {
	case !c.mounts:
	case os.Geteuid() == 0:
		attr.Unshareflags = syscall.CLONE_NEWNS
	default: // as root of a user namespace, which in there is this user
		attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	return attr
}
