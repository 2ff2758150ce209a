//go:build !linux

package bench

import (
	"errors"
	"syscall"
)

var errLinux = errors.New("bench: needs Linux: it pins processes to processors, and its load generator stands on epoll")

func cores() ([]int, error)            { return nil, errLinux }
func pinThread(int) error              { return errLinux }
func pinProcess(int, int) error        { return errLinux }
func diesWithUs() *syscall.SysProcAttr { return nil }
func shortSlices(int)                  {}
