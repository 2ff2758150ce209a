package api

import (
	"sync/atomic"
	"time"
)

// Who asks for stock waits for the gate, and with as many as a node has room for
// the last would wait for seconds when Redis is slow, before those who hold stock
// and want to pay. So how many may ask at once follows from how long the answers
// take: beyond the goal, as many as are answered within it, by Little's law. The
// others are told at once to come again.

// pressure counts those who ask, and limits them.
type pressure struct {
	goal   time.Duration // what an answer may take on average; 0: no limit but most
	most   int64
	limit  atomic.Int64
	asking atomic.Int64
	done   atomic.Int64 // answers since the last look
	took   atomic.Int64 // how long they took together, in ns
	looked atomic.Int64 // when that was, in ns since the node began
}

const (
	lookEvery = 100 * time.Millisecond

	// leastAsking are always let in: they fill the two calls of a shard that may be on
	// their way to Redis, and the two after them. Fewer would not be answered sooner,
	// since each waits for the call before and its own, and the calls would not be full.
	leastAsking = 1024
)

func (p *pressure) open(goal time.Duration, most int64) {
	p.goal, p.most = goal, most
	p.limit.Store(most)
}

// enter lets n in who ask, or none. Who is alone is let in, however many.
func (p *pressure) enter(n int64, now time.Duration) bool {
	if last := p.looked.Load(); int64(now)-last >= int64(lookEvery) && p.looked.CompareAndSwap(last, int64(now)) {
		done, took := p.done.Swap(0), p.took.Swap(0)
		p.limit.Store(p.next(p.limit.Load(), p.asking.Load(), done, time.Duration(took), now-time.Duration(last)))
	}
	if all := p.asking.Add(n); all > p.limit.Load() && all > n {
		p.asking.Add(-n)
		return false
	}
	return true
}

// leave counts an answer.
func (p *pressure) leave(took time.Duration) {
	p.asking.Add(-1)
	p.done.Add(1)
	p.took.Add(int64(took))
}

// next gives the limit that follows from what was seen since the last look.
func (p *pressure) next(limit, asking, done int64, took, since time.Duration) int64 {
	least := min(leastAsking, p.most)
	switch {
	case p.goal == 0:
		return p.most
	case done == 0 && asking > least: // nobody was answered: it takes as long as that at least
		return max(least, limit/2)
	case done == 0:
		return limit
	}
	switch mean := took / time.Duration(done); {
	case mean > p.goal:
		return max(least, min(limit, int64(float64(done)*p.goal.Seconds()/since.Seconds())))
	case mean < p.goal/2:
		return min(p.most, 2*limit) // so twice as many still take less than the goal
	}
	return limit
}
