package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/flashsale-engine/flashsale/loadtest/bench/load"
	"github.com/flashsale-engine/flashsale/loadtest/bench/peers"
)

// The parts whose processor time a rung tells.
const (
	PartAPI       = "api"   // the server, role api
	PartAside     = "aside" // the roles that serve nobody: relay, writer, reaper, payments
	PartRedis     = "redis"
	PartKafka     = "kafka"
	PartPostgres  = "postgres"
	PartSandbox   = "sandbox"   // the payment provider
	PartGenerator = "generator" // of load
)

// RungKind is what a rung of a ladder does.
type RungKind string

// The kinds.
const (
	Reference RungKind = "reference" // plaintext in a closed loop: how fast the machine is at the moment
	Closed    RungKind = "closed"    // reservations, as many at once as Step
	Reserving RungKind = "reserving" // reservations, Step of them per second
	Refusing  RungKind = "refusing"  // sold_out, as many at once as Step
	Buying    RungKind = "buying"    // purchases, Step of them per second
	Gate      RungKind = "gate"      // holds through the gate without HTTP, from Step callers
	GateAOF   RungKind = "gate-aof"  // the same on a Redis that syncs its log before it answers
)

// Ladder asks for rungs, each of which is measured once per turn.
type Ladder struct {
	Turns       int
	Window      time.Duration
	Connections []int     // closed loop
	Rates       []float64 // reservations, as shares of what a closed loop reaches
	Purchases   []float64 // the same of purchases
	Callers     []int     // of the gate
	Provider    time.Duration
	SKUs        int // of the sale that is laid out to see what a SKU takes
}

// Rung is one measurement.
type Rung struct {
	Kind       RungKind           `json:"kind"`
	Turn       int                `json:"turn"`
	Step       float64            `json:"step"`         // connections, arrivals per second or callers
	Seconds    float64            `json:"seconds"`      // all of it, what came before and after the window included
	Ends       float64            `json:"ends"`         // good ends in all of it: reservations, refusals, purchases, holds
	Rate       float64            `json:"rate"`         // good ends per second of the window
	CPU        map[string]float64 `json:"cpu"`          // processor seconds by part
	Calls      float64            `json:"calls"`        // of the gate's script
	Ops        float64            `json:"ops"`          // operations that they carried
	CallS      float64            `json:"call_s"`       // seconds that they took together, as the server met them
	Writes     float64            `json:"writes"`       // transactions of the order writer
	WriteS     float64            `json:"write_s"`      // seconds of these
	Held       float64            `json:"held_s"`       // seconds for which connections to Postgres were busy
	Grown      float64            `json:"grown"`        // bytes that the database grew by
	Authorised float64            `json:"authorised_s"` // mean seconds of an authorisation, as the server met it
	Latency    load.Latency       `json:"latency"`      // from the due time; of purchases: of the whole
	Second     load.Latency       `json:"second"`       // of the checkout alone
	Late       float64            `json:"late"`         // share of the arrivals that were still queued when the window ended
	Speed      float64            `json:"speed"`        // of the machine beside it: µs of a processor per plaintext request
}

// Climbed is what a ladder found.
type Climbed struct {
	Rungs    []Rung             `json:"rungs"`
	Sizes    map[string]float64 `json:"sizes"` // bytes, see sizes.go
	Ladder   Ladder             `json:"ladder"`
	Capacity float64            `json:"capacity"` // reservations per second of the closed loop that Rates are shares of
	Buying   float64            `json:"buying"`   // the same of purchases
	Machine  Machine            `json:"machine"`
	Versions map[string]string  `json:"versions"`
	Took     float64            `json:"took_seconds"`
}

// Climb measures a ladder: all rungs once per turn, upwards in one turn and
// downwards in the next, so that a machine that changes its speed slowly changes it for
// all of them; the reference between each two says how fast it was.
func Climb(ctx context.Context, cfg Config, l Ladder) (out Climbed, err error) {
	if l.Turns < 1 || l.Window < 50*time.Millisecond {
		return out, errors.New("at least one turn, and 50 ms per rung")
	}
	cfg.Rounds, cfg.Window = l.Turns, l.Window
	began := time.Now()
	w, err := newWorld(ctx, cfg)
	if err != nil {
		return out, err
	}
	defer w.close()
	c := climber{world: w, ladder: l}
	if err := c.prepare(ctx, &out); err != nil {
		return out, err
	}
	watch := watchStrangers()
	steps, beside := c.steps(out), max(l.Window/4, 250*time.Millisecond)
	for turn := range l.Turns {
		before, err := c.reference(ctx, beside)
		if err != nil {
			return out, err
		}
		for i := range steps {
			s := steps[i]
			if turn%2 == 1 {
				s = steps[len(steps)-1-i]
			}
			r, err := c.climb(ctx, s)
			if err != nil {
				return out, fmt.Errorf("%s at %g: %w", s.Kind, s.Step, err)
			}
			after, err := c.reference(ctx, beside)
			if err != nil {
				return out, err
			}
			r.Turn, r.Speed = turn, (before+after)/2
			before = after
			out.Rungs = append(out.Rungs, r)
			w.say("turn %d/%d  %-9s %9.4g  %9.4g/s   %.1f µs per plaintext request", turn+1, l.Turns, r.Kind, r.Step, r.Rate, r.Speed)
		}
	}
	out.Ladder, out.Machine, out.Versions = l, w.machine(), w.versions(ctx)
	out.Machine.Others = spread([]float64{watch.share(w.processors)})
	out.Took = time.Since(began).Seconds()
	return out, nil
}

type climber struct {
	*world
	ladder Ladder
}

// prepare starts what is measured, warms it up, and finds what the shares are shares of.
func (c *climber) prepare(ctx context.Context, out *Climbed) error {
	if _, err := c.reference(ctx, time.Second); err != nil { // warms it up
		return err
	}
	c.say("warming up")
	for range 3 { // the first one warms up
		r, _, err := c.reserveFor(ctx, "product", time.Second)
		if err != nil {
			return err
		}
		out.Capacity = max(out.Capacity, r.Rate)
	}
	var err error
	if out.Sizes, err = c.sizes(ctx, c.ladder.SKUs); err != nil {
		return err
	}
	if len(c.ladder.Purchases) == 0 {
		return nil
	}
	s, err := c.get(ctx, "product-split")
	if err != nil {
		return err
	}
	if err := s.slowProvider(ctx, c.ladder.Provider); err != nil {
		return err
	}
	if _, err := c.buy(ctx, s, warmRate, 3*time.Second); err != nil {
		return err
	}
	found, err := c.buy(ctx, s, 0, 3*time.Second)
	out.Buying = found.Rate
	return err
}

// warmRate is how many purchases per second a node, and a Kafka, can begin with.
const warmRate = 20

func (c *climber) steps(found Climbed) (out []Rung) {
	for _, n := range c.ladder.Connections {
		out = append(out, Rung{Kind: Closed, Step: float64(n)})
	}
	for _, share := range c.ladder.Rates {
		out = append(out, Rung{Kind: Reserving, Step: round(share * found.Capacity)})
	}
	for _, share := range c.ladder.Purchases {
		out = append(out, Rung{Kind: Buying, Step: round(share * found.Buying)})
	}
	for _, n := range c.ladder.Callers {
		out = append(out, Rung{Kind: Gate, Step: float64(n)}, Rung{Kind: GateAOF, Step: float64(n)})
	}
	return append(out, Rung{Kind: Refusing, Step: conns})
}

// reference says how fast the machine is: microseconds of a processor per request of
// a server that answers and does nothing else.
func (c *climber) reference(ctx context.Context, window time.Duration) (float64, error) {
	s, err := c.get(ctx, string(peers.Plaintext))
	if err != nil {
		return 0, err
	}
	spec := c.spec(s, load.Reserve, []string{c.name()})
	spec.Conns, spec.Lead, spec.Window, spec.Status = 64, 0, window, http.StatusOK
	before := ranFor(s.pid)
	r, err := c.run(ctx, spec)
	if err != nil {
		return 0, err
	}
	return float64((ranFor(s.pid) - before).Microseconds()) / float64(r.Steps[0]), nil
}

func (c *climber) climb(ctx context.Context, r Rung) (Rung, error) {
	switch r.Kind {
	case Buying:
		s, err := c.get(ctx, "product-split")
		if err != nil {
			return r, err
		}
		return c.buy(ctx, s, r.Step, 2*c.ladder.Window)
	case Gate, GateAOF:
		return c.gateRung(ctx, r)
	}
	s, err := c.get(ctx, "product")
	if err != nil {
		return r, err
	}
	if r.Kind == Refusing {
		sales, spec, err := c.few(ctx, s, c.ladder.Window)
		if err != nil {
			return r, err
		}
		return c.measure(ctx, s, r, func() (load.Result, error) { return c.refused(ctx, s, sales, spec) })
	}
	sales, err := c.lay(ctx, s, plenty)
	if err != nil {
		return r, err
	}
	spec := c.spec(s, load.Reserve, sales)
	spec.Window, spec.Rate = c.ladder.Window, r.Step
	if r.Kind == Closed {
		spec.Conns, spec.Rate = int(r.Step), 0
	}
	if r, err = c.measure(ctx, s, r, func() (load.Result, error) { return c.run(ctx, spec) }); err != nil {
		return r, err
	}
	sum, err := s.counted(ctx, sales)
	if err == nil && sum.Held != int64(r.Ends) {
		err = fmt.Errorf("%g reservations were accepted, the gate holds %d", r.Ends, sum.Held)
	}
	return r, err
}
