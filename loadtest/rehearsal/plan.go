// Package rehearsal plays a Black Friday on one machine, on real Redis, Postgres and
// Kafka: browsing before the sale, the spike at T0, the day with its two peaks, a storm
// of retries, twenty seconds without a payment provider, and the sell-out. It is one
// run of package loadtest whose crowd changes from phase to phase.
package rehearsal

import (
	"time"

	"github.com/flashsale-engine/flashsale/loadtest"
)

const (
	saleID = "black-friday"
	hero   = "CONSOLE" // what everybody wants at T0
)

var everyday = []string{"BOOTS", "JACKET", "LAMP"}

// part is a phase of the rehearsal at full length and load.
type part struct {
	name    string
	seconds float64
	shape   string
	peak    float64 // arrivals per second
	mix     loadtest.Mix
	skus    []string
	orders  float64 // share of the arrivals that become orders while there is stock, about
}

// The storm's crowd comes for what is gone, and does not take no for an answer.
var storm = loadtest.Mix{{Kind: loadtest.KindRetrier, Weight: 60}, {Kind: loadtest.KindBot, Weight: 10}, {Kind: loadtest.KindTabs, Weight: 10}, {Kind: loadtest.KindDouble, Weight: 20}}

var parts = []part{
	{"before the sale", 20, "ramp", 150, loadtest.Mix{{Kind: loadtest.KindBrowser, Weight: 1}}, []string{hero}, 0},
	{"T0", 40, "spike", 900, loadtest.Mixes["drop"], []string{hero}, 0},
	{"the day", 180, "black-friday", 200, loadtest.Mixes["shop"], everyday, 0.55},
	{"retry storm", 40, "retry-storm", 600, storm, []string{hero}, 0},
	{"no payments", 50, "flat", 80, loadtest.Mixes["shop"], everyday, 0.55},
	{"sell-out", 50, "ramp", 450, loadtest.Mixes["drop"], everyday, 0.6},
}

const (
	outageAfter = 5.0  // seconds into its phase
	outageFor   = 20.0 // seconds
	leastOutage = 4.0  // in a hurry: or nobody would notice it
	heroShare   = 0.15 // of those who come at T0, there are consoles for
	sellOutAt   = 0.5  // of the last phase's orders, there is stock for
)

// plan is a rehearsal as it will be played.
type plan struct {
	curve         loadtest.Curve
	phases        []loadtest.Phase
	stock         map[string]int64
	opens         time.Duration
	outage, ended time.Duration
}

func (c Config) plan() plan {
	p := plan{stock: map[string]int64{}}
	everydayOrders := 0.0
	for i, s := range parts {
		from := p.curve.Length()
		curve, err := loadtest.Shape(s.shape, s.peak*c.Load, time.Duration(s.seconds/c.Hurry*float64(time.Second)))
		if err != nil {
			panic(err) // a table of ours
		}
		p.curve = p.curve.Then(curve)
		p.phases = append(p.phases, loadtest.Phase{Name: s.name, Until: p.curve.Length().Seconds(), Mix: s.mix, SKUs: s.skus})
		orders := s.orders * curve.Arrivals()
		switch {
		case s.name == "T0":
			p.opens = from
			p.stock[hero] = max(int64(heroShare*curve.Arrivals()), 5)
		case s.name == "no payments":
			p.outage = from + time.Duration(outageAfter/c.Hurry*float64(time.Second))
			p.ended = p.outage + time.Duration(max(outageFor/c.Hurry, leastOutage)*float64(time.Second))
		case i == len(parts)-1:
			orders *= sellOutAt
		}
		everydayOrders += orders
	}
	for _, sku := range everyday {
		p.stock[sku] = max(int64(everydayOrders/float64(len(everyday))), 5)
	}
	return p
}
