package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// Nodes is how many nodes of the engine a world has, and a plan reckons with.
const Nodes = 3

const (
	buyerKey      = "chaos-chaos-chaos-chaos-chaos-32"
	adminToken    = "chaos-admin-token"
	webhookSecret = "whsec_Y2hhb3MtY2hhb3MtY2hhb3M=" //nolint:gosec // of a world that lives for a minute, on loopback
	startPatience = 3 * time.Minute
)

func (c *Config) nodes() int {
	if c.Nodes > 0 && c.Plan != nil {
		return c.Nodes
	}
	return Nodes
}

// world is everything that runs.
type world struct {
	cfg            Config
	dir            string
	brokers        int             // of Kafka
	stack          *devstack.Stack // Redis, Postgres, Kafka
	spare          *devstack.Stack // a second Redis
	redis, replica *devstack.Backend
	toRedis, toPG  *wire
	toKafka        []*wire // one to each broker
	box            *node   // the payment provider
	boxURL         string  //
	nodes          []*node // of the engine
	admins         []string
	front          *front
	round          int   // which plan it is, from 1
	noDisk         error // why backends have no disks of their own to fill

	mu    sync.Mutex
	notes []string  // what faults have to tell, such as connections cut
	skips []string  // faults that could not happen here, and why
	last  time.Time // when the cause of a fault was taken away last; what has to start again starts then
	order []func()

	heardOf  []heard   // what the crowd was told
	lag, end time.Time // when the replica that took over stopped listening, and when its master died
}

func (w *world) atEnd(f func()) { w.order = append(w.order, f) }

func (w *world) close() {
	for i := len(w.order) - 1; i >= 0; i-- {
		w.order[i]()
	}
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// skip says aloud that a fault cannot happen here.
func (w *world) skip(fault string, why error) {
	text := strings.Join(strings.Fields(fmt.Sprintf("%s: %v", fault, why)), " ")
	w.cfg.say("seed %d: SKIPPED %s", w.cfg.Seed, text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.skips = append(w.skips, text)
}

func (w *world) healing() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
}

func (w *world) lastHealed() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// newWorld starts all parts. On an error nothing is left running.
func newWorld(ctx context.Context, cfg Config, brokers int) (_ *world, err error) {
	w := &world{cfg: cfg, brokers: brokers}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if w.dir, err = os.MkdirTemp("", "flashsale-chaos-"); err != nil {
		return nil, err
	}
	w.atEnd(func() { _ = os.RemoveAll(w.dir) })
	if err := os.Chmod(w.dir, 0o711); err != nil { //nolint:gosec // search permission, for a Postgres run as another user
		return nil, err
	}
	for _, part := range []func(context.Context) error{w.startBackends, w.startProvider, w.startNodes} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *world) startBackends(ctx context.Context) error {
	wires := map[string][]*wire{}
	for name, n := range map[string]int{"redis": 1, "postgres": 1, "kafka": w.brokers} {
		for range n {
			x, err := w.wireTo(name)
			if err != nil {
				return err
			}
			wires[name] = append(wires[name], x)
		}
	}
	w.toRedis, w.toPG, w.toKafka = wires["redis"][0], wires["postgres"][0], wires["kafka"]
	child, record := devstack.Spec{Mode: devstack.Child}, devstack.Spec{Mode: devstack.Child, Fast: true}
	if w.noDisk = devstack.TryDisk(ctx); w.noDisk == nil {
		child.Disk, record.Disk = redisDisk, postgresDisk
	}
	off := devstack.Spec{Mode: devstack.Off}
	var g errgroup.Group
	g.Go(func() (err error) {
		w.stack, err = devstack.Start(ctx, devstack.Options{DataDir: filepath.Join(w.dir, "stack"), Ephemeral: true, Redis: child, // appendfsync always
			Postgres: record, Log: w.cfg.Log,
			Kafka: devstack.Spec{Mode: devstack.Child, Brokers: w.brokers, Advertise: w.kafkaAddrs()}})
		return err
	})
	g.Go(func() (err error) {
		w.spare, err = devstack.Start(ctx, devstack.Options{DataDir: filepath.Join(w.dir, "spare"), Ephemeral: true, Redis: child, Postgres: off, Kafka: off, Log: w.cfg.Log})
		return err
	})
	err := g.Wait()
	for _, s := range []*devstack.Stack{w.stack, w.spare} {
		if s != nil {
			w.atEnd(func() { _ = s.Close() })
		}
	}
	if err != nil {
		return err
	}
	w.redis, w.replica = w.stack.Redis, w.spare.Redis
	for i, broker := range devstack.SplitBrokers(w.stack.Kafka.URL) {
		err = errors.Join(err, w.toKafka[i].lead(broker))
	}
	return errors.Join(err, w.toRedis.lead(host(w.redis.URL)), w.toPG.lead(host(w.stack.Postgres.URL)), w.follow(ctx))
}

// wireTo makes a wire that leads nowhere yet.
func (w *world) wireTo(name string) (x *wire, err error) {
	for range 5 { // another world may be faster to take the port
		var ports []int
		if ports, err = devstack.FreePorts(1); err != nil {
			return nil, err
		}
		if x, err = newWire(name, "127.0.0.1:"+strconv.Itoa(ports[0])); err == nil {
			w.atEnd(x.close)
			return x, nil
		}
	}
	return nil, err
}

// kafkaAddrs is where clients find the brokers: behind their wires.
func (w *world) kafkaAddrs() string {
	var all []string
	for _, x := range w.toKafka {
		all = append(all, x.addr())
	}
	return strings.Join(all, ",")
}

// MiB, which take memory as far as they are filled: for all the plans of a world.
const (
	redisDisk    = 256
	postgresDisk = 384
)

// follow makes the second Redis a replica of the first.
func (w *world) follow(ctx context.Context) error {
	name, port := split(host(w.redis.URL))
	_, err := devstack.RedisDo(ctx, w.replica.URL, "REPLICAOF", name, port)
	return err
}

func (w *world) startProvider(ctx context.Context) error {
	ports, err := devstack.FreePorts(1 + 2*w.cfg.nodes())
	if err != nil {
		return err
	}
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	var apis []string
	for i := range w.cfg.nodes() {
		apis, w.admins = append(apis, at(1+2*i)), append(w.admins, "http://"+at(2+2*i))
	}
	if w.front, err = newFront(ctx, apis); err != nil {
		return err
	}
	w.atEnd(w.front.close)
	w.boxURL = "http://" + at(0)
	w.box = newNode(&node{name: "the sandbox provider", log: filepath.Join(w.dir, "sandbox.log"), env: w.cfg.Env, ready: w.boxURL + "/healthz",
		command: append(append([]string{}, w.cfg.Self...), "sandbox", "--listen", at(0), "--data-dir", filepath.Join(w.dir, "sandbox"),
			"--webhook", w.front.url()+"/v1/webhooks/sandbox", "--webhook-secret", webhookSecret)})
	w.atEnd(w.box.close)
	return w.box.awaitReady(ctx)
}

func (w *world) startNodes(ctx context.Context) error {
	for i := range w.cfg.nodes() {
		n := newNode(&node{name: fmt.Sprintf("node %d", i), log: filepath.Join(w.dir, fmt.Sprintf("node%d.log", i)), env: w.cfg.Env, ready: w.admins[i] + "/readyz",
			command: w.serve("--listen", w.front.nodes[i], "--admin-listen", w.admins[i][len("http://"):])})
		w.nodes = append(w.nodes, n)
		w.atEnd(n.close)
	}
	return w.awaitReady(ctx)
}

func (w *world) awaitReady(ctx context.Context) error {
	for _, n := range append([]*node{w.box}, w.nodes...) {
		if err := n.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// serve is the command of a node. Everything that it reaches is behind a wire.
func (w *world) serve(more ...string) []string {
	return append(append(append([]string{}, w.cfg.Self...), "serve",
		"--redis-url", "redis://"+w.toRedis.addr()+"/0", "--postgres-url", swapHost(w.stack.Postgres.URL, w.toPG.addr()), "--kafka-brokers", w.kafkaAddrs(),
		"--admin-token", adminToken, "--buyer-key", buyerKey, "--payment-url", w.boxURL, "--payment-webhook-secret", webhookSecret,
		"--payment-timeout", "1s", "--reconcile-every", "1s", "--default-wait", "2s", "--partitions", "3", "--drain-timeout", "10s"), more...)
}
