package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
	"github.com/flashsale-engine/flashsale/loadtest/rest"
)

const (
	buyerKey   = "bench-bench-bench-bench-bench-32"
	adminToken = "bench-admin-token"
	skuCount   = 8
	conns      = 256
	plenty     = 500_000_000 // units: nothing sells out by accident
)

// world is everything that runs during a benchmark. Servers start when a
// measurement asks for them first, so that --only pays for what it uses.
type world struct {
	cfg                       Config
	server, backend, loadCore int // processors
	stack                     *devstack.Stack
	durable                   *redisAt // a second Redis, with AOF always
	redis                     *redis.Client
	loader                    *process
	servers                   map[string]*server
	order                     []func()
	nextKey                   uint64
	sales, started            int
	callers                   map[int]int // that make calls of about 64 holds, by shards
	processors                int
}

func newWorld(ctx context.Context, cfg Config) (_ *world, err error) {
	w := &world{cfg: cfg, servers: map[string]*server{}, callers: map[int]int{}}
	all, err := cores()
	if err != nil {
		return nil, err
	}
	// The server has a processor to itself. Redis and Postgres share the load
	// generator's, unless there is a third: the same for all that are compared.
	w.server, w.loadCore, w.processors = all[0], all[1%len(all)], len(all)
	w.backend = w.loadCore
	if len(all) > 2 {
		w.backend = all[2]
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if err := pinProcess(os.Getpid(), w.backend); err != nil {
		return nil, err
	}
	kafka := devstack.Spec{Mode: devstack.Embedded}
	if cfg.Kafka {
		kafka.Mode = devstack.Child
	}
	w.stack, err = devstack.Start(ctx, devstack.Options{Redis: devstack.Spec{Mode: devstack.Child, Fast: true},
		Postgres: devstack.Spec{Mode: devstack.Child}, Kafka: kafka, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	w.atEnd(func() { _ = w.stack.Close() })
	for _, b := range []*devstack.Backend{w.stack.Redis, w.stack.Postgres, w.stack.Kafka} {
		if b.Mode == devstack.Embedded {
			continue // in this process, which stays there
		}
		if err := w.pinBackend(b); err != nil {
			return nil, err
		}
	}
	if w.redis, err = peers.Client(w.stack.Redis.URL, 4); err != nil {
		return nil, err
	}
	w.atEnd(func() { _ = w.redis.Close() })
	if err := w.redis.ConfigSet(ctx, "appendonly", "no").Err(); err != nil {
		return nil, err
	}
	if w.loader, err = start(ctx, "the load generator", w.loadCore, false, append(cfg.Self, "bench-load")...); err != nil {
		return nil, err
	}
	w.atEnd(w.loader.stop)
	return w, nil
}

func (w *world) atEnd(f func()) { w.order = append(w.order, f) }

func (w *world) close() {
	for i := len(w.order) - 1; i >= 0; i-- {
		w.order[i]()
	}
}

// pinBackend keeps a child of devstack on the backends' processor.
func (w *world) pinBackend(b *devstack.Backend) error {
	shortSlices(b.PID())
	return pinProcess(b.PID(), w.backend)
}

// database makes an empty database and gives its URL.
func (w *world) database(ctx context.Context, name string) (string, error) {
	c, err := pgx.Connect(ctx, w.stack.Postgres.URL)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close(ctx) }()
	if _, err := c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", err
	}
	u, err := url.Parse(w.stack.Postgres.URL)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

func pgExec(ctx context.Context, url, sql string, args ...any) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	_, err = c.Exec(ctx, sql, args...)
	return err
}

func pgCount(ctx context.Context, url, sql string) (n int64, err error) {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close(ctx) }()
	return n, c.QueryRow(ctx, sql).Scan(&n)
}

// clean empties Redis, so that every measurement meets the same memory.
func (s *server) clean(ctx context.Context) error { return s.redis.FlushDB(ctx).Err() }

// name gives names for sales; all have the same length.
func (w *world) name() string {
	w.sales++
	return fmt.Sprintf("bench-%05d", w.sales)
}

// skus names the sale's SKUs.
func skus() (out []string) {
	for i := range skuCount {
		out = append(out, sku(i))
	}
	return out
}

type adminItem struct {
	SKU       string `json:"sku"`
	Title     string `json:"title,omitempty"`
	UnitPrice int64  `json:"unit_price"`
	Stock     int64  `json:"stock"`
	Available int64  `json:"available,omitempty"`
	Held      int64  `json:"held,omitempty"`
	Paying    int64  `json:"paying,omitempty"`
	Sold      int64  `json:"sold,omitempty"`
}

// open creates sales of the engine and opens them.
func (w *world) open(ctx context.Context, s *server, n int, stock int64, shards int) (names []string, err error) {
	for range n {
		name := w.name()
		body := map[string]any{"name": "Benchmark", "currency": "USD", "hold_ttl": "30m", "hold_cap": "2h", "per_buyer_limit": peers.Limit, "shards": shards}
		var items []adminItem
		for _, sku := range skus() {
			items = append(items, adminItem{SKU: sku, Title: "A thing", UnitPrice: 1000, Stock: stock})
		}
		body["items"] = items
		for _, call := range []struct {
			method, path string
			body         any
		}{{"PUT", "", body}, {"POST", "/arm", nil}, {"POST", "/open", nil}} {
			if err := s.call(ctx, call.method, "/admin/v1/sales/"+name+call.path, call.body, nil); err != nil {
				return nil, err
			}
		}
		names = append(names, name)
	}
	return names, nil
}

// counted sums what the gate says of sales.
func (s *server) counted(ctx context.Context, sales []string) (sum adminItem, err error) {
	for _, name := range sales {
		var v struct{ Items []adminItem }
		if err := s.call(ctx, "GET", "/admin/v1/sales/"+name, nil, &v); err != nil {
			return sum, err
		}
		for _, it := range v.Items {
			if it.Available < 0 || it.Stock != it.Available+it.Held+it.Paying+it.Sold {
				return sum, fmt.Errorf("sale %s: units do not add up: %+v", name, it)
			}
			sum.Held, sum.Paying, sum.Sold = sum.Held+it.Held, sum.Paying+it.Paying, sum.Sold+it.Sold
		}
	}
	return sum, nil
}

// call asks the engine's admin listener.
func (s *server) call(ctx context.Context, method, path string, in, out any) error {
	return rest.JSON(ctx, method, s.admin+path, adminToken, in, out)
}

// spec is what all measurements over HTTP have in common.
func (w *world) spec(s *server, kind load.Kind, sales []string) load.Spec {
	return load.Spec{Kind: kind, Addr: s.addr, Core: w.loadCore, Conns: conns, Lead: w.cfg.lead(), Window: w.cfg.Window, Patience: 10 * time.Second,
		Sales: sales, SKUs: skus(), Buyers: w.cfg.buyers(), Key: buyerKey, Status: http.StatusCreated, Seed: uint64(w.sales)}
}

// run makes one measurement and refuses to believe it if anything went wrong.
func (w *world) run(ctx context.Context, s load.Spec) (r load.Result, err error) {
	s.Next = w.nextKey
	if err := w.loader.ask(ctx, s, &r); err != nil {
		return r, err
	}
	w.nextKey = r.Next + 1<<20
	switch {
	case r.Bad > 0:
		return r, fmt.Errorf("%d answers were wrong, such as %s", r.Bad, r.Wrong[0])
	case r.Open > 0:
		return r, fmt.Errorf("%d requests had no answer %s after the end", r.Open, s.Patience)
	case r.Good == 0:
		return r, fmt.Errorf("no good answer came within the window: %v", r.Answers)
	}
	return r, nil
}

// watched is run with the server's own processor time per good answer, in
// microseconds. It minds the machine's other work less than a rate does.
func (w *world) watched(ctx context.Context, s *server, spec load.Spec) (load.Result, float64, error) {
	before := CPUOf(s.pid)
	r, err := w.run(ctx, spec)
	if err != nil {
		return r, 0, err
	}
	return r, float64((CPUOf(s.pid) - before).Microseconds()) / float64(r.Steps[0]), nil
}

// redisCPU is the processor time that Redis has used, in microseconds.
func redisCPU(ctx context.Context, c *redis.Client) (float64, error) {
	info, err := infoOf(ctx, c, "cpu")
	if err != nil {
		return 0, err
	}
	user, err1 := strconv.ParseFloat(info["used_cpu_user"], 64)
	sys, err2 := strconv.ParseFloat(info["used_cpu_sys"], 64)
	return (user + sys) * 1e6, errors.Join(err1, err2)
}

func infoOf(ctx context.Context, c *redis.Client, section string) (map[string]string, error) {
	text, err := c.Info(ctx, section).Result()
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			out[k] = v
		}
	}
	return out, nil
}
