package loadtest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// One process makes only so many requests. Several make more: a coordinator starts
// them, each gets the whole schedule and sends every n-th arrival of it, all begin
// at one word, and their books are added up. Arrivals, buyers and wishes follow from
// the seed alone, so the union is exactly the run that one process would have made.
//
// The two talk in JSON over the worker's standard input and output: an order, "ready",
// "go", a moment each second, and the books.

// order is what a worker is to do.
type order struct {
	Config   Config
	Part, Of int
}

// word is what a worker says.
type word struct {
	Ready  bool    `json:"ready,omitempty"`
	Moment *Moment `json:"moment,omitempty"`
	Books  *books  `json:"books,omitempty"`
	Error  string  `json:"error,omitempty"`
}

// mine says whether an arrival is this process's.
func (r *run) mine(n int) bool { return r.of < 2 || n%r.of == r.part }

// Work is a worker: it reads its order, does its part, and says what came of it. That
// its input ends means that nobody listens any more, and ends the run.
func Work(ctx context.Context, in io.Reader, out io.Writer, trust *tls.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	orders, say := json.NewDecoder(in), json.NewEncoder(out)
	var o order
	if err := orders.Decode(&o); err != nil {
		return fmt.Errorf("loadtest: a worker's order: %w", err)
	}
	o.Config.TLS = trust
	b, err := o.work(ctx, cancel, orders, say)
	if err != nil {
		return errors.Join(err, say.Encode(word{Error: err.Error()}))
	}
	return say.Encode(word{Books: &b})
}

func (o order) work(ctx context.Context, cancel func(), orders *json.Decoder, say *json.Encoder) (books, error) {
	c := o.Config
	if err := c.validate(); err != nil {
		return books{}, err
	}
	s, err := newHTTPSender(c)
	if err != nil {
		return books{}, err
	}
	defer s.close()
	r := &run{cfg: c, sender: s, part: o.Part, of: o.Of}
	times := schedule(c)
	if err := r.mint(ctx, len(times)); err != nil {
		return books{}, err
	}
	if err := say.Encode(word{Ready: true}); err != nil {
		return books{}, err
	}
	var start struct{ Go bool }
	if err := orders.Decode(&start); err != nil || !start.Go {
		return books{}, fmt.Errorf("loadtest: a worker was not told to go: %w", err)
	}
	r.begin(time.Now())
	go func() {
		_ = orders.Decode(&start) // there is nothing more to say, so this is the end of the input
		cancel()
	}()
	r.told = func(m Moment) { _ = say.Encode(word{Moment: &m}) } // that nobody reads it shows at the end
	stop := r.progress()
	var visits sync.WaitGroup
	lastAt := r.dispatch(ctx, times, &visits)
	visits.Wait()
	stop()
	b, err := r.tally.export()
	b.DispatchedMS = ms(lastAt.Microseconds())
	return b, err
}
