package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// What is done to the brokers of a Kafka cluster, one by one.

func (w *world) broker(i int) *devstack.Backend {
	return w.stack.Kafka.Members[i%len(w.stack.Kafka.Members)]
}

func killBroker(_ context.Context, w *world, e Event) (healer, error) {
	b := w.broker(e.Node)
	return stopBackend(b, b.Kill)
}

// loseTwoBrokers leaves one alone. The frozen one wakes up first: without it the
// killed one would find no quorum to start in.
func loseTwoBrokers(_ context.Context, w *world, e Event) (healer, error) {
	killed, frozen := w.broker(e.Node), w.broker(e.Node+1)
	return func(ctx context.Context) error {
		if err := frozen.Continue(); err != nil {
			return err
		}
		return killed.Restart(ctx)
	}, errors.Join(killed.Kill(), frozen.Pause())
}

// moveLeaders moves all of them, every second until it is healed.
func moveLeaders(ctx context.Context, w *world, e Event) (healer, error) {
	moving, stop := context.WithCancel(ctx)
	var loop sync.WaitGroup
	var moves, times int
	var last error
	loop.Go(func() {
		for moving.Err() == nil {
			n, err := devstack.MoveKafkaLeaders(moving, w.stack.Kafka.URL)
			if moves += n; err != nil {
				last = err
			} else {
				times++
			}
			sleep(moving, time.Second)
		}
	})
	return func(context.Context) error {
		stop()
		loop.Wait()
		w.note("%s: %d partitions were given another leader, in %d goes", e.Fault, moves, times)
		if moves == 0 {
			return fmt.Errorf("no leader has moved: %w", last)
		}
		return nil
	}, nil
}
