package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// stopPatience is how long a process may take to hand in its books once it is told to stop.
const stopPatience = 30 * time.Second

// worker is a process that does a part of the run, as the coordinator sees it.
type worker struct {
	part  int
	cmd   *exec.Cmd
	in    io.WriteCloser
	say   *json.Encoder
	hear  *json.Decoder
	mu    sync.Mutex
	last  Moment
	books *books
	err   error
}

// startWorkers starts them all and waits until each is ready. On an error none is left.
func (r *run) startWorkers(ctx context.Context) (all []*worker, err error) {
	defer func() {
		if err != nil {
			stopWorkers(all)
		}
	}()
	c := r.cfg
	n := c.Processes
	c.MaxInFlight, c.Connections = (c.MaxInFlight+n-1)/n, (c.Connections+n-1)/n
	for i := range n {
		w := &worker{part: i, cmd: exec.Command(c.Worker[0], c.Worker[1:]...)}
		out, err := w.cmd.StdoutPipe()
		if err == nil {
			w.in, err = w.cmd.StdinPipe()
		}
		if err == nil {
			w.cmd.Stderr = r.cfg.Progress
			err = w.cmd.Start()
		}
		if err != nil {
			return all, fmt.Errorf("loadtest: starting process %d: %w", i, err)
		}
		all = append(all, w)
		w.say, w.hear = json.NewEncoder(w.in), json.NewDecoder(out)
		if err := w.say.Encode(order{c, i, n}); err != nil {
			return all, fmt.Errorf("loadtest: process %d: %w", i, err)
		}
	}
	for _, w := range all {
		var got word
		if err := w.hear.Decode(&got); err != nil || !got.Ready {
			return all, fmt.Errorf("loadtest: process %d is not ready: %s %w", w.part, got.Error, errors.Join(err, ctx.Err()))
		}
	}
	return all, nil
}

// stopWorkers ends those that are left. One whose input ends has nobody to work for.
func stopWorkers(all []*worker) {
	for _, w := range all {
		_ = w.in.Close()
	}
	for _, w := range all {
		_ = w.cmd.Wait() // what it has to say, it has said in its books
	}
}

// listen hears a worker out.
func (w *worker) listen() {
	for {
		var got word
		if err := w.hear.Decode(&got); err != nil {
			w.err = fmt.Errorf("it ended before its books were here (%w)", err)
			return
		}
		switch {
		case got.Error != "":
			w.err = errors.New(got.Error)
			return
		case got.Books != nil:
			w.books = got.Books
			return
		case got.Moment != nil:
			w.mu.Lock()
			w.last = *got.Moment
			w.mu.Unlock()
		}
	}
}

// spread is dispatch, by several processes: it lets them go at once, adds up their
// books, and gives the time that the arrivals took. The arrivals of a process that has
// died are dropped: whether they were sent nobody can say.
func (r *run) spread(ctx context.Context, all []*worker, times int) time.Duration {
	var listening sync.WaitGroup
	for _, w := range all {
		if err := w.say.Encode(map[string]bool{"go": true}); err != nil {
			w.err = err
			continue
		}
		listening.Go(w.listen)
	}
	over := context.AfterFunc(ctx, func() {
		for _, w := range all {
			_ = w.in.Close()
			time.AfterFunc(stopPatience, func() { _ = w.cmd.Process.Kill() })
		}
	})
	listening.Wait()
	over()
	r.hearing.Lock()
	defer r.hearing.Unlock()
	r.joined = true
	r.tally.reset()
	lastAt := time.Duration(0)
	for _, w := range all {
		if w.err == nil {
			w.err = r.tally.add(*w.books)
		}
		if w.err != nil {
			due := int64((times - w.part + len(all) - 1) / len(all))
			r.tally.arrivals.Add(due)
			r.tally.dropped.Add(due)
			r.tally.wrong("process %d of the load generator: %v; its %d arrivals count as dropped", w.part, w.err, due)
			continue
		}
		lastAt = max(lastAt, time.Duration(w.books.DispatchedMS*float64(time.Millisecond)))
	}
	return lastAt
}

// heard makes a moment of all that workers said last. The tally shows it until the
// books are here.
func (r *run) heard(all []*worker) {
	r.hearing.Lock()
	defer r.hearing.Unlock()
	if r.joined {
		return
	}
	var m Moment
	for _, w := range all {
		w.mu.Lock()
		l := w.last
		w.mu.Unlock()
		m.Arrivals, m.InFlight, m.Holds, m.SoldOut = m.Arrivals+l.Arrivals, m.InFlight+l.InFlight, m.Holds+l.Holds, m.SoldOut+l.SoldOut
		m.Confirmed, m.Dropped, m.Errors = m.Confirmed+l.Confirmed, m.Dropped+l.Dropped, m.Errors+l.Errors
	}
	t := r.tally
	t.arrivals.Store(m.Arrivals)
	t.inFlight.Store(m.InFlight)
	t.holds.Store(m.Holds)
	t.soldOuts.Store(m.SoldOut)
	t.confirmed.Store(m.Confirmed)
	t.dropped.Store(m.Dropped)
	t.unsuccessful.Store(m.Errors)
}

// reset forgets what heard has shown.
func (t *tally) reset() {
	for _, n := range []interface{ Store(int64) }{&t.arrivals, &t.inFlight, &t.holds, &t.soldOuts, &t.confirmed, &t.dropped, &t.unsuccessful} {
		n.Store(0)
	}
}
