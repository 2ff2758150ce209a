package devstack

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestEmbeddedKafkaKeepsItsRecordsOverStacks(t *testing.T) {
	opt := only("kafka", Spec{}) // Auto is kfake
	opt.DataDir = t.TempDir()
	s := startStack(t, opt)
	if s.Kafka.Kind != "embedded kfake" || !s.Kafka.Durable {
		t.Errorf("got %q, durable %v", s.Kafka.Kind, s.Kafka.Durable)
	}
	if err := kafkaPut(t.Context(), s.Kafka.URL, "first"); err != nil {
		t.Fatal(err)
	}
	url := s.Kafka.URL
	if err := s.Kafka.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Kafka.URL != url {
		t.Errorf("moved from %s to %s", url, s.Kafka.URL)
	}
	if err := s.Kafka.Pause(); !errors.Is(err, ErrUnsupported) {
		t.Errorf("Pause: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := kafkaGet(t.Context(), startStack(t, opt).Kafka.URL); err != nil || got != "first" {
		t.Errorf("got %q, %v; want first", got, err)
	}
}

func TestEmbeddedRedisMovesItsClockAndLosesItsDataWhenKilled(t *testing.T) {
	ctx := t.Context()
	b := one(startStack(t, only("redis", Spec{Mode: Embedded})))
	c := redisClient(b.URL)
	defer c.Close()
	if err := c.Set(ctx, "fleeting", "v", 150*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	// Time itself is what is tested here, so it has to pass.
	for end := time.Now().Add(time.Minute); c.Exists(ctx, "fleeting").Val() == 1; <-time.After(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a key outlived its TTL: the clock stands still")
		}
	}
	if err := b.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if got, err := redisGet(ctx, b.URL); err != nil || got != "v" {
		t.Errorf("after a polite restart: %q, %v", got, err)
	}
	if err := errors.Join(b.Kill(), b.Restart(ctx)); err != nil {
		t.Fatal(err)
	}
	if _, err := redisGet(ctx, b.URL); !errors.Is(err, redis.Nil) {
		t.Errorf("after a kill, memory should be empty: %v", err)
	}
}
