package capacity

import (
	"container/heap"
	"math"
	"math/rand/v2"
)

// kind is what happens at an instant of a simulation.
type kind uint8

// event is something that happens to someone: a buyer, a batch, a writer, or a job of a pool.
type event struct {
	at   float64
	seq  uint64 // of two at the same time, the one that was planned first
	kind kind
	who  int32
	pool int32
}

// agenda is a heap of events.
type agenda []event

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	old := *a
	last := old[len(old)-1]
	*a = old[:len(old)-1]
	return last
}

// clock plays events in order.
type clock struct {
	now    float64
	events agenda
	seq    uint64
	dice   *rand.Rand
	pools  []*pool
}

func newClock(seed uint64) *clock {
	return &clock{dice: rand.New(rand.NewPCG(seed, 0))} //nolint:gosec // a simulation that can be repeated
}

func (c *clock) after(d float64, k kind, who int32) {
	c.seq++
	heap.Push(&c.events, event{at: c.now + d, seq: c.seq, kind: k, who: who})
}

// done is the kind of an event at which a pool's job has had its slice.
const done kind = 0

// job is work for a pool, and what happens after it.
type job struct {
	left float64
	then kind
	who  int32
}

// pool is processors with one queue. A quantum shares them out: who needs longer
// goes to the end of the queue, as a scheduler has it.
type pool struct {
	id      int32
	free    int
	size    int
	quantum float64
	queue   []job
	running []job // by slot
	slots   []int32
	busy    float64
}

func (c *clock) pool(processors int, quantum float64) *pool {
	p := &pool{id: int32(len(c.pools)), free: processors, size: processors, quantum: quantum, running: make([]job, processors)}
	for i := range processors {
		p.slots = append(p.slots, int32(i))
	}
	c.pools = append(c.pools, p)
	return p
}

// work gives a pool a job.
func (c *clock) work(p *pool, takes float64, then kind, who int32) {
	p.queue = append(p.queue, job{takes, then, who})
	c.run(p)
}

func (c *clock) run(p *pool) {
	for p.free > 0 && len(p.queue) > 0 {
		j := p.queue[0]
		if p.queue = p.queue[1:]; len(p.queue) == 0 {
			p.queue = nil
		}
		slot := p.slots[p.free-1]
		p.free--
		p.running[slot] = j
		slice := j.left
		if p.quantum > 0 {
			slice = min(slice, p.quantum)
		}
		p.busy += slice
		p.running[slot].left -= slice
		c.seq++
		heap.Push(&c.events, event{at: c.now + slice, seq: c.seq, kind: done, who: slot, pool: p.id})
	}
}

// next gives what happens next: events of pools are seen to, and what follows their jobs is told.
func (c *clock) next() (kind, int32, bool) {
	for len(c.events) > 0 {
		e, ok := heap.Pop(&c.events).(event)
		if !ok {
			break
		}
		c.now = e.at
		if e.kind != done {
			return e.kind, e.who, true
		}
		p := c.pools[e.pool]
		j := p.running[e.who]
		p.slots[p.free] = e.who
		p.free++
		if j.left > 1e-12 {
			p.queue = append(p.queue, j)
			c.run(p)
			continue
		}
		c.run(p)
		if j.then != done {
			return j.then, j.who, true
		}
	}
	return done, 0, false
}

// expo draws an exponential time.
func (c *clock) expo(mean float64) float64 { return c.dice.ExpFloat64() * mean }

// around draws a log-normal time with a mean and a coefficient of variation.
func (c *clock) around(mean, cv float64) float64 {
	if cv == 0 {
		return mean
	}
	s := math.Log1p(cv * cv)
	return mean * math.Exp(math.Sqrt(s)*c.dice.NormFloat64()-s/2)
}
