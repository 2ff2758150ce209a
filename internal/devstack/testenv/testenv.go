// Package testenv gives tests the real backends: Redis, Postgres and Apache Kafka.
//
// `make test` starts one of each for the whole run (internal/devstack/cmd/devstack)
// and passes their addresses in the environment, because go test runs a process
// per package and a Kafka costs seconds. Without these variables, say under
// `go test ./orders`, the first call starts a child of the test process, which
// dies with it. A backend that can't be had fails the test; it never skips it. The
// one exception is asked for: go test -short (`make test-quick`) leaves these tests out.
//
// How tests stay out of each other's way on the shared backends:
//
//   - Redis: every key carries its sale, so use a sale number of your own
//     (Unique). Never FLUSHALL; who needs that, or needs to kill it, takes OwnRedis.
//   - Postgres: every call of Postgres makes a new database.
//   - Kafka: every topic and group gets a name of its own (Topic, Unique).
package testenv

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/flashsale-engine/flashsale/internal/devstack"
)

// The environment in which a shared stack is handed to the tests.
const (
	EnvRedis    = "FLASHSALE_TEST_REDIS_URL"
	EnvPostgres = "FLASHSALE_TEST_POSTGRES_URL"
	EnvKafka    = "FLASHSALE_TEST_KAFKA_BROKERS"
)

// Backends are the addresses of one of each.
type Backends struct {
	Redis    string   // redis://host:port/0
	Postgres string   // a database of this test's own
	Kafka    []string // brokers
}

// Stack returns all three shared backends.
func Stack(t testing.TB) Backends {
	t.Helper()
	return Backends{Redis: Redis(t), Postgres: Postgres(t), Kafka: Kafka(t)}
}

// Redis returns the URL of the shared Redis, a real redis-server.
func Redis(t testing.TB) string {
	t.Helper()
	return sharedRedis.url(t)
}

// Kafka returns the brokers of the shared Kafka, a real Apache Kafka.
func Kafka(t testing.TB) []string {
	t.Helper()
	return devstack.SplitBrokers(sharedKafka.url(t))
}

// Postgres makes a new, empty database on the shared server and returns its URL.
// It is dropped, whoever is still connected, when the test ends.
func Postgres(t testing.TB) string {
	t.Helper()
	return NewDatabase(t, sharedPostgres.url(t))
}

// NewDatabase makes a database of the test's own on the server that the URL names.
func NewDatabase(t testing.TB, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("testenv: Postgres URL: %v", err)
	}
	name := "test_" + strings.ReplaceAll(Unique(), "-", "_")
	// template0 has no connections of its own, so parallel tests don't collide on it.
	execOn(t, server, "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { execOn(t, server, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	u.Path = "/" + name
	return u.String()
}

// DB is what SQL gives: tests outside the rooms that own the driver name it so.
type DB = sql.DB

// SQL opens a database for a test that wants to look, or to meddle, by hand.
func SQL(t testing.TB, url string) *DB {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatalf("testenv: Postgres URL: %v", err)
	}
	db := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execOn(t testing.TB, server, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // t.Context has ended in a clean-up
	defer cancel()
	c, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("testenv: connect to Postgres: %v", err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, sql); err != nil {
		t.Fatalf("testenv: %s: %v", sql, err)
	}
}

// Everything gives all that a Redis has, as one text.
func Everything(t testing.TB, redisURL string) string {
	t.Helper()
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	defer c.Close()
	var out strings.Builder
	for i := c.Scan(t.Context(), 0, "", 1000).Iterator(); i.Next(t.Context()); {
		k := i.Val()
		fmt.Fprintln(&out, k)
		for _, args := range [][]any{{"GET", k}, {"HGETALL", k}, {"LRANGE", k, 0, -1}, {"XRANGE", k, "-", "+"}, {"SMEMBERS", k}, {"ZRANGE", k, 0, -1}} {
			if v, err := c.Do(t.Context(), args...).Result(); err == nil {
				fmt.Fprintln(&out, v)
			} else if !redis.HasErrorPrefix(err, "WRONGTYPE") {
				t.Fatal(k, err)
			}
		}
	}
	return out.String()
}

// Records gives all that is in a topic, as one text.
func Records(t testing.TB, brokers []string, topic string) string {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for left > 0 {
		got := c.PollFetches(ctx)
		if err := got.Err(); err != nil {
			t.Fatal(err)
		}
		got.EachRecord(func(r *kgo.Record) {
			left--
			fmt.Fprintf(&out, "%s %s %s\n", r.Key, r.Value, r.Headers)
		})
	}
	return out.String()
}

// Topic returns a topic name nobody else uses. It doesn't create the topic.
func Topic(t testing.TB) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("%.80s-%s", name, Unique())
}

// Unique returns a short name nobody else uses, of letters, digits and dashes:
// for sales, groups, buyers.
func Unique() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return "t-" + hex.EncodeToString(b[:])
}

// OwnRedis starts a redis-server for this test alone, to flush, kill, pause or restart.
func OwnRedis(t testing.TB) *devstack.Backend {
	t.Helper()
	return own(t, devstack.Options{Redis: child, Postgres: off, Kafka: off}).Redis
}

// OwnRedisCluster starts a Redis Cluster for this test alone: three masters with
// a replica each, six processes, in about a second. On a machine that starves one of
// them, a node that is alive must not lose what it acknowledged to its replica: who
// wants a failover says so by Patience.
func OwnRedisCluster(t testing.TB) *devstack.RedisCluster {
	t.Helper()
	skipShort(t)
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	dir, err := makeDir()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	c, err := devstack.StartRedisCluster(ctx, devstack.Options{DataDir: dir, Ephemeral: true, Redis: child})
	if err != nil {
		t.Fatalf("testenv: %v", explain(err))
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), os.RemoveAll(dir)); err != nil {
			t.Errorf("testenv: close: %v", err)
		}
	})
	if err := c.Patience(ctx, time.Minute); err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return c
}

// OwnPostgres starts a Postgres for this test alone. Prefer Postgres: this costs a second.
func OwnPostgres(t testing.TB) *devstack.Backend {
	t.Helper()
	return own(t, devstack.Options{Redis: off, Postgres: child, Kafka: off}).Postgres
}

// OwnKafka starts an Apache Kafka for this test alone. Prefer Kafka: this costs several seconds.
func OwnKafka(t testing.TB) *devstack.Backend {
	t.Helper()
	return own(t, devstack.Options{Redis: off, Postgres: off, Kafka: child}).Kafka
}

// OwnKafkaCluster starts an Apache Kafka of three brokers for this test alone: three
// JVMs, which cost a busy machine half a minute. Few tests are worth one.
func OwnKafkaCluster(t testing.TB) *devstack.Backend {
	t.Helper()
	return own(t, devstack.Options{Redis: off, Postgres: off, Kafka: devstack.Spec{Mode: devstack.Child, Brokers: devstack.KafkaBrokers}}).Kafka
}

var (
	child = devstack.Spec{Mode: devstack.Child, Fast: true}
	off   = devstack.Spec{Mode: devstack.Off}
)

func own(t testing.TB, opt devstack.Options) *devstack.Stack {
	t.Helper()
	skipShort(t)
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	dir, err := makeDir()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	opt.DataDir, opt.Ephemeral = dir, true
	s, err := devstack.Start(ctx, opt)
	if err != nil {
		t.Fatalf("testenv: %v", explain(err))
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("testenv: close: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("testenv: %v", err)
		}
	})
	return s
}
