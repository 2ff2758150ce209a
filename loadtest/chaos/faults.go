package chaos

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// What is done to the nodes and to the provider.

func killNode(_ context.Context, w *world, e Event) (healer, error) {
	n := w.nodes[e.Node]
	return func(context.Context) error { n.revive(); return nil }, n.kill()
}

func freezeNode(_ context.Context, w *world, e Event) (healer, error) {
	n := w.nodes[e.Node]
	return func(context.Context) error { return n.resume() }, n.pause()
}

func skewNode(_ context.Context, w *world, e Event) (healer, error) {
	return restartWith(w.nodes[e.Node], "--clock-skew="+(time.Duration(e.Amount)*time.Second).String())
}

func spoilNode(_ context.Context, w *world, e Event) (healer, error) {
	return restartWith(w.nodes[e.Node], "--fault", fmt.Sprintf("dice@%d#%d", w.cfg.Seed, e.Amount))
}

// restartWith kills a node and starts it with other arguments; healed, it is
// killed again and started as it was.
func restartWith(n *node, args ...string) (healer, error) {
	if err := n.kill(); err != nil {
		return nil, err
	}
	n.revive(args...)
	return func(context.Context) error {
		err := n.kill()
		n.revive()
		return err
	}, nil
}

func churnWriters(_ context.Context, w *world, _ Event) (healer, error) {
	n := newNode(&node{name: "a further writer", log: filepath.Join(w.dir, "writer.log"), env: w.cfg.Env,
		command: w.serve("--roles", "writer", "--admin-listen", "127.0.0.1:0")})
	return func(context.Context) error {
		n.close()
		for _, d := range n.died() {
			return errors.New(d)
		}
		return nil
	}, nil
}

// startCold starts a node that must wait, and must not end, nor be started again.
func startCold(ctx context.Context, w *world, e Event) (healer, error) {
	back := func(context.Context) error { return w.toPG.plug(true) }
	ports, err := devstack.FreePorts(2)
	if err != nil {
		return nil, err
	}
	if err := w.toPG.plug(false); err != nil {
		return back, err
	}
	admin := fmt.Sprint("127.0.0.1:", ports[1])
	n := newNode(&node{name: "a node that started cold", log: filepath.Join(w.dir, "cold.log"), env: w.cfg.Env, ready: "http://" + admin + "/readyz",
		command: w.serve("--listen", fmt.Sprint("127.0.0.1:", ports[0]), "--admin-listen", admin)})
	told := make(chan error, 1)
	waiting, cancel := context.WithTimeout(ctx, e.For)
	go func() { told <- n.awaitMissing(waiting, "Postgres") }()
	return func(ctx context.Context) error {
		defer n.close()
		defer cancel()
		err := errors.Join(<-told, back(ctx), n.awaitReady(ctx))
		for _, d := range n.died() {
			err = errors.Join(err, errors.New(d))
		}
		return err
	}, nil
}

// calm is the provider's control with everything off that faults switch on.
var calm = map[string]any{"outage": false, "latency_ms": 0, "jitter_ms": 0, "error_rate": 0, "timeout_after_rate": 0, "timeout_before_rate": 0}

func spoilProvider(c map[string]any, of func(Event) map[string]any) func(context.Context, *world, Event) (healer, error) {
	return func(ctx context.Context, w *world, e Event) (healer, error) {
		settings := c
		if of != nil {
			settings = of(e)
		}
		return func(ctx context.Context) error { return w.control(ctx, calm) }, w.control(ctx, settings)
	}
}

var hookRates = []string{"late", "duplicate", "out_of_order", "forged", "stale", "dropped"}

// spoilWebhooks tries for a while: the provider may be down at the moment.
func spoilWebhooks(ctx context.Context, w *world, e Event) (healer, error) {
	all := func(share float64) map[string]any {
		c := map[string]any{}
		for _, kind := range hookRates {
			c["webhook_"+kind+"_rate"] = min(share, 0.16)
		}
		return c
	}
	set := func(ctx context.Context, share float64) error {
		return eventually(ctx, "the provider takes its control", func(ctx context.Context) error { return w.control(ctx, all(share)) })
	}
	return func(ctx context.Context) error { return set(ctx, 0) }, set(ctx, float64(e.Amount)/100)
}

func killProvider(_ context.Context, w *world, _ Event) (healer, error) {
	return func(ctx context.Context) error {
		w.box.revive()
		return w.box.awaitReady(ctx)
	}, w.box.kill()
}

// What is done to a backend's wire.

func (w *world) redisWire() []*wire    { return []*wire{w.toRedis} }
func (w *world) postgresWire() []*wire { return []*wire{w.toPG} }
func (w *world) kafkaWire() []*wire    { return w.toKafka }

func slowWire(to func(*world) []*wire) func(context.Context, *world, Event) (healer, error) {
	return onEach(to, func(_ *world, x *wire, e Event) (healer, error) { return x.latency(e.Amount) })
}

func cutWire(to func(*world) []*wire, match string) func(context.Context, *world, Event) (healer, error) {
	return onEach(to, func(w *world, x *wire, e Event) (healer, error) {
		made, heal, err := x.cuts(&cutToxic{Match: match, Every: int64(e.Amount)})
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			w.note("%s: %d connections cut", e.Fault, made())
			return heal(ctx)
		}, nil
	})
}

func plugWire(to func(*world) []*wire) func(context.Context, *world, Event) (healer, error) {
	return onEach(to, func(_ *world, x *wire, _ Event) (healer, error) {
		return func(context.Context) error { return x.plug(true) }, x.plug(false)
	})
}

// onEach does it to every wire to the backend: a cluster has several.
func onEach(to func(*world) []*wire, begin func(*world, *wire, Event) (healer, error)) func(context.Context, *world, Event) (healer, error) {
	return func(_ context.Context, w *world, e Event) (healer, error) {
		var healers []healer
		var all []error
		for _, x := range to(w) {
			heal, err := begin(w, x, e)
			if heal != nil {
				healers = append(healers, heal)
			}
			all = append(all, err)
		}
		return func(ctx context.Context) error {
			var all []error
			for _, heal := range healers {
				all = append(all, heal(ctx))
			}
			return errors.Join(all...)
		}, errors.Join(all...)
	}
}

// What is done to Postgres and Kafka themselves.

func freezeBackend(b *devstack.Backend) (healer, error) {
	return func(context.Context) error { return b.Continue() }, b.Pause()
}

// stopBackend ends it in one way; healed, it is started again.
func stopBackend(b *devstack.Backend, end func() error) (healer, error) { return b.Restart, end() }

func (w *world) redisNow() *devstack.Backend    { return w.redis }
func (w *world) postgresNow() *devstack.Backend { return w.stack.Postgres }

// fillDisk leaves a backend no space; healed, it is started again if it has ended.
func fillDisk(of func(*world) *devstack.Backend) func(context.Context, *world, Event) (healer, error) {
	return func(_ context.Context, w *world, e Event) (healer, error) {
		b := of(w)
		return func(ctx context.Context) error {
			if !b.Alive() {
				w.note("%s: the server had ended by itself", e.Fault)
			}
			return errors.Join(b.FreeDisk(), b.Revive(ctx))
		}, b.FillDisk()
	}
}

// fillLog fills the disk, and then what Postgres' log has kept for itself.
func fillLog(ctx context.Context, w *world, e Event) (healer, error) {
	heal, err := fillDisk((*world).postgresNow)(ctx, w, e)
	if err != nil {
		return heal, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.For)
	defer cancel()
	_, full := devstack.PostgresRows(ctx, w.stack.Postgres.URL, "SELECT pg_logical_emit_message(false, 'ballast', repeat('x', 500000)) FROM generate_series(1, 2000)")
	w.note("%s: %v", e.Fault, full)
	return heal, nil
}

func freezeKafka(_ context.Context, w *world, _ Event) (healer, error) {
	return freezeBackend(w.stack.Kafka)
}

func killKafka(_ context.Context, w *world, _ Event) (healer, error) {
	return stopBackend(w.stack.Kafka, w.stack.Kafka.Kill)
}

// restartPostgres: a throw-away Postgres is always stopped in immediate mode.
func restartPostgres(_ context.Context, w *world, _ Event) (healer, error) {
	return stopBackend(w.stack.Postgres, w.stack.Postgres.Stop)
}

func freezePostgres(_ context.Context, w *world, _ Event) (healer, error) {
	return freezeBackend(w.stack.Postgres)
}

func lockRows(ctx context.Context, w *world, _ Event) (healer, error) {
	release, err := devstack.HoldLocks(ctx, w.stack.Postgres.URL, "SET idle_in_transaction_session_timeout = 0", "SELECT 1 FROM skus ORDER BY sale_no, no FOR UPDATE")
	if err != nil {
		w.note("postgres.locks: no rows were locked: %v", err) // Postgres is down by another fault
		return func(context.Context) error { return nil }, nil
	}
	return func(context.Context) error { _ = release(); return nil }, nil // gone already is as good
}
