package history

import (
	"fmt"
	"sort"

	"github.com/flashsale-engine/flashsale/engine"
)

// called is the earliest moment that an answer may be of.
func (c *checker) called(o *Op) int64 {
	if o.Code == engine.CodeSoldOut && o.After < 0 {
		return o.Call - int64(c.Stale)
	}
	return o.Call
}

// order checks real time, and finds a place for everything that changed nothing.
func (c *checker) order() error {
	c.refusals = map[uint16][]refusal{}
	type event struct {
		op    *Op
		call  int64
		ret   int64
		place int // -1 until known
	}
	var all []event
	owned := map[*Op]bool{}
	for seq := 1; seq < len(c.places); seq++ {
		if d := &c.places[seq]; d.op != nil {
			owned[d.op] = true
			all = append(all, event{d.op, d.call, d.ret, seq})
		}
	}
	changes := append([]event(nil), all...)
	for i := range c.Ops {
		o := &c.Ops[i]
		if !owned[o] && !o.Unknown && o.Code != engine.CodeOverloaded && o.Code != engine.CodeUnavailable {
			all = append(all, event{o, c.called(o), o.Return, -1})
		}
	}
	// latest(t) is the last place that anything returned at t may lie at: before
	// every change that was called later.
	sort.Slice(changes, func(i, j int) bool { return changes[i].call < changes[j].call })
	soonest := make([]int, len(changes)+1)
	soonest[len(changes)] = len(c.places)
	for i := len(changes) - 1; i >= 0; i-- {
		soonest[i] = min(soonest[i+1], changes[i].place)
	}
	latest := func(t int64) int {
		return soonest[sort.Search(len(changes), func(i int) bool { return changes[i].call > t })] - 1
	}

	sort.SliceStable(all, func(i, j int) bool { return all[i].call < all[j].call })
	byReturn := make([]*event, len(all))
	for i := range all {
		byReturn[i] = &all[i]
	}
	sort.SliceStable(byReturn, func(i, j int) bool { return byReturn[i].ret < byReturn[j].ret })
	seen, returned := 0, 0 // the furthest place of what has returned before this call
	for i := range all {
		e := &all[i]
		for returned < len(byReturn) && byReturn[returned].ret < e.call {
			seen = max(seen, byReturn[returned].place)
			returned++
		}
		if e.place >= 0 {
			if e.place <= seen {
				return fmt.Errorf("%s has seq %d, but seq %d had been seen before it was called", say(e.op), e.place, seen)
			}
			continue
		}
		at, err := c.world.find(e.op, seen, latest(e.ret))
		if err != nil {
			return fmt.Errorf("%s: %w, between seq %d and %d", say(e.op), err, seen, latest(e.ret))
		}
		e.place = at
		c.report.Placed++
		if e.op.Code == engine.CodeSoldOut {
			if lines, units := cart(e.op.Lines); len(lines) == 1 {
				c.refusals[lines[0].No] = append(c.refusals[lines[0].No], refusal{e.op, at, int64(units)})
			}
		}
	}
	return nil
}
