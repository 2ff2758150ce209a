package payment

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
)

// Ledger is what the worker needs of the record. Its errors are read as "later".
type Ledger interface {
	// Uncaptured lists authorised attempts of confirmed orders, oldest first.
	Uncaptured(ctx context.Context, limit int) ([]engine.Attempt, error)
	// ToVoid lists authorised attempts of refused orders, oldest first.
	ToVoid(ctx context.Context, limit int) ([]engine.Attempt, error)
	// Note records what became of an attempt; see engine.Attempts.
	Note(ctx context.Context, id engine.AttemptID, p engine.Payment, reason string) error
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

	Every       time.Duration // between two looks at the ledger. Default 1 s
	Batch       int           // attempts listed at once. Default 256
	Concurrency int           // per lane: settling and resolving. Default 16
	Queue       int           // offered holds that wait. Default 1024
	Backoff     time.Duration // before an attempt that failed is taken up again; doubles. Default 1 s
	MaxBackoff  time.Duration // default 1 min
	CallTimeout time.Duration // of a ledger call and of a whole task; longer than the Guard's Budget. Default 30 s

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
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Payments == nil || c.Ledger == nil || c.Resolve == nil:
		return c, errors.New("payment: a Worker needs Payments, Ledger and Resolve")
	case (c.Stale == nil) != (c.ResolveAttempt == nil):
		return c, errors.New("payment: Stale and ResolveAttempt go together")
	case c.Every < 0 || c.Batch < 1 || c.Concurrency < 1 || c.Queue < 1 || c.Backoff < 0 || c.MaxBackoff < c.Backoff || c.CallTimeout < 0:
		return c, errors.New("payment: the worker's settings must be positive, and MaxBackoff at least Backoff")
	}
	return c, nil
}

// Worker is the role "payments": it captures the money of confirmed orders,
// voids that of refused ones, and has overdue holds resolved. All it does may
// be repeated, so several nodes may run it, and whatever it drops, forgets or
// fails at is listed again.
type Worker struct {
	c       WorkerConfig
	offers  chan overdue
	wake    chan struct{}
	tasks   *tasks // by attempt and by reservation
	done    *prometheus.CounterVec
	dropped prometheus.Counter
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
	w := &Worker{
		c: c, offers: make(chan overdue, c.Queue), wake: make(chan struct{}, 1), tasks: newTasks(c.Backoff, c.MaxBackoff),
		done: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flashsale_payment_worker_tasks_total", Help: "What the payments role did, by task and result: done or later.",
		}, []string{"task", "result"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flashsale_payment_worker_offers_dropped_total", Help: "Overdue holds that met a full queue; they are listed again.",
		}),
	}
	return w, register(c.Registerer, w.done, w.dropped)
}

// Offer hands over a paying hold whose answer is overdue. It never blocks: with
// a full queue it says false, and the gate lists the hold again.
func (w *Worker) Offer(s *engine.Sale, h engine.Hold) bool {
	select {
	case w.offers <- overdue{s, h}:
		return true
	default:
		w.dropped.Inc()
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
	w.each(ctx, w.settle, w.wake)
	loops.Wait()
	return nil
}

// each runs a look now, on every tick and when woken; a look that found a full
// batch is followed by another at once.
func (w *Worker) each(ctx context.Context, look func(context.Context, *crew) bool, wake <-chan struct{}) {
	crew := newCrew(w.c.Concurrency)
	defer crew.wait()
	tick := time.NewTicker(w.c.Every)
	defer tick.Stop()
	for ctx.Err() == nil {
		if look(ctx, crew) {
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
	captures := w.list(ctx, c, "capture", w.c.Ledger.Uncaptured, w.capture)
	voids := w.list(ctx, c, "void", w.c.Ledger.ToVoid, w.void)
	return captures || voids
}

func (w *Worker) resolveStale(ctx context.Context, c *crew) bool {
	return w.list(ctx, c, "resolve_stale", w.c.Stale, w.c.ResolveAttempt)
}

// list has every listed attempt worked on that is neither in hand nor resting
// after a failure. More than a batch is asked for by as many as may be passed
// over, so that a batch of hopeless ones cannot hide the others.
func (w *Worker) list(ctx context.Context, c *crew, task string, from func(context.Context, int) ([]engine.Attempt, error), do func(context.Context, engine.Attempt) error) bool {
	limit := w.c.Batch + w.tasks.size()
	listCtx, cancel := context.WithTimeout(ctx, w.c.CallTimeout)
	defer cancel()
	attempts, err := from(listCtx, limit)
	if err != nil {
		if ctx.Err() == nil {
			w.c.Log.WarnContext(ctx, "payments: listing failed; it is repeated", "task", task, "err", err)
		}
		return false
	}
	begun := 0
	for _, a := range attempts {
		key := task + a.ID.String()
		if !w.tasks.begin(key) {
			continue
		}
		if !w.start(ctx, c, task, key, a.ID.String(), func(ctx context.Context) error { return do(ctx, a) }) {
			return false
		}
		begun++
	}
	return len(attempts) >= limit && begun > 0
}

// start has a task in hand done as soon as there is room, or says false once
// the worker is shutting down. What is begun then is still finished.
func (w *Worker) start(ctx context.Context, c *crew, task, key, id string, do func(context.Context) error) bool {
	began := c.run(ctx, func() {
		work, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.c.CallTimeout)
		defer cancel()
		w.finish(ctx, task, key, id, do(work))
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
		w.done.WithLabelValues(task, "done").Inc()
		return
	}
	w.done.WithLabelValues(task, "later").Inc()
	w.c.Log.WarnContext(ctx, "payments: unfinished; it is taken up again", "task", task, "id", id, "err", err)
}

// capture takes the money of a confirmed order. A time-out leaves the attempt
// uncaptured in the ledger, so it comes back and is captured under the same key.
func (w *Worker) capture(ctx context.Context, a engine.Attempt) error {
	p, err := w.c.Payments.Capture(ctx, a)
	if err != nil {
		return err
	}
	switch p.State {
	case engine.PaymentCaptured, engine.PaymentRefunded:
		return w.note(ctx, a, p, "order_confirmed")
	case engine.PaymentVoided, engine.PaymentDeclined:
		// The order is confirmed and the money is gone. Verify says UNPAID.
		w.c.Log.ErrorContext(ctx, "payments: a confirmed order cannot be captured", "order", a.Reservation.Order(), "attempt", a.ID.String(), "state", p.State)
		return w.note(ctx, a, p, "capture_impossible")
	}
	return errors.New("not captured yet: the payment is " + string(p.State))
}

// void gives back the money of a refused order.
func (w *Worker) void(ctx context.Context, a engine.Attempt) error {
	p, err := w.c.Payments.Void(ctx, a)
	if err != nil {
		return err
	}
	switch p.State {
	case engine.PaymentVoided, engine.PaymentDeclined, engine.PaymentRefunded:
		return w.note(ctx, a, p, "order_refused")
	case engine.PaymentCaptured:
		w.c.Log.ErrorContext(ctx, "payments: a refused order's money was captured", "order", a.Reservation.Order(), "attempt", a.ID.String())
		return w.note(ctx, a, p, "captured_though_refused")
	}
	return errors.New("not voided yet: the payment is " + string(p.State))
}

func (w *Worker) note(ctx context.Context, a engine.Attempt, p engine.Payment, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, w.c.CallTimeout)
	defer cancel()
	return w.c.Ledger.Note(ctx, a.ID, p, reason)
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
			w.start(ctx, c, "resolve", key, o.hold.ID.String(), func(ctx context.Context) error { return w.c.Resolve(ctx, o.sale, o.hold) })
		}
	}
}
