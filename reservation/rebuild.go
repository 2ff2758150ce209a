package reservation

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

var (
	beginScript  = assemble("repair_begin")
	putScript    = assemble("repair_put")
	openScript   = assemble("repair_open")
	quellScript  = assemble("repair_quell")
	settleScript = assemble("transfer", "transfer_settle")
)

// The keys of a rebuild by number, as lua/repair_begin.lua has them.
const (
	newSKU = 11 + iota
	newBuyers
	newDue
	newReview
	newMoves
	newNet
	newLater
)

// rebuild is one shard on its way back.
type rebuild struct {
	g     *Gate
	s     *engine.Sale
	shard int
	l     engine.GateLease
	k     keys
	token string
	// began is what repair_begin.lua left in the terms' place: it stands there as
	// long as nobody else has taken the shard.
	began string
}

// Rebuild implements engine.GateRepair. The new shard is laid down beside what
// remains of the old one and takes its place in one step, so a crash before that
// leaves a frozen shard that still remembers what it did.
//
// Of several lost shards the last to be rebuilt gets what is available; those
// before it get what their holds take, because nobody knows yet what the holds of
// the others will. Balance spreads it.
func (g *Gate) Rebuild(ctx context.Context, s *engine.Sale, shard int, l engine.GateLease, holds []engine.Hold) error {
	defer g.soldOut.changed(s.No)
	r := rebuild{g: g, s: s, shard: shard, l: l, k: keysOf(s.No, shard).forRebuild(), token: token()}
	now, err := r.begin(ctx)
	if err != nil {
		return err
	}
	parts, err := restore(s, shard, holds, now, g.opt.Lease.Milliseconds())
	if err != nil {
		return err
	}
	b, err := r.settle(ctx, parts.taken)
	if err != nil {
		return err
	}
	skus, nets, err := b.spell(s, parts.taken)
	if err != nil {
		return err
	}
	lengths := make([]any, 0, 7)
	for _, p := range []struct {
		key     int
		command string
		list    []any
		size    int // list items per element
	}{
		{newSKU, "HSET", skus, 2},
		{newBuyers, "HSET", parts.buyers, 2},
		{newDue, "RPUSH", parts.due, 1},
		{newReview, "RPUSH", parts.review, 1},
		{newMoves, "HSET", b.moves, 2},
		{newNet, "HSET", nets, 2},
		{newLater, "ZADD", parts.later, 2},
	} {
		if err := r.put(ctx, p.key, p.command, p.list); err != nil {
			return err
		}
		lengths = append(lengths, len(p.list)/p.size)
	}
	_, err = g.run(ctx, "repair_open", openScript, r.k, l, append([]any{r.began, g.terms(s, l.Epoch)}, lengths...)...)
	return err
}

// begin takes the shard, and gives the gate's time.
func (r *rebuild) begin(ctx context.Context) (now int64, err error) {
	if r.l.Epoch < 1 {
		return 0, fmt.Errorf("reservation: a rebuild for epoch %d", r.l.Epoch)
	}
	reply, err := r.g.run(ctx, "repair_begin", beginScript, r.k, r.l, r.l.Epoch, r.token)
	if err != nil {
		return 0, err
	}
	r.began = fmt.Sprintf("%s %d %s", frozenWord, r.l.Epoch-1, r.token)
	if _, now, err = glanced([]any{"", reply}); err != nil {
		return 0, engine.Wrap(err, engine.CodeInternal, "the clock of shard %d of sale %d", r.shard, r.s.No)
	}
	return now, nil
}

const (
	putMost  = 1024 // items of one call: about half a millisecond of Redis
	putCalls = 16   // calls that are sent together
)

// put lays a list down in one of the new keys, in order.
func (r *rebuild) put(ctx context.Context, key int, command string, list []any) error {
	for len(list) > 0 {
		var calls [][]any
		for len(list) > 0 && len(calls) < putCalls {
			n := min(putMost, len(list))
			calls = append(calls, append([]any{r.began, key, command}, list[:n]...))
			list = list[n:]
		}
		if err := r.send(ctx, calls); err != nil {
			return err
		}
	}
	return nil
}

// send makes calls in one round trip, in order: the first by itself, as it may
// be the one that introduces the script.
func (r *rebuild) send(ctx context.Context, calls [][]any) error {
	if _, err := r.g.run(ctx, "repair_put", putScript, r.k, r.l, calls[0]...); err != nil || len(calls) == 1 {
		return err
	}
	call, cancel := context.WithTimeout(ctx, r.g.opt.CallTimeout)
	defer cancel()
	p := r.g.client.Pipeline()
	replies := make([]*redis.Cmd, 0, len(calls)-1)
	for _, args := range calls[1:] {
		replies = append(replies, p.EvalSha(call, putScript.digest(r.l.Server), r.k.all, args...))
	}
	_, _ = p.Exec(call) // each reply has its own error
	for _, reply := range replies {
		if err := reply.Err(); redis.HasErrorPrefix(err, "NOSCRIPT") {
			return r.g.failed(r.k, errOtherServer)
		} else if err != nil {
			return r.g.failed(r.k, err)
		}
	}
	return nil
}

// books are what a shard is given: units, and its side of the journals.
type books struct {
	whole bool // every other shard is there: this one gets all that is left
	units map[uint16]int64
	net   map[uint16]int64
	moves []any // field, value
}

// spell gives the counters of every SKU and the units that are booked as sent.
func (b *books) spell(s *engine.Sale, taken map[uint16]engine.Counters) (skus, nets []any, err error) {
	skus = make([]any, 0, 2*len(s.Items)+2)
	for _, it := range s.Items {
		c := taken[it.No]
		all := c.Held + c.Paying + c.Sold
		c.Stock = all
		if b.whole {
			c.Stock = b.units[it.No]
		}
		if c.Available = c.Stock - all; c.Available < 0 {
			return nil, nil, engine.E(engine.CodeSoldOut, "the holds take %d units of SKU %d, of which there are %d", all, it.No, c.Stock).With("sku", it.SKU)
		}
		if !c.Conserved() {
			return nil, nil, engine.E(engine.CodeInternal, "SKU %d would be rebuilt as %+v", it.No, c)
		}
		skus = append(skus, skuField(it.No), fmt.Sprintf("%d %d %d %d %d", c.Available, c.Held, c.Paying, c.Sold, c.Stock))
		if n := b.net[it.No]; n != 0 {
			nets = append(nets, skuField(it.No), strconv.FormatInt(n, 10)+" 0")
		}
	}
	return append(skus, seqField, "0"), nets, nil
}
