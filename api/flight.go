package api

import (
	"sync"
	"sync/atomic"
)

// flight is the request of a connection that was asked the quick way and is not
// answered yet: one at most, because answers leave in the order of requests. The
// connection's goroutine is back at its read meanwhile, and whatever it reads
// waits until the flight has landed.
type flight struct {
	up     atomic.Bool
	mu     sync.Mutex
	landed chan struct{} // made by who waits
	over   bool          // the connection is to be closed, or is
}

// takeOff begins a flight, unless the connection ends.
func (f *flight) takeOff() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.up.Store(!f.over)
	return !f.over
}

// land ends a flight, after its answer, and says whether the connection ends too.
func (f *flight) land() (over bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.up.Store(false)
	if f.landed != nil {
		close(f.landed)
		f.landed = nil
	}
	return f.over
}

// await waits until no request is under way.
func (f *flight) await() {
	if !f.up.Load() {
		return
	}
	f.mu.Lock()
	if !f.up.Load() {
		f.mu.Unlock()
		return
	}
	landed := make(chan struct{})
	f.landed = landed
	f.mu.Unlock()
	<-landed
}

// end says whether the connection may be closed now. If not, the answer that is
// under way will close it.
func (f *flight) end() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	return !f.up.Load()
}
