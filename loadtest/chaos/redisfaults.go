package chaos

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// What is done to Redis itself.

func killRedis(_ context.Context, w *world, _ Event) (healer, error) {
	return stopBackend(w.redis, w.redis.Kill)
}

func freezeRedis(_ context.Context, w *world, _ Event) (healer, error) { return freezeBackend(w.redis) }

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
func failOver(ctx context.Context, w *world, e Event) (healer, error) {
	before := written(ctx, w.redis)
	stopped := time.Now()
	return func(ctx context.Context) error {
		missed := written(ctx, w.redis) - before
		if err := w.redis.Kill(); err != nil {
			return err
		}
		w.lagged(stopped, time.Now())
		w.note("%s: the replica had stood still for %.2f s and lacked %d bytes of commands when its master died", e.Fault, time.Since(stopped).Seconds(), missed)
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

// written is how far the commands of a master go, in bytes; 0 if it does not say.
func written(ctx context.Context, b *devstack.Backend) int64 {
	info, err := devstack.RedisDo(ctx, b.URL, "INFO", "replication")
	_, rest, found := strings.Cut(info, "master_repl_offset:")
	if err != nil || !found {
		return 0
	}
	digits, _, _ := strings.Cut(rest, "\r\n")
	n, _ := strconv.ParseInt(digits, 10, 64) // 0 it is
	return n
}
