package reservation

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
)

// outcome is the wire form of engine.Outcome.
type outcome struct {
	ID       string    `json:"id"`
	State    string    `json:"state"`
	Provider string    `json:"provider,omitempty"`
	Payment  string    `json:"payment,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	PlacedAt time.Time `json:"placed_at"`
}

// notifyMost bounds the outcomes of one message.
const notifyMost = 256

// Notifier tells nodes what the record decided, over Redis pub/sub.
type Notifier struct{ gate *Gate }

var _ engine.Notifier = Notifier{}

// Notifier gives the gate's way to other nodes.
func (g *Gate) Notifier() Notifier { return Notifier{g} }

// Notify implements engine.Notifier. A node that does not listen is no error.
func (n Notifier) Notify(ctx context.Context, node string, outcomes []engine.Outcome) error {
	if node == "" {
		return nil
	}
	for len(outcomes) > 0 {
		part := outcomes[:min(len(outcomes), notifyMost)]
		outcomes = outcomes[len(part):]
		wire := make([]outcome, len(part))
		for i, o := range part {
			wire[i] = outcome{o.ID.String(), string(o.State), o.Provider, string(o.Payment), o.Reason, o.PlacedAt}
		}
		b, err := json.Marshal(wire)
		if err != nil {
			return engine.Wrap(err, engine.CodeInternal, "outcomes do not encode")
		}
		if err := n.gate.client.Publish(ctx, nodeChannel(node), b).Err(); err != nil {
			return classify(err)
		}
	}
	return nil
}

// Replies is a node's ear: it hears outcomes on the node's own channel, and
// asks the record itself where none comes. It implements engine.Outcomes.
type Replies struct {
	node   string
	orders engine.Orders
	log    *slog.Logger
	sub    *redis.PubSub
	done   chan struct{}

	mu      sync.Mutex
	waiting map[engine.ReservationID][]chan engine.Outcome
}

var _ engine.Outcomes = (*Replies)(nil)

// Listen opens a node's ear. It does not wait for Redis: while the channel is
// away, outcomes come by polling orders.
func (g *Gate) Listen(orders engine.Orders) *Replies {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, by its documentation
	node := hex.EncodeToString(id[:])
	r := &Replies{
		node: node, orders: orders, log: g.opt.Log, done: make(chan struct{}),
		sub:     g.client.Subscribe(context.Background(), nodeChannel(node)),
		waiting: map[engine.ReservationID][]chan engine.Outcome{},
	}
	go r.hear()
	return r
}

// Node implements engine.Outcomes.
func (r *Replies) Node() string { return r.node }

// Close stops listening; who waits goes on polling.
func (r *Replies) Close() error {
	err := r.sub.Close()
	<-r.done
	return err
}

func (r *Replies) hear() {
	defer close(r.done)
	for m := range r.sub.Channel(redis.WithChannelSize(1024)) {
		var wire []outcome
		if err := json.Unmarshal([]byte(m.Payload), &wire); err != nil {
			r.log.Warn("an outcome message does not decode; its orders will be polled", "err", err)
			continue
		}
		for _, w := range wire {
			if id, ok := engine.ParseReservationID(w.ID); ok {
				r.deliver(engine.Outcome{
					ID: id, State: engine.ReservationState(w.State), Provider: w.Provider,
					Payment: engine.PaymentState(w.Payment), Reason: w.Reason, PlacedAt: w.PlacedAt,
				})
			}
		}
	}
}

func (r *Replies) deliver(o engine.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.waiting[o.ID] {
		select {
		case c <- o:
		default: // has one already
		}
	}
}

// Polling the record begins after pollFirst and slows down to pollMost.
const (
	pollFirst = 250 * time.Millisecond
	pollMost  = 2 * time.Second
)

// Expect implements engine.Outcomes.
func (r *Replies) Expect(id engine.ReservationID) (wait func(context.Context) (engine.Outcome, error), cancel func()) {
	c := make(chan engine.Outcome, 1)
	r.mu.Lock()
	r.waiting[id] = append(r.waiting[id], c)
	r.mu.Unlock()
	wait = func(ctx context.Context) (_ engine.Outcome, err error) {
		ctx, span := telemetry.Start(ctx, "wait for the record")
		defer func() { span.End(err) }()
		pause := pollFirst
		timer := time.NewTimer(pause)
		defer timer.Stop()
		for {
			select {
			case o := <-c:
				return o, nil
			case <-ctx.Done():
				return engine.Outcome{}, ctx.Err()
			case <-timer.C:
			}
			if o, err := r.orders.Order(ctx, id); err == nil {
				return engine.Outcome{ID: id, State: o.State, Provider: o.Provider, Payment: o.Payment, Reason: o.Reason, PlacedAt: o.PlacedAt}, nil
			}
			pause = min(2*pause, pollMost)
			timer.Reset(pause)
		}
	}
	var once sync.Once
	return wait, func() { once.Do(func() { r.forget(id, c) }) }
}

func (r *Replies) forget(id engine.ReservationID, c chan engine.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.waiting[id]
	for i := range list {
		if list[i] == c {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(r.waiting, id)
	} else {
		r.waiting[id] = list
	}
}
