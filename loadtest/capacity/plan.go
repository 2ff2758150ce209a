package capacity

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

// Need is what is asked of a sale.
type Need struct {
	Buyers     float64       `json:"buyers"`
	Asks       float64       `json:"asks"` // requests for stock of each
	Stock      float64       `json:"stock"`
	SKUs       float64       `json:"skus"`
	Window     time.Duration `json:"window"`     // in which they come
	Peak       float64       `json:"peak"`       // the highest rate by the mean
	P99        time.Duration `json:"p99"`        // of a reservation
	Pay        float64       `json:"pay"`        // share of the holds that are paid for
	Hesitate   time.Duration `json:"hesitate"`   // mean time between hold and checkout
	Provider   time.Duration `json:"provider"`   // mean time of an authorisation
	Processors int           `json:"processors"` // of an API node
	Headroom   float64       `json:"headroom"`   // load of anything, of what it serves at most
	Always     bool          `json:"aof_always"` // else everysec
	Admit      float64       `json:"admit"`      // buyers per second that a waiting room lets through; 0: there is none
	Shards     int           `json:"shards"`     // 0: as many as it takes
}

// What the engine does, see docs/architecture.md and docs/limits.md.
const (
	pgPool       = 24   // connections of a node to Postgres
	redisPool    = 32   // connections of a node to each Redis
	providerMost = 256  // calls of a node to the provider at once
	leastParts   = 6    // partitions of the topic
	heapFloor    = 256  // MiB of a node before it collects
	writerMost   = 2000 // orders of a transaction
)

func (n Need) check() error {
	switch {
	case !(n.Buyers >= 1) || !(n.Asks >= 1) || !(n.Stock >= 1) || !(n.SKUs >= 1) || n.Buyers > 1e12 || n.Stock > 1e12 || n.SKUs > 1e12 || n.Asks > 1e6:
		return errors.New("buyers, asks, stock and skus are at least 1")
	case n.Window < time.Second || n.P99 <= 0 || n.Hesitate < 0 || n.Provider <= 0:
		return errors.New("the window is at least a second, p99 and the provider's time above 0, and nobody hesitates for less than 0")
	case !(n.Peak >= 1) || n.Peak > 1e6:
		return errors.New("the peak is at least the mean, 1")
	case !(n.Pay >= 0 && n.Pay <= 1):
		return errors.New("the share that pays is between 0 and 1")
	case !(n.Headroom > 0 && n.Headroom < 1):
		return errors.New("the load is above 0 and below 1")
	case n.Processors < 1 || n.Shards < 0 || n.Shards > engine.MaxShards || !(n.Admit >= 0):
		return fmt.Errorf("a node has at least one processor, a sale at most %d shards, and a waiting room admits no fewer than 0", engine.MaxShards)
	}
	return nil
}

// Plan is what it takes.
type Plan struct {
	Need       Need     `json:"need"`
	Arrivals   float64  `json:"arrivals"` // per second at the peak
	Decisions  float64  `json:"decisions"`
	Orders     float64  `json:"orders"` // per second at the peak
	Nodes      int      `json:"nodes"`
	Shards     int      `json:"shards"`
	Sales      int      `json:"sales"`
	Postgres   int      `json:"postgres_processors"`
	Kafka      int      `json:"kafka_processors"`
	Aside      int      `json:"aside_processors"`
	Writers    int      `json:"writers"`
	Partitions int      `json:"partitions"`
	Admission  float64  `json:"admission_rate"` // most per second that the gate decides within the load asked for
	SellOut    float64  `json:"sell_out_s"`
	P50        float64  `json:"p50_s"`
	P99        float64  `json:"p99_s"`
	Batch      float64  `json:"holds_per_call"`
	HTTP       float64  `json:"http_connections"`     // busy at once
	ToPostgres int      `json:"postgres_connections"` // open at most
	BusyPG     float64  `json:"postgres_busy"`
	ToRedis    int      `json:"redis_connections"` // of each Redis, open at most
	ToProvider float64  `json:"provider_calls"`    // at once
	RedisMB    float64  `json:"redis_mb"`          // all together
	PostgresMB float64  `json:"postgres_mb"`
	NodeMB     float64  `json:"node_mb"` // each
	Loads      []Load   `json:"loads"`   // the highest first
	Beyond     []Beyond `json:"beyond"`  // how far past what was measured
	Impossible []string `json:"impossible"`
	Worst      *Sizes   `json:"worst,omitempty"` // with every cost at the upper end of its interval
}

// Sizes are the numbers that money is spent on.
type Sizes struct {
	Nodes, Shards, Postgres, Kafka, Aside int
}

// Load is how full something is at the peak, of what it serves at most.
type Load struct {
	What  string  `json:"what"`
	Share float64 `json:"share"`
}

// Beyond is a figure of a plan by the greatest that was measured.
type Beyond struct {
	What     string  `json:"what"`
	Planned  float64 `json:"planned"`
	Measured float64 `json:"measured"`
}

// Times is how often the measured goes into the planned.
func (b Beyond) Times() float64 { return b.Planned / b.Measured }

// Make plans. An error says that the need makes no sense; a plan that cannot be is one
// with reasons under Impossible.
func Make(m Model, n Need) (Plan, error) {
	if err := n.check(); err != nil {
		return Plan{}, fmt.Errorf("capacity: %w", err)
	}
	p := planFor(m, n)
	worst := planFor(m.worst(), n)
	p.Worst = &Sizes{worst.Nodes, worst.Shards, worst.Postgres, worst.Kafka, worst.Aside}
	return p, nil
}

// worst is the model with every figure at the upper end of its interval.
func (m Model) worst() Model {
	for _, e := range m.estimates() {
		e.Value = e.High
	}
	m.Lambda.Value = m.Lambda.Low // the one where less is worse
	return m
}

// best is the model with every figure at the other end.
func (m Model) best() Model {
	for _, e := range m.estimates() {
		e.Value = e.Low
	}
	m.Lambda.Value = m.Lambda.High
	return m
}

func planFor(m Model, n Need) Plan {
	p := Plan{Need: n, Impossible: []string{}}
	p.Arrivals = n.Buyers * n.Asks / n.Window.Seconds() * n.Peak
	p.Decisions = p.Arrivals
	if n.Admit > 0 {
		p.Decisions = min(p.Decisions, n.Admit)
	}
	p.Sales = int(math.Ceil(n.SKUs / engine.MaxItems))
	sold := min(n.Stock, n.Buyers)
	p.SellOut = sold / p.Decisions
	p.Orders = orderRate(sold*n.Pay, p.SellOut, n.Hesitate.Seconds())
	p.shards(m)
	p.nodes(m)
	p.record(m)
	p.memory(m, sold)
	p.judge(m, sold)
	return p
}

// orderRate is the highest rate of checkouts: holds come evenly until the sale is sold
// out, and each is paid for an exponential time later.
func orderRate(paid, soldOut, hesitate float64) float64 {
	if hesitate == 0 {
		return paid / soldOut
	}
	return paid / soldOut * -math.Expm1(-soldOut/hesitate)
}

// shardMost is the most that a shard decides: with calls as full as any that were measured.
func (m Model) shardMost(always bool) float64 {
	return 1 / (m.RedisOp.Value + m.callCost(always)/m.Measures.PerCall)
}

func (m Model) callCost(always bool) float64 {
	if always {
		return m.RedisCall.Value + m.RedisSync.Value
	}
	return m.RedisCall.Value
}

func (p *Plan) shards(m Model) {
	n := p.Need
	checkout := p.Orders * m.checkoutRedis(p.Orders)
	most := m.shardMost(n.Always)
	need := (p.Decisions/most + checkout) / n.Headroom
	p.Shards = max(1, int(math.Ceil(need)))
	if n.Shards > 0 {
		p.Shards = n.Shards
	}
	p.Admission = max(0, float64(p.Shards)*n.Headroom-checkout) * most
	if need > engine.MaxShards {
		p.Shards = engine.MaxShards
		p.Admission = max(0, float64(p.Shards)*n.Headroom-checkout) * most
		p.Impossible = append(p.Impossible, fmt.Sprintf("%.0f decisions per second take %.0f shards, and a sale has at most %d: let a waiting room admit %.0f per second, or spread the stock over several sales", p.Decisions, need, engine.MaxShards, p.Admission))
	}
	load := (p.Decisions/most + checkout) / float64(p.Shards)
	p.Loads = append(p.Loads, Load{"Redis, each of the shards", load})
	if load > 1 && need <= engine.MaxShards {
		p.Impossible = append(p.Impossible, fmt.Sprintf("%d shards decide %.0f per second at most, and %.0f come: it takes %.0f", p.Shards, float64(p.Shards)*most, p.Decisions, math.Ceil(need)))
	}
}

// nodes finds how many API nodes serve the peak within the p99.
func (p *Plan) nodes(m Model) {
	n := p.Need
	orders := p.Orders * m.checkoutAPI(p.Orders)
	holds, refusals := p.Decisions/m.NodeMost(), max(p.Arrivals-p.Decisions, 0)*m.Refuse.Value
	after := p.Arrivals * m.Refuse.Value // everybody, once it is sold out
	busy := max(holds+refusals, after) + orders
	p.ToProvider = p.Orders * n.Provider.Seconds() // each node has a bulkhead before it
	least := max(1, int(math.Ceil(max(busy/float64(n.Processors), p.ToProvider/providerMost)/n.Headroom)))
	p.Nodes = least
	for p.Nodes = least; ; p.Nodes = p.Nodes + 1 + p.Nodes/20 {
		p.latency(m, busy)
		if p.P99 <= n.P99.Seconds() || p.Nodes > 4*least+16 {
			break
		}
	}
	if p.P99 > n.P99.Seconds() {
		p.Nodes = least
		p.latency(m, busy)
		p.Impossible = append(p.Impossible, fmt.Sprintf("a p99 of %s: no number of nodes brings it below %s; at a light load it was %s where this was measured, and a call to Redis takes %s",
			n.P99, seconds(p.P99), seconds(m.RestTail.Value), seconds(m.callCost(n.Always))))
	}
	p.Loads = append(p.Loads, Load{"API nodes", busy / float64(p.Nodes*n.Processors)})
}

// record sizes what is behind the outbox, and what may bound payments.
func (p *Plan) record(m Model) {
	n := p.Need
	processors := func(what string, c Curve) int {
		need := p.Orders * c.At(p.Orders)
		count := max(1, int(math.Ceil(need/n.Headroom)))
		p.Loads = append(p.Loads, Load{what, need / float64(count)})
		return count
	}
	p.Postgres, p.Kafka, p.Aside = processors("Postgres", m.Purchase.Postgres), processors("Kafka", m.Purchase.Kafka), processors("relay, writer, reaper, payments", m.Purchase.Aside)
	p.Writers = max(1, int(math.Ceil(p.Orders*(m.WriteOrder.Value+m.WriteCall.Value/writerMost)/n.Headroom)))
	p.Partitions = max(leastParts, p.Writers)
	asides := max(p.Writers, (p.Aside+n.Processors-1)/n.Processors)
	p.ToPostgres, p.BusyPG = (p.Nodes+asides)*pgPool, p.Orders*m.PGHeld.Value
	p.ToRedis = (p.Nodes + asides) * redisPool
	p.Loads = append(p.Loads, Load{"calls to the payment provider", p.ToProvider / float64(p.Nodes*providerMost)},
		Load{"connections to Postgres", p.BusyPG / float64(p.ToPostgres)})
}

func (p *Plan) memory(m Model, sold float64) {
	checkout := p.Need.Provider.Seconds() + m.RestOrder.Value + m.WriteCall.Value + m.WriteOrder.Value
	p.HTTP = p.Arrivals*p.P50 + p.Orders*checkout
	p.RedisMB = (sold*m.HoldBytes.Value + p.Need.SKUs*m.SKUBytes.Value) / 1e6
	p.PostgresMB = (sold*p.Need.Pay*m.OrderRows.Value + p.Need.SKUs*m.SKURows.Value) / 1e6
	p.NodeMB = 2 * heapFloor * 1.048576 // the collector lets it double
}
