package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"
)

// Lane runs plans one after the other. To start a world takes a slow machine longer
// than its plan does, so the next plan has the same parts with sales of its own,
// until one does not go well or mostPlans are through. The books are compared as a
// whole each time, what earlier plans left included.
type Lane struct {
	w    *world
	done int
}

// mostPlans bounds what a world carries along.
const mostPlans = 12

// Run runs one plan, and judges. An error is about the run itself: a part that
// could not be started or healed. What the engine did wrong is in the report.
func (l *Lane) Run(ctx context.Context, cfg Config) (r Report, err error) {
	plan, err := cfg.plan()
	if err != nil {
		return Report{}, err
	}
	began := time.Now()
	r = Report{Seed: cfg.Seed, Plan: plan, Rate: cfg.Rate, StartedAt: began.UTC(), Wrong: []string{}, Notes: []string{}, Skipped: []string{}}
	brokers := max(cfg.Brokers, plan.brokers())
	if l.w != nil && (l.done >= mostPlans || len(l.w.nodes) != cfg.nodes() || l.w.brokers != brokers) {
		l.Close()
	}
	if l.w == nil {
		if l.w, err = newWorld(ctx, cfg, brokers); err != nil {
			return r, err
		}
		l.done = 0
	}
	w := l.w
	if w.skipsAll(cfg, plan, &r) {
		return r, nil
	}
	if err = w.begin(ctx, cfg); err == nil {
		cfg.say("seed %d: everything is up after %.1f s: %s, %s, %s, %d nodes, plan %d", cfg.Seed, time.Since(began).Seconds(), w.redis.Kind, w.stack.Postgres.Kind, w.stack.Kafka.Kind, len(w.nodes), w.round)
		err = w.through(ctx, plan, &r)
	}
	l.done++
	r.ElapsedMS = time.Since(began).Milliseconds()
	if r.Pass = err == nil && len(r.Wrong) == 0; r.Pass {
		return r, nil
	}
	if cfg.KeepLogs != "" {
		err = errors.Join(err, os.RemoveAll(cfg.KeepLogs), os.CopyFS(cfg.KeepLogs, logsOnly{os.DirFS(w.dir)})) // those of an earlier try
	}
	l.Close()
	return r, err
}

// skipsAll says whether nothing of a plan can happen in this world: then it is not
// played, and its report says so instead of passing.
func (w *world) skipsAll(cfg Config, plan Plan, r *Report) bool {
	if w.noDisk == nil || slices.ContainsFunc(plan.Events, func(e Event) bool { return !faults[e.Fault].disk }) {
		return false
	}
	w.cfg, w.skips = cfg, nil
	for _, e := range plan.Events {
		w.skip(e.Fault, w.noDisk)
	}
	r.Skipped = w.skips
	return len(r.Skipped) > 0
}

// Close ends the world, if there is one.
func (l *Lane) Close() {
	if l.w != nil {
		l.w.close()
		l.w = nil
	}
}

// begin forgets what was of an earlier plan, ends its sales and opens new ones.
func (w *world) begin(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if w.round > 0 {
		for _, s := range w.sales() { // a sale with holds that live on stays draining
			for _, move := range []string{"drain", "close"} {
				_ = w.admin(ctx, http.MethodPost, "/sales/"+s.id+"/"+move, nil, nil)
			}
		}
	}
	w.mu.Lock()
	w.cfg, w.notes, w.skips, w.last, w.heardOf, w.lag, w.end = cfg, nil, nil, time.Time{}, nil, time.Time{}, time.Time{}
	w.mu.Unlock()
	w.round++
	return w.openSales(ctx)
}

// named is the name of a sale in this plan.
func (w *world) named(sale string) string { return fmt.Sprintf("%s-%d", sale, w.round) }
