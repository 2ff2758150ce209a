package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
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
	durable                   *devstack.Stack // a second Redis, with AOF always
	redis                     *redis.Client
	loader                    *process
	servers                   map[string]*server
	order                     []func()
	nextKey                   uint64
	sales, started            int
	callers                   map[int]int // that make calls of about 64 holds, by shards
	processors                int
}

// server is one that runs: of ours, or of a peer.
type server struct {
	*process
	addr  string // host:port
	admin string // base URL; ours only
	redis *redis.Client
	url   string // of its Redis
	pg    string
	box   string // base URL of the payment sandbox that it pays at
	warm  bool
	leave func(context.Context) error // ends it with all that it left; nil: it stays until the end
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
	w.stack, err = devstack.Start(ctx, devstack.Options{Redis: devstack.Spec{Mode: devstack.Child, Fast: true},
		Postgres: devstack.Spec{Mode: devstack.Child}, Kafka: devstack.Spec{Mode: devstack.Embedded}, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	w.atEnd(func() { _ = w.stack.Close() })
	for _, b := range []*devstack.Backend{w.stack.Redis, w.stack.Postgres} {
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
	text, err := os.ReadFile(filepath.Join(b.Dir, "devstack.pid"))
	if err != nil {
		return fmt.Errorf("bench: %s: %w", b.Kind, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	shortSlices(pid)
	return pinProcess(pid, w.backend)
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

// get gives a running server, starting it if it does not run yet.
func (w *world) get(ctx context.Context, name string) (*server, error) {
	if s := w.servers[name]; s != nil {
		return s, nil
	}
	var s *server
	var err error
	switch name {
	case "product", "product-aof", "product-all":
		s, err = w.startProduct(ctx, name)
	case "nginx":
		s, err = w.startNginx(ctx)
	default:
		s, err = w.startPeer(ctx, peers.Kind(name))
	}
	if err != nil {
		return nil, err
	}
	w.servers[name] = s
	return s, nil
}

// rest ends the servers that would go on working after their measurement, and
// waits until the processors are idle: vacuum, checkpoints and captures of one
// measurement are no part of the next. A machine that others use is not waited for
// any longer than restPatience.
func (w *world) rest(ctx context.Context) error {
	for name, s := range w.servers {
		if s.leave == nil {
			continue
		}
		if err := s.leave(ctx); err != nil {
			return err
		}
		delete(w.servers, name)
	}
	const look = 250 * time.Millisecond
	for deadline := time.Now().Add(restPatience); time.Now().Before(deadline); {
		busy := cpuOfMachine()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
		if cpuOfMachine()-busy <= look/20 { // of a processor; the unit is 10 ms
			return nil
		}
	}
	return nil
}

const restPatience = 15 * time.Second

// startProduct starts the engine as it is shipped: role api alone on a Redis
// without AOF, or with AOF always, or all roles with everything that a purchase needs.
func (w *world) startProduct(ctx context.Context, name string) (*server, error) {
	w.started++
	db := fmt.Sprintf("%s_%d", strings.ReplaceAll(name, "-", "_"), w.started)
	pg, err := w.database(ctx, db)
	if err != nil {
		return nil, err
	}
	s := &server{url: w.stack.Redis.URL, redis: w.redis, pg: pg}
	roles, payments, topic := "api", "http://127.0.0.1:9", "bench."+db // nobody pays
	switch name {
	case "product-aof":
		w.durable, err = devstack.Start(ctx, devstack.Options{Redis: devstack.Spec{Mode: devstack.Child},
			Postgres: devstack.Spec{Mode: devstack.Off}, Kafka: devstack.Spec{Mode: devstack.Off}, Log: w.cfg.Log})
		if err != nil {
			return nil, err
		}
		w.atEnd(func() { _ = w.durable.Close() })
		if err := w.pinBackend(w.durable.Redis); err != nil {
			return nil, err
		}
		s.url = w.durable.Redis.URL
		if s.redis, err = peers.Client(s.url, 4); err != nil {
			return nil, err
		}
		w.atEnd(func() { _ = s.redis.Close() })
		if got, err := s.redis.ConfigGet(ctx, "append*").Result(); err != nil || got["appendonly"] != "yes" || got["appendfsync"] != "always" {
			return nil, fmt.Errorf("bench: this Redis should run with appendfsync always: %v, %w", got, err)
		}
	case "product-all":
		roles = "api,relay,writer,reaper,payments"
		// A database that is not emptied between measurements: its reaper would miss its gates.
		s.url = strings.TrimSuffix(w.stack.Redis.URL, "/0") + "/1"
		if s.redis, err = peers.Client(s.url, 4); err != nil {
			return nil, err
		}
		w.atEnd(func() { _ = s.redis.Close() })
		if err := s.clean(ctx); err != nil {
			return nil, err
		}
		box, err := start(ctx, "the payment sandbox", w.backend, true, append(w.cfg.Self, "sandbox", "--listen", "127.0.0.1:0", "--json")...)
		if err != nil {
			return nil, err
		}
		w.atEnd(box.stop)
		payments = fmt.Sprint(box.ready["sandbox"])
		s.box, s.leave = payments, func(ctx context.Context) error {
			s.stop()
			box.stop()
			return pgExec(ctx, w.stack.Postgres.URL, "DROP DATABASE "+pgx.Identifier{db}.Sanitize()+" WITH (FORCE)")
		}
	}
	s.process, err = start(ctx, "flashsale serve ("+name+")", w.server, true, append(w.cfg.Self, "--log-level", "warn", "serve", "--roles", roles, "--json",
		"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-token", adminToken, "--buyer-key", buyerKey, "--payment-url", payments,
		"--redis-url", s.url, "--postgres-url", pg, "--kafka-brokers", w.stack.Kafka.URL,
		"--topic", topic, "--group", topic, "--partitions", "6", "--replication", "1")...)
	if err != nil {
		return nil, err
	}
	w.atEnd(s.stop)
	s.addr, s.admin = strings.TrimPrefix(fmt.Sprint(s.ready["api"]), "http://"), fmt.Sprint(s.ready["admin"])
	return s, nil
}

func (w *world) startPeer(ctx context.Context, kind peers.Kind) (*server, error) {
	s := &server{url: w.stack.Redis.URL, redis: w.redis}
	if kind == peers.PGForUpdate || kind == peers.PGUpdate {
		var err error
		if s.pg, err = w.database(ctx, "peer_"+strings.ReplaceAll(string(kind), "-", "_")); err != nil {
			return nil, err
		}
		if err := pgExec(ctx, s.pg, peers.Schema); err != nil {
			return nil, err
		}
	}
	p, err := start(ctx, string(kind), w.server, true, append(w.cfg.Self, "bench-server", "--kind", string(kind), "--redis", s.url, "--postgres", s.pg, "--key", buyerKey)...)
	if err != nil {
		return nil, err
	}
	w.atEnd(p.stop)
	s.process, s.addr = p, fmt.Sprint(p.ready["addr"])
	return s, nil
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
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.admin+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		return fmt.Errorf("%s %s: %d: %s", method, path, res.StatusCode, text)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
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
		return r, errors.New("no good answer came within the window")
	}
	return r, nil
}

// watched is run with the server's own processor time per good answer, in
// microseconds. It minds the machine's other work less than a rate does.
func (w *world) watched(ctx context.Context, s *server, spec load.Spec) (load.Result, float64, error) {
	before := cpuOf(s.pid)
	r, err := w.run(ctx, spec)
	if err != nil {
		return r, 0, err
	}
	return r, float64((cpuOf(s.pid) - before).Microseconds()) / float64(r.Steps[0]), nil
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
