package capacity

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Microsecond).String()
}

// latency is that of a reservation: the node, waiting for the call before, the call. A call
// carries whoever comes while the one before is away, so how many that are and how long it
// takes follow from each other.
func (p *Plan) latency(m Model, busy float64) {
	n := p.Need
	c := n.Processors
	rate := p.Decisions / float64(p.Nodes)
	// Jobs of one size that together keep the node as busy as it is.
	perNode := busy / float64(p.Nodes)
	service := 1 / m.NodeMost()
	at := station(c, perNode/service, service, 1)
	lane, shard := rate/float64(p.Shards), p.Decisions/float64(p.Shards)
	share := m.share(rate / float64(c))
	batch, call, wait := 1.0, m.callCost(n.Always), 0.0
	for range 100 {
		took := call + batch*m.RedisOp.Value
		rho := shard / batch * took
		wait = float64(p.Nodes-1) * took // no more than one call of each other node is before
		if rho < 1 {
			wait = min(wait, rho/(1-rho)*took/2)
		}
		batch = (batch + max(m.gather(lane, share), min(mostPerCall, 1+lane*(wait+took)))) / 2
	}
	took := call + batch*m.RedisOp.Value
	p.Batch = batch
	whole := at.then(stay{wait, wait * wait}).then(stay{took, 0}).then(stay{took / 2, took * took / 12}).then(stay{m.Rest.Value, m.Rest.Value * m.Rest.Value})
	p.P50, p.P99 = whole.quantile(0.5), max(whole.quantile(0.99), m.RestTail.Value)
}

// judge sorts the loads and says how far the plan lies beyond the measurements.
func (p *Plan) judge(m Model, sold float64) {
	slices.SortFunc(p.Loads, func(a, b Load) int { return cmp.Compare(b.Share, a.Share) })
	r := m.Measures
	p.Beyond = []Beyond{
		{"reservations/s of a node's processor", p.Decisions / float64(p.Nodes*p.Need.Processors), r.NodeRate},
		{"processors of a node", float64(p.Need.Processors), 1},
		{"nodes", float64(p.Nodes), 1},
		{"reservations/s in all", p.Decisions, r.NodeRate},
		{"holds/s of a shard", p.Decisions / float64(p.Shards), r.ShardRate},
		{"shards", float64(p.Shards), 1},
		{"orders/s", p.Orders, r.OrderRate},
		{"live holds", sold, r.Holds},
		{"SKUs", p.Need.SKUs, r.SKUs},
	}
	if math.IsInf(p.P99, 0) {
		p.P99 = math.MaxFloat64
		p.Impossible = append(p.Impossible, "the queues grow without bound")
	}
	if p.Need.Stock > p.Need.Buyers*100 {
		p.Impossible = append(p.Impossible, fmt.Sprintf("%.0f units for %.0f buyers do not sell out: a buyer takes at most 100 units of a line", p.Need.Stock, p.Need.Buyers))
	}
}

// First is what is fullest at the peak.
func (p Plan) First() Load { return p.Loads[0] }
