package capacity

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func need() Need {
	return Need{Buyers: 500_000, Asks: 1, Stock: 20_000, SKUs: 1, Window: time.Minute, Peak: 1, P99: 250 * time.Millisecond, Pay: 1, Hesitate: 10 * time.Second, Provider: 300 * time.Millisecond,
		Processors: 4, Headroom: 0.6, Always: true}
}

// size is everything that a plan asks for.
func size(p Plan) []int {
	return []int{p.Nodes, p.Shards, p.Postgres, p.Kafka, p.Aside, p.Writers, p.Partitions}
}

func TestWhoAsksForMoreGetsNoSmallerPlan(t *testing.T) {
	m := fitted(t)
	rapid.Check(t, func(t *rapid.T) {
		n := need()
		n.Buyers = rapid.Float64Range(1000, 50e6).Draw(t, "buyers")
		n.Stock = rapid.Float64Range(10, 900).Draw(t, "stock per thousand buyers") * n.Buyers / 1000
		n.Peak = rapid.Float64Range(1, 10).Draw(t, "peak")
		n.Processors = rapid.IntRange(1, 32).Draw(t, "processors")
		less, err := Make(m, n)
		if err != nil {
			t.Fatal(err)
		}
		more := n
		what := rapid.SampledFrom([]string{"buyers", "peak", "window", "load", "skus", "asks"}).Draw(t, "what")
		by := rapid.Float64Range(1, 20).Draw(t, "by")
		switch what {
		case "buyers": // with the same share of them served
			more.Buyers, more.Stock = more.Buyers*by, more.Stock*by
		case "peak":
			more.Peak *= by
		case "window":
			more.Window = max(time.Second, time.Duration(float64(more.Window)/by))
		case "load":
			more.Headroom /= by
		case "skus":
			more.SKUs *= 1e6 * by
		case "asks":
			more.Asks *= by
		}
		larger, err := Make(m, more)
		if err != nil {
			t.Fatal(err)
		}
		if len(less.Impossible) > 0 || len(larger.Impossible) > 0 {
			return // what cannot be has no size
		}
		for i, v := range size(larger) {
			// Nodes may be fewer where fuller calls make the p99 better: those that latency asked for.
			if v < size(less)[i] && (i != 0 || what == "load") {
				t.Fatalf("%s by %.2f: %v became %v", what, by, size(less), size(larger))
			}
		}
		if larger.RedisMB < less.RedisMB*0.999 || larger.Sales < less.Sales || larger.Arrivals < less.Arrivals*0.999 {
			t.Fatalf("%s by %.2f: memory %.1f became %.1f", what, by, less.RedisMB, larger.RedisMB)
		}
	})
}

func TestEnoughNodesStandBeforeTheProvider(t *testing.T) {
	n := need()
	n.Stock, n.Hesitate, n.Provider = 400_000, 0, time.Minute
	p, err := Make(fitted(t), n)
	if err != nil || p.ToProvider < 100_000 || float64(p.Nodes)*providerMost*n.Headroom < p.ToProvider {
		t.Errorf("%d nodes for %.0f calls at once: %v", p.Nodes, p.ToProvider, err)
	}
}

func TestATighterP99TakesNoFewerNodesOrIsSaidToBeImpossible(t *testing.T) {
	m := fitted(t)
	last := 0
	impossible := false
	for p99 := 2 * time.Second; p99 > 100*time.Microsecond; p99 /= 2 {
		n := need()
		n.Buyers, n.Headroom, n.P99 = 5e6, 0.9, p99
		p, err := Make(m, n)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Impossible) > 0 {
			impossible = true
			if !strings.Contains(p.Impossible[0], "p99") {
				t.Errorf("%s: %v", p99, p.Impossible)
			}
			continue
		}
		if p.Nodes < last || impossible || p.P99 > p99.Seconds() {
			t.Errorf("%s: %d nodes after %d, p99 %v", p99, p.Nodes, last, p.P99)
		}
		last = p.Nodes
	}
	if !impossible {
		t.Error("a p99 of a tenth of a millisecond was said to be possible")
	}
}

func TestWhatCannotBeIsSaidWithItsReason(t *testing.T) {
	m := fitted(t)
	for why, change := range map[string]func(*Need){
		"at most 64":    func(n *Need) { n.Buyers, n.Window = 1e9, time.Second },
		"shards decide": func(n *Need) { n.Buyers, n.Shards = 1e8, 1 },
	} {
		n := need()
		change(&n)
		p, err := Make(m, n)
		if err != nil || !strings.Contains(strings.Join(p.Impossible, "; "), why) {
			t.Errorf("%s: %v, %v", why, p.Impossible, err)
		}
	}
	for _, change := range []func(*Need){func(n *Need) { n.Buyers = 0 }, func(n *Need) { n.Window = 0 }, func(n *Need) { n.Pay = 2 }, func(n *Need) { n.Headroom = 1 }, func(n *Need) { n.Shards = 65 }, func(n *Need) { n.P99 = 0 }} {
		n := need()
		change(&n)
		if _, err := Make(m, n); err == nil {
			t.Errorf("%+v makes sense", n)
		}
	}
}

func TestAPlanSaysHowFarItReaches(t *testing.T) {
	m := fitted(t)
	p, err := Make(m, need())
	if err != nil {
		t.Fatal(err)
	}
	text := p.Text(m, Prices{Hours: 2})
	for _, want := range []string{"Beyond what was measured", "times the", "Binds first", "node-hours"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing about %q in\n%s", want, text)
		}
	}
	if cost, ok := p.Cost(Prices{Node: 1, Redis: 2, Processor: 3, Hours: 2}); !ok || cost != 2*float64(p.Nodes+2*p.Shards+3*(p.Postgres+p.Kafka+p.Aside)) {
		t.Errorf("the cost is %v", cost)
	}
}

func TestTheShippedModelPlans(t *testing.T) {
	m, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Make(m, need())
	if err != nil || len(p.Impossible) > 0 {
		t.Errorf("%v, %v", p.Impossible, err)
	}
	if !strings.Contains(p.Text(m, Prices{}), m.Measured) || m.Machine.CPU == "" {
		t.Error("it does not say where and when it was measured")
	}
}
