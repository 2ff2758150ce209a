package capacity

import (
	"context"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
)

// Played is what a simulated sale came to.
type Played struct {
	Crowd      Crowd              `json:"crowd"`
	Seconds    float64            `json:"seconds"` // until the last buyer was told
	Holds      int                `json:"holds"`
	Refused    int                `json:"refused"`    // sold out
	Overloaded int                `json:"overloaded"` // told 503
	Orders     int                `json:"orders"`
	Expired    int                `json:"expired"`
	SellOut    float64            `json:"sell_out_s"` // -1: it did not
	HoldRate   float64            `json:"hold_rate"`  // per second until the sell-out, or of the window
	OrderRate  float64            `json:"order_rate"` // per second from the first to the last
	PerCall    float64            `json:"operations_per_call"`
	Lag        int                `json:"lag"`     // most events that waited for the order writers
	Busy       map[string]float64 `json:"busy"`    // shares of processors until the last buyer was told
	Reserve    load.Latency       `json:"reserve"` // of holds
	Refusal    load.Latency       `json:"refusal"`
	Checkout   load.Latency       `json:"checkout"`

	firstOrder, lastOrder float64
}

// Simulate plays a sale event by event.
func Simulate(ctx context.Context, m Model, c Crowd) (Played, error) {
	if err := c.check(); err != nil {
		return Played{}, err
	}
	s := build(m, c)
	s.out.Crowd, s.out.SellOut = c, -1
	s.after(s.expo(c.Window.Seconds()/float64(c.Buyers)), arrives, 0)
	for n := 0; ; n++ {
		k, who, more := s.next()
		if !more {
			break
		}
		if n%(1<<16) == 0 && ctx.Err() != nil {
			return Played{}, ctx.Err()
		}
		s.happens(k, who)
	}
	return s.report(), nil
}

func (s *sim) happens(k kind, who int32) {
	switch k {
	case arrives:
		s.arrive()
	case asks:
		s.ask(who)
	case decided:
		s.after(s.cost.rest, answered, who)
	case answered:
		s.answer(who)
	case told, refused:
		s.tell(k, who)
	case expires:
		s.expire(who)
	case pays:
		b := &s.buyers[who]
		b.due = s.now
		s.work(s.nodes[b.node], s.cost.checkout/2, begins, who)
	case begins:
		s.enqueue(operation{who, begins})
	case noted:
		s.authorise(who)
	case authorised:
		s.release(s.buyers[who].node)
		s.enqueue(operation{who, authorised})
	case published:
		w := who % int32(len(s.writers))
		s.writers[w].queue = append(s.writers[w].queue, who)
		s.write(w)
	case wrote:
		s.work(s.pg, s.cost.pg/3*float64(len(s.writers[who].batch)), committed, who)
	case committed:
		s.commit(who)
	case bought:
		s.end(who)
	case captured:
		s.work(s.aside, s.cost.aside/2, done, 0)
	}
}

// arrive lets a buyer come, and plans the next.
func (s *sim) arrive() {
	s.came++
	if s.came < s.crowd.Buyers {
		s.after(s.expo(s.crowd.Window.Seconds()/float64(s.crowd.Buyers)), arrives, 0)
	}
	if s.crowd.Generator > 0 {
		s.work(s.outside, s.crowd.Generator, done, 0)
	}
	var id int32
	if n := len(s.free); n > 0 {
		id, s.free = s.free[n-1], s.free[:n-1]
	} else {
		id, s.buyers = int32(len(s.buyers)), append(s.buyers, buyer{})
	}
	b := buyer{due: s.now, node: int32(s.dice.IntN(s.crowd.Nodes)), shard: int32(s.dice.IntN(s.crowd.Shards))}
	s.buyers[id] = b
	if s.known[b.node] > s.now {
		s.work(s.nodes[b.node], s.cost.refuse, refused, id)
		return
	}
	if s.asking[b.node] >= mostAsking {
		s.out.Overloaded++
		s.leave(id)
		return
	}
	s.asking[b.node]++
	s.work(s.nodes[b.node], s.cost.reserve/2, asks, id)
}

func (s *sim) leave(id int32) { s.free = append(s.free, id) }

func (s *sim) ask(who int32) { s.enqueue(operation{who, asks}) }

// enqueue gives an operation to its lane.
func (s *sim) enqueue(o operation) {
	b := s.buyers[o.who]
	at := b.node*int32(s.crowd.Shards) + b.shard
	s.lanes[at].queue = append(s.lanes[at].queue, o)
	s.drain(at)
}

// drain sends a lane's queue: one call on its way, or two when the second is well filled.
func (s *sim) drain(at int32) {
	l := &s.lanes[at]
	for len(l.queue) > 0 && (l.drains == 0 || l.drains == 1 && len(l.queue) >= wellFilled) {
		n := min(len(l.queue), mostPerCall)
		id := int32(len(s.batches))
		if k := len(s.spare); k > 0 {
			id, s.spare = s.spare[k-1], s.spare[:k-1]
		} else {
			s.batches = append(s.batches, batch{})
		}
		s.batches[id] = batch{ops: append(s.batches[id].ops[:0], l.queue[:n]...), lane: at}
		if l.queue = l.queue[n:]; len(l.queue) == 0 {
			l.queue = nil
		}
		l.drains++
		takes := s.cost.call
		for _, o := range s.batches[id].ops {
			if o.what == asks {
				takes += s.cost.hold
			} else {
				takes += s.cost.paid
			}
		}
		s.calls, s.carried = s.calls+1, s.carried+float64(n)
		s.work(s.redis[at%int32(s.crowd.Shards)], takes, decided, id)
	}
}

// answer passes a batch's answers on.
func (s *sim) answer(id int32) {
	b := s.batches[id]
	s.spare = append(s.spare, id)
	for _, o := range b.ops {
		who := &s.buyers[o.who]
		node := s.nodes[who.node]
		switch o.what {
		case asks:
			if s.asking[who.node]--; !s.hold(who.shard) {
				s.known[who.node] = s.now + knownFor
				s.work(node, s.cost.reserve/2, refused, o.who)
				continue
			}
			s.work(node, s.cost.reserve/2, told, o.who)
		case begins:
			s.stock[who.shard].held--
			s.stock[who.shard].paying++
			s.work(s.pg, s.cost.pg/3, noted, o.who)
		case authorised:
			s.stock[who.shard].paying--
			s.stock[who.shard].sold++
			s.work(s.kafka, s.cost.kafka, published, o.who)
		}
	}
	s.lanes[b.lane].drains--
	s.drain(b.lane)
}
