package capacity

import "math"

// Mix is what comes to a node per second.
type Mix struct {
	Decided float64 // requests for stock that the gate decides
	Refused float64 // those that the node refuses by itself
	Bought  float64 // checkouts that are accepted
}

func (x Mix) times(f float64) Mix { return Mix{x.Decided * f, x.Refused * f, x.Bought * f} }

// Headroom is how far a mix is from the knee.
type Headroom struct {
	Used  Estimate // of what fits before the knee: 0.5 if twice as much of the same mix would be there
	Knee  Estimate // requests for stock per second, if so many come of this mix; zero if nobody asks for any
	Binds string   // what gets there first
}

// most is beyond whatever can be served.
const most = 1e9

// Headroom compares what comes to a node of some processors with the knee: there the node's
// processors are as busy as the law has them where throughput per time in the system
// is greatest, or one processor of anything else is full, a Redis with calls as full as any
// that were measured. Costs fall as more comes, so it is looked for.
// Nothing at all is compared as reservations. The interval is that of the model with every
// figure at the dear end of its own, and at the cheap end.
func (m Model) Headroom(processors int, x Mix) Headroom {
	idle := x == Mix{}
	if idle {
		x = Mix{Decided: 1}
	}
	f, by := m.knee(processors, x)
	dear, _ := m.worst().knee(processors, x)
	cheap, _ := m.best().knee(processors, x)
	fits := Estimate{f, min(f, dear, cheap), max(f, dear, cheap)}
	asked := x.Decided + x.Refused
	h := Headroom{Binds: by, Knee: Estimate{fits.Value * asked, fits.Low * asked, fits.High * asked}}
	if !idle {
		h.Used = Estimate{1 / fits.Value, 1 / fits.High, 1 / fits.Low}
	}
	return h
}

// knee says how many times a mix brings something to the knee, and what.
func (m Model) knee(processors int, x Mix) (times float64, by string) {
	low, high := 0.0, 1.0
	for ; high < most; high *= 2 {
		if used, _ := m.fullest(processors, x.times(high)); used >= 1 {
			break
		}
		low = high
	}
	for high-low > 1e-6*high {
		middle := (low + high) / 2
		if used, _ := m.fullest(processors, x.times(middle)); used >= 1 {
			high = middle
		} else {
			low = middle
		}
	}
	_, by = m.fullest(processors, x.times(high))
	return high, by
}

// fullest is the part that is nearest to its knee, and how near: 1 is there.
func (m Model) fullest(processors int, x Mix) (used float64, by string) {
	n := float64(processors)
	_, knee := m.Law().Knee()
	node := x.Decided/m.NodeMost() + x.Refused*m.Refuse.Value + x.Bought*m.checkoutAPI(x.Bought/n)
	used, by = node/n/(knee/m.NodeMost()), "this node's processors"
	for _, part := range []struct {
		name string
		used float64
	}{
		{"Redis", x.Decided/m.shardMost(false) + x.Bought*m.checkoutRedis(x.Bought)},
		{"Postgres", x.Bought * m.Purchase.Postgres.At(x.Bought)},
		{"Kafka", x.Bought * m.Purchase.Kafka.At(x.Bought)},
		{"relay, writer, reaper and payments", x.Bought * m.Purchase.Aside.At(x.Bought)},
	} {
		if part.used > used {
			used, by = part.used, part.name
		}
	}
	if math.IsNaN(used) {
		used = math.Inf(1)
	}
	return used, by
}
