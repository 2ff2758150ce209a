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
	for seed := *firstSeed; seed < *firstSeed+*schedules; seed++ {
		s := newSim(seed)
		s.play()
		if wrong := s.recovered(); len(wrong) > 0 {
			t.Fatalf("seed %d: %v\nagain: go test ./engine -run %s -args -schedules 1 -seed %d\n%s", seed, wrong, t.Name(), seed, strings.Join(s.story, "\n"))
		}
		sum.add(s)
	}
	t.Logf("%+v", sum)
	// A simulation in which nothing happens proves nothing.
	for what, n := range map[string]int{"orders": sum.Orders, "declines": sum.Declined, "deaths of nodes": sum.Deaths, "calls without an answer": sum.Faults, "sold out": sum.SoldOut, "voided payments": sum.Voided} {
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
	story  []string
	count  simCount
}

type simCount struct{ Steps, Orders, Declined, SoldOut, Voided, Deaths, Faults int }

func (c *simCount) add(s *sim) {
	c.Steps += s.count.Steps
	c.Orders += len(s.orders)
	c.Declined += s.count.Declined
	c.SoldOut += s.count.SoldOut
	c.Deaths += s.count.Deaths
	c.Faults += s.count.Faults
	for _, m := range s.money {
		if m == PaymentVoided {
			c.Voided++
		}
	}
}

// actor is one story that takes turns with others.
type actor struct {
	name   string
	turn   chan struct{}
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
}

// heard is a final answer: an order, or why there is none.
type heard struct {
	key  string
	code Code
}

func newSim(seed uint64) *sim {
	s := &sim{world: newWorld(), dice: rand.New(rand.NewPCG(seed, 2)), back: make(chan struct{})}
	s.queue = s.dice.IntN(3)
	s.faults = []float64{0, 0.02, 0.1}[s.dice.IntN(3)]
	s.deaths = []float64{0, 0.002, 0.01}[s.dice.IntN(3)]
	s.async, s.pass, s.fate = true, s.yield, s.draw
	return s
}

// yield gives the turn back, and goes on when the dice say so.
func (s *sim) yield(name string) {
	if s.calm {
		return
	}
	a := s.turn
	s.story = append(s.story, a.name+": "+name)
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
		f(s.engine())
		died = false
	})
	return died
}

// kill ends a node's process: whatever runs there ends where it stands.
func (s *sim) kill(node int) {
	s.count.Deaths++
	s.story = append(s.story, fmt.Sprintf("node %d dies", node))
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

// play lets everybody act until the last buyer has gone and the roles have stopped.
func (s *sim) play() {
	methods := []string{"pm_ok", "pm_ok", "pm_no", "pm_processing", "pm_charged_then_silent", "pm_action"}
	for i := range 4 + s.dice.IntN(4) {
		v := &visit{buyer: fmt.Sprintf("buyer%03d", i), method: methods[s.dice.IntN(len(methods))]}
		s.visits = append(s.visits, v)
		s.begin(v.buyer, func(a *actor) { s.buy(a, v) })
	}
	s.buyers = len(s.visits)
	s.role("writer", -1, func(*Engine) { s.write() })
	s.begin("clock", func(*actor) { s.clock() })
	for n := range simNodes {
		s.role(fmt.Sprintf("relay %d", n), n, func(*Engine) { s.relay(context.Background(), s.ignore) })
		s.role(fmt.Sprintf("reaper %d", n), n, s.reap)
		s.role(fmt.Sprintf("payments %d", n), n, func(e *Engine) { s.pay(context.Background(), e, s.ignore) })
	}
	for {
		ready := slices.DeleteFunc(slices.Clone(s.actors), func(a *actor) bool { return a.ended })
		if len(ready) == 0 {
			return
		}
		if s.dice.Float64() < s.deaths {
			s.kill(s.dice.IntN(simNodes))
		}
		s.turn = ready[s.dice.IntN(len(ready))]
		s.count.Steps++
		s.turn.turn <- struct{}{}
		<-s.back
	}
}

// role repeats what a background role does. Its errors are what it would log:
// the next round takes the same things up again.
func (s *sim) role(name string, node int, round func(e *Engine)) {
	s.begin(name, func(a *actor) {
		for s.buyers > 0 {
			for range s.dice.IntN(10) {
				s.yield("rests")
			}
			s.run(a, node, round)
			s.yield("rests")
		}
	})
}

func (s *sim) ignore(string, error) {}

func (s *sim) reap(e *Engine) {
	for _, h := range s.sortedHolds() {
		if h.State == Paying {
			_ = e.Resolve(context.Background(), s.sale, *h)
		}
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
		s.expire()
		s.yield("passes")
	}
}

// buy is a buyer: a hold, then checkouts until there is an end. Who has no
// answer asks again with the same key, perhaps at the other node; who is told
// that the payment failed takes another card and another key.
func (s *sim) buy(a *actor, v *visit) {
	defer func() { s.buyers-- }()
	for err := errDied; err != nil; {
		err = s.ask(a, func(e *Engine) error {
			r, err := e.Reserve(context.Background(), ReserveRequest{Buyer: v.buyer, Sale: s.sale.ID, Lines: []CartLine{{"A", 2}}, IdempotencyKey: "hold"})
			v.id = r.ID
			return err
		})
		if CodeOf(err) == CodeSoldOut {
			s.count.SoldOut++
			return
		}
	}
	for n := range 3 {
		if s.insist(a, v, fmt.Sprint("key", n)) {
			return
		}
		v.method = "pm_ok"
	}
}

// insist sends a checkout until it has an end, or the buyer has lost patience.
func (s *sim) insist(a *actor, v *visit, key string) (ordered bool) {
	for range 1 + s.dice.IntN(8) {
		var r CheckoutResult
		err := s.ask(a, func(e *Engine) (err error) {
			r, err = e.Checkout(context.Background(), pay(v.id, v.buyer, key, v.method))
			return err
		})
		switch {
		case err == nil && r.Order != nil:
			v.told = append(v.told, heard{key, ""})
			return true
		case err == nil && r.Action != nil && s.dice.IntN(2) == 0:
			s.completeActions(PaymentAuthorised)
		case err == nil || errors.Is(err, ErrUnknown) || errors.Is(err, errDied):
		case CodeOf(err) == CodePaymentDeclined || CodeOf(err) == CodeReservationExpired:
			s.count.Declined++
			v.told = append(v.told, heard{key, CodeOf(err)})
			return false
		}
		s.yield("waits")
	}
	return false
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

// recovered ends what is left, undisturbed, and lists what is wrong then.
func (s *sim) recovered() (wrong []string) {
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	s.calm, s.async = true, false
	s.write()
	if err := s.recover(s.engine()); err != nil {
		note("recovery: %v", err)
	}
	if !s.stock.Conserved() || s.stock.Held+s.stock.Paying > 0 {
		note("units: %+v", s.stock)
	}
	if sold := int64(2 * len(s.orders)); s.stock.Sold != sold {
		note("%d units are ordered: %+v", sold, s.stock)
	}
	for id, m := range s.money {
		a := s.tries[id]
		o, ordered := s.orders[a.Reservation]
		ordered = ordered && o.Attempt == id
		if ordered != (m == PaymentCaptured) || !ordered && m != PaymentVoided && m != PaymentDeclined && m != PaymentRefunded {
			note("attempt %s: order %v, money %s at %s; record: %+v; gate: %+v", id, ordered, m, s.seenBy[id], *a, s.holds[a.Reservation])
		}
	}
	for _, a := range s.tries {
		if a.State != PaymentCaptured && !Final(PaymentMoves, a.State) {
			note("attempt %s has not ended: %s", a.ID, a.State)
		}
	}
	for _, v := range s.visits {
		for _, t := range v.told {
			o, ordered := s.orders[v.id]
			ordered = ordered && o.Attempt == NewAttemptID(v.id, t.key)
			if ordered != (t.code == "") {
				note("%s was told %q about %s; ordered: %v", v.buyer, t.code, t.key, ordered)
			}
		}
	}
	return wrong
}
