package engine

import (
	"context"
	"fmt"
	"slices"
)

// This part of the simulation loses gates. Every node has a snapshot of the sale
// of its own, learns of a newer one when a call is refused or when it looks again,
// and is connected to a server of its own: after a promotion some may stay with
// the server that was replaced, which decides on for those who have its lease.

func (s *sim) gates() {
	s.servers = 1
	s.sale.Leases = []GateLease{{Epoch: 1, Server: s.name}}
	s.current = s.redisModel
	for n := range simNodes {
		s.reached[n], s.views[n] = s.current, s.sale
	}
	s.reach = func() *redisModel {
		if s.calm || s.turn.node < 0 {
			return s.current
		}
		return s.reached[s.turn.node]
	}
	s.late = func() bool { return !s.calm && s.dice.Float64() < s.delays }
	s.left = func() bool { return !s.calm && !s.turn.dies }
	s.changed = func() {
		if !s.calm && s.turn.node >= 0 {
			s.views[s.turn.node] = s.sale
		}
	}
}

// snapshot is a node's view of the sale.
type snapshot struct {
	*sim
	node int
}

func (v snapshot) Sale(context.Context, string) (*Sale, error)     { return v.views[v.node], nil }
func (v snapshot) SaleByNo(context.Context, uint32) (*Sale, error) { return v.views[v.node], nil }

// nodeEngine is the engine of a node's process.
func (s *sim) nodeEngine(node int) *Engine {
	e := s.engine()
	if node < 0 {
		return e
	}
	e.Sales = snapshot{s, node}
	e.Stale = func(uint32) {
		if s.dice.IntN(2) == 0 { // else it is told later
			s.views[node] = s.sale
		}
	}
	return e
}

// loseGate has the gate's server forget, restart or be replaced.
func (s *sim) loseGate() {
	how := loss(s.dice.IntN(len(losses)))
	s.count.Lost++
	s.redisModel = s.current
	was, now := s.current, s.after(how)
	if how == flushed {
		*was = *now
		s.tell("dice", "the gate is flushed")
		return
	}
	s.servers++
	now.name = fmt.Sprint("redis-", s.servers)
	s.current, s.redisModel = now, now
	s.tell("dice", fmt.Sprintf("the gate is %s: %s in the place of %s", losses[how], now.name, was.name))
	for n := range s.reached {
		if how == promoted && s.dice.IntN(3) == 0 {
			s.tell("dice", fmt.Sprintf("node %d stays with %s", n, s.reached[n].name))
			continue
		}
		s.reached[n] = now
	}
}

// keep is a keeper's look at the shard. It also finds who was left behind.
func (s *sim) keep(e *Engine) {
	node := s.turn.node
	if s.dice.IntN(3) == 0 {
		s.views[node] = s.sale
	}
	if s.dice.IntN(3) == 0 {
		s.reached[node] = s.current
	}
	sale := s.views[node]
	why := LostWhat((repairs{s.world}).Inspect(context.Background(), sale, 0))
	if why == "" && !sale.Repair(0).Frozen.IsZero() {
		why = CauseUnfinished
	}
	if why == "" {
		return
	}
	if _, err := s.rebuilder().Rebuild(context.Background(), sale, 0, Cause{Lost: why}); err == nil {
		s.count.Rebuilt++
		s.tell("dice", fmt.Sprintf("%s has rebuilt the gate", s.turn.name))
	}
	s.views[node] = s.sale
}

// overdue lists the paying holds of the server that the caller reaches.
func (s *sim) overdue(sale *Sale) (out []Hold) {
	defer s.connect()()
	if s.inspect(sale) != nil {
		return nil
	}
	for _, h := range s.sortedHolds() {
		if h.State == Paying {
			out = append(out, *h)
		}
	}
	return out
}

// expireAll is what the clocks of all servers do.
func (s *sim) expireAll() {
	was := s.redisModel
	for _, m := range append(slices.Clone(s.reached[:]), s.current) {
		s.redisModel = m
		s.expire()
	}
	s.redisModel = was
}

// deliver brings what was on its way to the stream.
func (s *sim) deliver() {
	s.stream, s.wire = append(s.stream, s.wire...), nil
}

// heal connects everybody to the server that there is.
func (s *sim) heal() {
	s.redisModel = s.current
	for n := range s.reached {
		s.reached[n], s.views[n] = s.current, s.sale
	}
}
