// Package challenge asks whoever wants stock to prove that they are worth an answer:
// by a Turnstile widget, or by work that costs a phone a moment and a bot farm its
// margin. Whether it asks depends on how many want something at once, and on what a
// buyer has done before.
//
//	work         see work.go; the built-in one, which depends on nobody
//	turnstile    see siteverify.go; its stated degraded answer is work
package challenge

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/outside"
)

// The kinds of challenges.
const (
	Work      = "work"
	Turnstile = "turnstile"
)

// Options are the settings.
type Options struct {
	Kind   string
	Secret []byte        // signs challenges; the same on all nodes, 16 bytes at least
	Sales  []string      // that are protected; none: all
	Above  int           // requests for stock per second on this node, above which everybody is asked; 0: always; below 0: only suspects are
	Bits   int           // of work just above that; one more each time that the requests double, six at most. Default 16
	TTL    time.Duration // of a challenge; default 2 min

	SiteKey         string // of Turnstile, for the page
	TurnstileSecret string
	VerifyURL       string
	Client          *http.Client
	Board           *outside.Board

	Registerer prometheus.Registerer // nil: metrics are kept but not exposed
}

// How much harder it becomes.
const (
	mostMore    = 6 // bits above Options.Bits under the worst pressure
	suspectMore = 2 // bits at least for a suspect
)

// Challenges asks, and looks at what comes back. Use New.
type Challenges struct {
	o        Options
	rate     meter
	verify   *outside.Call[token, verdict]
	far      *outside.Dependency
	outcomes *prometheus.CounterVec
}

// New checks the options.
func New(o Options) (*Challenges, error) {
	if o.Bits == 0 {
		o.Bits = 16
	}
	if o.TTL == 0 {
		o.TTL = 2 * time.Minute
	}
	switch {
	case o.Kind != Work && o.Kind != Turnstile:
		return nil, fmt.Errorf("challenge: kind %q is neither %s nor %s", o.Kind, Work, Turnstile)
	case len(o.Secret) < 16:
		return nil, errors.New("challenge: a secret of at least 16 bytes must be given")
	case o.Bits < minBits || o.Bits+mostMore > maxBits:
		return nil, fmt.Errorf("challenge: %d bits are not between %d and %d", o.Bits, minBits, maxBits-mostMore)
	case o.TTL < 10*time.Second || o.TTL > time.Hour:
		return nil, fmt.Errorf("challenge: a life of %s is not between 10s and 1h", o.TTL)
	}
	c := &Challenges{o: o, outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "flashsale_challenge_total",
		Help: "Challenges by kind and outcome: given, passed, wrong, or degraded (Turnstile did not answer, and work was asked for instead).",
	}, []string{"kind", "outcome"})}
	if o.Registerer != nil {
		level := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "flashsale_challenge_bits", Help: "Zero bits of work that everybody is asked for now; 0: not everybody is asked.",
		}, func() float64 { return float64(c.level(c.rate.now(time.Now()))) })
		if err := errors.Join(o.Registerer.Register(c.outcomes), o.Registerer.Register(level)); err != nil {
			return nil, fmt.Errorf("challenge: metrics: %w", err)
		}
	}
	if o.Kind == Turnstile {
		return c, c.prepare()
	}
	return c, nil
}

// Close closes idle connections.
func (c *Challenges) Close() {
	if c.o.Client != nil {
		c.o.Client.CloseIdleConnections()
	}
}

// Demand counts a request for stock, and says whether it has to come with a solution.
// It does not wait.
func (c *Challenges) Demand(sale string, suspect bool, now time.Time) bool {
	if len(c.o.Sales) > 0 && !slices.Contains(c.o.Sales, sale) {
		return false
	}
	rate := c.rate.hit(now)
	return suspect || c.level(rate) > 0
}

// level gives the bits that everybody is asked for; 0: nobody is.
func (c *Challenges) level(rate int64) int {
	above := int64(c.o.Above)
	switch {
	case above < 0 || above > 0 && rate <= above:
		return 0
	case above == 0:
		return c.o.Bits
	}
	return c.o.Bits + min(mostMore, bits.Len64(uint64(rate/above))-1)
}

// Give makes a challenge for a buyer in a sale. work: whatever the kind, because
// the other one is away.
func (c *Challenges) Give(sale, buyer string, suspect, work bool, now time.Time) engine.Challenge {
	if c.o.Kind == Turnstile && !work && c.far.State() != "open" {
		c.count(Turnstile, "given")
		return engine.Challenge{Kind: Turnstile, SiteKey: c.o.SiteKey}
	}
	n := max(c.o.Bits, c.level(c.rate.now(now)))
	if suspect {
		n = max(n, c.o.Bits+suspectMore)
	}
	text, expires := c.workFor(sale, buyer, n, now)
	c.count(Work, "given")
	return engine.Challenge{Kind: Work, Text: text, Bits: n, Expires: expires}
}

// Check looks at a solution: a kind, a space, and what that kind has. It waits for
// Turnstile, for two seconds at most. away: nobody could tell. A solution of work is good
// whatever the kind: it was asked for while Turnstile was away.
func (c *Challenges) Check(ctx context.Context, sale, buyer, from, solution string, now time.Time) (why string, away bool) {
	kind, what, _ := strings.Cut(solution, " ")
	switch {
	case kind == Work:
		why = c.checkWork(sale, buyer, what, now)
	case kind == Turnstile && c.o.Kind == Turnstile:
		if why, away = c.ask(ctx, token{what, from, sale, buyer}); away {
			c.count(Turnstile, "degraded")
			return why, true
		}
	default:
		return "the solution must begin with the challenge's kind and a space", false
	}
	if why == "" {
		c.count(kind, "passed")
	} else {
		c.count(kind, "wrong")
	}
	return why, false
}

func (c *Challenges) count(kind, outcome string) { c.outcomes.WithLabelValues(kind, outcome).Inc() }

// meter counts what happens in a second: second in its upper half, number in its lower.
type meter struct{ this, last atomic.Int64 }

func (m *meter) hit(now time.Time) int64 {
	for {
		was := m.this.Load()
		next := was + 1
		if second := now.Unix() & 0x7fffffff; was>>32 != second {
			next = second<<32 | 1
		}
		if m.this.CompareAndSwap(was, next) {
			if next&0xffffffff == 1 {
				m.last.Store(was)
			}
			return m.rate(next, now)
		}
	}
}

func (m *meter) now(now time.Time) int64 { return m.rate(m.this.Load(), now) }

// rate is that of the second before or, if more, of this one so far.
func (m *meter) rate(this int64, now time.Time) (n int64) {
	second := now.Unix() & 0x7fffffff
	for _, v := range []int64{this, m.last.Load()} {
		if v>>32 == second || v>>32 == second-1 {
			n = max(n, v&0xffffffff)
		}
	}
	return n
}
