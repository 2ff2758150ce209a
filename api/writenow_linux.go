package api

import (
	"syscall"
	"unsafe"
)

// writeNow writes to a socket that does not block; below 0: it did not. Go's
// scheduler is not told of it: a write of some 20 µs is long enough for it to hand
// the processor to another thread and to take it back, which costs as much again
// where system calls are slow.
func writeNow(fd uintptr, b []byte) int {
	n, _, err := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))) //nolint:gosec // a plain write(2)
	if err != 0 {
		return -1
	}
	return int(n)
}
