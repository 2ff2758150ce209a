package orders

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/orders/record"
)

var (
	schedules = flag.Uint64("schedules", 100, "how many schedules the simulation of relay and writer plays")
	firstSeed = flag.Uint64("seed", 0, "the first one's seed; a failing one is played again with -schedules 1")
)

// TestSchedulesOfRelayAndWriterCommitEachReservationOnce plays producers, relays and
// writers over a model stream, outbox and record, in synctest's time: what is
// published arrives late, twice or not at all, nodes die between any two calls,
// partitions change hands in the middle of a transaction, COMMITs go unanswered and
// the record refuses single events. `make simulate` plays many.
func TestSchedulesOfRelayAndWriterCommitEachReservationOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one order of what happens at one instant
	var sum flowCount
	began := time.Now()
	for seed := *firstSeed; seed < *firstSeed+*schedules; seed++ {
		x := playFlow(t, seed)
		if len(x.wrong) > 0 {
			t.Fatalf("seed %d: %s\nagain: go test ./orders -run %s -args -schedules 1 -seed %d\n%s", seed, strings.Join(x.wrong, "\n"), t.Name(), seed, strings.Join(x.story, "\n"))
		}
		sum.add(x.count)
	}
	t.Logf("%.0f schedules a minute: %+v", float64(*schedules)/time.Since(began).Minutes(), sum)
	for what, n := range map[string]int{"orders": sum.Orders, "repeats": sum.Repeated, "dead letters": sum.Dead, "fenced batches": sum.Fenced, "unanswered COMMITs": sum.Unknown, "deaths": sum.Deaths, "rebalances": sum.Moves, "events that were published and not removed": sum.Untidy} {
		if uint64(n) < *schedules/5 {
			t.Errorf("%d %s in %d schedules", n, what, *schedules)
		}
	}
}

func TestASeedIsAScheduleOfRelayAndWriter(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for seed := range uint64(10) {
		a, b := playFlow(t, seed), playFlow(t, seed)
		slices.Sort(a.story) // who of those that one instant wakes is first does not matter
		slices.Sort(b.story)
		if !slices.Equal(a.story, b.story) {
			t.Fatalf("seed %d plays in two ways:\n%s\n\n%s", seed, strings.Join(a.story, "\n"), strings.Join(b.story, "\n"))
		}
	}
}

type flowCount struct{ Orders, Repeated, Dead, Fenced, Unknown, Deaths, Moves, Untidy int }

func (c *flowCount) add(d flowCount) {
	c.Orders += d.Orders
	c.Repeated += d.Repeated
	c.Dead += d.Dead
	c.Fenced += d.Fenced
	c.Unknown += d.Unknown
	c.Deaths += d.Deaths
	c.Moves += d.Moves
	c.Untidy += d.Untidy
}

// flow is one schedule: all that the relay and the writers talk to.
type flow struct {
	seed uint64
	sale *engine.Sale

	mu      sync.Mutex
	calm    bool // nothing fails any more
	trouble float64
	lives   uint64 // processes that there were
	outbox  []engine.OutboxEntry
	claimed []engine.ReservationID
	parts   [partitions][]*kgo.Record
	pos     [partitions]int64 // the record's positions
	orders  map[engine.ReservationID]engine.Outcome
	grudge  map[engine.ReservationID]bool // the record refuses these
	dead    map[[2]int64]string
	owner   [partitions]*member
	members []*member
	count   flowCount
	story   []string
	wrong   []string
	began   time.Time
}

const partitions = 3

func playFlow(t *testing.T, seed uint64) (x *flow) {
	synctest.Test(t, func(t *testing.T) {
		x = newFlow(seed)
		done := make(chan struct{})
		go func() { x.play(); close(done) }()
		select {
		case <-done:
		case <-time.After(time.Hour):
			fmt.Fprintf(os.Stderr, "seed %d: somebody waits for ever\n%s\n", seed, strings.Join(x.story, "\n"))
			t.FailNow()
		}
		x.check()
	})
	return x
}

func newFlow(seed uint64) *flow {
	dice := rand.New(rand.NewPCG(seed, 0))
	return &flow{seed: seed, sale: &engine.Sale{No: 1, ID: "drop"}, trouble: []float64{0.02, 0.1, 0.3}[dice.IntN(3)],
		orders: map[engine.ReservationID]engine.Outcome{}, grudge: map[engine.ReservationID]bool{}, dead: map[[2]int64]string{}, began: time.Now()}
}

func (x *flow) tell(format string, args ...any) {
	x.story = append(x.story, fmt.Sprintf("%12s ", time.Since(x.began))+fmt.Sprintf(format, args...))
}

func (x *flow) note(format string, args ...any) {
	x.wrong = append(x.wrong, fmt.Sprintf(format, args...))
}

// play has claims come in for some seconds while everything fails, and then lets
// everything end.
func (x *flow) play() {
	plan := rand.New(rand.NewPCG(x.seed, 1))
	nodes := []*node{x.node(0), x.node(1)}
	writers := []*member{x.join(0), x.join(1)}
	for i := range 1 + plan.IntN(80) {
		x.claim(i, nodes[plan.IntN(2)], plan)
		time.Sleep(time.Duration(plan.Int64N(int64(100 * time.Millisecond))))
		if plan.IntN(15) == 0 {
			x.garbage(plan)
		}
		if plan.IntN(12) == 0 {
			x.move(plan)
		}
		if n := plan.IntN(2); plan.IntN(12) == 0 {
			nodes[n].kill()
			nodes[n] = x.node(n)
		}
		if n := plan.IntN(2); plan.IntN(12) == 0 {
			writers[n].kill()
			writers[n] = x.join(n)
		}
	}
	x.mu.Lock()
	x.calm = true
	x.mu.Unlock()
	for n, w := range writers {
		if w.dead {
			writers[n] = x.join(n)
		}
	}
	for range 60 {
		time.Sleep(10 * time.Second) // as long as an event may be on its way
		if x.settled() {
			break
		}
	}
	for _, n := range nodes {
		n.stop()
	}
	for _, w := range writers {
		w.stop()
	}
	time.Sleep(time.Minute) // what died in the middle of a call
}

// claim is a reservation that the gate has accepted: its event is in the outbox, and
// its node publishes it at once, if it lives so long.
func (x *flow) claim(i int, n *node, plan *rand.Rand) {
	id := engine.ReservationID{Sale: 1, Created: engine.TimeZero + int64(i), Buyer: engine.BuyerKey{byte(i)}, Nonce: engine.Nonce{1}}
	payload, err := Encode(engine.AcceptedEvent{ID: id, SaleID: "drop", Buyer: "ann", Total: engine.Money{Amount: 1, Currency: "USD"}, Attempt: engine.NewAttemptID(id, "k"), Provider: "sandbox",
		Lines: []engine.PricedLine{{SKU: "A", Quantity: 1, UnitPrice: 1}}, ReplyTo: fmt.Sprint("node-", n.no)})
	if err != nil {
		panic(err)
	}
	e := engine.OutboxEntry{Sale: 1, EntryID: fmt.Sprint(i), Payload: payload, ID: id, Epoch: 1, Seq: uint64(i), AcceptedAt: time.Now()}
	x.mu.Lock()
	x.outbox, x.claimed = append(x.outbox, e), append(x.claimed, id)
	x.grudge[id] = plan.IntN(20) == 0
	x.mu.Unlock()
	n.work.Go(func() { _ = n.producer.Publish(n.ctx, e) })
}

// garbage is a record that nobody can read.
func (x *flow) garbage(plan *rand.Rand) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := plan.IntN(partitions)
	x.put(&kgo.Record{Key: []byte("?"), Value: []byte("{")}, p)
}

func (x *flow) put(r *kgo.Record, p int) {
	kept := *r
	kept.Partition, kept.Offset = int32(p), int64(len(x.parts[p]))
	x.parts[p] = append(x.parts[p], &kept)
}

func (x *flow) settled() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for p := range x.parts {
		if x.pos[p] < int64(len(x.parts[p])) {
			return false
		}
	}
	return len(x.outbox) == 0
}

func (x *flow) check() {
	for p := range x.parts {
		if x.pos[p] != int64(len(x.parts[p])) {
			x.note("partition %d is read up to %d of %d", p, x.pos[p], len(x.parts[p]))
		}
		for o, r := range x.parts[p] {
			id, known := x.idOf(r)
			_, ordered := x.orders[id]
			if _, dead := x.dead[[2]int64{int64(p), int64(o)}]; dead == (known && !x.grudge[id]) || known && ordered == x.grudge[id] {
				x.note("event %d of partition %d, of %s: dead letter %v, order %v, refused by the record %v", o, p, id, dead, ordered, x.grudge[id])
			}
		}
	}
	for _, id := range x.claimed {
		if _, ordered := x.orders[id]; !ordered && !x.grudge[id] {
			x.note("%s was claimed and is no order", id)
		}
	}
	if len(x.orders) > len(x.claimed) || len(x.outbox) > 0 {
		x.note("%d orders of %d claims; %d events are left in the outbox", len(x.orders), len(x.claimed), len(x.outbox))
	}
	x.count.Orders, x.count.Dead = len(x.orders), len(x.dead)
}

func (x *flow) idOf(r *kgo.Record) (engine.ReservationID, bool) {
	ev, err := Decode(r.Value)
	return ev.ID, err == nil
}

// Commit implements Record: one transaction of the exact record.
func (m *member) Commit(ctx context.Context, b record.Batch) (record.Result, error) {
	x := m.flow
	x.mu.Lock()
	fate := -1
	if m.fails("commit") {
		fate = m.roll("commit").IntN(4)
	}
	x.mu.Unlock()
	m.pause(ctx, "commit", 50*time.Millisecond)
	if fate == 1 { // the transaction takes its time, in which partitions may move
		m.pause(context.Background(), "commit", 20*time.Second)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if fate == 0 {
		return record.Result{}, engine.E(engine.CodeUnavailable, "the record is away")
	}
	if err := ctx.Err(); err != nil {
		return record.Result{}, errors.Join(engine.ErrUnknown, err)
	}
	result, err := x.transact(b)
	if err != nil {
		return result, err
	}
	x.tell("writer %d commits %d entries, next %v", m.no, len(b.Entries), result.Next)
	switch {
	case fate == 2: // the COMMIT's answer is lost
		x.count.Unknown++
		return record.Result{}, errors.Join(engine.ErrUnknown, errors.New("no answer"))
	case fate == 3 && !x.calm: // the process dies right here
		x.count.Deaths++
		m.dead = true
		m.mustLive()
	}
	return result, nil
}

// transact decides a batch, or refuses all of it.
func (x *flow) transact(b record.Batch) (record.Result, error) {
	for p, from := range b.From {
		if from != x.pos[p] {
			x.count.Fenced++
			return record.Result{}, record.ErrFenced
		}
	}
	next := [partitions]int64(x.pos)
	for _, e := range b.Entries {
		if _, ok := b.From[e.Partition]; !ok || e.Offset != next[e.Partition] {
			x.note("event %d of partition %d is written, and the record stands at %d", e.Offset, e.Partition, next[e.Partition])
		}
		next[e.Partition] = e.Offset + 1
		if e.Reason == "" && x.grudge[e.Event.ID] {
			return record.Result{}, &record.DataError{Err: errors.New("no")}
		}
	}
	r := record.Result{Dead: map[string]int{}, Next: map[int32]int64{}}
	for _, e := range b.Entries {
		if e.Reason != "" {
			x.dead[[2]int64{int64(e.Partition), e.Offset}] = e.Reason
			r.Dead[e.Reason]++
			continue
		}
		o, again := x.orders[e.Event.ID]
		if again {
			x.count.Repeated++
		} else {
			o = engine.Outcome{ID: e.Event.ID, State: engine.Confirmed}
			x.orders[e.Event.ID] = o
		}
		r.Decided = append(r.Decided, record.Decided{Outcome: o, ReplyTo: e.Event.ReplyTo, Repeated: again})
	}
	x.pos = next
	for p := range b.From {
		r.Next[p] = next[p]
	}
	return r, nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
