package bench

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
)

// buy makes purchases: rate of them per second, or as many as it goes, and waits until
// the work for them has ended, captures included.
func (c *climber) buy(ctx context.Context, s *server, rate float64, window time.Duration) (Rung, error) {
	sales, err := c.open(ctx, s, 1, plenty, 1)
	if err != nil {
		return Rung{}, err
	}
	spec := c.spec(s, load.Purchase, sales)
	spec.Rate, spec.Window, spec.Allow = rate, window, []int{http.StatusAccepted}
	return c.measure(ctx, s, Rung{Kind: Buying, Step: rate}, func() (load.Result, error) {
		r, err := c.run(ctx, spec)
		if err != nil {
			return r, err
		}
		return r, s.allCaptured(ctx, 250*time.Millisecond) // each look costs Postgres a scan
	})
}

// gateRung asks the gate from a process that has nothing else to do.
func (c *climber) gateRung(ctx context.Context, r Rung) (Rung, error) {
	on, err := c.plainRedis(), error(nil)
	if r.Kind == GateAOF {
		if on, err = c.durableRedis(ctx); err != nil {
			return r, err
		}
	}
	g, err := c.gateRun(ctx, on, gateSpec{Shards: 1, SKUs: skuCount, Callers: int(r.Step), Window: c.ladder.Window / 2})
	if err != nil {
		return r, err
	}
	r.Ends, r.Ops, r.Calls = float64(g.Accepted), float64(g.Accepted), float64(g.Accepted)/math.Max(1, g.perCall)
	r.Seconds, r.Rate = g.Seconds, float64(g.Accepted)/g.Seconds
	r.CPU = map[string]float64{PartRedis: g.us * r.Ends / 1e6}
	return r, nil
}

// reading is what the parts have used so far.
type reading struct {
	at        time.Time
	cpu       map[string]time.Duration
	api, work map[string]float64 // the nodes' metrics
	pg        pgReading
}

func (c *climber) read(ctx context.Context, s *server) (r reading, err error) {
	r.at = time.Now()
	r.cpu = map[string]time.Duration{PartAPI: ranFor(s.pid), PartRedis: ranFor(c.stack.Redis.PID()), PartPostgres: familyRanFor(c.stack.Postgres.PID())}
	if s.aside != nil { // the others have no part in reservations
		r.cpu[PartKafka] = ranFor(c.stack.Kafka.PID())
		if c.stack.Kafka.PID() == 0 {
			r.cpu[PartKafka] = ranFor(os.Getpid())
		}
		for name, pid := range s.parts {
			r.cpu[name] = ranFor(pid)
		}
		if r.work, err = s.aside.meters(ctx); err != nil {
			return r, err
		}
		if r.pg, err = readPG(ctx, s.pg); err != nil {
			return r, err
		}
	}
	r.api, err = s.meters(ctx)
	return r, err
}

// measure makes a run, and tells what every part used for it.
func (c *climber) measure(ctx context.Context, s *server, r Rung, run func() (load.Result, error)) (Rung, error) {
	before, err := c.read(ctx, s)
	if err != nil {
		return r, err
	}
	res, err := run()
	if err != nil {
		return r, err
	}
	after, err := c.read(ctx, s)
	if err != nil {
		return r, err
	}
	api := func(name string) float64 { return after.api[name] - before.api[name] }
	work := func(name string) float64 { return after.work[name] - before.work[name] }
	r.Seconds, r.Rate, r.Latency, r.Second = after.at.Sub(before.at).Seconds(), res.Rate, res.Latency, res.Second
	r.Ends = float64(res.Steps[0])
	if r.Kind == Buying {
		r.Ends = float64(res.Steps[1] + res.Answers["202"])
	}
	r.CPU = map[string]float64{PartGenerator: res.CPU}
	for part := range after.cpu {
		r.CPU[part] = (after.cpu[part] - before.cpu[part]).Seconds()
	}
	r.Calls, r.Ops, r.CallS = api(gateBatches+"_count"), api(gateBatches+"_sum"), api(gateTime+"_sum")
	r.Writes, r.WriteS, r.Held = work(writerTime+"_count"), work(writerTime+"_sum"), after.pg.busy-before.pg.busy
	if n := api(providerTime + "_count"); n > 0 {
		r.Authorised = api(providerTime+"_sum") / n
	}
	r.Grown = after.pg.size - before.pg.size
	r.Late = float64(res.Late) / math.Max(1, float64(res.Due))
	return r, nil
}

// Metrics of the nodes, see checkout.go for the others.
const (
	gateBatches = "flashsale_gate_batch_size"
	gateTime    = "flashsale_gate_call_seconds"
	writerTime  = "flashsale_writer_commit_seconds"
)

// pgReading is for how many seconds the connections to a database have been busy,
// waiting inside a transaction included, and its size in bytes.
type pgReading struct{ busy, size float64 }

func readPG(ctx context.Context, url string) (r pgReading, err error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return r, err
	}
	defer func() { _ = c.Close(ctx) }()
	return r, c.QueryRow(ctx, `SELECT (active_time + idle_in_transaction_time) / 1000, pg_database_size(datname)
FROM pg_stat_database WHERE datname = current_database()`).Scan(&r.busy, &r.size)
}

// sizes says what a hold, a SKU and an order take, in bytes.
func (c *climber) sizes(ctx context.Context, skus int) (map[string]float64, error) {
	holds, err := c.gateRun(ctx, c.plainRedis(), gateSpec{Shards: 1, SKUs: 1, Callers: 256, Holds: c.cfg.holds()})
	if err != nil {
		return nil, err
	}
	out := map[string]float64{"redis_per_hold": holds.bytes, "holds": float64(holds.Accepted), "skus": float64(skus)}
	if skus == 0 {
		return out, nil
	}
	s, err := c.get(ctx, "product")
	if err != nil {
		return nil, err
	}
	memory, err := c.plainRedis().usedMemory(ctx)
	if err != nil {
		return nil, err
	}
	const database = "SELECT pg_database_size(current_database())"
	rows, err := pgCount(ctx, s.pg, database)
	if err != nil {
		return nil, err
	}
	var items []adminItem
	for i := range skus {
		items = append(items, adminItem{SKU: fmt.Sprintf("SKU-%08d", i), Title: "A thing", UnitPrice: 1000, Stock: 10})
	}
	name := c.name()
	body := map[string]any{"name": "Benchmark", "currency": "USD", "hold_ttl": "30m", "hold_cap": "2h", "per_buyer_limit": 1, "shards": 1, "items": items}
	if err := s.call(ctx, "PUT", "/admin/v1/sales/"+name, body, nil); err != nil {
		return nil, err
	}
	if err := s.call(ctx, "POST", "/admin/v1/sales/"+name+"/arm", nil, nil); err != nil {
		return nil, err
	}
	now, err := c.plainRedis().usedMemory(ctx)
	if err != nil {
		return nil, err
	}
	grown, err := pgCount(ctx, s.pg, database)
	if err != nil {
		return nil, err
	}
	out["redis_per_sku"], out["postgres_per_sku"] = (now-memory)/float64(skus), float64(grown-rows)/float64(skus)
	return out, s.clean(ctx)
}
