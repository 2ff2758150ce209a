package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
)

const (
	lookers      = 10 // consoles
	consolePairs = 24
	// settles is how long a node goes on putting snapshots together for nobody, and a bit; it is
	// as long until whoever has just opened a console has been shown everything.
	settles = 3300 * time.Millisecond
)

var consoleValues = []value{
	{"consoles_goodput", ratio, "pairs of a reservation and its release per second, with ten consoles open / with none: median of the pairs of windows"},
	{"consoles_goodput_low", ratio, "lower end of the 95% interval of that median, by ranks"},
	{"consoles_goodput_high", ratio, "upper end of it"},
	{"consoles_cpu", ratio, "the node's CPU per such pair, likewise"},
	{"consoles_cpu_low", ratio, "lower end"},
	{"consoles_cpu_high", ratio, "upper end"},
	{"consoles_opening_ms", "ms", "the node's CPU from when they are opened until 3.3 s later, nobody buying: with everything proved once"},
	{"consoles_snapshots", perSecond, "snapshots that a console got"},
}

// looking compares windows of one run with consoles open and with none, in pairs of
// neighbours whose order alternates: what is looked for is less than what the machine
// changes its speed by within seconds. What is reserved is released, so that every window
// meets the same gate and the same record, and nothing goes on behind it. What opening
// them costs, with everything proved at once, is told apart: consoles that are left open
// have that every 30 s at most.
func looking(ctx context.Context, w *world, _ values) (values, error) {
	s, err := w.get(ctx, "product-watched")
	if err != nil {
		return nil, err
	}
	if err := s.clean(ctx); err != nil {
		return nil, err
	}
	sales, err := w.open(ctx, s, 1, plenty, 1)
	if err != nil {
		return nil, err
	}
	spec := w.spec(s, load.ReserveRelease, sales)
	if err := w.warm(ctx, s, spec); err != nil {
		return nil, err
	}
	window := func() (rate, us float64, err error) {
		r, us, err := w.watched(ctx, s, spec)
		return r.Rate, us, err
	}
	pairs := consolePairs
	if w.cfg.Quick {
		pairs = 2
	}
	var goodput, cpu, opening []float64
	var seen, looked float64
	open := &screens{s: s}
	defer open.close()
	for i := range 2 * pairs {
		if with := i%4 == 1 || i%4 == 2; with != open.on() {
			before := CPUOf(s.pid)
			if with {
				err = open.open(ctx)
			} else {
				seen, looked = seen+open.close(), looked+open.took.Seconds()
			}
			if err != nil {
				return nil, err
			}
			select {
			case <-time.After(settles):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if with {
				opening = append(opening, float64((CPUOf(s.pid)-before).Microseconds())/1e3)
			}
		}
		rate, us, err := window()
		if err != nil {
			return nil, err
		}
		switch i % 4 { // without, with; with, without
		case 0, 2:
			goodput, cpu = append(goodput, rate), append(cpu, us)
		case 1:
			goodput[len(goodput)-1], cpu[len(cpu)-1] = rate/goodput[len(goodput)-1], us/cpu[len(cpu)-1]
		default:
			goodput[len(goodput)-1], cpu[len(cpu)-1] = goodput[len(goodput)-1]/rate, cpu[len(cpu)-1]/us
		}
	}
	if seen == 0 {
		return nil, fmt.Errorf("bench: the consoles were shown nothing in %.0f s", looked)
	}
	out := values{"consoles_snapshots": seen / looked / lookers, "consoles_opening_ms": spread(opening).Median}
	for name, of := range map[string][]float64{"consoles_goodput": goodput, "consoles_cpu": cpu} {
		low, high := medianWithin(of)
		out[name], out[name+"_low"], out[name+"_high"] = spread(of).Median, low, high
	}
	return out, nil
}

// medianWithin is the 95% interval of a median by ranks: how many of n lie below it is
// binomial, whatever they are spread like. Of a few it is all of them.
func medianWithin(v []float64) (low, high float64) {
	v = slices.Sorted(slices.Values(v))
	n := float64(len(v))
	k := max(0, int(math.Floor((n-1.96*math.Sqrt(n))/2))-1)
	return v[min(k, len(v)-1)], v[max(len(v)-1-k, 0)]
}

// screens are consoles that read what they are sent.
type screens struct {
	s     *server
	stop  context.CancelFunc
	all   sync.WaitGroup
	mu    sync.Mutex
	count float64
	since time.Time
	took  time.Duration // that they were open the last time
}

func (c *screens) on() bool { return c.stop != nil }

func (c *screens) open(ctx context.Context) error {
	ctx, c.stop = context.WithCancel(ctx)
	c.count, c.since = 0, time.Now()
	told := make(chan error, lookers)
	for range lookers {
		c.all.Go(func() { c.look(ctx, told) })
	}
	var all error
	for range lookers {
		all = errors.Join(all, <-told)
	}
	return all
}

// look is one console: it says whether it was let in, and reads until it is closed.
func (c *screens) look(ctx context.Context, told chan<- error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.s.admin+"/admin/v1/live", nil)
	if err != nil {
		told <- err
		return
	}
	req.Header = http.Header{"Authorization": {"Bearer " + adminToken}, "Accept": {"text/event-stream"}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		told <- err
		return
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		told <- fmt.Errorf("bench: a console was told %s", res.Status)
		return
	}
	told <- nil
	_, _ = io.Copy(c, res.Body)
}

// Write counts the snapshots in what a console is sent.
func (c *screens) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count += float64(bytes.Count(b, []byte("\ndata: ")))
	return len(b), nil
}

// close closes them, and gives how many snapshots they got.
func (c *screens) close() float64 {
	if c.stop == nil {
		return 0
	}
	c.stop()
	c.all.Wait()
	c.stop, c.took = nil, time.Since(c.since)
	return c.count
}
