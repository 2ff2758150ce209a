package testenv

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestSharedBackendsAreReal(t *testing.T) {
	s := Stack(t)
	ctx := t.Context()

	opt, err := redis.ParseURL(s.Redis)
	if err != nil {
		t.Fatal(err)
	}
	r := redis.NewClient(opt)
	defer r.Close()
	// FUNCTION is what miniredis doesn't have.
	if err := r.FunctionList(ctx, redis.FunctionListQuery{}).Err(); err != nil {
		t.Errorf("not a real Redis: %v", err)
	}

	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Kafka...), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic(Topic(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(ctx, kgo.StringRecord("hello")).FirstErr(); err != nil {
		t.Errorf("produce: %v", err)
	}
}

func TestEveryCallOfPostgresGivesAnEmptyDatabase(t *testing.T) {
	for range 2 {
		c, err := pgx.Connect(t.Context(), Postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(context.Background())
		if _, err := c.Exec(t.Context(), "CREATE TABLE once (id int)"); err != nil {
			t.Errorf("the second database should not see the table of the first: %v", err)
		}
	}
}
