package chaos

import (
	"context"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// What is done to Redis itself.

func killRedis(_ context.Context, w *world, _ Event) (healer, error) {
	return stopBackend(w.redis, w.redis.Kill)
}

func freezeRedis(_ context.Context, w *world, _ Event) (healer, error) { return freezeBackend(w.redis) }

func fillDisk(_ context.Context, w *world, e Event) (healer, error) {
	return w.redis.Restart, w.redis.LimitFiles(int64(e.Amount))
}

func tearAOF(_ context.Context, w *world, e Event) (healer, error) {
	return func(ctx context.Context) error {
		cut, err := w.redis.TearAOF(int64(e.Amount))
		if err != nil {
			return err
		}
		w.note("%s: %d bytes cut", e.Fault, cut)
		return w.redis.Restart(ctx)
	}, w.redis.Kill()
}

func dropAOF(_ context.Context, w *world, _ Event) (healer, error) {
	return func(ctx context.Context) error {
		if err := w.redis.DropAOF(); err != nil {
			return err
		}
		return w.redis.Restart(ctx)
	}, w.redis.Kill()
}

func flushRedis(ctx context.Context, w *world, _ Event) (healer, error) {
	_, err := devstack.RedisDo(ctx, w.redis.URL, "FLUSHALL")
	return func(context.Context) error { return nil }, err
}

// failOver stops the replica, so that what it has grows old, and when the time
// is over kills the master and has the replica in its place: started without a
// word about a master, it is one. The old master follows it.
func failOver(_ context.Context, w *world, _ Event) (healer, error) {
	return func(ctx context.Context) error {
		if err := w.redis.Kill(); err != nil {
			return err
		}
		if err := w.replica.Restart(ctx); err != nil {
			return err
		}
		w.redis, w.replica = w.replica, w.redis
		if err := w.toRedis.lead(host(w.redis.URL)); err != nil {
			return err
		}
		if err := w.replica.Restart(ctx); err != nil {
			return err
		}
		return w.follow(ctx)
	}, w.replica.Kill()
}
