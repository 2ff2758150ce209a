package capacity

import (
	"errors"
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Crowd is a sale to simulate, and what it runs on.
type Crowd struct {
	Buyers   int           `json:"buyers"`
	Stock    int           `json:"stock"`
	Window   time.Duration `json:"window"`
	Pay      float64       `json:"pay"`
	Hesitate time.Duration `json:"hesitate"`
	Provider time.Duration `json:"provider"`
	Vary     float64       `json:"vary"` // coefficient of variation of the provider's time
	Always   bool          `json:"aof_always"`

	Nodes      int     `json:"nodes"`
	Processors int     `json:"processors"` // of a node
	Shards     int     `json:"shards"`
	Postgres   int     `json:"postgres"` // processors
	Kafka      int     `json:"kafka"`
	Aside      int     `json:"aside"`
	Writers    int     `json:"writers"`
	Shared     bool    `json:"shared"`    // everything but the nodes on one processor, as where it is measured on two
	Generator  float64 `json:"generator"` // seconds of that processor that the load generator takes for a request
	Seed       uint64  `json:"seed"`
}

const (
	mostBuyers = 100_000_000
	holdTTL    = 120.0  // seconds
	knownFor   = 0.1    // seconds that a node remembers sold_out
	mostAsking = 12_288 // requests for stock that a node has under way at most
	wellFilled = 48     // operations that are worth a second call on its way
	slice      = 0.0005 // of a shared processor
)

func (c Crowd) check() error {
	switch {
	case c.Buyers < 1 || c.Buyers > mostBuyers || c.Stock < 1:
		return errors.New("capacity: between 1 and 100 million buyers, and at least a unit")
	case c.Window <= 0 || c.Hesitate < 0 || c.Provider < 0 || c.Vary < 0 || c.Generator < 0:
		return errors.New("capacity: the window is above 0, and no time below it")
	case !(c.Pay >= 0 && c.Pay <= 1):
		return errors.New("capacity: the share that pays is between 0 and 1")
	case min(c.Nodes, c.Processors, c.Shards, c.Postgres, c.Kafka, c.Aside, c.Writers) < 1 || max(c.Nodes, c.Processors, c.Shards, c.Postgres, c.Kafka, c.Aside, c.Writers) > 100_000:
		return errors.New("capacity: nodes, processors, shards and writers are between 1 and 100,000")
	}
	return nil
}

// What happens to buyers, batches and writers.
const (
	arrives  kind = iota + 1
	asks          // the node has read the request
	decided       // Redis has run a batch
	answered      // the batch's answers are back at the node
	told          // who asked has an answer
	refused       // from the node's memory
	expires       // a hold that nobody paid for
	pays          // the buyer comes back
	begins        // the node has read the checkout
	noted         // the attempt is in Postgres
	authorised
	published
	wrote // a writer's transaction ran
	committed
	bought
	captured
)

type buyer struct {
	due         float64
	node, shard int32
}

type operation struct {
	who  int32
	what kind // asks: a hold; begins: a payment; authorised: a claim
}

type lane struct {
	queue  []operation
	drains int
}

type batch struct {
	ops  []operation
	lane int32
}

type writer struct {
	queue, batch []int32
	busy         bool
}

type units struct{ available, held, paying, sold int }

type sim struct {
	*clock
	crowd   Crowd
	cost    costs
	nodes   []*pool
	redis   []*pool
	pg      *pool
	kafka   *pool
	aside   *pool
	outside *pool
	slots   []int // of the provider, by node
	waiting [][]int32
	asking  []int
	known   []float64 // until when a node remembers sold_out
	lanes   []lane
	stock   []units
	buyers  []buyer
	free    []int32
	batches []batch
	spare   []int32
	writers []writer
	came    int
	out     Played
	reserve *hdrhistogram.Histogram
	refusal *hdrhistogram.Histogram
	pay     *hdrhistogram.Histogram
	calls   float64
	carried float64
}

// costs are the model's at the rates that the crowd brings.
type costs struct{ reserve, refuse, checkout, call, hold, paid, rest, pg, kafka, aside, write, restOrder float64 }

func (m Model) costs(c Crowd) (k costs) {
	rate := float64(c.Buyers) / c.Window.Seconds()
	sold := min(float64(c.Stock), float64(c.Buyers))
	orders := orderRate(sold*c.Pay, sold/rate, c.Hesitate.Seconds())
	k.reserve = max(m.Node.At(rate/float64(c.Nodes*c.Processors)), 1/m.NodeMost())
	k.refuse, k.call, k.hold, k.rest = m.Refuse.Value, m.callCost(c.Always), m.RedisOp.Value, m.Rest.Value
	k.checkout, k.paid = m.checkoutAPI(orders), m.checkoutRedis(orders)/2 // a checkout is two operations there
	k.pg, k.kafka, k.aside = m.Purchase.Postgres.At(orders), m.Purchase.Kafka.At(orders), m.Purchase.Aside.At(orders)
	k.write = max(0, m.WriteCall.Value-(k.pg+k.aside)/3)
	k.restOrder = m.RestOrder.Value
	return k
}

// build makes the world.
func build(m Model, c Crowd) *sim {
	s := &sim{clock: newClock(c.Seed), crowd: c, cost: m.costs(c), slots: make([]int, c.Nodes), waiting: make([][]int32, c.Nodes), asking: make([]int, c.Nodes),
		known: make([]float64, c.Nodes), lanes: make([]lane, c.Nodes*c.Shards), stock: make([]units, c.Shards), writers: make([]writer, c.Writers)}
	for range c.Nodes {
		s.nodes = append(s.nodes, s.pool(c.Processors, 0))
	}
	if c.Shared {
		s.outside = s.pool(1, slice)
		s.pg, s.kafka, s.aside = s.outside, s.outside, s.outside
	} else {
		s.pg, s.kafka, s.aside, s.outside = s.pool(c.Postgres, 0), s.pool(c.Kafka, 0), s.pool(c.Aside, 0), s.pool(math.MaxInt16, 0)
	}
	for i := range c.Shards {
		p := s.outside
		if !c.Shared {
			p = s.pool(1, 0)
		}
		s.redis = append(s.redis, p)
		s.stock[i].available = c.Stock / c.Shards
		if i < c.Stock%c.Shards {
			s.stock[i].available++
		}
	}
	hour := time.Hour.Microseconds()
	s.reserve, s.refusal, s.pay = hdrhistogram.New(1, hour, 3), hdrhistogram.New(1, hour, 3), hdrhistogram.New(1, hour, 3)
	return s
}
