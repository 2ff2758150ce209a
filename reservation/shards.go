package reservation

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
)

// slice is one shard at one instant.
type slice struct {
	units map[uint16]engine.Counters // Stock is what is there now
	net   map[uint16]int64           // units that left less units that came
	out   map[int]journal            // by destination
	in    map[int]int64              // by source: the number of the last that arrived
}

// journal is the last transfer to one destination.
type journal struct {
	number int64
	open   bool
	no     uint16
	units  int64
}

// survey is all shards of a sale, each at an instant of its own. They differ,
// but they agree on every transfer that both sides know of: where one was read too
// early for the other, it is read again. So each unit is in one shard or in flight.
type survey []slice

// surveyTries bounds how often sources are read again.
const surveyTries = 32

// survey reads all shards; sku names one SKU, or "" for all.
func (g *Gate) survey(ctx context.Context, s *engine.Sale, sku string) (survey, error) {
	shards := make([]int, shardsOf(s))
	for i := range shards {
		shards[i] = i
	}
	v := make(survey, len(shards))
	for range surveyTries {
		if err := g.lookAt(ctx, s, v, shards, sku); err != nil {
			return nil, err
		}
		if shards = v.late(); len(shards) == 0 {
			break
		}
	}
	return v, nil // if still out of order, the sums say so
}

// late gives the shards that were read too early: sources from before a
// departure whose arrival is known, and destinations from before an arrival that
// their source knows of, because it has closed that transfer or begun the next.
// Without the first, units would be counted twice; without the second, not at all.
func (v survey) late() (out []int) {
	again := make([]bool, len(v))
	for from := range v {
		for to := range v {
			arrived, j := v[to].in[from], v[from].out[to]
			known := j.number // to have arrived
			if j.open {
				known--
			}
			again[from] = again[from] || arrived > j.number
			again[to] = again[to] || arrived < known
		}
	}
	for shard, yes := range again {
		if yes {
			out = append(out, shard)
		}
	}
	return out
}

// lookAt reads some shards in one round trip per node of the cluster.
func (g *Gate) lookAt(ctx context.Context, s *engine.Sale, v survey, shards []int, sku string) error {
	call, cancel := context.WithTimeout(ctx, g.opt.CallTimeout)
	defer cancel()
	began := time.Now()
	p := g.client.Pipeline()
	replies := make([]*redis.Cmd, len(shards))
	for i, shard := range shards {
		l := s.Lease(shard)
		replies[i] = p.EvalSha(call, lookScript.digest(l.Server), keysOf(s.No, shard).forTransfer().all, l.Epoch, sku)
	}
	_, _ = p.Exec(call) // each reply has its own error
	g.metrics.call("look", time.Since(began))
	for i, shard := range shards {
		reply, err := replies[i].Result()
		switch {
		case redis.HasErrorPrefix(err, "NOSCRIPT"):
			l := s.Lease(shard)
			reply, err = g.run(ctx, "look", lookScript, keysOf(s.No, shard).forTransfer(), l, l.Epoch, sku)
		case err != nil:
			err = g.failed(keysOf(s.No, shard), err)
		}
		if errors.Is(err, engine.ErrUnknown) {
			return readFailed(fmt.Errorf("shard %d: %v", shard, err)) //nolint:errorlint // a read that failed changed nothing: %v keeps ErrUnknown out
		}
		if err != nil {
			return err
		}
		if v[shard], err = readSlice(reply); err != nil {
			return engine.Wrap(err, engine.CodeInternal, "shard %d of sale %d", shard, s.No)
		}
	}
	return nil
}

// readSlice takes the reply of lua/transfer_look.lua apart.
func readSlice(reply any) (v slice, err error) {
	v = slice{units: map[uint16]engine.Counters{}, net: map[uint16]int64{}, out: map[int]journal{}, in: map[int]int64{}}
	parts, ok := reply.([]any)
	if !ok || len(parts) != 3 {
		return v, fmt.Errorf("reservation: a look gives %T", reply)
	}
	each := func(part any, visit func(field, text string) error) error {
		list, _ := part.([]any)
		for i := 0; i+1 < len(list); i += 2 {
			field, _ := list[i].(string)
			text, _ := list[i+1].(string)
			if err := visit(field, text); err != nil {
				return err
			}
		}
		return nil
	}
	return v, errors.Join(each(parts[0], v.readUnits), each(parts[1], v.readNet), each(parts[2], v.readMove))
}

func (v slice) readUnits(field, text string) error {
	if field == seqField {
		return nil
	}
	no, err := strconv.ParseUint(field, 10, 16)
	if err != nil {
		return fmt.Errorf("SKU %q: %w", field, err)
	}
	c := engine.Counters{No: uint16(no)}
	if _, err := fmt.Sscanf(text, "%d %d %d %d %d", &c.Available, &c.Held, &c.Paying, &c.Sold, &c.Stock); err != nil {
		return fmt.Errorf("SKU %s has %q: %w", field, text, err)
	}
	v.units[c.No] = c
	return nil
}

func (v slice) readNet(field, text string) error {
	no, err := strconv.ParseUint(field, 10, 16)
	if err == nil {
		var net int64
		if _, err = fmt.Sscanf(text, "%d ", &net); err == nil {
			v.net[uint16(no)] = net
		}
	}
	if err != nil {
		return fmt.Errorf("net of SKU %q is %q: %w", field, text, err)
	}
	return nil
}

func (v slice) readMove(field, text string) error {
	side, shardText, isPair := strings.Cut(field, ":")
	if !isPair {
		return nil // epoch, restock
	}
	shard, err := strconv.Atoi(shardText)
	if err != nil {
		return fmt.Errorf("journal entry %q: %w", field, err)
	}
	if side == "in" {
		v.in[shard], err = strconv.ParseInt(text, 10, 64)
		return err
	}
	var j journal
	n, err := fmt.Sscanf(text, "%d %d %d", &j.number, &j.no, &j.units)
	if n == 0 || n == 2 {
		return fmt.Errorf("journal entry %s is %q: %w", field, text, err)
	}
	j.open = n == 3
	v.out[shard] = j
	return nil
}

// open lists the transfers that are journalled and not closed.
func (v survey) open() (out []engine.Transfer) {
	for from := range v {
		for to, j := range v[from].out {
			if j.open {
				out = append(out, engine.Transfer{From: from, To: to, Number: j.number, No: j.no, Units: j.units})
			}
		}
	}
	return out
}

// flying sums the units of open transfers that have not arrived, by SKU.
func (v survey) flying() map[uint16]int64 {
	sums := map[uint16]int64{}
	for _, t := range v.open() {
		if v[t.To].in[t.From] < t.Number {
			sums[t.No] += t.Units
		}
	}
	return sums
}

// available gives a SKU's available units shard by shard, and their sum.
func (v survey) available(no uint16) (each []int64, sum int64) {
	each = make([]int64, len(v))
	for i := range v {
		each[i] = v[i].units[no].Available
		sum += each[i]
	}
	return each, sum
}

// total sums the shards. Stock is what the shards were allotted in all, which no
// transfer changes and which is exact whenever each is read. The other side of
// the sum is what is there and in flight; engine.Counters.Conserved compares them.
func (v survey) total(s *engine.Sale) []engine.Counters {
	sums, flying := map[uint16]*engine.Counters{}, v.flying()
	for i := range v {
		for no, c := range v[i].units {
			t := sums[no]
			if t == nil {
				it, _ := s.ItemByNo(no)
				t = &engine.Counters{No: no, SKU: it.SKU, InFlight: flying[no]}
				sums[no] = t
			}
			t.Available, t.Held, t.Paying, t.Sold = t.Available+c.Available, t.Held+c.Held, t.Paying+c.Paying, t.Sold+c.Sold
			t.Stock += c.Stock + v[i].net[no] //nolint:gosec // net is a map
		}
	}
	return sorted(sums)
}

func sorted(sums map[uint16]*engine.Counters) []engine.Counters {
	out := make([]engine.Counters, 0, len(sums))
	for _, c := range sums {
		out = append(out, *c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].No < out[j].No })
	return out
}

// Shards implements engine.GateShards.
func (g *Gate) Shards(ctx context.Context, s *engine.Sale) (engine.ShardView, error) {
	if s.Shards <= 1 {
		total, err := g.Counters(ctx, s)
		return engine.ShardView{Total: total, Shards: []engine.ShardCounters{{Items: total}}}, err
	}
	v, err := g.survey(ctx, s, "")
	if err != nil {
		return engine.ShardView{}, err
	}
	out := engine.ShardView{Total: v.total(s), Open: v.open()}
	for i := range v {
		items := map[uint16]*engine.Counters{}
		for no, c := range v[i].units {
			it, _ := s.ItemByNo(no)
			c.SKU = it.SKU
			items[no] = &c
		}
		out.Shards = append(out.Shards, engine.ShardCounters{Shard: i, Items: sorted(items)})
	}
	return out, nil
}
