package orders

import (
	"context"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/flashsale-engine/flashsale/engine"
)

// process is something that may die: whatever it calls next does not return.
type process struct {
	*flow
	no    int
	life  uint64 // of all that there were, which one
	rolls map[string]*rand.Rand
	dead  bool
	ctx   context.Context
	end   context.CancelFunc
	work  sync.WaitGroup
}

func (p *process) begin() {
	p.ctx, p.end = context.WithCancel(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lives++
	p.life, p.rolls = p.lives, map[string]*rand.Rand{}
}

// roll gives the dice for one kind of call, so that no other's number of calls
// changes its fate. It needs mu, as do the dice.
func (p *process) roll(kind string) *rand.Rand {
	if p.rolls[kind] == nil {
		h := fnv.New64a()
		_, _ = h.Write([]byte(kind))
		p.rolls[kind] = rand.New(rand.NewPCG(p.seed*1000+p.life, h.Sum64()))
	}
	return p.rolls[kind]
}

// fails draws whether a call does.
func (p *process) fails(kind string) bool { return !p.calm && p.roll(kind).Float64() < p.trouble }

// mustLive ends the goroutine of a process that has died. It needs mu.
func (p *process) mustLive() {
	if p.dead {
		p.mu.Unlock()
		defer p.mu.Lock()
		runtime.Goexit()
	}
}

func (p *process) kill() {
	p.mu.Lock()
	p.count.Deaths++
	p.dead = true
	p.tell("process %d dies", p.no)
	p.mu.Unlock()
	p.end() // for those who wait and would never call anybody again
}

// pause is the time of a call, of which the dice say how long it takes.
func (p *process) pause(ctx context.Context, kind string, most time.Duration) {
	p.mu.Lock()
	p.mustLive()
	d := time.Duration(p.roll(kind).Int64N(int64(most)))
	p.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mustLive()
}

// node publishes what it claims, and runs a relay.
type node struct {
	process
	producer *Producer
}

func (x *flow) node(no int) *node {
	n := &node{process: process{flow: x, no: no}}
	n.begin()
	n.producer = newProducer(ProducerConfig{Brokers: []string{"-"}, Sales: n, Outbox: n, Log: quiet()}.withDefaults(), n)
	r, err := NewRelay(RelayConfig{Producer: n.producer, Outbox: n, Active: func() []*engine.Sale { return []*engine.Sale{x.sale} }, Log: quiet()})
	if err != nil {
		panic(err)
	}
	n.work.Go(func() { _ = r.Run(n.ctx) })
	return n
}

func (n *node) stop() {
	n.end()
	n.work.Wait()
	n.producer.tidy.wait(context.Background())
}

func (n *node) Sale(context.Context, string) (*engine.Sale, error)     { return n.sale, nil }
func (n *node) SaleByNo(context.Context, uint32) (*engine.Sale, error) { return n.sale, nil }
func (n *node) Flush(context.Context) error                            { return nil }
func (n *node) Close()                                                 {}

// TryProduce puts an event into the stream, sooner or later, perhaps unheard.
func (n *node) TryProduce(_ context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	x := n.flow
	x.mu.Lock()
	fate := -1
	dice := n.roll("produce " + string(r.Key))
	if !x.calm && dice.Float64() < x.trouble {
		fate = dice.IntN(3)
	}
	there, back := time.Duration(dice.Int64N(int64(30*time.Millisecond))), time.Duration(dice.Int64N(int64(30*time.Millisecond)))
	if fate == 0 { // longer than anybody waits
		there = time.Duration(dice.Int64N(int64(9 * time.Second)))
	}
	p := 0
	for _, b := range r.Key {
		p = (p + int(b)) % partitions
	}
	dead := n.dead
	x.mu.Unlock()
	if dead {
		return
	}
	go func() {
		time.Sleep(there)
		x.mu.Lock()
		if fate != 1 {
			x.put(r, p)
		}
		x.mu.Unlock()
		time.Sleep(back)
		x.mu.Lock()
		dead := n.dead
		x.mu.Unlock()
		switch {
		case dead: // nobody is there to hear it
		case fate == 1, fate == 2:
			promise(r, errors.New("no acknowledgement"))
		default:
			promise(r, nil)
		}
	}()
}

// Pending implements engine.Outbox.
func (n *node) Pending(ctx context.Context, _ *engine.Sale, minAge time.Duration, most int) (out []engine.OutboxEntry, _ error) {
	n.pause(ctx, "pending", 10*time.Millisecond)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails("pending") {
		return nil, engine.E(engine.CodeUnavailable, "the gate is away")
	}
	for _, e := range n.outbox {
		if time.Since(e.AcceptedAt) >= minAge && len(out) < most {
			out = append(out, e)
		}
	}
	return out, nil
}

// Remove implements engine.Outbox: only what is in the stream may leave.
func (n *node) Remove(ctx context.Context, _ *engine.Sale, gone []engine.OutboxEntry) error {
	n.pause(ctx, "remove", 10*time.Millisecond)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fails("remove") {
		n.count.Untidy++
		return engine.E(engine.CodeUnavailable, "the gate is away")
	}
	for _, e := range gone {
		there := false
		for _, part := range n.parts {
			there = there || slices.ContainsFunc(part, func(r *kgo.Record) bool { return string(r.Key) == e.ID.Order() })
		}
		if !there {
			n.note("%s leaves the outbox, and is not in the stream", e.ID)
		}
	}
	n.outbox = slices.DeleteFunc(n.outbox, func(e engine.OutboxEntry) bool {
		return slices.ContainsFunc(gone, func(g engine.OutboxEntry) bool { return g.EntryID == e.EntryID })
	})
	return nil
}

// member is a writer's process in the group: its client and its record.
type member struct {
	process
	writer *Writer
	fetch  map[int32]int64 // from where the client reads
	given  map[int32]bool  // what it gets with its next poll
}

func (x *flow) join(no int) *member {
	m := &member{process: process{flow: x, no: no}, fetch: map[int32]int64{}, given: map[int32]bool{}}
	m.begin()
	x.mu.Lock()
	most := 1 + m.roll("size").IntN(30)
	x.mu.Unlock()
	w, err := NewWriter(WriterConfig{Brokers: []string{"-"}, Record: m, Notifier: m, MaxBatch: most, Log: quiet()})
	if err != nil {
		panic(err)
	}
	m.writer = w
	x.mu.Lock()
	x.members = append(x.members, m)
	x.mu.Unlock()
	x.move(rand.New(rand.NewPCG(x.seed, uint64(len(x.members)+10))))
	tell := newAnnouncer(m, quiet())
	m.work.Go(func() {
		defer tell.close()
		w.reader(m, tell).run(m.ctx)
	})
	return m
}

func (m *member) stop() {
	m.end()
	m.work.Wait()
}

// move gives the partitions to the members that live, in whatever way, and does not
// wait for who has one in hand: that is what fences are for.
func (x *flow) move(plan *rand.Rand) {
	x.mu.Lock()
	defer x.mu.Unlock()
	alive := slices.DeleteFunc(slices.Clone(x.members), func(m *member) bool { return m.dead })
	for p := range x.owner {
		was, now := x.owner[p], (*member)(nil)
		if len(alive) > 0 {
			now = alive[plan.IntN(len(alive))]
		}
		if was == now {
			continue
		}
		x.count.Moves++
		if was != nil {
			delete(was.given, int32(p)) // what it has it may keep until it hears
		}
		x.owner[p] = now
		if now != nil {
			now.given[int32(p)] = true
		}
	}
}

// PollRecords implements consuming.
func (m *member) PollRecords(ctx context.Context, most int) kgo.Fetches {
	for range 5 {
		m.pause(ctx, "poll", 100*time.Millisecond)
		if out := m.poll(most); len(out) > 0 || ctx.Err() != nil {
			return out
		}
	}
	return nil
}

func (m *member) poll(most int) kgo.Fetches {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.given { // where the record stands, as Writer.resume has it
		m.fetch[p] = m.pos[p]
		m.writer.believe(map[int32]int64{p: m.pos[p]})
	}
	clear(m.given)
	topic := kgo.FetchTopic{Topic: DefaultTopic}
	for p := range int32(partitions) {
		at, mine := m.fetch[p]
		if !mine || at >= int64(len(m.parts[p])) || most == 0 {
			continue
		}
		records := m.parts[p][at:min(at+int64(most), int64(len(m.parts[p])))]
		most -= len(records)
		m.fetch[p] = at + int64(len(records))
		topic.Partitions = append(topic.Partitions, kgo.FetchPartition{Partition: p, Records: slices.Clone(records)})
	}
	if len(topic.Partitions) == 0 {
		return nil
	}
	return kgo.Fetches{{Topics: []kgo.FetchTopic{topic}}}
}

// AllowRebalance is when a member hears which partitions are not its any more.
func (m *member) AllowRebalance() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mustLive()
	for p := range int32(partitions) {
		if m.owner[p] != m && m.roll("hear").IntN(3) == 0 {
			delete(m.fetch, p)
		}
	}
}

// SetOffsets implements consuming.
func (m *member) SetOffsets(to map[string]map[int32]kgo.EpochOffset) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, o := range to[DefaultTopic] {
		if _, mine := m.fetch[p]; mine {
			m.fetch[p] = o.Offset
		}
	}
}

// CommitOffsetsSync implements committing: nothing reads these.
func (m *member) CommitOffsetsSync(ctx context.Context, _ map[string]map[int32]kgo.EpochOffset, _ func(*kgo.Client, *kmsg.OffsetCommitRequest, *kmsg.OffsetCommitResponse, error)) {
	m.mu.Lock()
	d := time.Duration(m.roll("copy").Int64N(int64(100 * time.Millisecond)))
	m.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Ping implements Record.
func (m *member) Ping(ctx context.Context) error {
	m.pause(ctx, "ping", 10*time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails("ping") {
		return engine.E(engine.CodeUnavailable, "the record is away")
	}
	return nil
}

// Positions implements Record.
func (m *member) Positions(ctx context.Context, _, _ string, list []int32) (map[int32]int64, error) {
	m.pause(ctx, "positions", 10*time.Millisecond)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails("positions") {
		return nil, engine.E(engine.CodeUnavailable, "the record is away")
	}
	out := map[int32]int64{}
	for _, p := range list {
		out[p] = m.pos[p]
	}
	return out, nil
}

// Notify hears what the nodes are told: nothing but what the record says.
func (m *member) Notify(_ context.Context, _ string, outcomes []engine.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range outcomes {
		if m.orders[o.ID] != o {
			m.note("a node is told %+v, and the record has %+v", o, m.orders[o.ID])
		}
	}
	if m.fails("notify") {
		return errors.New("no channel")
	}
	return nil
}

var _ Record = (*member)(nil)
