package bench

import (
	"context"
	"fmt"
	"net/http"
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
	asked bool // made only if it is named: it says nothing about anybody else's way
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
	{name: "guards", gives: []value{{"reserve_guarded", perSecond, "reserve, in turns with the next"},
		{"reserve_unguarded", perSecond, "the same without looking at the token or counting against limits"}}, run: guards},
	{name: "tracing", asked: true, gives: tracingValues, run: tracing},
	{name: "naive", gives: []value{{"naive", perSecond, "the same API on fasthttp with one EVALSHA of script A per request"}, {"naive_redis_us", micros, "Redis CPU per reservation of it"}, {"naive_cpu_us", micros, "the server's CPU per reservation"}}, run: naive(peers.Naive, "naive")},
	{name: "nethttp", gives: []value{{"nethttp", perSecond, "the same on net/http"}}, run: naive(peers.NetHTTP, "nethttp")},
	{name: "nginx_lua", gives: []value{{"nginx_lua", perSecond, "nginx + Lua + script A, without authentication"}}, run: naive("nginx", "nginx_lua")},
	{name: "pg_for_update", gives: []value{{"pg_for_update", perSecond, "fasthttp + SELECT … FOR UPDATE, INSERT, UPDATE per request, one hot SKU"}}, run: postgres(peers.PGForUpdate, "pg_for_update")},
	{name: "pg_update", gives: []value{{"pg_update", perSecond, "fasthttp + UPDATE … INSERT as one statement per request, one hot SKU"}}, run: postgres(peers.PGUpdate, "pg_update")},
	{name: "order_single", gives: []value{{"order_single", perSecond, "orders to Postgres, one transaction each, the same rows, prepared statements one after the other"}, {"order_single_pg_us", micros, "Postgres' CPU per order of it"}}, run: orderRate("order_single", "single", 100)},
	{name: "order_pipelined", gives: []value{{"order_pipelined", perSecond, "the same with each transaction in one round trip"}, {"order_pipelined_pg_us", micros, "Postgres' CPU per order of it"}}, run: orderRate("order_pipelined", "pipeline", 100)},
	{name: "order_batch", gives: []value{{"order_batch", perSecond, "the order writer's transactions, 2,000 orders each: positions, stock, orders, ledger and payments"}, {"order_batch_pg_us", micros, "Postgres' CPU per order of it"}}, run: orderRate("order_batch", "batch", writerBatch)},
	{name: "order_copy", gives: []value{{"order_copy", perSecond, "COPY of the same rows of orders, ledger and payments, 2,000 per transaction"}, {"order_copy_pg_us", micros, "Postgres' CPU per order of it"}}, run: orderRate("order_copy", "copy", writerBatch)},
	{name: "soldout", gives: []value{{"soldout", perSecond, "409 sold_out of a sale that has sold out"}, {"soldout_cpu_us", micros, "the server's CPU per refusal"}}, run: soldOut},
	{name: "ndjson64", gives: []value{{"ndjson64", perSecond, "accepted reservations, 64 per POST"}}, run: ndjson},
	{name: "reserve_aof_always", gives: []value{{"reserve_aof_always", perSecond, "reserve, on a Redis that syncs its AOF before every answer"}}, run: reserveAOF},
	{name: "reserve_release", gives: []value{{"reserve_release", perSecond, "pairs of a reservation and its release"}}, run: reserveRelease},
	{name: "purchase", gives: []value{{"purchase", perSecond, "complete purchases: reserved, paid, committed to Postgres, order in hand"}}, run: purchase},
	{name: "consoles", asked: true, gives: consoleValues, run: looking},
	{name: "checkout_overhead", gives: checkoutValues, run: checkoutOverhead},
	{name: "latency", needs: []string{"reserve"}, gives: latencyValues(), run: latency},
	{name: "goodput", needs: []string{"reserve"}, gives: goodputValues(), run: goodput},
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

// guards compares the door with one that guards nothing, in turns: what is looked
// for is less than what the machine changes its speed by within seconds.
func guards(ctx context.Context, w *world, _ values) (values, error) {
	out := values{}
	for turn := range 2 * turns {
		name, server := "reserve_guarded", "product"
		if turn%2 != turn/2%2 { // who begins takes turns, too
			name, server = "reserve_unguarded", "product-unguarded"
		}
		r, _, err := w.reserveFor(ctx, server, w.cfg.short())
		if err != nil {
			return nil, err
		}
		out[name] += r.Rate / turns
	}
	return out, nil
}

func reserveAOF(ctx context.Context, w *world, _ values) (values, error) {
	r, _, err := w.reserveOn(ctx, "product-aof")
	return values{"reserve_aof_always": r.Rate}, err
}

// reserveOn reserves as fast as it goes, and compares what was answered with what the gate counts.
func (w *world) reserveOn(ctx context.Context, name string) (r load.Result, us cost, err error) {
	return w.reserveFor(ctx, name, w.cfg.Window)
}

func (w *world) reserveFor(ctx context.Context, name string, window time.Duration) (r load.Result, us cost, err error) {
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
	return w.reserveRun(ctx, s, func(spec *load.Spec) { spec.Window = window })
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

// soldOut counts the refusals of a sale that has sold out.
func soldOut(ctx context.Context, w *world, _ values) (values, error) {
	s, err := w.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	sales, spec, err := w.few(ctx, s, w.cfg.Window)
	if err != nil {
		return nil, err
	}
	before := CPUOf(s.pid)
	r, err := w.refused(ctx, s, sales, spec)
	if err != nil {
		return nil, err
	}
	return values{"soldout": r.Rate, "soldout_cpu_us": float64((CPUOf(s.pid) - before).Microseconds()) / float64(r.Answers["409"])}, err
}

const fewUnits = 4

// few opens a sale of a few units, for refusals once they are gone.
func (w *world) few(ctx context.Context, s *server, window time.Duration) (sales []string, spec load.Spec, err error) {
	if err := s.clean(ctx); err != nil {
		return nil, spec, err
	}
	if sales, err = w.open(ctx, s, 1, fewUnits, 1); err != nil {
		return nil, spec, err
	}
	spec = w.spec(s, load.Reserve, sales)
	spec.Window, spec.Status, spec.Text, spec.Allow = window, http.StatusConflict, `"sold_out"`, []int{http.StatusCreated}
	return sales, spec, nil
}

// refused counts the refusals.
func (w *world) refused(ctx context.Context, s *server, sales []string, spec load.Spec) (load.Result, error) {
	r, err := w.run(ctx, spec)
	if err != nil {
		return r, err
	}
	sum, err := s.counted(ctx, sales)
	if got := r.Answers["201"]; err == nil && (got != fewUnits*skuCount || sum.Held != fewUnits*skuCount) {
		err = fmt.Errorf("%d units were put up, %d accepted, %d held", fewUnits*skuCount, got, sum.Held)
	}
	return r, err
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
