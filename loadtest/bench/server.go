package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/internal/devstack"
	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
)

// server is one that runs: of ours, or of a peer.
type server struct {
	*process
	addr  string // host:port
	admin string // base URL; ours only
	redis *redis.Client
	url   string // of its Redis
	pg    string
	box   string         // base URL of the payment sandbox that it pays at
	aside *process       // the roles that serve nobody, where they have a process of their own
	parts map[string]int // processes by part, where each is looked at
	spans string         // the file of its traces, if it traces
	warm  bool
	leave func(context.Context) error // ends it with all that it left; nil: it stays until the end
}

// get gives a running server, starting it if it does not run yet.
func (w *world) get(ctx context.Context, name string) (*server, error) {
	if s := w.servers[name]; s != nil {
		return s, nil
	}
	var s *server
	var err error
	switch name {
	case "product", "product-aof", "product-all", "product-split", "product-unguarded", "product-sampled", "product-traced", "product-watched":
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
// any longer than Config.rest says.
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
	for deadline := time.Now().Add(w.cfg.rest()); time.Now().Before(deadline); {
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

// rolesAside are those that serve no buyer.
const rolesAside = "relay,writer,reaper,payments"

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
	var more []string
	roles, payments, topic := "api", "http://127.0.0.1:9", "bench."+db // nobody pays
	switch name {
	case "product-unguarded":
		more = []string{"--unguarded"}
	case "product-watched":
		more = []string{"--limit", "unpaid=off"} // its buyers never pay
	case "product-sampled", "product-traced":
		if more, err = w.traceInto(s, name); err != nil {
			return nil, err
		}
	case "product-aof":
		r, err := w.durableRedis(ctx)
		if err != nil {
			return nil, err
		}
		s.url, s.redis = r.url, r.client
	case "product-all", "product-split":
		if name == "product-all" {
			roles = "api," + rolesAside
		}
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
		s.parts = map[string]int{PartSandbox: box.pid}
		s.box, s.leave = payments, func(ctx context.Context) error {
			s.stop()
			if s.aside != nil {
				s.aside.stop()
			}
			box.stop()
			return pgExec(ctx, w.stack.Postgres.URL, "DROP DATABASE "+pgx.Identifier{db}.Sanitize()+" WITH (FORCE)")
		}
	}
	serve := func(name string, core int, roles string) (*process, error) {
		p, err := start(ctx, "flashsale serve ("+name+")", core, true, append(append(w.cfg.Self, "--log-level", "warn", "serve", "--roles", roles, "--json",
			"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-token", adminToken, "--buyer-key", buyerKey, "--payment-url", payments,
			"--redis-url", s.url, "--postgres-url", pg, "--kafka-brokers", w.stack.Kafka.URL,
			"--topic", topic, "--group", topic, "--partitions", "6", "--replication", "1"), more...)...)
		if err == nil {
			w.atEnd(p.stop)
		}
		return p, err
	}
	if s.process, err = serve(name, w.server, roles); err != nil {
		return nil, err
	}
	if name == "product-split" {
		if s.aside, err = serve(name+", aside", w.backend, rolesAside); err != nil {
			return nil, err
		}
		s.parts[PartAside] = s.aside.pid
	}
	s.addr, s.admin = strings.TrimPrefix(fmt.Sprint(s.ready["api"]), "http://"), fmt.Sprint(s.ready["admin"])
	return s, nil
}

// redisAt is a Redis, its process and a client for the benchmark's own questions.
type redisAt struct {
	url    string
	pid    int
	client *redis.Client
}

// plainRedis is the one without AOF.
func (w *world) plainRedis() *redisAt {
	return &redisAt{w.stack.Redis.URL, w.stack.Redis.PID(), w.redis}
}

// durableRedis is the one that syncs its AOF before every answer. It starts with the first who asks.
func (w *world) durableRedis(ctx context.Context) (*redisAt, error) {
	if w.durable != nil {
		return w.durable, nil
	}
	stack, err := devstack.Start(ctx, devstack.Options{Redis: devstack.Spec{Mode: devstack.Child},
		Postgres: devstack.Spec{Mode: devstack.Off}, Kafka: devstack.Spec{Mode: devstack.Off}, Log: w.cfg.Log})
	if err != nil {
		return nil, err
	}
	w.atEnd(func() { _ = stack.Close() })
	if err := w.pinBackend(stack.Redis); err != nil {
		return nil, err
	}
	r := &redisAt{url: stack.Redis.URL, pid: stack.Redis.PID()}
	if r.client, err = peers.Client(r.url, 4); err != nil {
		return nil, err
	}
	w.atEnd(func() { _ = r.client.Close() })
	if got, err := r.client.ConfigGet(ctx, "append*").Result(); err != nil || got["appendonly"] != "yes" || got["appendfsync"] != "always" {
		return nil, fmt.Errorf("bench: this Redis should run with appendfsync always: %v, %w", got, err)
	}
	w.durable = r
	return r, nil
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
