//go:build !linux

package devstack

import "syscall"

// sysProcAttr puts the child into its own process group. Only Linux can tie its
// life to ours; elsewhere a kill -9 of this process leaves the servers running,
// and the next start on the same data names them (see datadir.go).
func sysProcAttr(c command) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: c.cred}
}
