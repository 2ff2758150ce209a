//go:build unix && (!linux || race)

package api

import "syscall"

const canReadNow = true

// readNow reads what is there; below 0: nothing. again: but there may be, later.
func readNow(fd uintptr, b []byte) (n int, again bool) {
	n, err := syscall.Read(int(fd), b)
	if err != nil {
		return -1, err == syscall.EAGAIN //nolint:errorlint // it is an Errno
	}
	return n, false
}

// writeNow writes what is taken at once; below 0: it did not.
func writeNow(fd uintptr, b []byte) int {
	n, err := syscall.Write(int(fd), b)
	if err != nil {
		return -1
	}
	return n
}
