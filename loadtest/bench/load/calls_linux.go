package load

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The raw calls spare the scheduler's book-keeping: the sockets do not block,
// and there is no other goroutine that would want to run.

func rawWrite(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))) //nolint:gosec // a plain write(2)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

func rawRead(fd int, b []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b))) //nolint:gosec // a plain read(2)
	if e != 0 {
		return 0, e
	}
	return int(n), 0
}

// epollWait waits with the nanoseconds of epoll_pwait2 (Linux 5.11), else with
// milliseconds rounded down: better awake early than late. Go's scheduler is not
// told: while it believes that somebody may block it looks every 20 µs, which on a
// slow machine is a sixth of the processor that Redis shares.
func epollWait(fd int, events []unix.EpollEvent, wait time.Duration) (int, error) {
	ts := unix.NsecToTimespec(int64(max(0, wait)))
	n, _, e := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(fd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(unsafe.Pointer(&ts)), 0, 0) //nolint:gosec // no wrapper exists
	switch e {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	case unix.ENOSYS:
		m, err := unix.EpollWait(fd, events, int(wait.Milliseconds()))
		if err == unix.EINTR {
			return 0, nil
		}
		return m, err
	}
	return 0, e
}

func processorSeconds() float64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
