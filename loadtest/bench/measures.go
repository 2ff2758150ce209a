package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
)

// value is a figure that a measurement gives.
type value struct{ name, unit, what string }

// values of one round by name.
type values map[string]float64

// measure is one measurement of a round. It may build on values that earlier
// measurements of the same round gave.
type measure struct {
	name  string
	needs []string
	gives []value
	run   func(context.Context, *world, values) (values, error)
}

const (
	perSecond = "1/s"
	micros    = "µs"
)

// measures is a round, in its order. What is compared stands close together.
var measures = []measure{
	{name: "plaintext", gives: []value{
		{"plaintext", perSecond, "fasthttp answers 200 and reads nothing; the request bytes are a reservation's"},
		{"plaintext_cpu_us", micros, "the server's CPU per request"}, {"plaintext_load_share", "", "how much of its processor the load generator used"}}, run: plaintext},
	{name: "reserve", gives: []value{
		{"reserve", perSecond, "accepted reservations: flashsale serve --roles api, 8 SKUs, a token per buyer"},
		{"reserve_p50", micros, "their latency, closed loop"}, {"reserve_p99", micros, "their latency, closed loop"},
		{"reserve_redis_us", micros, "Redis CPU per accepted reservation over HTTP"}, {"reserve_cpu_us", micros, "the server's CPU per reservation"}}, run: reserve},
	{name: "naive", gives: []value{{"naive", perSecond, "the same API on fasthttp with one EVALSHA of script A per request"}, {"naive_redis_us", micros, "Redis CPU per reservation of it"}, {"naive_cpu_us", micros, "the server's CPU per reservation"}}, run: naive(peers.Naive, "naive")},
	{name: "nethttp", gives: []value{{"nethttp", perSecond, "the same on net/http"}}, run: naive(peers.NetHTTP, "nethttp")},
	{name: "nginx_lua", gives: []value{{"nginx_lua", perSecond, "nginx + Lua + script A, without authentication"}}, run: naive("nginx", "nginx_lua")},
	{name: "pg_for_update", gives: []value{{"pg_for_update", perSecond, "fasthttp + SELECT … FOR UPDATE, INSERT, UPDATE per request, one hot SKU"}}, run: postgres(peers.PGForUpdate, "pg_for_update")},
	{name: "pg_update", gives: []value{{"pg_update", perSecond, "fasthttp + UPDATE … INSERT as one statement per request, one hot SKU"}}, run: postgres(peers.PGUpdate, "pg_update")},
	{name: "soldout", gives: []value{{"soldout", perSecond, "409 sold_out of a sale that has sold out"}, {"soldout_cpu_us", micros, "the server's CPU per refusal"}}, run: soldOut},
	{name: "ndjson64", gives: []value{{"ndjson64", perSecond, "accepted reservations, 64 per POST"}}, run: ndjson},
	{name: "reserve_aof_always", gives: []value{{"reserve_aof_always", perSecond, "reserve, on a Redis that syncs its AOF before every answer"}}, run: reserveAOF},
	{name: "reserve_release", gives: []value{{"reserve_release", perSecond, "pairs of a reservation and its release"}}, run: reserveRelease},
	{name: "purchase", gives: []value{{"purchase", perSecond, "complete purchases: reserved, paid, committed to Postgres, order in hand"}}, run: purchase},
	{name: "latency", needs: []string{"reserve"}, gives: latencyValues(), run: latency},
	{name: "goodput", needs: []string{"reserve"}, gives: []value{
		{"goodput_at_1x", perSecond, "accepted when offered what reserve reached, open loop"}, {"goodput_at_2x", perSecond, "when offered twice that"},
		{"goodput_at_5x", perSecond, "when offered five times that"}, {"goodput_peak", perSecond, "the best of these and of reserve"}}, run: goodput},
	{name: "raw", gives: []value{
		{"raw_p1", perSecond, "EVALSHA of script A, one per call, 64 connections"}, {"script_a_p1_us", micros, "Redis CPU per call of it"},
		{"raw_p16", perSecond, "pipelined by 16, one connection"}, {"script_a_p16_us", micros, "Redis CPU per call of it"},
		{"raw_p64", perSecond, "pipelined by 64, one connection"}, {"script_a_p64_us", micros, "Redis CPU per call of it"}}, run: raw},
	{name: "script_a_failing", gives: []value{{"script_a_failing_us", micros, "Redis CPU per call pipelined by 16, 10% beyond the buyer's limit"}}, run: rawFailing},
	{name: "gate", gives: []value{{"gate_us", micros, "Redis CPU per hold through the gate, 8 SKUs"}, {"gate_holds_per_call", "", "holds that a call carried"},
		{"gate_holds", perSecond, "holds per second through the gate in process"}}, run: gateCost(1, 0, "gate_us", "gate_holds_per_call", "gate_holds")},
	{name: "gate_failing", gives: []value{{"gate_failing_us", micros, "the same, 10% beyond the buyer's limit"}}, run: gateCost(1, 10, "gate_failing_us", "", "")},
	{name: "gate_4_shards", gives: []value{{"gate_us_4_shards", micros, "Redis CPU per hold at 4 shards, 64 holds per call"}}, run: gateCost(4, 0, "gate_us_4_shards", "", "")},
	{name: "gate_16_shards", gives: []value{{"gate_us_16_shards", micros, "Redis CPU per hold at 16 shards, 64 holds per call"}, {"gate_16_shards_holds_per_call", "", "holds that a call carried"}},
		run: gateCost(16, 0, "gate_us_16_shards", "gate_16_shards_holds_per_call", "")},
	{name: "bytes", gives: []value{{"bytes_per_hold", "bytes", "Redis memory per live hold"}}, run: bytesPerHold},
}

// lay gives the sales that a measurement over HTTP needs: every buyer reserves
// once per sale, as in life, so a fast server needs several.
func (w *world) lay(ctx context.Context, s *server, stock int64) ([]string, error) {
	if err := s.clean(ctx); err != nil {
		return nil, err
	}
	if s.admin != "" {
		return w.open(ctx, s, w.cfg.salesEach(), stock, 1)
	}
	names := make([]string, w.cfg.salesEach())
	pipe := s.redis.Pipeline()
	for i := range names {
		names[i] = w.name()
		for _, sku := range skus() {
			pipe.Set(ctx, peers.Prefix(names[i])+"stock:"+sku, stock, 0)
		}
	}
	_, err := pipe.Exec(ctx)
	return names, err
}

// warm sends every buyer once, so that their tokens are known, code is loaded and pages are there.
func (w *world) warm(ctx context.Context, s *server, spec load.Spec) error {
	if s.warm {
		return nil
	}
	s.warm = true
	spec.Lead, spec.Window = 0, w.cfg.warmUp()
	_, err := w.run(ctx, spec)
	return err
}

func plaintext(ctx context.Context, w *world, _ values) (values, error) {
	s, err := w.get(ctx, string(peers.Plaintext))
	if err != nil {
		return nil, err
	}
	spec := w.spec(s, load.Reserve, []string{w.name()})
	spec.Status = http.StatusOK
	if err := w.warm(ctx, s, spec); err != nil {
		return nil, err
	}
	r, cpu, err := w.watched(ctx, s, spec)
	return values{"plaintext": r.Rate, "plaintext_cpu_us": cpu, "plaintext_load_share": r.CPU / r.Seconds}, err
}

func reserve(ctx context.Context, w *world, _ values) (values, error) {
	r, us, err := w.reserveOn(ctx, "product")
	return values{"reserve": r.Rate, "reserve_p50": r.Latency.P50, "reserve_p99": r.Latency.P99, "reserve_redis_us": us.redis, "reserve_cpu_us": us.server}, err
}

func reserveAOF(ctx context.Context, w *world, _ values) (values, error) {
	r, _, err := w.reserveOn(ctx, "product-aof")
	return values{"reserve_aof_always": r.Rate}, err
}

// reserveOn reserves as fast as it goes, and compares what was answered with what the gate counts.
func (w *world) reserveOn(ctx context.Context, name string) (r load.Result, us cost, err error) {
	s, err := w.get(ctx, name)
	if err != nil {
		return r, us, err
	}
	if !s.warm {
		sales, err := w.lay(ctx, s, plenty)
		if err != nil {
			return r, us, err
		}
		if err := w.warm(ctx, s, w.spec(s, load.Reserve, sales)); err != nil {
			return r, us, err
		}
	}
	return w.reserveRun(ctx, s, func(*load.Spec) {})
}

// cost is processor time per reservation, in microseconds.
type cost struct{ server, redis float64 }

// reserveRun makes one run of reservations on the engine, as change has it.
func (w *world) reserveRun(ctx context.Context, s *server, change func(*load.Spec)) (r load.Result, us cost, err error) {
	sales, err := w.lay(ctx, s, plenty)
	if err != nil {
		return r, us, err
	}
	before, err := redisCPU(ctx, s.redis)
	if err != nil {
		return r, us, err
	}
	spec := w.spec(s, load.Reserve, sales)
	change(&spec)
	if r, us.server, err = w.watched(ctx, s, spec); err != nil {
		return r, us, err
	}
	after, err := redisCPU(ctx, s.redis)
	if err != nil {
		return r, us, err
	}
	us.redis = (after - before) / float64(r.Steps[0])
	sum, err := s.counted(ctx, sales)
	if err == nil && sum.Held != int64(r.Steps[0]) {
		err = fmt.Errorf("%d reservations were accepted, the gate holds %d", r.Steps[0], sum.Held)
	}
	return r, us, err
}

// naive measures a way that keeps reservations by script A.
func naive(kind peers.Kind, name string) func(context.Context, *world, values) (values, error) {
	return func(ctx context.Context, w *world, _ values) (values, error) {
		s, err := w.get(ctx, string(kind))
		if err != nil {
			return nil, err
		}
		if !s.warm {
			sales, err := w.lay(ctx, s, plenty)
			if err != nil {
				return nil, err
			}
			if err := w.warm(ctx, s, w.spec(s, load.Reserve, sales)); err != nil {
				return nil, err
			}
		}
		sales, err := w.lay(ctx, s, plenty)
		if err != nil {
			return nil, err
		}
		before, err := redisCPU(ctx, s.redis)
		if err != nil {
			return nil, err
		}
		r, cpu, err := w.watched(ctx, s, w.spec(s, load.Reserve, sales))
		if err != nil {
			return nil, err
		}
		after, err := redisCPU(ctx, s.redis)
		if err != nil {
			return nil, err
		}
		var prefixes []string
		for _, sale := range sales {
			prefixes = append(prefixes, peers.Prefix(sale))
		}
		out := values{name: r.Rate}
		if kind == peers.Naive {
			out["naive_redis_us"], out["naive_cpu_us"] = (after-before)/float64(r.Steps[0]), cpu
		}
		return out, taken(ctx, s, prefixes, int64(r.Steps[0]))
	}
}

// taken compares the units that script A has left with what was answered.
func taken(ctx context.Context, s *server, prefixes []string, accepted int64) error {
	var gone int64
	for _, p := range prefixes {
		for _, sku := range skus() {
			left, err := s.redis.Get(ctx, p+"stock:"+sku).Int64()
			if err != nil {
				return err
			}
			gone += plenty - left
		}
	}
	if gone != accepted {
		return fmt.Errorf("%d reservations were accepted, %d units are gone", accepted, gone)
	}
	return nil
}

// postgres measures a way that keeps the count in a row: one sale, one SKU.
func postgres(kind peers.Kind, name string) func(context.Context, *world, values) (values, error) {
	return func(ctx context.Context, w *world, _ values) (values, error) {
		s, err := w.get(ctx, string(kind))
		if err != nil {
			return nil, err
		}
		run := func(do func(load.Spec) error) error {
			sale := w.name()
			err := pgExec(ctx, s.pg, "TRUNCATE peer_holds, peer_stock")
			if err == nil {
				err = pgExec(ctx, s.pg, "INSERT INTO peer_stock VALUES ($1, $2, $3)", sale, sku(0), plenty)
			}
			if err != nil {
				return err
			}
			spec := w.spec(s, load.Reserve, []string{sale})
			spec.SKUs = []string{sku(0)}
			return do(spec)
		}
		if err := run(func(spec load.Spec) error { return w.warm(ctx, s, spec) }); err != nil {
			return nil, err
		}
		var r load.Result
		err = run(func(spec load.Spec) (err error) {
			r, err = w.run(ctx, spec)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, sql := range []string{"SELECT count(*) FROM peer_holds", fmt.Sprintf("SELECT %d - available FROM peer_stock", plenty)} {
			if n, err := pgCount(ctx, s.pg, sql); err != nil || n != int64(r.Steps[0]) {
				return nil, errors.Join(fmt.Errorf("%d reservations were accepted, Postgres has %d (%s)", r.Steps[0], n, sql), err)
			}
		}
		return values{name: r.Rate}, nil
	}
}

// soldOut opens a sale of a few units, and counts the refusals once they are gone.
func soldOut(ctx context.Context, w *world, _ values) (values, error) {
	const units = 4
	s, err := w.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	if err := s.clean(ctx); err != nil {
		return nil, err
	}
	sales, err := w.open(ctx, s, 1, units, 1)
	if err != nil {
		return nil, err
	}
	spec := w.spec(s, load.Reserve, sales)
	spec.Status, spec.Text, spec.Allow = http.StatusConflict, `"sold_out"`, []int{http.StatusCreated}
	before := cpuOf(s.pid)
	r, err := w.run(ctx, spec)
	if err != nil {
		return nil, err
	}
	cpu := float64((cpuOf(s.pid) - before).Microseconds()) / float64(r.Answers["409"])
	sum, err := s.counted(ctx, sales)
	if got := r.Answers["201"]; err == nil && (got != units*skuCount || sum.Held != units*skuCount) {
		err = fmt.Errorf("%d units were put up, %d accepted, %d held", units*skuCount, got, sum.Held)
	}
	return values{"soldout": r.Rate, "soldout_cpu_us": cpu}, err
}

func ndjson(ctx context.Context, w *world, _ values) (values, error) {
	s, err := w.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	res, err := http.Post("http://"+s.addr+"/v1/sales/bench-none/reservations:batch", "application/x-ndjson", strings.NewReader("{}\n"))
	if err != nil {
		return nil, err
	}
	if err := res.Body.Close(); err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusMethodNotAllowed {
		return nil, skipped{"this build has no POST /v1/sales/{sale}/reservations:batch"}
	}
	r, _, err := w.reserveRun(ctx, s, func(spec *load.Spec) {
		spec.Kind, spec.Depth, spec.Conns, spec.Status = load.Batch, 64, 32, http.StatusOK
	})
	return values{"ndjson64": r.Rate}, err
}

func reserveRelease(ctx context.Context, w *world, _ values) (values, error) {
	s, err := w.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	sales, err := w.lay(ctx, s, plenty)
	if err != nil {
		return nil, err
	}
	r, err := w.run(ctx, w.spec(s, load.ReserveRelease, sales))
	if err != nil {
		return nil, err
	}
	sum, err := s.counted(ctx, sales)
	if want := int64(r.Steps[0] - r.Steps[1]); err == nil && sum.Held != want {
		err = fmt.Errorf("%d reservations less %d releases are %d, the gate holds %d", r.Steps[0], r.Steps[1], want, sum.Held)
	}
	return values{"reserve_release": r.Rate}, err
}

// purchase goes all the way, on a node with all roles, and ends with the four zeros.
func purchase(ctx context.Context, w *world, _ values) (values, error) {
	s, err := w.get(ctx, "product-all")
	if err != nil {
		return nil, err
	}
	sales, err := w.open(ctx, s, 2, plenty, 1)
	if err != nil {
		return nil, err
	}
	spec := w.spec(s, load.Purchase, sales)
	spec.Allow = []int{http.StatusAccepted}       // paid, and the order comes later: no failure, and not counted
	spec.Window = max(spec.Window, 2*time.Second) // 256 purchases at once take a while each
	if err := w.warm(ctx, s, spec); err != nil {
		return nil, err
	}
	if sales, err = w.open(ctx, s, 2, plenty, 1); err != nil {
		return nil, err
	}
	spec.Sales = sales
	r, err := w.run(ctx, spec)
	if err != nil {
		return nil, err
	}
	var v struct{ Oversold, Lost, Drift, Unpaid *int64 }
	if err := s.call(ctx, "GET", "/admin/v1/verify?settle=15s", nil, &v); err != nil {
		return nil, err
	}
	if v.Oversold == nil || v.Lost == nil || v.Drift == nil || v.Unpaid == nil || *v.Oversold|*v.Lost|*v.Drift|*v.Unpaid != 0 {
		return nil, fmt.Errorf("verify is not four zeros: %+v", v)
	}
	sum, err := s.counted(ctx, sales)
	if want := int64(r.Steps[1] + r.Answers["202"]); err == nil && sum.Sold != want {
		err = fmt.Errorf("%d purchases were confirmed or pending, the gate has sold %d", want, sum.Sold)
	}
	return values{"purchase": r.Rate}, err
}

var shares = []int{50, 80} // percent of capacity

func latencyValues() (out []value) {
	for _, share := range shares {
		for _, who := range []string{"reserve", "plaintext"} {
			for _, q := range []string{"p50", "p99", "p999"} {
				out = append(out, value{fmt.Sprintf("%s_%s_at_%d", who, q, share), micros, fmt.Sprintf("latency from the due time at %d%% of reserve's rate, open loop", share)})
			}
		}
	}
	return out
}

// latency offers the engine, and the plaintext server, a part of what the engine can do.
func latency(ctx context.Context, w *world, got values) (values, error) {
	product, err := w.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	plain, err := w.get(ctx, string(peers.Plaintext))
	if err != nil {
		return nil, err
	}
	out := values{}
	for _, share := range shares {
		rate := got["reserve"] * float64(share) / 100
		r, _, err := w.reserveRun(ctx, product, func(s *load.Spec) { s.Rate = rate })
		if err != nil {
			return nil, err
		}
		spec := w.spec(plain, load.Reserve, []string{w.name()})
		spec.Status, spec.Rate = http.StatusOK, rate
		p, err := w.run(ctx, spec)
		if err != nil {
			return nil, err
		}
		for who, r := range map[string]load.Result{"reserve": r, "plaintext": p} {
			if float64(r.Late) > rate*spec.Window.Seconds()/4 {
				return nil, fmt.Errorf("%s at %.0f/s fell behind: %d requests still queued at the end", who, rate, r.Late)
			}
			for q, v := range map[string]float64{"p50": r.Latency.P50, "p99": r.Latency.P99, "p999": r.Latency.P999} {
				out[fmt.Sprintf("%s_%s_at_%d", who, q, share)] = v
			}
		}
	}
	return out, nil
}

// crowd is how many connections a crowd beyond capacity has. An arrival that
// finds none free is turned away by the generator, as a full network would.
const crowd = 5 * conns

func goodput(ctx context.Context, w *world, got values) (values, error) {
	s, err := w.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	out := values{"goodput_peak": got["reserve"]}
	for _, times := range []float64{1, 2, 5} {
		r, _, err := w.reserveRun(ctx, s, func(spec *load.Spec) {
			spec.Rate, spec.Conns, spec.TurnAway = times*got["reserve"], crowd, true
			spec.Allow = []int{http.StatusServiceUnavailable} // overloaded, said at once: not accepted, and no failure
		})
		if err != nil {
			return nil, err
		}
		out[fmt.Sprintf("goodput_at_%.0fx", times)] = r.Rate
		out["goodput_peak"] = math.Max(out["goodput_peak"], r.Rate)
	}
	return out, nil
}

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

func (w *world) gateRun(ctx context.Context, spec gateSpec) (out gateRun, err error) {
	if err := w.redis.FlushDB(ctx).Err(); err != nil {
		return out, err
	}
	spec.Redis = w.stack.Redis.URL
	p, err := start(ctx, "the gate", w.server, false, append(w.cfg.Self, "bench-gate")...)
	if err != nil {
		return out, err
	}
	defer p.stop()
	if err := w.redis.ConfigResetStat(ctx).Err(); err != nil {
		return out, err
	}
	memory, err := usedMemory(ctx, w)
	if err != nil {
		return out, err
	}
	before, err := redisCPU(ctx, w.redis)
	if err != nil {
		return out, err
	}
	if err := p.ask(ctx, spec, &out.gateResult); err != nil {
		return out, err
	}
	if out.Refusal != "" {
		return out, skipped{"this build refuses such a sale: " + out.Refusal}
	}
	after, err := redisCPU(ctx, w.redis)
	if err != nil {
		return out, err
	}
	now, err := usedMemory(ctx, w)
	if err != nil {
		return out, err
	}
	decided := float64(out.Accepted + out.Refused)
	out.us, out.bytes = (after-before)/decided, (now-memory)/float64(out.Accepted)
	calls, err := scriptCalls(ctx, w)
	out.perCall = decided / math.Max(1, calls)
	return out, err
}

func usedMemory(ctx context.Context, w *world) (float64, error) {
	info, err := infoOf(ctx, w.redis, "memory")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(info["used_memory"], 64)
}

// scriptCalls counts the calls of scripts since the statistics were reset.
func scriptCalls(ctx context.Context, w *world) (sum float64, err error) {
	info, err := infoOf(ctx, w.redis, "commandstats")
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
			r, err := w.gateRun(ctx, gateSpec{Shards: shards, SKUs: skuCount, Callers: w.callers[shards], Window: w.cfg.Window, Refuse: refuse})
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
	r, err := w.gateRun(ctx, gateSpec{Shards: 1, SKUs: 1, Callers: 256, Holds: w.cfg.holds()})
	return values{"bytes_per_hold": r.bytes}, err
}
