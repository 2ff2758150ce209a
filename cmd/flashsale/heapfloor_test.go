package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestTheCollectorWaitsForTheHeapFloor(t *testing.T) {
	t.Cleanup(func() { floor = nil; runtime.GC() })
	t.Cleanup(func(was int) func() { return func() { debug.SetGCPercent(was) } }(debug.SetGCPercent(100)))
	goal := func(mib int) uint64 {
		raiseHeapFloor(mib)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.NextGC >> 20
	}
	if n := goal(0); n > 200 {
		t.Errorf("without a floor the next collection is at %d MiB", n)
	}
	if n := goal(256); n < 256 {
		t.Errorf("with a floor of 256 MiB the next collection is at %d MiB", n)
	}
	t.Cleanup(func(was int64) func() { return func() { debug.SetMemoryLimit(was) } }(debug.SetMemoryLimit(512 << 20)))
	if n := goal(256); n < 128 || n > 255 {
		t.Errorf("with a memory limit of 512 MiB it is at %d MiB", n)
	}
}
