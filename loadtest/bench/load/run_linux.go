package load

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// conn is one connection and the request that is under way on it.
type conn struct {
	fd   int
	busy bool
	step int           // 0 or 1
	n    uint64        // which request
	due  time.Duration // when it was due
	sent time.Duration // when its second request was sent
	in   []byte        // what has come of its answer
	id   []byte
}

type runner struct {
	spec    *Spec
	build   *builder
	conns   []*conn
	byFD    map[int32]*conn
	free    []*conn
	queue   []time.Duration // open loop: due and without a connection
	epoll   int
	base    time.Time
	n       uint64
	out     []byte
	stopped bool
	res     Result
	counts  map[int]uint64
	latency *hdrhistogram.Histogram
	late    *hdrhistogram.Histogram
	second  *hdrhistogram.Histogram
}

const longest = 60 * time.Second

// grain is how late an arrival may be sent (its latency counts from when it was
// due, all the same). To wake up for each would take the processor from the
// backends that share it.
const grain = 50 * time.Microsecond

// Run makes one measurement. It takes over its thread's processor, and turns
// the garbage collector off meanwhile: nothing is allocated per request.
func Run(s Spec, tokens [][]byte) (Result, error) {
	if err := s.check(tokens); err != nil {
		return Result{}, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if s.Core >= 0 {
		var set unix.CPUSet
		set.Set(s.Core)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return Result{}, fmt.Errorf("load: processor %d: %w", s.Core, err)
		}
	}
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // 50 µs by default, which is a whole request
	r := &runner{spec: &s, build: newBuilder(&s, tokens), byFD: map[int32]*conn{}, counts: map[int]uint64{},
		latency: hdrhistogram.New(1, longest.Microseconds(), 3), late: hdrhistogram.New(1, longest.Microseconds(), 3),
		second: hdrhistogram.New(1, longest.Microseconds(), 3)}
	if s.Kind == Batch {
		var err error
		if r.build.service, err = serviceToken(s.Key); err != nil {
			return Result{}, err
		}
	}
	defer r.close()
	if err := r.connect(); err != nil {
		return Result{}, err
	}
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	err := r.run()
	r.finish()
	return r.res, err
}

func (s *Spec) check(tokens [][]byte) error {
	switch {
	case s.Conns < 1 || s.Window <= 0 || len(s.SKUs) == 0 || len(s.Sales) == 0 || s.Buyers < 1:
		return errors.New("load: conns, window, skus, sales and buyers must be given")
	case s.Kind != Script && len(tokens) < s.Buyers:
		return fmt.Errorf("load: %d tokens for %d buyers", len(tokens), s.Buyers)
	case (s.Kind == Batch || s.Kind == Script) && s.Depth < 1:
		return errors.New("load: depth must be given")
	}
	return nil
}

func (r *runner) connect() (err error) {
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	for range r.spec.Conns {
		c := &conn{fd: -1, in: make([]byte, 0, 4096)}
		r.conns = append(r.conns, c)
		if err := r.dial(c); err != nil {
			return err
		}
	}
	r.free = slices.Clone(r.conns)
	return nil
}

// dial makes a connection, or makes it anew.
func (r *runner) dial(c *conn) error {
	if c.fd >= 0 {
		delete(r.byFD, int32(c.fd))
		_ = unix.Close(c.fd)
		c.fd, c.in = -1, c.in[:0]
	}
	at, err := netip.ParseAddrPort(r.spec.Addr)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("load: a connection beside %d others: %w", len(r.byFD), err)
	}
	c.fd, r.byFD[int32(fd)] = fd, c
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}); err != nil {
		return fmt.Errorf("load: %s: %w", r.spec.Addr, err)
	}
	if err := errors.Join(unix.SetNonblock(fd, true), unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)); err != nil {
		return err
	}
	return unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (r *runner) close() {
	for fd := range r.byFD {
		_ = unix.Close(int(fd))
	}
	_ = unix.Close(r.epoll)
}

// run is the loop. Where nothing has come by the end of the window it goes on for
// another: a machine that is starved is slow, not broken, and the result says how
// long it was.
func (r *runner) run() error {
	s := r.spec
	dice := rand.New(rand.NewPCG(s.Seed, 1)) //nolint:gosec // arrivals that can be drawn again
	events := make([]unix.EpollEvent, 512)
	begin, end, window := s.Lead, s.Lead+s.Window, s.Window
	r.base = time.Now()
	var next, now time.Duration
	var cpuBegin float64
	started := false
	if s.Rate == 0 {
		for len(r.free) > 0 {
			if err := r.send(r.take(), 0); err != nil {
				return err
			}
		}
	}
	for {
		now = time.Since(r.base)
		if !started && now >= begin {
			started, cpuBegin = true, processorSeconds()
		}
		if now >= end && r.res.Good+r.res.Bad == 0 && now < s.Lead+s.Patience {
			s.Window, end = s.Window+window, end+window
		}
		if now >= end && !r.stopped {
			r.stopped = true
			r.res.CPU = processorSeconds() - cpuBegin
			r.res.Late = uint64(len(r.queue))
		}
		if r.stopped && len(r.free) == len(r.conns) || now >= end+s.Patience {
			return nil
		}
		arrivals := func() error {
			for next <= now && next < end {
				if err := r.arrive(next, now); err != nil {
					return err
				}
				next += time.Duration(dice.ExpFloat64() / s.Rate * float64(time.Second))
			}
			return nil
		}
		wait := end - now
		full := !r.stopped && s.TurnAway && len(r.free) == 0
		switch {
		case r.stopped:
			wait = end + s.Patience - now
		case full:
			// Whoever comes until a connection is free is turned away, and may as
			// well be counted then: waking up for each would take the processor
			// from the backends that share it.
			wait = min(wait, time.Millisecond)
		case s.Rate > 0:
			if err := arrivals(); err != nil {
				return err
			}
			wait = max(grain, min(next, end)-time.Since(r.base))
		}
		n, err := epollWait(r.epoll, events, wait)
		if err != nil {
			return err
		}
		now = time.Since(r.base)
		if full && next < min(now, end) {
			r.turnAway(next, min(now, end), dice)
			next = min(now, end) + time.Duration(dice.ExpFloat64()/s.Rate*float64(time.Second))
		}
		for _, e := range events[:n] {
			c := r.byFD[e.Fd]
			if c == nil { // made anew meanwhile
				continue
			}
			if err := r.readable(c, now); err != nil {
				return err
			}
		}
	}
}

// turnAway counts those who came between two instants and found no connection free.
// At ten times what a server can do they are so many that to draw each would cost
// the backends a noticeable part of the processor that they share.
func (r *runner) turnAway(from, to time.Duration, dice *rand.Rand) {
	if from = max(from, r.spec.Lead); from >= to {
		return
	}
	mean := r.spec.Rate * (to - from).Seconds()                                  // arrivals forget: how many come does not depend on who came
	n := 1 + uint64(max(0, math.Round(mean+math.Sqrt(mean)*dice.NormFloat64()))) // the one that was due, and those after it
	r.res.Due += n
	r.res.Turned += n
}

// arrive handles a request that is due.
func (r *runner) arrive(due, now time.Duration) error {
	counts := due >= r.spec.Lead
	if counts {
		r.res.Due++
	}
	if len(r.free) == 0 && r.spec.TurnAway {
		if counts {
			r.res.Turned++
		}
		return nil
	}
	if counts {
		_ = r.late.RecordValue(min((now - due).Microseconds(), longest.Microseconds()))
	}
	if len(r.free) == 0 {
		r.queue = append(r.queue, due)
		return nil
	}
	return r.send(r.take(), due)
}

func (r *runner) take() *conn {
	c := r.free[len(r.free)-1]
	r.free = r.free[:len(r.free)-1]
	return c
}

// send begins a request.
func (r *runner) send(c *conn, due time.Duration) error {
	c.n, c.due, c.step, c.busy = r.n, due, 0, true
	r.n++
	r.out = r.build.first(r.out[:0], c.n)
	return r.write(c)
}

func (r *runner) write(c *conn) error {
	c.in = c.in[:0]
	for out := r.out; len(out) > 0; {
		n, err := rawWrite(c.fd, out)
		switch {
		case err == unix.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, 1000)
		case err == unix.EINTR:
		case err != 0:
			return fmt.Errorf("load: the server broke a connection while it was written to: %w", err)
		}
		out = out[n:]
	}
	return nil
}

// readable takes what has come.
func (r *runner) readable(c *conn, now time.Duration) error {
	for {
		if len(c.in) == cap(c.in) {
			c.in = slices.Grow(c.in, 64<<10)
		}
		n, err := rawRead(c.fd, c.in[len(c.in):cap(c.in)])
		if err == unix.EAGAIN || err == unix.EINTR {
			return nil
		}
		if !c.busy && n == 0 && err == 0 { // it was of no use for too long, and the server has ended it
			return r.dial(c)
		}
		if err != 0 || n == 0 {
			return fmt.Errorf("load: the server closed a connection (%d bytes of an answer had come: %q)", len(c.in), clip(c.in))
		}
		full := n == cap(c.in)-len(c.in)
		c.in = c.in[:len(c.in)+n]
		if !full {
			break
		}
	}
	var a answer
	var whole bool
	if r.spec.Kind == Script {
		a, whole = readScript(c.in, r.spec.Depth)
	} else {
		a, whole = readHTTP(c.in)
	}
	if !whole {
		return nil
	}
	if !c.busy && a.status == http.StatusRequestTimeout {
		return r.dial(c)
	}
	if !c.busy {
		return fmt.Errorf("load: an answer that nobody asked for: %q", clip(c.in))
	}
	return r.answered(c, a, now)
}

// answered books an answer and sends what follows.
func (r *runner) answered(c *conn, a answer, now time.Duration) error {
	r.counts[a.status]++
	good := r.judge(c, a)
	if good > 0 {
		r.res.Steps[c.step] += uint64(good)
		if c.step == 0 && (r.spec.Kind == ReserveRelease || r.spec.Kind == Purchase) && !r.stopped {
			if c.id = append(c.id[:0], idIn(a.body)...); len(c.id) == 0 {
				return fmt.Errorf("load: a reservation without an id: %q", clip(a.body))
			}
			c.step = 1
			r.out = r.build.second(r.out[:0], c.n, c.id)
			c.sent = time.Since(r.base)
			return r.write(c)
		}
		r.book(c, good, now)
	}
	c.busy = false
	r.free = append(r.free, c)
	if r.stopped {
		return nil
	}
	if r.spec.Rate == 0 {
		return r.send(r.take(), now)
	}
	if len(r.queue) > 0 {
		due := r.queue[0]
		r.queue = r.queue[1:]
		return r.send(r.take(), due)
	}
	return nil
}
