package payment

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// Ledger is what the worker needs of the record. Its errors are read as "later".
type Ledger interface {
	// Authorised lists authorised attempts, at most limit in all: of confirmed
	// orders, of orders that are not to be, and of no order for too long a time.
	Authorised(ctx context.Context, limit int) (capture, void, lost []engine.Attempt, err error)
	// Owed lists captured attempts whose money is to go back, oldest first.
	Owed(ctx context.Context, limit int) ([]engine.Attempt, error)
	// Owe and Note are those of engine.Attempts.
	Owe(ctx context.Context, id engine.AttemptID, reason string) error
	Note(ctx context.Context, a engine.Attempt, p engine.Payment, reason string) error
	// Unresolved counts what has not been brought to an end.
	Unresolved(ctx context.Context) ([]engine.Unresolved, error)
}

// Inbox is what the worker needs of the events that providers have sent.
type Inbox interface {
	// Unheeded gives events that nobody has acted on, each to one node for a while.
	Unheeded(ctx context.Context, limit int) ([]engine.ProviderEvent, error)
	// Heeded notes that one was acted on.
	Heeded(ctx context.Context, ev engine.ProviderEvent) error
	// Forget deletes at most limit of those acted on olderThan ago.
	Forget(ctx context.Context, olderThan time.Duration, limit int) (int64, error)
}

// WorkerConfig are the worker's parts and settings; zero settings take defaults.
type WorkerConfig struct {
	Payments engine.Payments
	Ledger   Ledger
	// Resolve ends an overdue hold: engine.Resolve.
	Resolve func(ctx context.Context, s *engine.Sale, h engine.Hold) error
	// Stale lists unfinished attempts whose lease is long over, and
	// ResolveAttempt ends one: engine.ResolveAttempt, the second net. Both or
	// neither.
	Stale          func(ctx context.Context, limit int) ([]engine.Attempt, error)
	ResolveAttempt func(ctx context.Context, a engine.Attempt) error
	// Inbox holds providers' events and Heed acts on one: engine.Heed. Both or
	// neither.
	Inbox Inbox
	Heed  func(ctx context.Context, ev engine.ProviderEvent) error
	// Busy says that many buyers are paying now. They have seconds and captures
	// have days, so meanwhile a long backlog is settled a batch per tick. Nil: never.
	Busy func() bool

	Every       time.Duration // between two looks at the ledger. Default 1 s
	Batch       int           // attempts listed at once. Default 256
	Concurrency int           // per lane: settling and resolving. Default 16
	Queue       int           // offered holds that wait. Default 1024
	Backoff     time.Duration // before an attempt that failed is taken up again; doubles. Default 1 s
	MaxBackoff  time.Duration // default 1 min
	CallTimeout time.Duration // of a ledger call and of a whole task; longer than the Guard's Budget. Default 30 s
	Remember    time.Duration // events acted on are kept for so long, to know them again. Default 7 days

	Trace      *telemetry.Telemetry // nil: nothing is traced
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

func (c WorkerConfig) withDefaults() (WorkerConfig, error) {
	or(&c.Every, time.Second)
	or(&c.Batch, 256)
	or(&c.Concurrency, 16)
	or(&c.Queue, 1024)
	or(&c.Backoff, time.Second)
	or(&c.MaxBackoff, max(time.Minute, c.Backoff))
	or(&c.CallTimeout, 30*time.Second)
	or(&c.Remember, 7*24*time.Hour)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Payments == nil || c.Ledger == nil || c.Resolve == nil:
		return c, errors.New("payment: a Worker needs Payments, Ledger and Resolve")
	case (c.Stale == nil) != (c.ResolveAttempt == nil):
		return c, errors.New("payment: Stale and ResolveAttempt go together")
	case (c.Inbox == nil) != (c.Heed == nil):
		return c, errors.New("payment: Inbox and Heed go together")
	case c.Every < 0 || c.Batch < 1 || c.Concurrency < 1 || c.Queue < 1 || c.Backoff < 0 || c.MaxBackoff < c.Backoff || c.CallTimeout < 0 || c.Remember < 0:
		return c, errors.New("payment: the worker's settings must be positive, and MaxBackoff at least Backoff")
	}
	return c, nil
}

// Worker is the role "payments": it captures the money of confirmed orders,
// voids that of refused ones, refunds what is owed, has overdue holds and
// unfinished attempts resolved, and acts on what providers say. All it does may
// be repeated, so several nodes may run it, and whatever it drops, forgets or
// fails at is listed again.
type Worker struct {
	c       WorkerConfig
	offers  chan overdue
	wake    chan struct{}
	tasks   *tasks // by attempt and by reservation
	metrics *workerMetrics
}

type overdue struct {
	sale *engine.Sale
	hold engine.Hold
}

// NewWorker makes a worker; Run starts it.
func NewWorker(c WorkerConfig) (*Worker, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	m, err := newWorkerMetrics(c.Registerer)
	return &Worker{
		c: c, offers: make(chan overdue, c.Queue), wake: make(chan struct{}, 1), tasks: newTasks(c.Backoff, c.MaxBackoff), metrics: m,
	}, err
}

// Offer hands over a paying hold whose answer is overdue. It never blocks: with
// a full queue it says false, and the gate lists the hold again.
func (w *Worker) Offer(s *engine.Sale, h engine.Hold) bool {
	select {
	case w.offers <- overdue{s, h}:
		return true
	default:
		w.metrics.dropped.Inc()
		return false
	}
}

// Wake makes the worker look at the ledger now.
func (w *Worker) Wake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, then finishes the calls in hand and returns nil.
func (w *Worker) Run(ctx context.Context) error {
	var loops sync.WaitGroup
	loops.Go(func() { w.resolveOffers(ctx) })
	if w.c.Stale != nil {
		loops.Go(func() { w.each(ctx, w.resolveStale, nil) })
	}
	if w.c.Inbox != nil {
		loops.Go(func() { w.each(ctx, w.heed, nil) })
	}
	loops.Go(func() { w.keepHouse(ctx) })
	w.each(ctx, w.settle, w.wake)
	loops.Wait()
	return nil
}

// each runs a look now, on every tick and when woken; a look that found a full
// batch is followed by another at once, unless buyers need the time.
func (w *Worker) each(ctx context.Context, look func(context.Context, *crew) bool, wake <-chan struct{}) {
	crew := newCrew(w.c.Concurrency)
	defer crew.wait()
	tick := time.NewTicker(w.c.Every)
	defer tick.Stop()
	for ctx.Err() == nil {
		if look(ctx, crew) && (w.c.Busy == nil || !w.c.Busy()) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-wake:
		}
	}
}

// settle looks at the ledger once and says whether there is certainly more.
func (w *Worker) settle(ctx context.Context, c *crew) bool {
	decided := w.list(ctx, c, "settle", func(ctx context.Context, limit int) ([]job, error) {
		capture, void, lost, err := w.c.Ledger.Authorised(ctx, limit)
		jobs := jobsOf("void", void, w.void)
		if w.c.ResolveAttempt != nil {
			jobs = append(jobs, jobsOf("resolve_stale", lost, w.c.ResolveAttempt)...)
		}
		for _, a := range capture {
			jobs = append(jobs, job{"capture", a.ID.String(), a.Traceparent, func(ctx context.Context) (then, error) { return w.capture(ctx, a) }})
		}
		return jobs, err
	})
	refunds := w.list(ctx, c, "refund", func(ctx context.Context, limit int) ([]job, error) {
		owed, err := w.c.Ledger.Owed(ctx, limit)
		return jobsOf("refund", owed, w.refund), err
	})
	return decided || refunds
}

func (w *Worker) resolveStale(ctx context.Context, c *crew) bool {
	return w.list(ctx, c, "resolve_stale", func(ctx context.Context, limit int) ([]job, error) {
		stale, err := w.c.Stale(ctx, limit)
		return jobsOf("resolve_stale", stale, w.c.ResolveAttempt), err
	})
}

// job is one thing that a list has found to do.
type job struct {
	task, id string
	trace    string // traceparent of the request that it is done for
	do       func(context.Context) (then, error)
}

// then is what is left of a job once the provider has answered; nil: nothing.
type then func(context.Context) error

func jobsOf(task string, attempts []engine.Attempt, do func(context.Context, engine.Attempt) error) []job {
	jobs := make([]job, len(attempts))
	for i, a := range attempts {
		jobs[i] = job{task, a.ID.String(), a.Traceparent, func(ctx context.Context) (then, error) { return nil, do(ctx, a) }}
	}
	return jobs
}

// list has everything listed worked on that is neither in hand nor resting after
// a failure. More than a batch is asked for by as many as may be passed over, so
// that a batch of hopeless ones cannot hide the others.
func (w *Worker) list(ctx context.Context, c *crew, what string, from func(context.Context, int) ([]job, error)) bool {
	limit := w.c.Batch + w.tasks.size()
	listCtx, cancel := context.WithTimeout(ctx, w.c.CallTimeout)
	defer cancel()
	jobs, err := from(listCtx, limit)
	if err != nil {
		if ctx.Err() == nil {
			w.c.Log.WarnContext(ctx, "payments: listing failed; it is repeated", "task", what, "err", err)
		}
		return false
	}
	begun := 0
	for _, j := range jobs {
		key := j.task + j.id
		if !w.tasks.begin(key) {
			continue
		}
		if !w.start(ctx, c, j, key) {
			return false
		}
		begun++
	}
	return len(jobs) >= limit && begun > 0
}

// start has a task in hand done as soon as there is room, or says false once
// the worker is shutting down. What is begun then is still finished.
func (w *Worker) start(ctx context.Context, c *crew, j job, key string) bool {
	began := c.run(ctx, func() func() {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.c.CallTimeout)
		work, span := w.c.Trace.Resume(work, j.trace, "payments worker: "+j.task)
		rest, err := j.do(work)
		if err != nil || rest == nil {
			cancel()
			span.End(err)
			w.finish(work, j.task, key, j.id, err)
			return nil
		}
		return func() {
			defer cancel()
			err := rest(work)
			span.End(err)
			w.finish(work, j.task, key, j.id, err)
		}
	})
	if !began {
		w.tasks.end(key, nil)
	}
	return began
}

// finish notes how a task ended.
func (w *Worker) finish(ctx context.Context, task, key, id string, err error) {
	w.tasks.end(key, err)
	if err == nil {
		w.metrics.done.WithLabelValues(task, "done").Inc()
		return
	}
	w.metrics.done.WithLabelValues(task, "later").Inc()
	w.c.Log.WarnContext(ctx, "payments: unfinished; it is taken up again", "task", task, "id", id, "err", err)
}

// resolveOffers has offered holds resolved.
func (w *Worker) resolveOffers(ctx context.Context) {
	c := newCrew(w.c.Concurrency)
	defer c.wait()
	for {
		select {
		case <-ctx.Done():
			return // what waits in the queue is listed again
		case o := <-w.offers:
			key := "resolve" + o.hold.ID.String()
			if !w.tasks.begin(key) {
				continue // offered twice
			}
			w.start(ctx, c, job{task: "resolve", id: o.hold.ID.String(), do: func(ctx context.Context) (then, error) { return nil, w.c.Resolve(ctx, o.sale, o.hold) }}, key)
		}
	}
}
