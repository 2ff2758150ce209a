package engine

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	schedules = flag.Uint64("schedules", 2000, "how many schedules the simulation plays")
	firstSeed = flag.Uint64("seed", 0, "the first one's seed; a failing one is played again with -schedules 1")
)

// TestSchedulesOfManyBuyersHurtNobody plays the engine's own code for several
// buyers and nodes at once over the model world, one step at a time: at every
// call of a port the dice choose who goes on, what fails, which node dies, how
// time passes and when the roles behind have their turn. Nothing else is left to
// chance, so a seed is a schedule. `make simulate` plays many.
func TestSchedulesOfManyBuyersHurtNobody(t *testing.T) {
	var sum simCount
	began := time.Now()
	for seed := *firstSeed; seed < *firstSeed+*schedules; seed++ {
		s := newSim(seed)
		if wrong := append(s.play(), s.recovered()...); len(wrong) > 0 {
			t.Fatalf("seed %d: %v\n%s\nagain: go test -v ./engine -run %s -args -schedules 1 -seed %d", seed, wrong, s.told(), t.Name(), seed)
		}
		sum.add(s)
	}
	took := time.Since(began)
	t.Logf("%.0f schedules a minute: %+v", float64(*schedules)/took.Minutes(), sum)
	// A simulation in which nothing happens proves nothing.
	for what, n := range map[string]int{"rebuilds": sum.Rebuilt, "lost gates": sum.Lost, "orders": sum.Orders, "declines": sum.Declined, "deaths of nodes": sum.Deaths, "calls without an answer": sum.Faults, "sold out": sum.SoldOut, "voided payments": sum.Voided} {
		if uint64(n) < *schedules/20 {
			t.Errorf("%d %s in %d schedules", n, what, *schedules)
		}
	}
}

// The same seed is the same schedule, or a failure could not be looked at.
func TestASeedIsASchedule(t *testing.T) {
	for seed := range uint64(20) {
		a, b := newSim(seed), newSim(seed)
		a.play()
		b.play()
		if !slices.Equal(a.story, b.story) {
			t.Fatalf("seed %d plays in two ways:\n%v\n%v", seed, a.story, b.story)
		}
	}
}

const simNodes = 2

// sim is one schedule.
type sim struct {
	*world
	dice   *rand.Rand
	actors []*actor
	turn   *actor // whose it is
	buyers int    // who have not gone
	back   chan struct{}
	faults float64 // how often a call has no answer
	deaths float64 // how often a node dies, by step
	calm   bool
	visits []*visit
	story  []line
	count  simCount

	losses  float64 // how often the gate is lost, by step
	delays  float64 // how often an event is long on its way
	stalls  float64 // how often somebody stalls at a call
	current *redisModel
	reached [simNodes]*redisModel // which server each node is connected to
	views   [simNodes]*Sale       // what each node knows of the sale
	servers int
}

type simCount struct {
	Steps, Orders, Declined, SoldOut, Voided, Deaths, Faults int
	Lost, Rebuilt, HoldsLost, Refused, Unpaid                int
}

func (c *simCount) add(s *sim) {
	c.Steps += s.count.Steps
	c.Orders += len(s.orders)
	c.Declined += s.count.Declined
	c.SoldOut += s.count.SoldOut
	c.Deaths += s.count.Deaths
	c.Faults += s.count.Faults
	c.Lost += s.count.Lost
	c.Rebuilt += s.count.Rebuilt
	c.HoldsLost += s.count.HoldsLost
	c.Refused += s.refused
	c.Unpaid += s.unpaid
	for _, m := range s.money {
		if m == PaymentVoided {
			c.Voided++
		}
	}
}

// line is what happened in one step.
type line struct{ who, what string }

func (s *sim) tell(who, what string) { s.story = append(s.story, line{who, what}) }

// told is the schedule's story.
func (s *sim) told() string {
	var b strings.Builder
	for _, l := range s.story {
		b.WriteString(l.who + ": " + l.what + "\n")
	}
	return b.String()
}

// actor is one story that takes turns with others.
type actor struct {
	name   string
	turn   chan struct{}
	rest   int // turns that it lets pass
	ended  bool
	node   int  // where its code runs now
	inside bool // code of a node runs, and dies with it
	dies   bool
}

// visit is a buyer and what they were told.
type visit struct {
	buyer, method string
	id            ReservationID
	told          []heard
	lost          []ReservationID // that the buyer was told were lost
	strange       []string        // what nobody should be told
}

// heard is a final answer: an order, or why there is none.
type heard struct {
	id   ReservationID
	key  string
	code Code
}

func newSim(seed uint64) *sim {
	s := &sim{world: newWorld(), dice: rand.New(rand.NewPCG(seed, 2)), back: make(chan struct{})}
	s.queue = s.dice.IntN(3)
	s.faults = []float64{0, 0.02, 0.1}[s.dice.IntN(3)]
	s.deaths = []float64{0, 0.002, 0.01}[s.dice.IntN(3)]
	s.losses = []float64{0, 0.0003, 0.001, 0.003}[s.dice.IntN(4)]
	s.delays = []float64{0, 0.1, 0.4}[s.dice.IntN(3)]
	s.stalls = []float64{0, 0.01, 0.03}[s.dice.IntN(3)]
	s.sale.Items[0].Stock = int64(2 + 2*s.dice.IntN(5))
	s.stock.Stock, s.stock.Available = s.sale.Items[0].Stock, s.sale.Items[0].Stock
	s.async, s.pass, s.fate = true, s.yield, s.draw
	s.gates()
	return s
}

// yield gives the turn back, and goes on when the dice say so.
func (s *sim) yield(name string) {
	if s.calm {
		return
	}
	a := s.turn
	s.tell(a.name, name)
	if s.dice.Float64() < s.stalls {
		a.rest = s.dice.IntN(600)
	}
	s.back <- struct{}{}
	<-a.turn
	if a.dies {
		panic(death{})
	}
}

// run has an actor run code of a node, which may die of it.
func (s *sim) run(a *actor, node int, f func(e *Engine)) (died bool) {
	a.node, a.inside, died = node, true, true
	defer func() { a.inside, a.dies = false, false }()
	surviving(func() {
		f(s.nodeEngine(node))
		died = false
	})
	return died
}

// kill ends a node's process: whatever runs there ends where it stands.
func (s *sim) kill(node int) {
	s.count.Deaths++
	s.tell("dice", fmt.Sprintf("node %d dies", node))
	for _, a := range s.actors {
		a.dies = a.inside && a.node == node
	}
}

// draw says what becomes of a call.
func (s *sim) draw(string) (fault, bool) {
	if s.calm || s.dice.Float64() >= s.faults {
		return 0, false
	}
	s.count.Faults++
	return []fault{unknownBefore, unknownAfter, awayBefore}[s.dice.IntN(3)], true
}

// begin adds an actor. It waits for its first turn.
func (s *sim) begin(name string, act func(a *actor)) {
	a := &actor{name: name, turn: make(chan struct{})}
	s.actors = append(s.actors, a)
	go func() {
		<-a.turn
		act(a)
		a.ended = true
		s.back <- struct{}{}
	}()
}

// A schedule has so many disasters, and takes fewer than mostSteps: who has not
// ended by then waits for ever.
const (
	mostSteps  = 100_000
	mostDeaths = 12
	mostLosses = 6
)

// play lets everybody act until the last buyer has gone and the roles have
// stopped, and says what is wrong as soon as it is.
func (s *sim) play() []string {
	methods := []string{"pm_ok", "pm_ok", "pm_no", "pm_processing", "pm_charged_then_silent", "pm_action"}
	for i := range 1 + s.dice.IntN(6) {
		v := &visit{buyer: fmt.Sprintf("buyer%03d", i), method: methods[s.dice.IntN(len(methods))]}
		s.visits = append(s.visits, v)
		s.buyers++
		s.begin(v.buyer, func(a *actor) { s.buy(a, v) })
		if s.dice.IntN(2) == 0 {
			s.buyers++
			s.begin(v.buyer+"'s other tab", func(a *actor) { s.tab(a, v, methods[s.dice.IntN(len(methods))]) })
		}
	}
	s.role("writer", -1, 12, func(*Engine) { s.write() })
	s.role("wire", -1, 12, func(*Engine) {
		if s.dice.IntN(20) == 0 {
			s.deliver()
		}
	})
	s.role("replica", -1, 60, func(*Engine) { s.current.lag = s.current.copy("replica") })
	s.begin("clock", func(*actor) { s.clock() })
	for n := range simNodes {
		s.role(fmt.Sprintf("relay %d", n), n, 12, func(*Engine) { s.relay(context.Background(), s.ignore) })
		s.role(fmt.Sprintf("reaper %d", n), n, 12, s.reap)
		s.role(fmt.Sprintf("keeper %d", n), n, 4, s.keep)
		s.role(fmt.Sprintf("payments %d", n), n, 12, func(e *Engine) { s.pay(context.Background(), e, s.ignore) })
	}
	var ready []*actor
	for {
		ready = ready[:0]
		for _, a := range s.actors {
			if !a.ended {
				ready = append(ready, a)
			}
		}
		if len(ready) == 0 {
			return nil
		}
		if s.count.Steps == mostSteps {
			return []string{fmt.Sprintf("somebody waits for ever: %d buyers are left", s.buyers)}
		}
		if s.dice.Float64() < s.deaths && s.count.Deaths < mostDeaths {
			s.kill(s.dice.IntN(simNodes))
		}
		if s.dice.Float64() < s.losses && s.count.Lost < mostLosses {
			s.loseGate()
		}
		s.turn = ready[s.dice.IntN(len(ready))]
		s.count.Steps++
		if s.turn.rest > 0 {
			s.turn.rest--
			continue
		}
		s.turn.turn <- struct{}{}
		<-s.back
		if wrong := s.wrongNow(); len(wrong) > 0 {
			return wrong
		}
	}
}

// role repeats what a background role does. Its errors are what it would log:
// the next round takes the same things up again. Between two of them it lets less
// than rest turns pass.
func (s *sim) role(name string, node, rest int, round func(e *Engine)) {
	s.begin(name, func(a *actor) {
		for s.buyers > 0 {
			a.rest = s.dice.IntN(rest)
			s.yield("rests")
			s.run(a, node, round)
		}
	})
}

func (s *sim) ignore(string, error) {}

func (s *sim) reap(e *Engine) {
	sale, err := e.Sales.SaleByNo(context.Background(), s.sale.No)
	if err != nil {
		return
	}
	for _, h := range s.overdue(sale) {
		_ = e.Resolve(context.Background(), sale, h)
	}
}

// clock lets time pass: seldom as much as ends a hold.
func (s *sim) clock() {
	for s.buyers > 0 {
		step := time.Duration(s.dice.IntN(200)) * time.Millisecond
		if s.dice.IntN(10) == 0 {
			step = time.Duration(s.dice.IntN(40)) * time.Second
		}
		s.now = s.now.Add(step)
		s.expireAll()
		s.yield("passes")
	}
}

// buy is a buyer: a hold, then checkouts until there is an end. Who has no
// answer asks again with the same key, perhaps at the other node; who is told
// that the payment failed takes another card and another key; who is told that the
// hold was lost takes another hold.
func (s *sim) buy(a *actor, v *visit) {
	defer func() { s.buyers-- }()
	for n := range 3 {
		if !s.reserve(a, v, fmt.Sprint("hold", n)) {
			return
		}
		for k := range 3 {
			end := s.insist(a, v, v.id, fmt.Sprint("key", n, k), v.method)
			if end == ordered || end == gone && s.dice.IntN(2) == 0 {
				return
			}
			if end == holdLost {
				break
			}
			v.method = "pm_ok"
		}
	}
}

// tab is the same buyer once more, who pays for the same hold by another key.
func (s *sim) tab(a *actor, v *visit, method string) {
	defer func() { s.buyers-- }()
	for range 20 {
		if v.id != (ReservationID{}) {
			s.insist(a, v, v.id, "tab", method)
			return
		}
		s.yield("waits")
	}
}

func (s *sim) reserve(a *actor, v *visit, key string) bool {
	for err := errDied; err != nil; {
		err = s.ask(a, func(e *Engine) error {
			r, err := e.Reserve(context.Background(), ReserveRequest{Buyer: v.buyer, Sale: s.sale.ID, Lines: []CartLine{{"A", 2}}, IdempotencyKey: key})
			v.id = r.ID
			return err
		})
		if CodeOf(err) == CodeSoldOut {
			s.count.SoldOut++
			return false
		}
		s.yield("waits")
	}
	return true
}

// ending is how a buyer's checkout came to an end.
type ending int

const (
	gone     ending = iota // the buyer has lost patience
	ordered                // there is an order
	failed                 // the payment failed, or came too late
	holdLost               // the hold was lost with its gate
)

// insist sends a checkout until it has an end, or the buyer has lost patience.
func (s *sim) insist(a *actor, v *visit, id ReservationID, key, method string) ending {
	for range 1 + s.dice.IntN(8) {
		var r CheckoutResult
		err := s.ask(a, func(e *Engine) (err error) {
			r, err = e.Checkout(context.Background(), pay(id, v.buyer, key, method))
			return err
		})
		switch code := CodeOf(err); {
		case err == nil && r.Order != nil:
			v.told = append(v.told, heard{id, key, ""})
			return ordered
		case err == nil && r.Action != nil && s.dice.IntN(2) == 0:
			s.completeActions(PaymentAuthorised)
		case err == nil || errors.Is(err, ErrUnknown) || errors.Is(err, errDied):
		case code == CodePaymentDeclined || code == CodeReservationExpired:
			s.count.Declined++
			v.told = append(v.told, heard{id, key, code})
			return failed
		case code == CodeReservationLost:
			s.count.HoldsLost++
			v.lost = append(v.lost, id)
			return holdLost
		case code == CodeNotFound && s.count.Lost == 0: // else its node may not have heard of a new epoch
			v.strange = append(v.strange, fmt.Sprintf("%s was told that %s never was: %v", v.buyer, id, err))
			return gone
		}
		s.yield("waits")
	}
	return gone
}

var errDied = errors.New("the node died")

// ask sends a request to a node.
func (s *sim) ask(a *actor, f func(e *Engine) error) error {
	err := errDied
	if s.run(a, s.dice.IntN(simNodes), func(e *Engine) { err = f(e) }) {
		return errDied
	}
	return err
}
