package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// Config says what is run.
type Config struct {
	Self     []string // the program: what `serve` and `sandbox` are appended to
	Env      []string // of the processes; nil: ours
	Seed     uint64
	Duration time.Duration // of the load
	Rate     float64       // buyers per second
	Pay      float64       // of them, how many per second check out; 0: the mixed crowd, nearly all
	Faults   []string      // from which the plan is drawn; empty: all that the brokers allow
	Brokers  int           // of Kafka: 1, or devstack.KafkaBrokers; 0: as the plan needs
	Nodes    int           // with Plan: how many nodes; 0: Nodes
	Plan     *Plan         // instead of one drawn from the seed
	KeepLogs string        // where to copy the logs of a run that failed; empty: nowhere
	Progress io.Writer     // nil: none
	Log      *slog.Logger  // nil: none
}

// patience is how long after the load everybody must be at their end.
const patience = 3 * time.Minute

// plan gives the plan, drawn or given.
func (c *Config) plan() (Plan, error) {
	if c.Brokers != 0 && c.Brokers != 1 && c.Brokers != devstack.KafkaBrokers {
		return Plan{}, fmt.Errorf("a world has 1 broker or %d, not %d", devstack.KafkaBrokers, c.Brokers)
	}
	if c.Plan != nil {
		return *c.Plan, nil
	}
	if len(c.Faults) == 0 {
		c.Faults = Faults()
		if c.Brokers > 1 {
			c.Faults = append(c.Faults, ClusterFaults()...)
		}
	}
	for _, name := range c.Faults {
		if err := known(name); err != nil {
			return Plan{}, err
		}
	}
	if c.Duration < 5*time.Second || c.Duration > time.Hour {
		return Plan{}, fmt.Errorf("a duration of %s is not between 5s and 1h", c.Duration)
	}
	return Draw(c.Seed, c.Duration, c.Faults), nil
}

// PlanOf gives the plan of a run without running it.
func PlanOf(c Config) (Plan, error) { return c.plan() }

// Run runs one plan in a world of its own, and judges; see Lane.Run.
func Run(ctx context.Context, cfg Config) (Report, error) {
	var l Lane
	defer l.Close()
	return l.Run(ctx, cfg)
}

func (c *Config) say(format string, args ...any) {
	if c.Progress != nil {
		fmt.Fprintf(c.Progress, format+"\n", args...)
	}
}

// through takes the world through a plan: the crowd comes, things go wrong and
// are healed, everybody gets their answer, and the books are compared.
func (w *world) through(ctx context.Context, plan Plan, r *Report) error {
	end, cancel := context.WithTimeout(ctx, plan.Duration+patience)
	defer cancel()
	probing, stopProbing := context.WithCancel(end)
	defer stopProbing()
	p := &prober{front: w.front.url(), sale: w.named(probeSale), run: fmt.Sprint(plan.Seed), client: fresh(probeWaits)}
	var watching sync.WaitGroup
	watching.Go(func() { p.watch(probing) })

	loadBegan := time.Now()
	var g errgroup.Group
	g.Go(func() (err error) { r.Crowd, err = w.come(end); return err })
	faultErr := w.cause(end, plan, loadBegan)
	healed := w.lastHealed()
	err := errors.Join(faultErr, w.awaitReady(end), g.Wait())
	if err == nil {
		var never error
		if r.Normal, never = awaitNormal(end, p, healed); never != nil {
			r.wrong("%v", never)
		}
	}
	stopProbing()
	watching.Wait()
	r.Probes, r.Seen = p.seen(loadBegan, time.Now())
	r.deaths(w)
	r.Failover = w.failover(plan, loadBegan)
	if err != nil {
		return err
	}
	w.cfg.say("seed %d: the plan is through and the crowd is served, %.1f s after the last fault was healed", plan.Seed, time.Since(healed).Seconds())
	closing, cancelAudit := context.WithTimeout(ctx, patience)
	defer cancelAudit()
	return w.audit(closing, r, p)
}

// cause lets the faults of a plan happen, and returns when the last is healed.
// Those of one part come one after the other by the plan, so each part has a
// goroutine.
func (w *world) cause(ctx context.Context, plan Plan, began time.Time) error {
	byPart := map[string][]Event{}
	for _, e := range plan.Events {
		f := faults[e.Fault]
		key := f.part
		if f.part == partNode {
			key = fmt.Sprint(f.part, e.Node)
		}
		byPart[key] = append(byPart[key], e)
	}
	var g errgroup.Group
	for _, events := range byPart {
		g.Go(func() error {
			var all []error
			for _, e := range events {
				all = append(all, w.happen(ctx, e, began))
			}
			return errors.Join(all...)
		})
	}
	return g.Wait()
}

// happen is one fault, from its beginning to its end; it is healed whatever comes.
func (w *world) happen(ctx context.Context, e Event, began time.Time) error {
	sleep(ctx, time.Until(began.Add(e.At)))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if faults[e.Fault].disk && w.noDisk != nil {
		w.skip(e.Fault, w.noDisk)
		return nil
	}
	heal, err := faults[e.Fault].begin(ctx, w, e)
	w.cfg.say("seed %d: %5.1f s  %s", w.cfg.Seed, time.Since(began).Seconds(), e.Fault)
	if err != nil {
		err = fmt.Errorf("chaos: %s cannot begin: %w", e.Fault, err)
	}
	if heal == nil {
		return err
	}
	sleep(ctx, time.Until(began.Add(e.End())))
	w.healing()
	mend, cancel := context.WithTimeout(context.WithoutCancel(ctx), startPatience)
	defer cancel()
	if healErr := heal(mend); healErr != nil {
		err = errors.Join(err, fmt.Errorf("chaos: %s cannot be healed: %w", e.Fault, healErr))
	}
	w.cfg.say("seed %d: %5.1f s  %s is over", w.cfg.Seed, time.Since(began).Seconds(), e.Fault)
	return err
}

// awaitNormal waits until probes are well again.
func awaitNormal(ctx context.Context, p *prober, healed time.Time) (n Normal, err error) {
	err = eventually(ctx, "orders can be placed again", func(context.Context) error {
		selling, ordering, known := p.normal(healed)
		if !known {
			_, seen := p.seen(time.Now().Add(-5*time.Second), time.Now())
			return fmt.Errorf("probes are told %s", most(seen))
		}
		n = Normal{Selling: selling.Seconds(), Ordering: ordering.Seconds()}
		return nil
	})
	return n, err
}

// audit waits until all is quiet and compares everything with everything.
func (w *world) audit(ctx context.Context, r *Report, p *prober) error {
	settling, cancel := context.WithTimeout(ctx, patience/2)
	defer cancel()
	if err := eventually(settling, "every payment is at its end", w.settled); err != nil {
		r.wrong("%v", err)
	}
	v, raw, err := w.verify(ctx)
	if err != nil {
		return fmt.Errorf("chaos: verify: %w", err)
	}
	r.Verify = raw
	if !v.Clean() {
		r.wrong("verify: OVERSOLD %d · LOST %d · DRIFT %d · UNPAID %d", v.Oversold, v.Lost, v.Drift, v.Unpaid)
		for _, f := range v.Findings {
			r.wrong("verify: %s %s %s %s %s", f.Kind, f.Sale, f.SKU, f.Order, f.Detail)
		}
	}
	b, err := w.readBooks(ctx)
	if err != nil {
		return fmt.Errorf("chaos: the books: %w", err)
	}
	told := append(r.Crowd.told, p.orders()...)
	r.Acknowledged = len(told)
	r.OrdersLost = b.lost(told)
	for _, text := range append(b.wrongs(told), r.Crowd.contradictions...) {
		r.wrong("%s", text)
	}
	r.crowdWrongs()
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
