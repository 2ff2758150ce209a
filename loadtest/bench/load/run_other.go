//go:build !linux

package load

import "errors"

// Run is for Linux only: it stands on epoll.
func Run(Spec, [][]byte) (Result, error) {
	return Result{}, errors.New("load: the load generator needs Linux")
}
