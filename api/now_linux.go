//go:build linux && !race

package api

import (
	"syscall"
	"unsafe"
)

// Reading and writing without Go's scheduler being told of it. The sockets do not
// block; but a write of some 20 µs is long enough for the scheduler to hand the
// processor to another thread and to take it back, which costs as much again where
// system calls are slow. The race detector, which learns from reads and writes who
// waited for whom, gets the usual ones.

const canReadNow = true

// readNow reads what is there; below 0: nothing. again: but there may be, later.
func readNow(fd uintptr, b []byte) (n int, again bool) {
	got, _, err := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))) //nolint:gosec // a plain read(2)
	if err != 0 {
		return -1, err == syscall.EAGAIN
	}
	return int(got), false
}

// writeNow writes what is taken at once; below 0: it did not.
func writeNow(fd uintptr, b []byte) int {
	n, _, err := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))) //nolint:gosec // a plain write(2)
	if err != 0 {
		return -1
	}
	return int(n)
}
