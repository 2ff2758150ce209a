package bench

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
)

// script runs script A on Redis alone, from the server's processor.
func (w *world) script(ctx context.Context, conns, depth, refuse int) (rate, us float64, err error) {
	if err := w.redis.FlushDB(ctx).Err(); err != nil {
		return 0, 0, err
	}
	sha, err := w.redis.ScriptLoad(ctx, peers.ScriptA).Result()
	if err != nil {
		return 0, 0, err
	}
	prefix := peers.Prefix(w.name())
	for _, sku := range skus() {
		if err := w.redis.Set(ctx, prefix+"stock:"+sku, plenty, 0).Err(); err != nil {
			return 0, 0, err
		}
	}
	before, err := redisCPU(ctx, w.redis)
	if err != nil {
		return 0, 0, err
	}
	spec := w.spec(&server{addr: strings.TrimSuffix(strings.TrimPrefix(w.stack.Redis.URL, "redis://"), "/0")}, load.Script, []string{"-"})
	spec.Core, spec.Conns, spec.Depth, spec.Refuse, spec.SHA, spec.Keys, spec.Status, spec.Lead = w.server, conns, depth, refuse, sha, prefix, 200, 0
	r, err := w.run(ctx, spec)
	if err != nil {
		return 0, 0, err
	}
	after, err := redisCPU(ctx, w.redis)
	if err != nil {
		return 0, 0, err
	}
	calls := float64(r.Steps[0])
	if refuse > 0 {
		calls *= float64(refuse) / float64(refuse-1)
	}
	return r.Rate, (after - before) / calls, taken(ctx, &server{redis: w.redis}, []string{prefix}, int64(r.Steps[0]))
}

func raw(ctx context.Context, w *world, _ values) (values, error) {
	out := values{}
	for _, p := range []struct{ depth, conns int }{{1, 64}, {16, 1}, {64, 1}} {
		rate, us, err := w.script(ctx, p.conns, p.depth, 0)
		if err != nil {
			return nil, err
		}
		out["raw_p"+strconv.Itoa(p.depth)], out["script_a_p"+strconv.Itoa(p.depth)+"_us"] = rate, us
	}
	return out, nil
}

func rawFailing(ctx context.Context, w *world, _ values) (values, error) {
	_, us, err := w.script(ctx, 1, 16, 10)
	return values{"script_a_failing_us": us}, err
}

// gateRun drives the gate in a process of its own on the server's processor.
type gateRun struct {
	gateResult
	us, perCall float64
	bytes       float64
}

func (w *world) gateRun(ctx context.Context, on *redisAt, spec gateSpec) (out gateRun, err error) {
	if err := on.client.FlushDB(ctx).Err(); err != nil {
		return out, err
	}
	spec.Redis = on.url
	p, err := start(ctx, "the gate", w.server, false, append(w.cfg.Self, "bench-gate")...)
	if err != nil {
		return out, err
	}
	defer p.stop()
	if err := on.client.ConfigResetStat(ctx).Err(); err != nil {
		return out, err
	}
	memory, err := on.usedMemory(ctx)
	if err != nil {
		return out, err
	}
	before, err := redisCPU(ctx, on.client)
	if err != nil {
		return out, err
	}
	if err := p.ask(ctx, spec, &out.gateResult); err != nil {
		return out, err
	}
	if out.Refusal != "" {
		return out, skipped{"this build refuses such a sale: " + out.Refusal}
	}
	after, err := redisCPU(ctx, on.client)
	if err != nil {
		return out, err
	}
	now, err := on.usedMemory(ctx)
	if err != nil {
		return out, err
	}
	decided := float64(out.Accepted + out.Refused)
	out.us, out.bytes = (after-before)/decided, (now-memory)/float64(out.Accepted)
	calls, err := on.scriptCalls(ctx)
	out.perCall = decided / math.Max(1, calls)
	return out, err
}

func (r *redisAt) usedMemory(ctx context.Context) (float64, error) {
	info, err := infoOf(ctx, r.client, "memory")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(info["used_memory"], 64)
}

// scriptCalls counts the calls of scripts since the statistics were reset.
func (r *redisAt) scriptCalls(ctx context.Context) (sum float64, err error) {
	info, err := infoOf(ctx, r.client, "commandstats")
	if err != nil {
		return 0, err
	}
	for _, name := range []string{"evalsha", "eval", "fcall"} {
		first, _, _ := strings.Cut(strings.TrimPrefix(info["cmdstat_"+name], "calls="), ",")
		n, _ := strconv.ParseFloat(first, 64)
		sum += n
	}
	return sum, nil
}

// perCall is how many holds a call should carry.
const perCall = 64

// near is how far from perCall a call's average may be, as a factor.
const near = 1.12

// gateCost measures the gate at about 64 holds per call. How many callers make
// such calls depends on how the gate gathers them, which is not what is measured
// here, so a run whose calls were of another size is made again with more
// callers or fewer. The nearest counts, and says its size.
func gateCost(shards, refuse int, us, per, rate string) func(context.Context, *world, values) (values, error) {
	return func(ctx context.Context, w *world, _ values) (values, error) {
		var best gateRun
		off := math.Inf(1)
		for tries := 0; tries < 4 && off > math.Log(near); tries++ {
			if w.callers[shards] == 0 {
				w.callers[shards] = perCall * shards
			}
			r, err := w.gateRun(ctx, w.plainRedis(), gateSpec{Shards: shards, SKUs: skuCount, Callers: w.callers[shards], Window: w.cfg.Window, Refuse: refuse})
			if err != nil {
				return nil, err
			}
			if share := float64(r.Refused) / float64(r.Accepted+r.Refused); refuse > 0 && math.Abs(share-1/float64(refuse)) > 0.01 {
				return nil, fmt.Errorf("%.3f of the holds were refused, not 1 in %d", share, refuse)
			}
			if d := math.Abs(math.Log(r.perCall / perCall)); d < off {
				best, off = r, d
			}
			if off > math.Log(near) {
				w.callers[shards] = max(shards, min(8*perCall*shards, int(float64(w.callers[shards])*perCall/r.perCall)))
			}
		}
		out := values{us: best.us}
		if per != "" {
			out[per] = best.perCall
		}
		if rate != "" {
			out[rate] = float64(best.Accepted) / best.Seconds
		}
		return out, nil
	}
}

func bytesPerHold(ctx context.Context, w *world, _ values) (values, error) {
	r, err := w.gateRun(ctx, w.plainRedis(), gateSpec{Shards: 1, SKUs: 1, Callers: 256, Holds: w.cfg.holds()})
	return values{"bytes_per_hold": r.bytes}, err
}
