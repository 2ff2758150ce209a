package capacity

import (
	"fmt"
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
)

// hold takes a unit of a shard, or brings half of what the richest has.
func (s *sim) hold(shard int32) bool {
	if s.stock[shard].available == 0 {
		rich := 0
		for i, u := range s.stock {
			if u.available > s.stock[rich].available {
				rich = i
			}
		}
		n := (s.stock[rich].available + 1) / 2
		if n == 0 {
			return false
		}
		s.stock[rich].available -= n
		s.stock[shard].available += n
		for _, i := range []int{rich, int(shard)} { // depart and arrive
			s.work(s.redis[i], s.cost.call, done, 0)
		}
	}
	s.stock[shard].available--
	s.stock[shard].held++
	s.out.Holds++
	if s.out.SellOut < 0 && s.available() == 0 {
		s.out.SellOut = s.now
	}
	return true
}

func (s *sim) available() (n int) {
	for _, u := range s.stock {
		n += u.available
	}
	return n
}

func record(h *hdrhistogram.Histogram, seconds float64) {
	_ = h.RecordValue(min(max(1, int64(seconds*1e6)), h.HighestTrackableValue()))
}

// tell ends a request for stock.
func (s *sim) tell(k kind, who int32) {
	b := s.buyers[who]
	s.out.Seconds = s.now
	if k == refused {
		s.out.Refused++
		record(s.refusal, s.now-b.due)
		s.leave(who)
		return
	}
	record(s.reserve, s.now-b.due)
	if s.dice.Float64() >= s.crowd.Pay {
		s.after(holdTTL, expires, who)
		return
	}
	s.after(s.expo(s.crowd.Hesitate.Seconds()), pays, who)
}

func (s *sim) expire(who int32) {
	at := s.buyers[who].shard
	s.stock[at].held--
	s.stock[at].available++
	s.out.Expired++
	s.leave(who)
	clear(s.known)
}

// authorise calls the provider when the node has a call to spare.
func (s *sim) authorise(who int32) {
	node := s.buyers[who].node
	if s.slots[node] >= providerMost {
		s.waiting[node] = append(s.waiting[node], who)
		return
	}
	s.slots[node]++
	s.after(s.around(s.crowd.Provider.Seconds(), s.crowd.Vary), authorised, who)
}

func (s *sim) release(node int32) {
	s.slots[node]--
	if w := s.waiting[node]; len(w) > 0 {
		s.waiting[node] = w[1:]
		s.authorise(w[0])
	}
}

// write lets a writer take what has come.
func (s *sim) write(at int32) {
	w := &s.writers[at]
	lag := 0
	for i := range s.writers {
		lag += len(s.writers[i].queue)
	}
	s.out.Lag = max(s.out.Lag, lag)
	if w.busy || len(w.queue) == 0 {
		return
	}
	n := min(len(w.queue), writerMost)
	w.busy, w.batch = true, append(w.batch[:0], w.queue[:n]...)
	w.queue = append([]int32(nil), w.queue[n:]...)
	s.work(s.aside, s.cost.aside/2*float64(n), wrote, at)
}

// commit tells the buyers of a transaction, and has their money captured.
func (s *sim) commit(at int32) {
	w := &s.writers[at]
	for _, who := range w.batch {
		s.after(s.cost.write+s.cost.restOrder, bought, who)
		s.work(s.pg, s.cost.pg/3, captured, 0)
	}
	w.busy = false
	s.write(at)
}

func (s *sim) end(who int32) {
	b := s.buyers[who]
	s.work(s.nodes[b.node], s.cost.checkout/2, done, 0)
	record(s.pay, s.now+s.cost.checkout/2-b.due)
	if s.out.Orders == 0 {
		s.out.firstOrder = s.now
	}
	s.out.Orders++
	s.out.lastOrder, s.out.Seconds = s.now, s.now
	s.leave(who)
}

func (s *sim) report() Played {
	o := &s.out
	over := s.crowd.Window.Seconds()
	if o.SellOut >= 0 {
		over = o.SellOut
	}
	o.HoldRate = float64(o.Holds) / over
	if o.lastOrder > o.firstOrder {
		o.OrderRate = float64(o.Orders-1) / (o.lastOrder - o.firstOrder)
	}
	o.PerCall = s.carried / math.Max(1, s.calls)
	o.Busy = map[string]float64{}
	share := func(name string, pools ...*pool) {
		busy, size := 0.0, 0
		for _, p := range pools {
			busy, size = busy+p.busy, size+p.size
		}
		o.Busy[name] = busy / float64(size) / math.Max(o.Seconds, 1e-9)
	}
	share("api", s.nodes...)
	if s.crowd.Shared {
		share("shared", s.outside)
	} else {
		share("redis", s.redis...)
		share("postgres", s.pg)
		share("kafka", s.kafka)
		share("aside", s.aside)
	}
	o.Reserve, o.Refusal, o.Checkout = load.Summary(s.reserve), load.Summary(s.refusal), load.Summary(s.pay)
	return *o
}

// String is what became of a simulated sale, for people.
func (p Played) String() string {
	out := fmt.Sprintf("%d buyers in %s for %d units, on %d nodes of %d processors and %d shards, seed %d\n", p.Crowd.Buyers, p.Crowd.Window, p.Crowd.Stock, p.Crowd.Nodes, p.Crowd.Processors, p.Crowd.Shards, p.Crowd.Seed)
	sold := "not sold out"
	if p.SellOut >= 0 {
		sold = "sold out after " + seconds(p.SellOut)
	}
	out += fmt.Sprintf("%s; %d holds (%.0f/s), %d refused, %d overloaded, %d expired, %d orders (%.0f/s); the last was told after %s\n",
		sold, p.Holds, p.HoldRate, p.Refused, p.Overloaded, p.Expired, p.Orders, p.OrderRate, seconds(p.Seconds))
	for _, l := range []struct {
		what string
		of   load.Latency
	}{{"reservation", p.Reserve}, {"refusal", p.Refusal}, {"checkout", p.Checkout}} {
		out += fmt.Sprintf("%-12s p50 %s   p99 %s   most %s   (%d)\n", l.what, seconds(l.of.P50/1e6), seconds(l.of.P99/1e6), seconds(l.of.Max/1e6), l.of.N)
	}
	out += fmt.Sprintf("%.1f operations per call; at most %d events before the order writers; processors in use:", p.PerCall, p.Lag)
	for _, name := range []string{"api", "redis", "postgres", "kafka", "aside", "shared"} {
		if v, there := p.Busy[name]; there {
			out += fmt.Sprintf(" %s %.0f%%", name, 100*v)
		}
	}
	return out + "\n"
}
