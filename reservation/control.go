package reservation

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
)

var saleStates = map[engine.SaleState]int{
	engine.SaleDraft: 0, engine.SaleArmed: 1, engine.SaleOpen: 2, engine.SalePaused: 3, engine.SaleDraining: 4, engine.SaleClosed: 5,
}

// terms spells what the gate must know of a sale:
//
//	epoch state opens closes limit ttl cap keep max_attempts lease version
//
// Times are milliseconds since engine.TimeZero, 0 for none; spans are
// milliseconds. An opening between two milliseconds is the later one, a closing
// the earlier: neither gives buyers more than they were promised.
func (g *Gate) terms(s *engine.Sale, epoch int64) string {
	n := []int64{
		epoch, int64(saleStates[s.State]), gateTime(s.OpensAt.Add(time.Millisecond - 1)), gateTime(s.ClosesAt),
		int64(s.PerBuyerLimit), s.HoldTTL.Milliseconds(), s.HoldCap.Milliseconds(),
		g.opt.Keep.Milliseconds(), int64(g.opt.MaxAttempts), g.opt.Lease.Milliseconds(), s.Version,
	}
	var b strings.Builder
	for i, v := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strconv.FormatInt(v, 10))
	}
	return b.String()
}

// gateTime gives 0 for no time; one before the gate's zero is its first moment.
func gateTime(t time.Time) int64 {
	if t.Year() <= 1 {
		return 0
	}
	return max(t.UnixMilli()-engine.TimeZero, 1)
}

// Create implements engine.GateControl. Nothing is written before every shard has
// been found fit, and what a crash leaves half written nobody has used: the same
// call again writes all of it anew.
func (g *Gate) Create(ctx context.Context, s *engine.Sale) error {
	defer g.soldOut.changed(s.No)
	shards := shardsOf(s)
	for _, write := range []int{0, 1} {
		err := eachShard(s, func(shard int) error {
			l := s.Lease(shard)
			args := make([]any, 0, 4+2*len(s.Items))
			args = append(args, l.Epoch, g.terms(s, l.Epoch), shards, write)
			for _, it := range s.Items {
				args = append(args, uint64(it.No), part(it.Stock, shard, shards))
			}
			_, err := g.run(ctx, "create", createScript, keysOf(s.No, shard).forCreate(), l, args...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// part is a shard's part of some units; the first shards get what does not divide.
func part(units int64, shard, shards int) int64 {
	n := units / int64(shards)
	if int64(shard) < units%int64(shards) {
		n++
	}
	return n
}

// Install implements engine.GateControl.
func (g *Gate) Install(ctx context.Context, s *engine.Sale) error {
	defer g.soldOut.changed(s.No)
	return eachShard(s, func(shard int) error {
		l := s.Lease(shard)
		_, err := g.run(ctx, "install", installScript, keysOf(s.No, shard), l, l.Epoch, s.Version, g.terms(s, l.Epoch))
		return err
	})
}

// SetStock implements engine.GateControl.
func (g *Gate) SetStock(ctx context.Context, s *engine.Sale, item uint16, stock int64) error {
	defer g.soldOut.changed(s.No)
	if stock < 0 || stock > engine.MaxStock {
		return engine.E(engine.CodeInvalidRequest, "stock: %d is not between 0 and %d", stock, engine.MaxStock)
	}
	if s.Shards > 1 {
		return g.allot(ctx, s, item, stock)
	}
	l := s.Lease(0)
	v, err := g.run(ctx, "restock", restockScript, keysOf(s.No, 0), l, l.Epoch, s.Version, uint64(item), stock)
	if err != nil {
		return err
	}
	if v == int64(-1) {
		return tooFew(item)
	}
	return nil
}

func tooFew(item uint16) error {
	return engine.E(engine.CodeSoldOut, "fewer units of SKU %d are available than would be taken away", item)
}

// Reap implements engine.GateControl. It begins at another shard each time, so
// that each has its turn, under the limit and beside one that does not answer.
func (g *Gate) Reap(ctx context.Context, s *engine.Sale, limit int) (engine.Reaped, error) {
	var r engine.Reaped
	if limit < 1 {
		return r, fmt.Errorf("reservation: a reaper's limit of %d", limit)
	}
	shards, first := shardsOf(s), 0
	if shards > 1 {
		first = int(g.reaps.Add(1) % uint64(shards))
	}
	for i := range shards {
		room := limit - r.Expired - len(r.Overdue)
		if room == 0 {
			r.More = true
			break
		}
		shard := (first + i) % shards
		d, err := g.decide(ctx, s.No, shard, s.Lease(shard), nil, room)
		if err != nil {
			return r, err
		}
		g.metrics.expired.Add(float64(d.expired))
		r.Expired += d.expired
		r.Overdue = append(r.Overdue, d.overdue...)
		r.More = r.More || d.more
	}
	return r, nil
}
