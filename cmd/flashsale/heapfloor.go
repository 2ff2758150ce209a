package main

import (
	"math"
	"runtime/debug"
)

// floor is memory that is never touched, so it costs address space only. To the
// garbage collector it is live: it runs when the heap has grown by as much again.
var floor []byte //nolint:gochecknoglobals,unused // it is there to be reachable

// raiseHeapFloor keeps the garbage collector from running before the heap has mib
// MiB. A node's own heap is some ten MiB, which would be collected several
// times a second at full speed; each time takes 10 to 20 ms on one processor, and
// everybody who comes meanwhile waits: that was the p99. GOGC works as ever, from
// there on. With a memory limit (GOMEMLIMIT) the floor is a quarter of it at most.
func raiseHeapFloor(mib int) {
	n := int64(mib) << 20
	if limit := debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		n = min(n, limit/4)
	}
	floor = make([]byte, n/2)
}
