package loadtest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// run is a Run under way.
type run struct {
	cfg    Config
	sender sender
	tokens []string
	tally  *tally
	start  time.Time

	part, of int          // of several processes, if there are
	told     func(Moment) // is told each; nil: nobody
	refresh  func()       // before each moment; nil: nothing
	hearing  sync.Mutex
	joined   bool // the books of all processes are here
}

// Run brings the crowd of c to its sale, waits until each visit has ended, and
// judges. The error is about the run itself: a setting that makes no sense, or
// a ctx that ended early, in which case the report covers what was done. A
// sale that misbehaved is no error: it is in Report.Verdict.
func Run(ctx context.Context, c Config) (Report, error) {
	c = c.WithDefaults()
	if err := c.validate(); err != nil {
		return Report{}, err
	}
	s, err := newHTTPSender(c)
	if err != nil {
		return Report{}, fmt.Errorf("loadtest: %w", err)
	}
	defer s.close()
	return drive(ctx, c, s)
}

// drive is Run over any sender.
func drive(ctx context.Context, c Config, s sender) (Report, error) {
	r := &run{cfg: c, sender: s}
	var err error
	var workers []*worker
	times := schedule(c)
	if c.Processes > 1 {
		if workers, err = r.startWorkers(ctx); err == nil {
			defer stopWorkers(workers)
			r.refresh = func() { r.heard(workers) }
		}
	} else {
		err = r.mint(ctx, len(times))
	}
	if err != nil {
		return Report{}, err
	}
	r.begin(time.Now())
	stop := r.beside(ctx)
	lastAt := r.crowd(ctx, times, workers)
	elapsed := time.Since(r.start)
	stop()

	read := r.readBackAll(ctx)
	var verify json.RawMessage
	var verifyErr error
	if c.Verify != nil && ctx.Err() == nil {
		verify, verifyErr = c.Verify(ctx)
	}
	return r.report(elapsed, lastAt, read, verify, verifyErr, ctx.Err()), ctx.Err()
}

// crowd lets all arrivals come, waits until each visit has ended, and gives the time
// that the arrivals took.
func (r *run) crowd(ctx context.Context, times []time.Duration, workers []*worker) time.Duration {
	if workers != nil {
		return r.spread(ctx, workers, len(times))
	}
	var visits sync.WaitGroup
	defer visits.Wait()
	return r.dispatch(ctx, times, &visits)
}

// begin makes a moment T0.
func (r *run) begin(t time.Time) {
	r.start, r.tally = t, newTally(t, r.cfg.Duration)
}

// dispatch starts each visit when it is due and never waits for one. A visit
// that finds no room is dropped and counted: slowing down instead would hide
// the very moments that matter. It gives the time that the arrivals took.
func (r *run) dispatch(ctx context.Context, times []time.Duration, visits *sync.WaitGroup) time.Duration {
	for n, at := range times {
		if !r.mine(n) {
			continue
		}
		due := r.start.Add(at)
		if !sleepUntil(ctx, due) {
			break
		}
		full := r.tally.inFlight.Load() >= int64(r.cfg.MaxInFlight)
		r.tally.due(due, full)
		if full {
			continue
		}
		r.tally.inFlight.Add(1)
		visits.Add(1)
		go func() {
			defer visits.Done()
			defer r.tally.inFlight.Add(-1)
			r.tally.latency(StepDriver, due, time.Since(due))
			v := r.visit(n, due)
			r.tally.ended(v.kind, v.walk(ctx))
		}()
	}
	return time.Since(r.start)
}

// visit draws the n-th arrival's buyer and wishes. They depend on the seed and
// on n only, not on the order in which things happen.
func (r *run) visit(n int, due time.Time) *visit {
	rng := dice(r.cfg.Seed, uint64(n))
	skus, mix := r.cfg.at(due.Sub(r.start))
	v := &visit{run: r, n: n, buyer: n % r.cfg.Buyers, due: due, arrival: due, sku: skus[rng.IntN(len(skus))], method: r.cfg.PaymentMethod, rng: rng}
	v.kind = KindBuyer
	if len(mix) > 0 {
		v.kind = mix.pick(rng)
	}
	if r.cfg.Decline > 0 && rng.Float64() < r.cfg.Decline {
		v.method = badCard
	}
	return v
}

// beside starts what goes on beside the crowd. To stop it is to wait for the events
// that are still to come.
func (r *run) beside(ctx context.Context) (stop func()) {
	watch, enough := context.WithCancel(ctx)
	var looking, events sync.WaitGroup
	if r.cfg.Watch != nil {
		looking.Go(func() { r.watching(watch) })
	}
	events.Go(func() { r.stage(ctx) })
	quiet := r.progress()
	return func() {
		events.Wait()
		enough()
		looking.Wait()
		quiet()
	}
}

// Moment is where a run stood at one second of it.
type Moment struct {
	Second    int   `json:"second"`
	Arrivals  int64 `json:"arrivals"`
	InFlight  int64 `json:"in_flight"`
	Holds     int64 `json:"holds"`
	SoldOut   int64 `json:"sold_out"`
	Confirmed int64 `json:"confirmed"`
	Dropped   int64 `json:"dropped"`
	Errors    int64 `json:"errors"`
}

// progress notes a Moment, and tells it, each second until stopped.
func (r *run) progress() (stop func()) {
	done, gone := make(chan struct{}), make(chan struct{})
	tick := time.NewTicker(time.Second)
	go func() {
		defer close(gone)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.moment()
			}
		}
	}()
	return func() { close(done); <-gone }
}

func (r *run) moment() {
	if r.refresh != nil {
		r.refresh()
	}
	t := r.tally
	m := Moment{
		Second: int(time.Since(r.start).Round(time.Second) / time.Second), Arrivals: t.arrivals.Load(), InFlight: t.inFlight.Load(),
		Holds: t.holds.Load(), SoldOut: t.soldOuts.Load(), Confirmed: t.confirmed.Load(), Dropped: t.dropped.Load(), Errors: t.unsuccessful.Load(),
	}
	t.mu.Lock()
	t.timeline = append(t.timeline, m)
	t.mu.Unlock()
	if r.told != nil {
		r.told(m)
	}
	if r.cfg.Progress != nil {
		_, _ = fmt.Fprintf(r.cfg.Progress, "%4ds  arrivals %d  in flight %d  holds %d  sold out %d  confirmed %d  dropped %d  errors %d\n",
			m.Second, m.Arrivals, m.InFlight, m.Holds, m.SoldOut, m.Confirmed, m.Dropped, m.Errors)
	}
}
