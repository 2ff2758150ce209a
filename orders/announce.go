package orders

import (
	"context"
	"log/slog"
	"time"

	"github.com/flashsale-engine/flashsale/engine"
	"github.com/flashsale-engine/flashsale/internal/telemetry"
	"github.com/flashsale-engine/flashsale/orders/record"
)

// announcer tells waiting nodes what the record decided, beside the writer's own
// work: a slow or absent channel costs those who wait a poll, never the next batch.
type announcer struct {
	notifier engine.Notifier
	log      *slog.Logger
	queue    chan announcement
	done     chan struct{}
	ctx      context.Context // ends when a stop has taken too long
	cancel   context.CancelFunc
	failing  bool
}

// announcement is what a batch decided, and its step of a trace.
type announcement struct {
	decided []record.Decided
	of      telemetry.Span
}

const (
	announceQueue    = 64 // batches
	announcePatience = time.Second
	stopPatience     = 3 * time.Second
)

func newAnnouncer(n engine.Notifier, log *slog.Logger) *announcer {
	a := &announcer{notifier: n, log: log, queue: make(chan announcement, announceQueue), done: make(chan struct{})}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	go a.run()
	return a
}

// announce hands a batch over; when too many wait, nobody is told of it.
func (a *announcer) announce(decided []record.Decided, of telemetry.Span) {
	if a.notifier == nil || len(decided) == 0 {
		return
	}
	select {
	case a.queue <- announcement{decided, of}:
	default:
	}
}

// close tells what is queued, as far as that is quick, and ends.
func (a *announcer) close() {
	close(a.queue)
	giveUp := time.AfterFunc(stopPatience, a.cancel)
	<-a.done
	giveUp.Stop()
	a.cancel()
}

func (a *announcer) run() {
	defer close(a.done)
	for batch := range a.queue {
		byNode := map[string][]engine.Outcome{}
		for _, d := range batch.decided {
			if d.ReplyTo != "" {
				byNode[d.ReplyTo] = append(byNode[d.ReplyTo], d.Outcome)
			}
		}
		for node, outcomes := range byNode {
			a.tell(node, outcomes, batch.of)
		}
	}
}

func (a *announcer) tell(node string, outcomes []engine.Outcome, of telemetry.Span) {
	ctx, cancel := context.WithTimeout(a.ctx, announcePatience)
	defer cancel()
	ctx, span := of.After(ctx, "reply", "node", node, "outcomes", len(outcomes))
	err := a.notifier.Notify(ctx, node, outcomes)
	span.End(err)
	if failing := err != nil; failing != a.failing {
		a.failing = failing
		a.log.Warn("outcomes reach nobody; whoever waits polls", "failing", failing, "node", node, "err", err)
	}
}
